"""What the units of a tensor see of the picture, dimension by dimension."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from sightline.inspection.trace import Operation, TensorRef
from sightline.nn.arithmetic import ReceptiveField

BATCH = -1  # the axis of the batch, beside the picture's own 0, 1, ...

Join = Callable[[ReceptiveField, ReceptiveField], ReceptiveField]


@dataclass(frozen=True)
class Phase:
    """Every n-th unit of a map, as `x[:, :, 1::2]` takes it: beside the other phases it is the whole map again.

    Args:
        memory: number of the memory that the units were taken from.
        size_px: what one unit of it sees.
    """

    memory: int
    size_px: int


@dataclass(frozen=True)
class Part:
    """A dimension, or a factor of one: a dimension that holds rows and columns of a map has two parts.

    Args:
        size: units along it.
        axis: of the picture (0, 1, ...), along which its units stand, `BATCH`, or None for channels and the like.
        field: what they see along that axis.
        phase: of which map they are every n-th unit; None where they are not, or no longer alone.
    """

    size: int
    axis: int | None = None
    field: ReceptiveField | None = None
    phase: Phase | None = None

    @property
    def is_seeing(self) -> bool:
        """Whether its units stand along an axis of the picture."""
        return self.field is not None


Dim = tuple[Part, ...]


@dataclass(frozen=True)
class Sight:
    """What the units of one tensor see of the picture.

    Args:
        dims: the parts of each dimension, the first part the slowest; a dimension of size 1 may have none.
        of_picture: whether the numbers depend on the picture at all.
        whole: axes along which every unit sees everything.
        lost: axes along which no one field describes all units, with the reason.
    """

    dims: tuple[Dim, ...]
    of_picture: bool = True
    whole: frozenset[int] = frozenset()
    lost: Mapping[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Units along each dimension."""
        return tuple(_size(dim) for dim in self.dims)

    def axes(self) -> list[int]:
        """The axes of the picture along which its units stand, in the order of the dimensions."""
        return [part.axis for dim in self.dims for part in dim if part.is_seeing and part.axis is not None]

    def field(self, axis: int) -> ReceptiveField | None:
        """The one field along an axis that holds for every unit of a map; None where there is no such thing.

        Args:
            axis: of the picture.
        """
        if axis in self.whole or axis in self.lost or self.axes().count(axis) != 1:
            return None
        (dim,) = (dim for dim in self.dims if any(part.axis == axis for part in dim))
        if any(part.axis is None and part.size > 1 for part in dim):
            return None  # flattened together with channels: no map any more
        return next(part.field for part in dim if part.axis == axis)

    def losing(self, axes: Iterable[int], reason: str) -> "Sight":
        """The same, with no field along some axes.

        Args:
            axes: of the picture.
            reason: why.
        """
        return replace(self, lost={**dict.fromkeys(axes, reason), **self.lost})


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


Rule = Callable[[Operation, Seen], Sight | list[Sight]]


def of_picture(shape: Sequence[int]) -> Sight:
    """The picture itself: its dimensions behind batch and channels are its axes.

    Args:
        shape: (N, C, ...).
    """
    axes = [(Part(size, axis, ReceptiveField()),) for axis, size in enumerate(shape[2:])]
    return Sight(((Part(shape[0], BATCH),), *(plain(size) for size in shape[1:2]), *axes))


def constant(shape: Sequence[int]) -> Sight:
    """A tensor that does not depend on the picture.

    Args:
        shape: of it.
    """
    return Sight(tuple(plain(size) for size in shape), of_picture=False)


def unknown(shape: Sequence[int], inputs: Sequence[Sight], reason: str) -> Sight:
    """A tensor of which only is known that it comes from others.

    Args:
        shape: of it.
        inputs: what it was made from.
        reason: why no more is known.
    """
    seen = [sight for sight in inputs if sight.of_picture]
    if not seen:
        return constant(shape)
    result = Sight(tuple(plain(size) for size in shape), whole=_whole(seen), lost=_lost(seen))
    return result.losing({axis for sight in seen for axis in sight.axes()}, reason)


def plain(size: int) -> Dim:
    """A dimension that is no axis of the picture.

    Args:
        size: of it.
    """
    return (Part(size),) if size != 1 else ()


def joined(
    inputs: Sequence[Sight], shape: Sequence[int], join: Join, *, is_product: bool = False
) -> tuple[Sight, bool]:
    """What is seen where tensors are combined number by number, broadcast as torch does.

    Args:
        inputs: the tensors.
        shape: of the result.
        join: of two fields into one.
        is_product: whether they are multiplied. A factor that sees the whole picture, but has no units along it, is
            then a gate (squeeze and excitation) and by the usual convention does not widen what is seen.

    Returns:
        The result, and whether a gate was passed over.

    Raises:
        ShapeError: two paths look at different places, so that no one field describes the sum.
    """
    seen = [sight for sight in inputs if sight.of_picture]
    if not seen:
        return constant(shape), False
    mapped = {axis for sight in seen for axis in _mapped(sight)} if is_product else set()
    gated = [sight.whole & mapped - set(sight.axes()) for sight in seen]
    views = [replace(sight, whole=sight.whole - axes) for sight, axes in zip(seen, gated, strict=True)]
    lost = _lost(views)
    dims: list[Dim] = []
    for place, size in enumerate(shape):
        dim = plain(size)
        for sight in views:
            here = place - len(shape) + len(sight.dims)
            given = sight.dims[here] if here >= 0 else ()
            if all(part.axis is None for part in given):
                continue
            if _size(given) != size:  # one unit, repeated along the others
                if not is_product:
                    lost.update(dict.fromkeys(axes_in(given), "a map of one unit is spread over a larger one"))
            elif all(part.axis is None for part in dim):
                dim = given
            elif [(p.size, p.axis) for p in dim] == [(p.size, p.axis) for p in given]:
                dim = tuple(_joined_part(one, other, join) for one, other in zip(dim, given, strict=True))
            else:
                lost.update(dict.fromkeys(axes_in(dim + given), "maps of different layouts are combined"))
        dims.append(dim)
    return Sight(tuple(dims), whole=_whole(views), lost=lost), any(gated)


def regrouped(sight: Sight, shape: Sequence[int]) -> Sight:
    """The same numbers in another shape, as `view` does it.

    An axis that is split into blocks sees in each block all that the block's units see.

    Args:
        sight: before.
        shape: after.
    """
    rest = [part for dim in sight.dims for part in dim if part.size != 1 or part.is_seeing]
    dims: list[Dim] = []
    for size in shape:
        taken: list[Part] = []
        missing = size
        while rest and (missing > 1 or (not taken and rest[0].size == 1)):
            part = rest.pop(0)
            if missing % part.size == 0:
                taken.append(part)
                missing //= part.size
            elif part.size % missing == 0:
                outer, inner = _split(part, missing)
                taken.append(outer)
                rest.insert(0, inner)
                missing = 1
            else:
                return unknown(shape, [sight], "rows and columns were cut into pieces that do not fit together")
        dims.append(tuple(taken))
    if dims:
        dims[-1] += tuple(part for part in rest if part.is_seeing)  # of size 1, with nothing left to stand for them
    return replace(sight, dims=tuple(dims))


def over(sight: Sight, places: Sequence[int], shape: Sequence[int]) -> Sight:
    """After a reduction over some dimensions: every unit then sees all along their axes.

    Args:
        sight: before.
        places: the dimensions.
        shape: after; the dimensions are gone from it, or of size 1.
    """
    axes = {axis for place in places for axis in axes_in(sight.dims[place])}
    kept = [(() if place in places else dim) for place, dim in enumerate(sight.dims)]
    if len(shape) != len(kept):
        kept = [dim for place, dim in enumerate(sight.dims) if place not in places]
    return replace(sight, dims=tuple(kept), whole=sight.whole | axes)


def shifted(given: ReceptiveField, units: int, *, step: int = 1) -> ReceptiveField:
    """The field after units were added in front, and only every step-th was kept.

    Args:
        given: before.
        units: added; negative where units were taken away.
        step: 1 keeps all.
    """
    return ReceptiveField(given.size_px, given.stride_px * step, given.padding_px + units * given.stride_px)


def axes_in(dim: Dim) -> set[int]:
    """The axes of the picture along which units stand in a dimension.

    Args:
        dim: its parts.
    """
    return {part.axis for part in dim if part.is_seeing and part.axis is not None}


def smaller(one: ReceptiveField, other: ReceptiveField) -> ReceptiveField:
    """The smaller of two fields: what the shortest path sees. The counterpart of `ReceptiveField.joined`.

    Args:
        one: a field.
        other: another.
    """
    return one if one.size_px <= other.size_px else other


def _size(dim: Dim) -> int:
    return prod(part.size for part in dim)


def _mapped(sight: Sight) -> set[int]:
    """The axes along which it has units that do not see everything."""
    return set(sight.axes()) - sight.whole


def _joined_part(one: Part, other: Part, join: Join) -> Part:
    if one.field is None or other.field is None:
        return one if one.field is not None else other
    if one.phase is not None and one.phase == other.phase:
        union = _united(one.field, other.field)
        if union.size_px - one.phase.size_px < union.stride_px:
            return replace(one, field=union)
    return replace(one, field=join(one.field, other.field), phase=None)


def _united(one: ReceptiveField, other: ReceptiveField) -> ReceptiveField:
    """Both fields, and what lies between them: phases of one map are joined to what its blocks see."""
    (first, end), (other_first, other_end) = one.region(0), other.region(0)
    first, end = min(first, other_first), max(end, other_end)
    return ReceptiveField(end - first + 1, one.stride_px, -first)


def _split(part: Part, outer: int) -> tuple[Part, Part]:
    inner = part.size // outer
    if part.field is None:
        return Part(outer, part.axis), Part(inner, part.axis)
    return Part(outer, part.axis, part.field.after(inner, stride=inner)), Part(inner)


def _whole(sights: Sequence[Sight]) -> frozenset[int]:
    return frozenset(axis for sight in sights for axis in sight.whole)


def _lost(sights: Sequence[Sight]) -> dict[int, str]:
    return {axis: reason for sight in sights for axis, reason in sight.lost.items()}
