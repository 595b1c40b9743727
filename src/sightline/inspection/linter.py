"""A linter for the design of a network: what its recorded run shows to be wasted or impossible.

Every rule is a function with its reason in its docstring, and one entry in the tuple at the bottom.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from sightline.inspection.costs import window
from sightline.inspection.receptive_field import Fields, axes_of
from sightline.inspection.sight import Sight
from sightline.inspection.trace import Operation, TensorRef, Trace
from sightline.nn.arithmetic import ReceptiveField
from sightline.quantities import by

SMALL_PX = 96  # pictures under this are small, as in the choice of a stem
COARSE_STRIDE = 4  # a unit of the map for 4x4 pixels
NARROW = 0.5  # of the picture's side: under this a unit sees less than half of it
PAST = 2  # times the picture's side: beyond this a layer that still looks wider sees nothing new


@dataclass(frozen=True)
class Finding:
    """Something about a network that is worth a change.

    Args:
        rule: the name of the rule.
        where: the layer, or the first few of several.
        message: what is wrong, and what to do.
    """

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {self.message}"


@dataclass(frozen=True)
class Case:
    """What the rules look at.

    Args:
        trace: a run as in evaluation.
        training: a run as in training; None where it fails.
        why_not: why it fails.
        rehearsal: the run as in training, or one of a larger batch where it fails; None where that fails too.
        fields: what is seen along the widest paths.
        shortest: what is seen along the narrowest paths.
        batch_size: of the training that is planned; None where nothing is said of it.
    """

    trace: Trace
    training: Trace | None
    why_not: str
    rehearsal: Trace | None
    fields: Fields
    shortest: Fields
    batch_size: int | None

    @property
    def picture(self) -> tuple[int, ...]:
        """The sides of the picture, px."""
        return self.trace.images.shape[2:]


def lint(case: Case) -> tuple[Finding, ...]:
    """Every finding of every rule, in the rules' order.

    Args:
        case: of one network.
    """
    return tuple(finding for rule in RULES for finding in rule(case))


def coarse_stem(case: Case) -> Iterator[Finding]:
    """Pictures under 96 px, and after at most one convolution the map has a unit for 4x4 pixels or more.

    A stem that is made for photographs throws away 15 of 16 places of a small picture before it has looked at them
    through more than one layer; later strides leave next to nothing.
    """
    if not case.picture or min(case.picture) >= SMALL_PX:
        return
    num_convolutions = 0
    for operation, sights in zip(case.trace.operations, case.fields.after, strict=True):
        if operation.name == "convolution" and sights[0].of_picture:
            num_convolutions += 1
        if num_convolutions > 1:
            return
        stride = max((f.stride_px for f in _fields(sights[0])), default=1)
        if stride >= COARSE_STRIDE:
            yield Finding(
                "coarse-stem",
                case.trace.name_of(operation.call),
                f"the map has one unit for {stride}x{stride} px after {_count(num_convolutions, 'convolution')}, for "
                f"pictures of {by(case.picture)} px. Take the small stem where the network offers one (--stem small), "
                "smaller strides, or larger pictures.",
            )
            return


def vanished_map(case: Case) -> Iterator[Finding]:
    """Convolutions with kernels larger than 1 that run over a map of one pixel.

    All but the middle weight of such a kernel meet nothing but padding: they cost and never learn.
    """
    wasted = []
    for operation, sights in zip(case.trace.operations, case.fields.before, strict=True):
        kernel = (found.kernel if (found := window(operation)) else ()) if operation.name == "convolution" else ()
        sizes = [_units(sights[0], axis) for axis in range(len(case.picture))] if sights else []
        if any(size == 1 and k > 1 for size, k in zip(sizes, kernel, strict=False)):
            wasted.append((operation, sights[0]))
    if wasted:
        operation, sight = wasted[0]
        stride = max((f.stride_px for f in _fields(sight)), default=1)
        yield Finding(
            "vanished-map",
            case.trace.name_of(operation.call),
            f"{_count(len(wasted), 'convolution')} with kernels larger than 1 run over a map of 1 px: all of their "
            f"weights but the middle ones see padding only. Take pictures of more than {stride} px (here "
            f"{by(case.picture)} px), fewer strides, or fewer stages.",
        )


def narrow_view(case: Case) -> Iterator[Finding]:
    """The last map's units see less than half of the picture's side, and nothing but a pool brings them together.

    What is larger than the field is never seen as a whole: the network becomes a bag of local features. Networks that
    weigh the places of the last map one by one, by a dense layer or by attention, are not meant.
    """
    by_name = case.fields.by_name()
    if not by_name or case.fields.mixed or any(case.fields.lost()):
        return
    name, fields = list(by_name.items())[-1]
    sides = dict(zip(axes_of(case.trace.images.shape[1:]), case.picture, strict=True))
    outputs = case.fields.sights[0]
    pooled = {axis for place, axis in enumerate(sides) if outputs and all(place in each.whole for each in outputs)}
    narrow = [axis for axis, found in fields.items() if axis in pooled and found.size_px < NARROW * sides[axis]]
    if narrow:
        axis = narrow[0]
        yield Finding(
            "narrow-view",
            name,
            f"a unit of the last map sees {fields[axis].size_px} of {sides[axis]} px ({axis}), and the pool behind it "
            "does not know what lies where. Add layers, strides or dilation, or take smaller pictures.",
        )


def past_the_picture(case: Case) -> Iterator[Finding]:
    """Convolutions with kernels larger than 1 whose inputs see twice the picture's side already, on every path.

    They have nothing new to look at; such layers add cost and little accuracy (Richter et al. 2021, "Should You Go
    Deeper?", arXiv:2106.12307, who draw the line at the picture's size). The narrowest path counts, so that networks
    with shortcuts are judged by what may pass a block by.
    """
    late = []
    for operation, sights in zip(case.trace.operations, case.shortest.before, strict=True):
        found = window(operation) if operation.name == "convolution" else None
        fields = [sights[0].field(axis) for axis in range(len(case.picture))] if found else []
        if (
            found
            and max(found.kernel) > 1
            and all(
                field is not None and field.size_px >= PAST * side
                for field, side in zip(fields, case.picture, strict=True)
            )
        ):
            late.append(operation)
    if late:
        yield Finding(
            "past-the-picture",
            case.trace.name_of(late[0].call),
            f"{_count(len(late), 'convolution')} from here on see {PAST} times the picture's {by(case.picture)} px "
            "already and have nothing new to look at. Take larger pictures, fewer strides, or leave layers out.",
        )


def shifted_paths(case: Case) -> Iterator[Finding]:
    """Paths that are added or concatenated although they look at different places of the picture.

    Even kernels beside odd ones, or other padding: features are combined with those of another place.
    """
    for problem in case.fields.problems:
        where, _, message = str(problem).partition(": ")
        yield Finding("shifted-paths", where, message)


def lonely_batch_norm(case: Case) -> Iterator[Finding]:
    """Batch norm in training with one value a channel, which torch refuses, or with a batch of one picture.

    Its statistics are then those of a single picture, and evaluation, which uses averages over many, gives other
    answers than training saw.
    """
    run = case.training or case.trace
    norms = [each for each in run.operations if _is_batch_norm(each) and len(each.arguments["input"].shape) > 1]
    for operation in norms:
        count, _, *sides = operation.arguments["input"].shape
        if case.training is None and count * prod(sides) == 1:
            yield Finding(
                "lonely-batch-norm",
                run.name_of(operation.call),
                "it gets one value a channel (one picture, a map of one unit), of which there are no statistics: "
                "training fails. Take larger batches or pictures.",
            )
            return
    if norms and case.batch_size == 1:
        yield Finding(
            "lonely-batch-norm",
            run.name_of(norms[0].call),
            f"{_count(len(norms), 'batch norm')} would train on one picture at a time: what they subtract is the "
            "picture's own mean, in evaluation the mean of all. Take larger batches, or group or layer norm.",
        )


def untrainable(case: Case) -> Iterator[Finding]:
    """A training step fails where evaluation works, for another reason than batch norm's."""
    if case.training is None and not any(lonely_batch_norm(case)):
        yield Finding("untrainable", case.trace.net, f"a training step fails. {case.why_not}")


def dead_bias(case: Case) -> Iterator[Finding]:
    """Biases of layers right before a batch norm, also with a max pool in between.

    The norm takes each channel's mean away, and a constant with it: such a bias has no effect and no gradient. A norm
    that is frozen takes away a fixed mean instead, and a bias that any layer uses elsewhere acts there.
    """
    run = case.rehearsal
    if run is None:
        return
    readers: dict[int, list[Operation]] = {}
    for operation in run.operations:
        for storage in {ref.storage for ref in operation.inputs}:
            readers.setdefault(storage, []).append(operation)
    own = set(run.parameters.values())
    dead: dict[TensorRef, list[Operation]] = {}
    for operation in run.operations:
        bias = operation.arguments.get({"convolution": "bias", "addmm": "self"}.get(operation.name, ""))
        if isinstance(bias, TensorRef) and bias in own and _is_normalised(operation.outputs[0], readers):
            dead.setdefault(bias, []).append(operation)
    dead = {bias: uses for bias, uses in dead.items() if len(uses) == len(readers[bias.storage])}
    if dead:
        names = list(dict.fromkeys(run.name_of(operation.call) for uses in dead.values() for operation in uses))
        yield Finding(
            "dead-bias",
            _some(names),
            f"{_count(sum(prod(bias.shape) for bias in dead), 'bias', 'biases')} right before a batch norm, which "
            "takes them away again. Build these layers with bias=False.",
        )


def unused_parameters(case: Case) -> Iterator[Finding]:
    """Parameters that no operation of a run reads, neither in evaluation nor in training.

    They are stored, copied and decayed for nothing, and DistributedDataParallel stops at them. What the network itself
    lists in `optional_parts`, such as auxiliary heads, has a use beside forward.
    """
    runs = [run for run in (case.trace, case.training) if run is not None]
    optional = getattr(case.trace.calls[0].layer, "optional_parts", ())
    read = [{ref.storage for operation in run.operations for ref in operation.inputs} for run in runs]
    unused = {
        name: prod(ref.shape)
        for name, ref in case.trace.parameters.items()
        if name.partition(".")[0] not in optional
        and not any(run.parameters[name].storage in storages for run, storages in zip(runs, read, strict=True))
    }
    if unused:
        yield Finding(
            "unused-parameters",
            _some(list(unused)),
            f"{_count(sum(unused.values()), 'parameter')} never take part in forward. Remove them, or freeze them if "
            "another method uses them.",
        )


def _is_batch_norm(operation: Operation) -> bool:
    return "batch_norm" in operation.name and "input" in operation.arguments


def _takes_mean_away(operation: Operation) -> bool:
    """Whether it is a batch norm by the batch's own mean; one that is frozen takes the mean that it has stored."""
    given = operation.arguments
    return _is_batch_norm(operation) and bool(given.get("training", operation.name == "_batch_norm_with_update"))


def _is_normalised(ref: TensorRef, readers: dict[int, list[Operation]]) -> bool:
    """Whether a tensor goes into acting batch or instance norms and nowhere else, as it is or through a max pool."""
    reading = [each for each in readers.get(ref.storage, []) if each.written or not _is_view(each, ref)]
    by_picture = (1, ref.shape[0] * ref.shape[1], *ref.shape[2:])  # how instance norm hands it to batch norm
    return bool(reading) and all(
        (_takes_mean_away(each) and each.arguments["input"].shape in (ref.shape, by_picture))
        or (each.name.startswith("max_pool") and _is_normalised(each.outputs[0], readers))
        for each in reading
    )


def _is_view(operation: Operation, ref: TensorRef) -> bool:
    return all(output.storage == ref.storage for output in operation.outputs)


def _fields(sight: Sight) -> list[ReceptiveField]:
    return [found for axis in sight.axes() if (found := sight.field(axis)) is not None]


def _units(sight: Sight, axis: int) -> int | None:
    """How many units of a map stand along an axis; None where it is no map along it."""
    if sight.field(axis) is None:
        return None
    return next(part.size for dim in sight.dims for part in dim if part.axis == axis)


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    coarse_stem,
    vanished_map,
    narrow_view,
    past_the_picture,
    shifted_paths,
    lonely_batch_norm,
    untrainable,
    dead_bias,
    unused_parameters,
)
