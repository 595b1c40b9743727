"""How each of torch's operations changes what the units of a tensor see.

One function a kind of operation, one table at the bottom. An operation that is in no table and does not work number by
number has no rule: its output is known to come from the picture, and no more.
"""

from dataclasses import replace

import torch

from sightline.inspection.reshaping import RESHAPING
from sightline.inspection.sight import Dim, Rule, Seen, Sight, axes_in, constant, joined, over, plain, unknown
from sightline.inspection.trace import Operation
from sightline.inspection.windows import WINDOWS, Move, moved


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


def _reduction(operation: Operation, seen: Seen) -> Sight | list[Sight]:
    """A sum, mean or maximum over dimensions."""
    given = operation.arguments
    sight = seen.sight(operation.inputs[0])
    dim = given.get("dim", given.get("axis"))
    places = range(len(sight.dims)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return over(sight, [place % len(sight.dims) for place in places], operation.outputs[0].shape)


def _along(operation: Operation, seen: Seen) -> Sight:
    """A softmax or a running sum: as many units as before, and each sees all along that dimension."""
    sight = seen.sight(operation.inputs[0])
    axes = axes_in(sight.dims[operation.arguments["dim"]])
    return replace(sight, whole=sight.whole | axes)


def _matrix_product(operation: Operation, seen: Seen) -> Sight:
    """(..., M, K) times (..., K, N): whoever sees along K sees all of it afterwards."""
    *bias, left, right = (seen.sight(ref) for ref in operation.inputs)
    both = [sight for sight in (left, right) if sight.of_picture]
    shared = left.dims[-1] + (right.dims[-2] if len(right.dims) > 1 else right.dims[-1])
    axes = axes_in(shared)
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
    return moved(operation, pictures[0], {dim: Move(shape[dim], before=before)})


def _stacked(operation: Operation, seen: Seen) -> Sight:
    """`stack`: along a new dimension."""
    dim, shape = operation.arguments["dim"] % len(operation.outputs[0].shape), operation.outputs[0].shape
    inputs = [seen.sight(ref) for ref in operation.arguments["tensors"]]
    one = joined(inputs, (*shape[:dim], *shape[dim + 1 :]), seen.join)[0]
    return replace(one, dims=(*one.dims[:dim], plain(shape[dim]), *one.dims[dim:]))


_CONSTANT = {  # take the shape of a tensor, not its numbers
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
_POINTWISE = {  # torch does not tag these
    *("_prelu_kernel", "_to_copy", "bernoulli", "hardswish", "lift_fresh", "log_sigmoid_forward", "masked_fill"),
    *("native_dropout", "rrelu_with_noise", "rsub", "where", "fill", "zero"),
}
_RULES: dict[str, Rule] = {
    **WINDOWS,
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
