"""Receptive fields: which part of the picture a unit of each layer sees, exactly, from one recorded run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from sightline.errors import ConfigError, ShapeError, nearest
from sightline.inspection.factory import make
from sightline.inspection.reshaping import is_wrap, written_through
from sightline.inspection.rules import after
from sightline.inspection.sight import Join, Seen, Sight, constant, of_picture, unknown
from sightline.inspection.trace import Operation, TensorRef, Trace, record
from sightline.nn.arithmetic import ReceptiveField

AXES = ("depth", "height", "width")  # of a picture; of sounds and texts the last


def receptive_field(
    net: nn.Module | str, input_size: Sequence[int] = (3, 224, 224), *, axis: str | None = None
) -> dict[str, ReceptiveField]:
    """The receptive field after every layer, exactly, by following one run of the network operation by operation.

    Padding counts: a field may begin outside the picture. Where paths meet (a sum, a concatenation), the largest one
    counts, and it is checked that they look at the same places; every second unit beside the others of the same map is
    the whole map again. A frame that wraps around (circular padding) counts as one of zeros does. Two things that see
    the whole map count as nothing, by the convention of the literature: a gate that multiplies the map (squeeze and
    excitation), and statistics over the map (group norm). After a global pool, a dense layer on the map, or attention,
    a unit sees the whole picture: such layers are not in the answer, and neither are those after an operation that
    leaves no even steps (interpolation to a larger map).

    Args:
        net: any module that takes pictures, or "package.module:factory", a callable without arguments that makes one.
            It is run once without values and left as it was.
        input_size: (channels, height, width) of a picture; the network may be built for one size.
        axis: "height" or "width"; None where both are the same.

    Returns:
        The fields by the layers' qualified names, in the order in which they end; of a layer that runs twice, the last.
        Where the network names its stages (a method `named_stages()`), those too, such as "stem", "layer1".

    Raises:
        ShapeError: the input does not fit, paths that look at different places meet, or height and width differ.
        ConfigError: the axis is unknown, or the network needs values to be run, or cannot be made.

    Reference:
        Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
        doi:10.23915/distill.00021.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(3, stride=2, padding=1))
        >>> receptive_field(net, (3, 64, 64))["1"]
        ReceptiveField(size_px=11, stride_px=4, padding_px=5)
    """
    names = axes_of(input_size)
    if axis is not None and axis not in names:
        raise ConfigError(f"axis is {axis!r}.{nearest(axis, names)} Leave it out where all are the same.")
    net = make(net) if isinstance(net, str) else net
    fields = follow(record(net, input_size))
    for problem in fields.problems:
        raise problem
    if axis is not None:
        return {name: found[axis] for name, found in fields.by_name().items() if axis in found}
    whole = {name: found for name, found in fields.by_name().items() if len(found) == len(names)}
    for name, found in whole.items():
        if len(set(found.values())) > 1:
            sizes = ", ".join(f"{each}: {value}" for each, value in found.items())
            raise ShapeError(
                f"the field of {name} is not the same along all axes ({sizes}). "
                f"Ask for one with axis={' or axis='.join(repr(each) for each in found)}."
            )
    return {name: next(iter(found.values())) for name, found in whole.items()}


def axes_of(input_size: Sequence[int]) -> tuple[str, ...]:
    """The names of a picture's axes.

    Args:
        input_size: (channels, height, width), or with more or fewer axes.

    Example:
        >>> axes_of((3, 224, 224)), axes_of((1, 16000))
        (('height', 'width'), ('width',))
    """
    return AXES[len(AXES) - len(input_size[1:]) :] if len(input_size) > 1 else ()


@dataclass
class Fields:
    """What the outputs of a recorded run's calls see.

    Args:
        trace: the run.
        sights: of the outputs of each call, by its index.
        before: what the inputs of each operation saw, by the operation's index.
        after: what its outputs see.
        gated: names of calls in which something that sees the whole map was passed over by convention.
        mixed: names of calls that weigh the places of the map one by one: a dense layer on it, or attention.
        problems: joins of paths that look at different places.
    """

    trace: Trace
    sights: dict[int, tuple[Sight, ...]] = field(default_factory=dict)
    before: list[list[Sight]] = field(default_factory=list)
    after: list[list[Sight]] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    problems: list[ShapeError] = field(default_factory=list)

    def of(self, call: int) -> dict[str, ReceptiveField]:
        """The field of a call's first output along each axis that has one.

        Args:
            call: index in `Trace.calls`.
        """
        names = axes_of(self.trace.images.shape[1:])
        sights = self.sights.get(call, ())
        found = {name: sight.field(axis) for sight in sights[:1] for axis, name in enumerate(names)}
        return {name: value for name, value in found.items() if value is not None}

    def lost(self) -> tuple[str, str]:
        """The first layer behind which fields are not known, and why; nothing where they are known to the end."""
        if not any(sight.lost for sight in self.sights.get(0, ())):
            return "", ""
        firsts = ((call, sight) for call in self.trace.calls_as_they_ended() for sight in self.sights[call.index][:1])
        return next((call.name or self.trace.net, reason) for call, sight in firsts for reason in sight.lost.values())

    def by_name(self) -> dict[str, dict[str, ReceptiveField]]:
        """The fields of layers and stages, in the order in which they end; a layer that runs again moves to the end."""
        found: dict[str, dict[str, ReceptiveField]] = {}
        for call in self.trace.calls_as_they_ended():
            fields = self.of(call.index)
            for name in dict.fromkeys((call.name, call.stage)):
                found.pop(name, None)
                if name and fields:
                    found[name] = fields
        return found


def follow(trace: Trace, join: Join = ReceptiveField.joined) -> Fields:
    """Follows a recorded run and notes what every call's output sees.

    Args:
        trace: the run.
        join: of two fields where paths meet: `ReceptiveField.joined` takes the larger.

    Returns:
        What was found. Where paths look at different places, the field is lost from there on and the problem noted.
    """
    return _Walk(trace, join).fields()


class _Walk:
    """The state of the memories while the operations of a run are followed.

    A view has no state of its own: it is read off the memory that it is a view of whenever it is asked for, so that
    writes in place are seen by all.
    """

    def __init__(self, trace: Trace, join: Join) -> None:
        self.found = Fields(trace)
        self.seen = Seen(self.sight, join)
        self._sights: dict[TensorRef, Sight] = {trace.images: of_picture(trace.images.shape)}
        self._views: dict[TensorRef, tuple[Operation, int]] = {}
        self._writes: dict[int, int] = {}  # of each memory, how often it was written
        self._read: dict[TensorRef, tuple[int, Sight]] = {}
        self._blank: set[int] = set()  # memories that held nothing of the picture when they were made

    def fields(self) -> Fields:
        """Goes through the run."""
        trace = self.found.trace
        ended = iter(trace.calls_as_they_ended())
        call = next(ended, None)
        for step in range(len(trace.operations) + 1):
            while call is not None and call.last == step:
                self.found.sights[call.index] = tuple(self.sight(ref) for ref in call.outputs)
                call = next(ended, None)
            if step < len(trace.operations):
                self._step(trace.operations[step])
        self.found.gated = [trace.name_of(call) for call in sorted(self.seen.gated)]
        self.found.mixed = [trace.name_of(call) for call in sorted(self.seen.mixed)]
        return self.found

    def sight(self, ref: TensorRef) -> Sight:
        """What a tensor's units see at this moment."""
        if ref not in self._views:
            return self._sights.setdefault(ref, constant(ref.shape))  # unknown so far: a weight
        version, sight = self._read.get(ref, (-1, None))
        now = self._writes.get(ref.storage, 0)
        if sight is None or version != now:
            operation, place = self._views[ref]
            sight = after(operation, self.seen)[place]
            self._read[ref] = now, sight
        return sight

    def _step(self, operation: Operation) -> None:
        before = [self.sight(ref) for ref in operation.inputs]
        try:
            sights = after(operation, self.seen)
        except ShapeError as error:
            sights = [self._shifted(operation, ref, before, error) for ref in operation.outputs]
        self.found.before.append(before)
        self.found.after.append(sights)
        written = operation.written
        for place, (ref, sight) in enumerate(zip(operation.outputs, sights, strict=True)):
            if ref in written:
                if not self._is_wrapped(operation):
                    self._write(ref, sight)
            elif ref in self._sights or ref in self._views:
                continue  # the same numbers in the same shape
            elif any(ref.storage == source.storage for source in operation.inputs):
                self._views[ref] = operation, place
            else:
                self._sights[ref] = sight
                if not sight.of_picture:
                    self._blank.add(ref.storage)

    def _write(self, ref: TensorRef, sight: Sight) -> None:
        """Changes a tensor in place: a view by changing what it is a view of."""
        before = self.sight(ref)
        self._writes[ref.storage] = self._writes.get(ref.storage, 0) + 1
        if ref not in self._views:
            self._sights[ref] = sight
        elif sight != before:
            operation, _ = self._views[ref]
            source = operation.inputs[0]
            base = self.sight(source)
            try:
                self._write(source, written_through(operation, base, sight, self.seen.join))
            except ShapeError as error:
                self._write(source, self._shifted(operation, source, [base, sight], error))

    def _is_wrapped(self, operation: Operation) -> bool:
        """Whether it only lays a frame around a map, made of the map's own other side: it counts as zeros do."""
        if operation.name != "copy":
            return False
        source, target = operation.arguments["src"], operation.arguments["self"]
        if source not in self._views or target not in self._views or source.storage not in self._blank:
            return False
        return is_wrap(self._views[source][0], self._views[target][0])

    def _shifted(self, operation: Operation, ref: TensorRef, inputs: list[Sight], error: ShapeError) -> Sight:
        """What is left where paths meet that look at different places."""
        problem = f"{self.found.trace.name_of(operation.call)}: {error}"
        if problem not in map(str, self.found.problems):
            self.found.problems.append(ShapeError(problem))
        return unknown(ref.shape, inputs, "paths that look at different places meet")
