"""Operations that only move numbers: views, slices, permutations; and what a write into a view does to its source.

A rule gets the operation and the sight of the tensor that it reads, and says what the outputs see. `RESHAPING` has the
rules that read, `written_through` carries a change of a view back into the tensor that it is a view of.
"""

from collections.abc import Callable
from dataclasses import replace

from sightline.inspection.sight import (
    Dim,
    Join,
    Part,
    Phase,
    Sight,
    axes_in,
    joined,
    plain,
    regrouped,
    shifted,
    smaller,
    unknown,
)
from sightline.inspection.trace import Operation

Reader = Callable[[Operation, Sight], Sight | list[Sight]]
Writer = Callable[[Operation, Sight, Sight, Join], Sight]


def _same(operation: Operation, sight: Sight) -> Sight:
    return sight


def _viewed(operation: Operation, sight: Sight) -> Sight:
    return regrouped(sight, operation.outputs[0].shape)


def _permuted(operation: Operation, sight: Sight) -> Sight:
    return replace(sight, dims=tuple(sight.dims[place] for place in _order(operation, len(sight.dims))))


def _restrided(operation: Operation, sight: Sight) -> Sight:
    """`as_strided` that changes steps along dimensions of one unit alone: torch ends channel-last global pools so."""
    (source, *_), (target, *_) = operation.inputs, operation.outputs
    steps = [[step for size, step in zip(ref.shape, ref.stride, strict=True) if size != 1] for ref in (source, target)]
    if (source.offset, source.shape, steps[0]) != (target.offset, target.shape, steps[1]):
        return unknown(target.shape, [sight], "its memory was read in other steps")
    return sight


def _unsqueezed(operation: Operation, sight: Sight) -> Sight:
    place = operation.arguments["dim"] % (len(sight.dims) + 1)
    return replace(sight, dims=(*sight.dims[:place], (), *sight.dims[place:]))


def _squeezed(operation: Operation, sight: Sight) -> Sight:
    """A dimension of size 1 goes; a map of one unit along it is then a map no more."""
    dim = operation.arguments.get("dim")
    places = range(len(sight.dims)) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {place % len(sight.dims) for place in places if sight.shape[place] == 1}
    left = replace(sight, dims=tuple(each for place, each in enumerate(sight.dims) if place not in gone))
    axes = {axis for place in gone for axis in axes_in(sight.dims[place])}
    return left.losing(axes, "the only unit along it was taken out")


def _expanded(operation: Operation, sight: Sight) -> Sight:
    shape = operation.outputs[0].shape
    return joined([sight], shape, smaller)[0]


def _sliced(operation: Operation, sight: Sight) -> Sight:
    given, shape = operation.arguments, operation.outputs[0].shape
    dim = given["dim"] % len(shape)
    start = _start(given["start"], sight.shape[dim])
    return _cut(sight, dim, start, shape[dim], step=given["step"], memory=operation.inputs[0].storage)


def _selected(operation: Operation, sight: Sight) -> Sight:
    dim = operation.arguments["dim"] % len(sight.dims)
    axes = axes_in(sight.dims[dim])
    left = replace(sight, dims=(*sight.dims[:dim], *sight.dims[dim + 1 :]))
    return left.losing(axes, "one row or column was taken out")


def _split(operation: Operation, sight: Sight) -> list[Sight]:
    """`split` and `chunk`: slices that follow each other."""
    dim = operation.arguments["dim"] % len(sight.dims)
    sights, start = [], 0
    for output in operation.outputs:
        sights.append(_cut(sight, dim, start, output.shape[dim]))
        start += output.shape[dim]
    return sights


def _unbound(operation: Operation, sight: Sight) -> list[Sight]:
    return [_selected(operation, sight)] * len(operation.outputs)


def _unfolded(operation: Operation, sight: Sight) -> Sight:
    """`Tensor.unfold`: windows along one dimension, laid along a new last one."""
    given = operation.arguments
    dim, size, step = given["dimension"] % len(sight.dims), given["size"], given["step"]
    shape = operation.outputs[0].shape
    parts = sight.dims[dim]
    if len(parts) == 1 and parts[0].field is not None:
        window: Dim = (Part(shape[dim], parts[0].axis, parts[0].field.after(size, stride=step)),)
    elif any(part.is_seeing for part in parts):
        return unknown(shape, [sight], "windows go over rows and columns at once")
    else:
        window = plain(shape[dim])
    return replace(sight, dims=(*sight.dims[:dim], window, *sight.dims[dim + 1 :], plain(size)))


def _repeated(operation: Operation, sight: Sight) -> Sight:
    shape = operation.outputs[0].shape
    dims = ((),) * (len(shape) - len(sight.dims)) + sight.dims
    moved = [dim if _is_of(dim, size) else plain(size) for dim, size in zip(dims, shape, strict=True)]
    axes = {axis for dim, size in zip(dims, shape, strict=True) if not _is_of(dim, size) for axis in axes_in(dim)}
    return replace(sight, dims=tuple(moved)).losing(axes, "the map is repeated")


def _reordered(operation: Operation, sight: Sight) -> Sight:
    """`flip`, `roll`, `index_select`: channels may change places, rows and columns may not."""
    given, shape = operation.arguments, operation.outputs[0].shape
    dims = given["dims"] if "dims" in given else [given["dim"]]
    places = {dim % len(sight.dims) for dim in dims} or set(range(len(sight.dims)))
    if any(part.is_seeing for place in places for part in sight.dims[place]):
        return unknown(shape, [sight], f"{operation.name} changes the order of the map")
    return replace(sight, dims=tuple(plain(shape[p]) if p in places else dim for p, dim in enumerate(sight.dims)))


def _indexed(operation: Operation, sight: Sight) -> Sight:
    """`x[:, index]`: one list of indices along a dimension that is no axis of the picture."""
    indices, shape = operation.arguments["indices"], operation.outputs[0].shape
    used = [place for place, index in enumerate(indices) if index is not None]
    simple = len(used) == 1 and len(indices[used[0]].shape) == 1
    if not simple or any(part.is_seeing for part in sight.dims[used[0]]):
        return unknown(shape, [sight], "single places of the map were picked out")
    return replace(sight, dims=tuple(plain(shape[p]) if p in used else dim for p, dim in enumerate(sight.dims)))


def _write_view(operation: Operation, base: Sight, view: Sight, join: Join) -> Sight:
    """Through a view of all the numbers."""
    return regrouped(view, base.shape)


def _write_permuted(operation: Operation, base: Sight, view: Sight, join: Join) -> Sight:
    order = _order(operation, len(view.dims))
    return replace(view, dims=tuple(view.dims[order.index(place)] for place in range(len(order))))


def _write_slice(operation: Operation, base: Sight, view: Sight, join: Join) -> Sight:
    """Into some of the numbers: the others stay. What was constant before is a frame around the written ones."""
    given = operation.arguments
    dim = given["dim"] % len(base.dims)
    start, step, size = _start(given["start"], base.shape[dim]), given["step"], base.shape[dim]
    parts = view.dims[dim]
    if not any(part.is_seeing for part in parts):
        placed = plain(size)
    elif len(parts) == 1 and parts[0].field is not None and step == 1:
        placed = (Part(size, parts[0].axis, shifted(parts[0].field, start)),)
    else:
        return unknown(base.shape, [base, view], "parts of the map were written over")
    written = replace(view, dims=(*view.dims[:dim], placed, *view.dims[dim + 1 :]))
    return written if view.shape[dim] == size else joined([base, written], base.shape, join)[0]


def _write_selected(operation: Operation, base: Sight, view: Sight, join: Join) -> Sight:
    dim = operation.arguments["dim"] % len(base.dims)
    if any(part.is_seeing for part in base.dims[dim]):
        return unknown(base.shape, [base, view], "parts of the map were written over")
    written = replace(view, dims=(*view.dims[:dim], plain(base.shape[dim]), *view.dims[dim:]))
    return joined([base, written], base.shape, join)[0]


def _cut(sight: Sight, dim: int, start: int, size: int, *, step: int = 1, memory: int | None = None) -> Sight:
    """Every step-th unit from `start` on, of a map in a memory."""
    parts = sight.dims[dim]
    if _is_of(parts, size):
        return sight
    if len(parts) == 1 and parts[0].field is not None:
        phase = parts[0].phase if step == 1 or memory is None else Phase(memory, parts[0].field.size_px)
        cut: Dim = (Part(size, parts[0].axis, shifted(parts[0].field, -start, step=step), phase),)
    elif any(part.is_seeing for part in parts):
        shape = (*sight.shape[:dim], size, *sight.shape[dim + 1 :])
        return unknown(shape, [sight], "a flattened map was cut")
    else:
        cut = plain(size)
    return replace(sight, dims=(*sight.dims[:dim], cut, *sight.dims[dim + 1 :]))


def is_wrap(from_view: Operation, to_view: Operation) -> bool:
    """Whether a copy from one slice of a map into another is a frame around it: a wrap, as circular padding does it.

    Args:
        from_view: that made the slice that is read.
        to_view: that made the slice that is written: one end of the map, with nothing that is read.
    """
    if from_view.name != "slice" or to_view.name != "slice" or from_view.inputs[0] != to_view.inputs[0]:
        return False
    size = to_view.inputs[0].shape[to_view.arguments["dim"]]
    source, source_end = _ends(from_view)
    first, end = _ends(to_view)
    is_along_one = from_view.arguments["dim"] == to_view.arguments["dim"]
    is_whole = from_view.arguments["step"] == to_view.arguments["step"] == 1
    is_apart = end <= source or source_end <= first
    return bool(is_along_one and is_whole and is_apart and (first == 0 or end == size))


def _ends(cut: Operation) -> tuple[int, int]:
    """The first unit of a slice of step 1, and the one behind its last."""
    dim = cut.arguments["dim"]
    start = _start(cut.arguments["start"], cut.inputs[0].shape[dim])
    return start, start + cut.outputs[0].shape[dim]


def _start(start: int | None, size: int) -> int:
    """Of a slice, counted from the front."""
    start = start or 0
    return min(max(start + size if start < 0 else start, 0), size)


def _order(operation: Operation, rank: int) -> list[int]:
    """Which dimension of the source stands at each place of the result."""
    order = list(range(rank))
    if operation.name == "permute":
        return [dim % rank for dim in operation.arguments["dims"]]
    if operation.name == "t":
        return order[::-1]
    one, other = operation.arguments["dim0"] % rank, operation.arguments["dim1"] % rank
    order[one], order[other] = order[other], order[one]
    return order


def _is_of(dim: Dim, size: int) -> bool:
    count = 1
    for part in dim:
        count *= part.size
    return count == size


def written_through(operation: Operation, base: Sight, view: Sight, join: Join) -> Sight:
    """What a tensor's units see after a view of it was written.

    Args:
        operation: that made the view.
        base: the tensor's sight before.
        view: the view's sight now.
        join: of two fields where the written numbers stand beside others.

    Raises:
        ShapeError: the others look at different places.
    """
    if operation.name not in _WRITING:
        return unknown(base.shape, [base, view], f"written through {operation.name}")
    return _WRITING[operation.name](operation, base, view, join)


RESHAPING: dict[str, Reader] = {
    **dict.fromkeys(("alias", "detach", "clone", "lift", "_conj"), _same),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "reshape"), _viewed),
    **dict.fromkeys(("permute", "transpose", "t"), _permuted),
    "as_strided": _restrided,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "expand": _expanded,
    "slice": _sliced,
    "select": _selected,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk"), _split),
    "unbind": _unbound,
    "unfold": _unfolded,
    "repeat": _repeated,
    **dict.fromkeys(("flip", "roll", "index_select"), _reordered),
    "index": _indexed,
}
_WRITING: dict[str, Writer] = {
    **dict.fromkeys(("alias", "detach", "view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze"), _write_view),
    **dict.fromkeys(("permute", "transpose", "t"), _write_permuted),
    "slice": _write_slice,
    "select": _write_selected,
}
