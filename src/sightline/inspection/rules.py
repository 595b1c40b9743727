"""How each of torch's operations changes what the units of a tensor see.

One function a kind of operation, one table at the bottom. An operation that is in no table and does not work number by
number has no rule: its output is known to come from the picture, and no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from sightline.inspection.costs import Window, window
from sightline.inspection.reshaping import RESHAPING
from sightline.inspection.sight import Dim, Join, Part, Sight, constant, joined, plain, shifted, unknown
from sightline.inspection.trace import Operation, TensorRef
from sightline.nn.arithmetic import conv_size


@dataclass
class Seen:
    """What is known so far, for the rules to look up and to add to.

    Args:
        sight: of a tensor, now.
        join: of two fields into one, where paths meet.
        gated: calls in which a factor that sees the whole map was passed over, or statistics over the map were.
        mixed: calls in which places of the map are weighed one by one: a dense layer on the map, or attention.
    """

    sight: Callable[[TensorRef], Sight]
    join: Join
    gated: set[int] = field(default_factory=set)
    mixed: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Move:
    """What happens along one dimension: `before` units are added in front, then a window goes over it.

    Args:
        size: units after it.
        kernel: values under the window.
        stride: of the window.
        before: units added in front; negative where some are skipped.
        dilation: of the window.
    """

    size: int
    kernel: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1


Rule = Callable[[Operation, Seen], Sight | list[Sight]]


def after(operation: Operation, seen: Seen) -> list[Sight]:
    """What the units of each output of an operation see.

    Args:
        operation: the next one.
        seen: what is known before it.

    Raises:
        ShapeError: two paths look at different places, so that no one field describes where they meet.
    """
    inputs = [seen.sight(ref) for ref in operation.inputs]
    if not operation.outputs or not any(sight.of_picture for sight in inputs) or operation.name in _CONSTANT:
        return [constant(ref.shape) for ref in operation.outputs]
    if operation.name in RESHAPING:
        found: Sight | list[Sight] = RESHAPING[operation.name](operation, inputs[0])
    elif operation.name in _RULES:
        found = _RULES[operation.name](operation, seen)
    elif torch.Tag.reduction in operation.overload.tags:
        found = _reduction(operation, seen)
    elif torch.Tag.pointwise in operation.overload.tags or operation.name in _POINTWISE:
        found = _pointwise(operation, seen)
    else:
        found = unknown(operation.outputs[0].shape, inputs, f"there is no rule for {operation.name}")
    sights = found if isinstance(found, list) else [found] * len(operation.outputs)
    return [
        sight if sight.shape == ref.shape else unknown(ref.shape, inputs, f"{operation.name} made it")
        for sight, ref in zip(sights, operation.outputs, strict=True)
    ]


def _pointwise(operation: Operation, seen: Seen) -> Sight:
    """Number by number, or a normalisation whose statistics do not count as seeing."""
    inputs = [seen.sight(ref) for ref in operation.inputs]
    is_product = operation.name in ("mul", "div")
    result, is_gated = joined(inputs, operation.outputs[0].shape, seen.join, is_product=is_product)
    if is_gated:
        seen.gated.add(operation.call)
    return result


def _overwriting(operation: Operation, seen: Seen) -> Sight:
    """`copy_`: what was there before is gone."""
    source = seen.sight(operation.arguments["src"])
    return joined([source], operation.outputs[0].shape, seen.join)[0]


def _batch_norm(operation: Operation, seen: Seen) -> Sight:
    return seen.sight(operation.arguments["input"])


def _map_norm(operation: Operation, seen: Seen) -> Sight:
    """Layer and group norm. Where their statistics go over the map they count as a gate."""
    sight = seen.sight(operation.arguments["input"])
    normalized = operation.arguments.get("normalized_shape")
    dims = sight.dims[-len(normalized) :] if normalized else sight.dims
    if any(part.is_seeing for dim in dims for part in dim):
        seen.gated.add(operation.call)
    return sight


def _convolution(operation: Operation, seen: Seen) -> Sight:
    given, kernel = operation.arguments, window(operation)
    sight, out = seen.sight(given["input"]), operation.outputs[0].shape
    if seen.sight(given["weight"]).of_picture:
        seen.gated.add(operation.call)  # kernels that were made from the picture
    if kernel is not None and given["transposed"]:
        if any(stride != 1 for stride in kernel.stride):
            return _uneven(operation, sight)
        sides = zip(kernel.kernel, kernel.padding, kernel.dilation, strict=True)
        kernel = replace(kernel, padding=tuple(d * (k - 1) - p for k, p, d in sides))
    return _windows(operation, sight, (*sight.shape[:1], *out[1:]), kernel)


def _pool(operation: Operation, seen: Seen) -> Sight:
    """Max and average pools. `ceil_mode` adds windows at the far end, which moves no other."""
    return _windows(operation, seen.sight(operation.arguments["self"]), operation.outputs[0].shape, window(operation))


def _adaptive_pool(operation: Operation, seen: Seen) -> Sight:
    """Windows that touch where the sizes divide; else windows of unequal sizes, which no one field describes."""
    sight, out = seen.sight(operation.arguments["self"]), operation.outputs[0].shape
    count = len(operation.arguments["output_size"])
    if all(size == 1 for size in out[-count:]):
        return _over(sight, range(len(out) - count, len(out)), out)
    sizes = list(zip(sight.shape[-count:], out[-count:], strict=True))
    if any(before % behind for before, behind in sizes):
        return _uneven(operation, sight)
    return _windows(operation, sight, out, _touching([before // behind for before, behind in sizes]))


def _unfolded(operation: Operation, seen: Seen) -> Sight:
    """`F.unfold`: (N, C, H, W) -> (N, C k k, places): each place holds a window."""
    given = operation.arguments
    sight = seen.sight(given["self"])
    k, s, p, d = (tuple(given[key]) for key in ("kernel_size", "stride", "padding", "dilation"))
    sides = zip(sight.shape[-2:], k, s, p, d, strict=True)
    places = [conv_size(size, k, stride=s, padding=p, dilation=d) for size, k, s, p, d in sides]
    windows = _windows(operation, sight, (*sight.shape[:-2], *places), Window(k, s, p, d, groups=None))
    rows, columns = windows.dims[-2:]
    return replace(windows, dims=(*windows.dims[:-3], plain(operation.outputs[0].shape[-2]), rows + columns))


def _padded(operation: Operation, seen: Seen) -> Sight:
    """Units added on both sides. Reflected ones repeat what others see, and count as zeros do."""
    given = operation.arguments
    sight, out = seen.sight(given["self"]), operation.outputs[0].shape
    amounts = given["pad"] if "pad" in given else given["padding"]
    last = len(sight.dims) - 1  # amounts are given from the last dimension on
    moves = {last - place: Move(out[last - place], before=amounts[2 * place]) for place in range(len(amounts) // 2)}
    return _moved(operation, sight, moves)


def _resized(operation: Operation, seen: Seen) -> Sight:
    """Interpolation to a map that is a whole number of times smaller; a larger one has no even steps."""
    given = operation.arguments
    sight, out = seen.sight(given["input"] if "input" in given else given["self"]), operation.outputs[0].shape
    moves = {}
    for dim in range(len(out) - len(given["output_size"]), len(out)):
        before, behind = sight.shape[dim], out[dim]
        if before == behind or not any(part.is_seeing for part in sight.dims[dim]):
            moves[dim] = Move(behind)
            continue
        found = _resizing_window(operation.name, before // behind, bool(given.get("align_corners")))
        if before % behind or found is None:
            return _uneven(operation, sight)
        kernel, first = found
        moves[dim] = Move(behind, kernel, stride=before // behind, before=-first)
    return _moved(operation, sight, moves)


def _resizing_window(name: str, factor: int, align_corners: bool) -> tuple[int, int] | None:
    """(kernel, index of its first unit) of the filter that makes a map `factor` times smaller; None where it is uneven.

    The middle of an output unit lies at (u + 0.5) factor - 0.5: on a unit where the factor is odd, between two where
    it is even. torch's filters do not widen with the factor unless asked to (`antialias`).
    """
    if factor < 1 or align_corners or "_aa" in name:
        return None
    if "nearest_exact" in name:
        return 1, factor // 2
    if "nearest" in name:
        return 1, 0
    if factor % 2:
        return 1, factor // 2
    return (4, factor // 2 - 2) if "cubic" in name else (2, factor // 2 - 1)


def _shuffled(operation: Operation, seen: Seen) -> Sight:
    """`pixel_unshuffle`: blocks of the map become channels."""
    sight, out = seen.sight(operation.arguments["self"]), operation.outputs[0].shape
    kernel = _touching([operation.arguments["downscale_factor"]] * 2)
    result = _windows(operation, sight, (*sight.shape[:-2], *out[-2:]), kernel)
    return replace(result, dims=(*result.dims[:-3], plain(out[-3]), *result.dims[-2:]))


def _reduction(operation: Operation, seen: Seen) -> Sight | list[Sight]:
    """A sum, mean or maximum over dimensions."""
    given = operation.arguments
    sight = seen.sight(operation.inputs[0])
    dim = given.get("dim", given.get("axis"))
    places = range(len(sight.dims)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return _over(sight, [place % len(sight.dims) for place in places], operation.outputs[0].shape)


def _along(operation: Operation, seen: Seen) -> Sight:
    """A softmax or a running sum: as many units as before, and each sees all along that dimension."""
    sight = seen.sight(operation.inputs[0])
    axes = {part.axis for part in sight.dims[operation.arguments["dim"]] if part.is_seeing and part.axis is not None}
    return replace(sight, whole=sight.whole | axes)


def _matrix_product(operation: Operation, seen: Seen) -> Sight:
    """(..., M, K) times (..., K, N): whoever sees along K sees all of it afterwards."""
    *bias, left, right = (seen.sight(ref) for ref in operation.inputs)
    both = [sight for sight in (left, right) if sight.of_picture]
    shared = left.dims[-1] + (right.dims[-2] if len(right.dims) > 1 else right.dims[-1])
    axes = {part.axis for part in shared if part.is_seeing and part.axis is not None}
    if axes:
        seen.mixed.add(operation.call)
    dims: tuple[Dim, ...] = left.dims[-2:-1] + (right.dims[-1:] if len(right.dims) > 1 else ())
    if len(left.dims) == 3:
        dims = (left.dims[0] if left.of_picture else right.dims[0], *dims)
    whole = frozenset(axes).union(*(sight.whole for sight in both))
    result = Sight(dims, whole=whole, lost={k: v for sight in both for k, v in sight.lost.items()})
    if not any(sight.of_picture for sight in bias):
        return result
    return joined([*bias, result], operation.outputs[0].shape, seen.join)[0]


def _concatenated(operation: Operation, seen: Seen) -> Sight:
    """`cat`. Along channels the paths are joined; along an axis of the picture constants are a frame, as padding is."""
    given, shape = operation.arguments, operation.outputs[0].shape
    inputs = [seen.sight(ref) for ref in given["tensors"] if ref.shape != (0,)]
    dim = given["dim"] % len(shape)
    pictures = [sight for sight in inputs if sight.of_picture]
    if not any(part.is_seeing for sight in pictures for part in sight.dims[dim]):
        placed = [replace(s, dims=(*s.dims[:dim], plain(shape[dim]), *s.dims[dim + 1 :])) for s in pictures]
        return joined(placed, shape, seen.join)[0]
    if len(pictures) > 1:
        return unknown(shape, inputs, "maps were laid side by side")
    before = sum(sight.shape[dim] for sight in inputs[: inputs.index(pictures[0])])
    return _moved(operation, pictures[0], {dim: Move(shape[dim], before=before)})


def _stacked(operation: Operation, seen: Seen) -> Sight:
    """`stack`: along a new dimension."""
    dim, shape = operation.arguments["dim"] % len(operation.outputs[0].shape), operation.outputs[0].shape
    inputs = [seen.sight(ref) for ref in operation.arguments["tensors"]]
    one = joined(inputs, (*shape[:dim], *shape[dim + 1 :]), seen.join)[0]
    return replace(one, dims=(*one.dims[:dim], plain(shape[dim]), *one.dims[dim:]))


def _over(sight: Sight, places: Sequence[int], shape: Sequence[int]) -> Sight:
    """After a reduction over some dimensions, which are gone or of size 1."""
    axes = {part.axis for place in places for part in sight.dims[place] if part.is_seeing and part.axis is not None}
    kept = [(() if place in places else dim) for place, dim in enumerate(sight.dims)]
    if len(shape) != len(kept):
        kept = [dim for place, dim in enumerate(sight.dims) if place not in places]
    return replace(sight, dims=tuple(kept), whole=sight.whole | axes)


def _windows(operation: Operation, sight: Sight, shape: Sequence[int], kernel: Window | None) -> Sight:
    """After a kernel or a window has gone over the last dimensions."""
    if kernel is None:
        return unknown(shape, [sight], f"{operation.name} has no kernel that is known")
    first = len(shape) - len(kernel.kernel)
    sides = zip(shape[first:], kernel.kernel, kernel.stride, kernel.padding, kernel.dilation, strict=True)
    moves = {first + place: Move(*side) for place, side in enumerate(sides)}
    if operation.name == "convolution":
        moves[1] = Move(shape[1])
    return _moved(operation, sight, moves)


def _touching(sides: Sequence[int]) -> Window:
    """Windows that lie side by side."""
    count = len(sides)
    return Window(tuple(sides), tuple(sides), (0,) * count, (1,) * count, groups=None)


def _moved(operation: Operation, sight: Sight, moves: Mapping[int, Move]) -> Sight:
    """The sight after moves along some dimensions."""
    dims = list(sight.dims)
    for place, move in moves.items():
        dim = dims[place]
        if not any(part.is_seeing for part in dim):
            dims[place] = dim if sight.shape[place] == move.size else plain(move.size)
        elif len(dim) == 1 and dim[0].field is not None:
            widened = shifted(dim[0].field, move.before).after(move.kernel, stride=move.stride, dilation=move.dilation)
            dims[place] = (Part(move.size, dim[0].axis, widened),)
        else:
            shape = [moves[at].size if at in moves else size for at, size in enumerate(sight.shape)]
            return unknown(shape, [sight], f"{operation.name} goes over a flattened map")
    return replace(sight, dims=tuple(dims))


def _uneven(operation: Operation, sight: Sight) -> Sight:
    reason = f"{operation.name} makes units whose fields are no even step apart"
    return unknown(operation.outputs[0].shape, [sight], reason)


_CONSTANT = {  # take the shape of a tensor, not its numbers
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
_POINTWISE = {  # torch does not tag these
    *("_prelu_kernel", "_to_copy", "bernoulli", "hardswish", "lift_fresh", "log_sigmoid_forward", "masked_fill"),
    *("native_dropout", "rrelu_with_noise", "rsub", "where", "fill", "zero"),
}
_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    **dict.fromkeys(("max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices"), _pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _adaptive_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive_pool),
    "im2col": _unfolded,
    **dict.fromkeys(
        ("constant_pad_nd", *(f"{k}_pad{n}d" for k in ("reflection", "replication") for n in (1, 2, 3))), _padded
    ),
    **dict.fromkeys(
        (
            *(f"{k}{n}d" for k in ("upsample_nearest", "_upsample_nearest_exact") for n in (1, 2, 3)),
            *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
            *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
        ),
        _resized,
    ),
    "pixel_unshuffle": _shuffled,
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "logcumsumexp"), _along),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "mv", "addmv"), _matrix_product),
    **dict.fromkeys(
        (
            *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
            *("cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update"),
        ),
        _batch_norm,
    ),
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "_fused_rms_norm"), _map_norm),
    "copy": _overwriting,
    "cat": _concatenated,
    "stack": _stacked,
}
