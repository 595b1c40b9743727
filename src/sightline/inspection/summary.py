"""A network layer by layer: shapes, parameters, multiplications, memory, what each layer sees, and what to mend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any

from torch import nn

from sightline.errors import ConfigError, SightlineError
from sightline.inspection.borrow import title
from sightline.inspection.costs import Window, macs, output_bytes, window
from sightline.inspection.factory import make
from sightline.inspection.linter import Case, Finding, lint
from sightline.inspection.receptive_field import Fields, axes_of, follow
from sightline.inspection.sight import smaller
from sightline.inspection.timing import Timing, measure
from sightline.inspection.trace import Trace, record
from sightline.nn.arithmetic import ReceptiveField


@dataclass(frozen=True)
class Row:
    """One run of a layer, or of a named stage. Every figure belongs to one row only, so that columns add up.

    Args:
        name: the layer's qualified name, or the stage's; empty for the network itself.
        kind: the layer's class; "stage" for a stage that is no layer.
        stage: the stage whose output this is; empty for all rows but those that are a stage.
        depth: number of rows that it is inside of.
        window: kernel and stride, where it runs one convolution or pool itself.
        output_shape: of its first output, without the batch.
        parameters: its own numbers that are trained or frozen, shared ones at their first use only.
        macs: multiply-accumulates for one picture.
        output_bytes: memory of what its operations put out, for the batch.
        kept_bytes: memory that a training step keeps for the backward pass, for the batch; None where it cannot train.
        field: what a unit of the output sees, by axis.
        is_whole: whether it sees the whole picture.
        time_s: of one forward pass of the batch, without the rows inside; None where not measured.
    """

    name: str
    kind: str
    stage: str
    depth: int
    window: Window | None
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    output_bytes: int
    kept_bytes: int | None
    field: Mapping[str, ReceptiveField] = field(default_factory=dict)
    is_whole: bool = False
    time_s: float | None = None

    def with_inner(self, inner: Iterable["Row"]) -> "Row":
        """This row with the figures of rows inside it added to its own.

        Args:
            inner: the rows to add.
        """
        row = self
        for other in inner:
            row = replace(
                row,
                parameters=row.parameters + other.parameters,
                macs=row.macs + other.macs,
                output_bytes=row.output_bytes + other.output_bytes,
                kept_bytes=None if row.kept_bytes is None else row.kept_bytes + (other.kept_bytes or 0),
                time_s=None if row.time_s is None else row.time_s + (other.time_s or 0.0),
            )
        return row


@dataclass(frozen=True)
class Summary:
    """What `inspect` found. `print` shows it as a table.

    Args:
        net: the network's name.
        input_size: of a picture: (channels, height, width).
        batch_size: pictures.
        rows: in the order in which the layers begin.
        parameters: all, shared ones once.
        trained_parameters: those that get gradients.
        parameter_bytes: memory of the parameters.
        macs: multiply-accumulates for one picture: convolutions, linear layers and matrix products.
        output_bytes: memory of all outputs, for the batch.
        kept_bytes: memory that a training step keeps for the backward pass besides parameters, for the batch; None
            where the network cannot be trained on such a batch.
        field: of the last map, by axis; empty where there is none.
        field_at: the layer that makes the last map.
        field_lost: the first layer behind which fields are not known, and why; empty where they are known to the end.
        gated: layers whose look at the whole map was passed over by convention.
        findings: what the linter says.
        timing: how the times were measured; None where they were not.
    """

    net: str
    input_size: tuple[int, ...]
    batch_size: int
    rows: tuple[Row, ...]
    parameters: int
    trained_parameters: int
    parameter_bytes: int
    macs: int
    output_bytes: int
    kept_bytes: int | None
    field: Mapping[str, ReceptiveField]
    field_at: str
    field_lost: str
    gated: tuple[str, ...]
    findings: tuple[Finding, ...]
    timing: Timing | None

    def folded(self, depth: int) -> tuple[Row, ...]:
        """The rows down to a depth, each with the figures of those that are left out inside it.

        Args:
            depth: 0 leaves the network alone.
        """
        outer: list[list[Row]] = []
        for row in self.rows:
            if row.depth <= depth:
                outer.append([row])
            else:
                outer[-1].append(row)
        return tuple(row.with_inner(inner) for row, *inner in outer)

    def gflops(self, row: Row) -> float | None:
        """The speed that a row's layer achieved, in 1e9 operations a second; a multiply-accumulate is two operations.

        Args:
            row: of this summary.
        """
        return 2e-9 * row.macs * self.batch_size / row.time_s if row.time_s and row.macs else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON: the rows, and the totals under the names of the attributes."""
        rows = []
        for row in self.rows:
            plain = asdict(row)
            kernel = plain.pop("window") or dict.fromkeys(Window.__dataclass_fields__)
            rows.append({**plain, **kernel, "gflops": self.gflops(row)})
        timing = self.timing and {"device": self.timing.device, "forward_s": self.timing.forward_s}
        return {**asdict(self), "rows": rows, "timing": timing}

    def text(self, *, depth: int | None = None, width: int = 120) -> str:
        """The table, the totals and the findings.

        Args:
            depth: of the rows that are shown; None takes the largest that does not fill pages.
            width: characters in a line.
        """
        from sightline.inspection.table import to_text  # noqa: PLC0415 - rich is needed for the text alone

        return to_text(self, depth=depth, width=width)

    def __str__(self) -> str:
        return self.text()


def inspect(
    net: nn.Module | str,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    batch_size: int | None = None,
    time: bool = False,
) -> Summary:
    """Looks at a network layer by layer, without running its weights.

    It runs on pictures without values, as in evaluation and as in training, and is left as it was. What one picture
    multiplies is counted in a run of one, whatever the batch. Conventions:
    a multiply-accumulate counts as one, for convolutions, linear layers and products of matrices, and nothing else
    counts; parameters that several layers share count once; memory that a training step keeps is what torch saves for
    the backward pass, each memory once, without parameters and buffers, as on a CPU in the network's own precision.

    Args:
        net: any module that takes pictures, or "package.module:factory", a callable without arguments that makes one.
        input_size: of a picture: (channels, height, width).
        batch_size: pictures; None looks at one and asks nothing of the batch.
        time: whether to measure the time of each layer too, on this machine, with the network's real weights.

    Raises:
        ShapeError: the network cannot take such an input.
        ConfigError: the network cannot be run without values, made, or timed.

    Example:
        >>> summary = inspect(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)), (3, 8, 8))
        >>> summary.parameters, summary.macs, summary.kept_bytes
        (802, 8352, 1920)
        >>> [(row.name, row.kind, row.output_shape) for row in summary.rows][:2]
        [('', 'Sequential', (2,)), ('0', 'Conv2d', (8, 6, 6))]
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be 1 or more.")
    net = make(net) if isinstance(net, str) else net
    size, count = tuple(input_size), batch_size or 1
    trace = record(net, size, batch_size=count)
    fields = follow(trace)
    single = trace if count == 1 else _run(net, size)[0]
    training, why_not = _run(net, size, batch_size=count, training=True)
    rehearsal = training or _run(net, size, batch_size=count + 1, training=True)[0]
    timing = measure(net, size, batch_size=count) if time else None
    rows = _rows(trace, fields, single, training, timing)
    parameters = dict(net.named_parameters())
    by_name = fields.by_name()
    field_at = next(reversed(by_name), "")
    return Summary(
        net=title(net),
        input_size=size,
        batch_size=count,
        rows=rows,
        parameters=sum(each.numel() for each in parameters.values()),
        trained_parameters=sum(each.numel() for each in parameters.values() if each.requires_grad),
        parameter_bytes=sum(each.numel() * each.element_size() for each in parameters.values()),
        macs=sum(row.macs for row in rows),
        output_bytes=sum(row.output_bytes for row in rows),
        kept_bytes=None if training is None else sum(row.kept_bytes or 0 for row in rows),
        field=by_name.get(field_at, {}),
        field_at=field_at,
        field_lost=": ".join(filter(None, fields.lost())),
        gated=tuple(fields.gated),
        findings=lint(Case(trace, training, why_not, rehearsal, fields, follow(trace, smaller), batch_size)),
        timing=timing,
    )


def _run(
    net: nn.Module, input_size: tuple[int, ...], *, batch_size: int = 1, training: bool = False
) -> tuple[Trace | None, str]:
    """A run, or why there can be none."""
    try:
        return record(net, input_size, batch_size=batch_size, training=training), ""
    except SightlineError as error:
        return None, str(error)


def _rows(
    trace: Trace, fields: Fields, single: Trace | None, training: Trace | None, timing: Timing | None
) -> tuple[Row, ...]:
    owned, multiplied, put_out = _owned(trace), _multiplied(trace, single), [0] * len(trace.calls)
    windows: list[list[Window]] = [[] for _ in trace.calls]
    for operation, num_bytes in zip(trace.operations, output_bytes(trace), strict=True):
        put_out[operation.call] += num_bytes
        if (found := window(operation)) is not None:
            windows[operation.call].append(found)
    kept = None if training is None else _kept(trace, training)
    times = None if timing is None else _matched(trace, timing.calls, timing.times_s)
    axes = range(len(axes_of(trace.images.shape[1:])))
    rows = []
    for index, call in enumerate(trace.calls):
        sight = next(iter(fields.sights.get(index, ())), None)
        rows.append(
            Row(
                name=call.name,
                kind="stage" if call.layer is None else type(call.layer).__name__,
                stage=call.stage,
                depth=call.depth,
                window=windows[index][0] if len(windows[index]) == 1 else None,
                output_shape=call.outputs[0].shape[1:] if call.outputs else (),
                parameters=owned[index],
                macs=int(multiplied[index]),
                output_bytes=put_out[index],
                kept_bytes=None if kept is None else int(kept[index]),
                field=fields.of(index),
                is_whole=sight is not None and bool(sight.whole) and set(axes) <= sight.whole,
                time_s=None if times is None else times[index],
            )
        )
    return tuple(rows)


def _owned(trace: Trace) -> list[int]:
    """The parameters of each call: those of its own layer, and of layers in it that did not run, at the first use."""
    first: dict[str, int] = {}
    for index, call in enumerate(trace.calls):
        if call.layer is not None:
            first.setdefault(call.name, index)
    owned, counted = [0] * len(trace.calls), set()
    for name, ref in trace.parameters.items():
        owner = name.rpartition(".")[0]
        while owner not in first:
            owner = owner.rpartition(".")[0]
        if ref not in counted:
            owned[first[owner]] += prod(ref.shape)
            counted.add(ref)
    return owned


def _multiplied(trace: Trace, single: Trace | None) -> list[float]:
    """The multiply-accumulates of each call for one picture, as a run of one picture has them.

    Work on the weights alone is then counted once, whatever the batch. A network that takes no single picture has an
    equal share of the batch's work for each.
    """
    run = single or trace
    own = [0] * len(run.calls)
    for operation in run.operations:
        own[operation.call] += macs(operation)
    share = run.images.shape[0]
    return _matched(trace, [(call.name, call.parent) for call in run.calls], [each // share for each in own])


def _kept(trace: Trace, training: Trace) -> list[float]:
    own = [0] * len(training.calls)
    for saved in training.saved:
        own[saved.call] += saved.num_bytes
    names = [(call.name, call.parent) for call in training.calls]
    return _matched(trace, names, own)


def _matched(trace: Trace, calls: Sequence[tuple[str, int | None]], figures: Sequence[float]) -> list[float]:
    """Figures of another run's calls, by the calls of this one: the first run of a layer is the first of that name.

    What ran in the other alone counts for the call that it ran in.
    """
    places: dict[str, list[int]] = {}
    for index, call in enumerate(trace.calls):
        places.setdefault(call.name, []).append(index)
    found, matched = [0.0] * len(trace.calls), list[int]()
    for (name, parent), figure in zip(calls, figures, strict=True):
        here = places.get(name)
        index = here.pop(0) if here else matched[parent] if parent is not None else 0
        matched.append(index)
        found[index] += figure
    return found
