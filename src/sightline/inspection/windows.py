"""Operations with a window that goes over the map: convolutions, pools, padding, interpolation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sightline.inspection.costs import Window, window
from sightline.inspection.sight import Part, Rule, Seen, Sight, over, plain, shifted, unknown
from sightline.inspection.trace import Operation
from sightline.nn.arithmetic import conv_size


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
        return over(sight, range(len(out) - count, len(out)), out)
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
    return moved(operation, sight, moves)


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
    return moved(operation, sight, moves)


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


def _windows(operation: Operation, sight: Sight, shape: Sequence[int], kernel: Window | None) -> Sight:
    """After a kernel or a window has gone over the last dimensions."""
    if kernel is None:
        return unknown(shape, [sight], f"{operation.name} has no kernel that is known")
    first = len(shape) - len(kernel.kernel)
    sides = zip(shape[first:], kernel.kernel, kernel.stride, kernel.padding, kernel.dilation, strict=True)
    moves = {first + place: Move(*side) for place, side in enumerate(sides)}
    if operation.name == "convolution":
        moves[1] = Move(shape[1])
    return moved(operation, sight, moves)


def _touching(sides: Sequence[int]) -> Window:
    """Windows that lie side by side."""
    count = len(sides)
    return Window(tuple(sides), tuple(sides), (0,) * count, (1,) * count, groups=None)


def moved(operation: Operation, sight: Sight, moves: Mapping[int, Move]) -> Sight:
    """The sight after moves along some dimensions.

    Args:
        operation: that makes them, for the reason where they cannot be followed.
        sight: before.
        moves: by dimension.
    """
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


WINDOWS: dict[str, Rule] = {
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
}
