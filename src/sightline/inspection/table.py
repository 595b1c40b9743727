"""A summary as text: a table that fits the terminal, the totals, and what the linter says."""

import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sightline.inspection.summary import Row, Summary
from sightline.inspection.timing import Timing
from sightline.quantities import by, short, three_digits

WIDTH = 120  # of text that goes to no terminal
MOST_ROWS = 60  # that are shown where no depth is asked for
LEAVE_OUT = ("out", "step", "kept", "kernel", "share")  # where the line is too long, in this order
LEAVE_OUT_LAST = ("GFLOP/s", "output", "field", "MACs")  # where names of so few characters do not help either:
FEWEST = 12
GAP = 3  # characters between columns


def to_text(summary: Summary, *, width: int = WIDTH, depth: int | None = None) -> str:
    """The table, the totals and the findings as plain text.

    Args:
        summary: to show.
        width: characters in a line.
        depth: as for `render`.
    """
    text = io.StringIO()
    Console(width=width, file=text, color_system=None).print(render(summary, width=width, depth=depth))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def render(summary: Summary, *, width: int = WIDTH, depth: int | None = None) -> RenderableType:
    """The table, the totals and the findings for a console.

    Args:
        summary: to show.
        width: characters in a line; names are shortened, and columns that do not fit then are left out and named.
        depth: how deep into the network rows are shown, each with the figures of what is further inside; None takes
            the largest depth that gives at most 60 rows.
    """
    depth = _depth(summary) if depth is None else depth
    rows = summary.folded(depth)
    head = Text.assemble((summary.net, "bold"), f" on {by(summary.input_size)}, batch of {summary.batch_size}")
    if len(rows) < len(summary.rows):
        head.append(f"; {len(summary.rows) - len(rows)} further rows inside these: --depth {depth + 1}", "dim")
    table, left_out = _table(summary, rows, width)
    parts: list[RenderableType] = [head, Text(), table, Text()]
    if left_out:
        parts += [
            Text(f"left out, for {width} characters a line: {', '.join(left_out)}; --json has all", "dim"),
            Text(),
        ]
    parts.append(_totals(summary))
    if summary.findings:
        parts += [Text(), Text("worth a look", "bold")]
    for each in summary.findings:
        parts.append(Padding(Text.assemble((each.rule, "yellow"), f" at {each.where}: {each.message}"), (0, 0, 0, 2)))
    return Group(*parts)


def _depth(summary: Summary) -> int:
    """The largest depth that does not fill pages."""
    depths = sorted({row.depth for row in summary.rows})
    return max((d for d in depths if sum(row.depth <= d for row in summary.rows) <= MOST_ROWS), default=0) or 1


def _table(summary: Summary, rows: Sequence[Row], width: int) -> tuple[Table, list[str]]:
    """One line a row, and the sums; and the titles of the columns that it has no room for.

    Names give way first, then columns; no figure is ever cut.
    """
    shown = [row for row in rows if row.depth or _has_figures(row) or len(rows) == 1]
    names = _names(rows)
    columns = every = _columns(summary, shown, names)
    if _needed(columns) > width:
        names = _names(rows, is_short=True)
        columns = {**columns, "layer": [*(names[id(row)] for row in shown), "total"]}
    for title in (*LEAVE_OUT, *LEAVE_OUT_LAST):
        if _needed(columns, most=FEWEST if title in LEAVE_OUT_LAST else None) > width:
            columns = {each: cells for each, cells in columns.items() if each.split()[0] != title}
    room = max(FEWEST, width - _needed({each: cells for each, cells in columns.items() if each != "layer"}) - GAP)
    columns["layer"] = [name if len(name) <= room else f"{name[: room - 1]}…" for name in columns["layer"]]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    for title, cells in columns.items():
        justify = "left" if title in ("layer", "kernel", "output") else "right"
        table.add_column(title, footer=cells[-1], justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for line in zip(*(cells[:-1] for cells in columns.values()), strict=True):
        table.add_row(*(Text(cell) for cell in line))
    return table, [title for title in every if title not in columns]


def _needed(columns: Mapping[str, Sequence[str]], *, most: int | None = None) -> int:
    """Characters in a line of the table, the names having no more than `most` of them."""
    widths = {title: max(map(len, [title, *cells])) for title, cells in columns.items()}
    if most is not None and "layer" in widths:
        widths["layer"] = min(widths["layer"], most)
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _columns(summary: Summary, rows: Sequence[Row], names: Mapping[int, str]) -> dict[str, list[str]]:
    """Title -> cells, the last of which is the sum."""
    total = summary.folded(0)[0]
    lines = [*rows, total]
    unit, size = ("MB", 1e6) if max(total.output_bytes, total.kept_bytes or 0) >= 1e6 else ("kB", 1e3)
    columns = {
        "layer": [*(names[id(row)] for row in rows), "total"],
        "kernel": [*(str(row.window or "") for row in rows), ""],
        "output": [*(by(row.output_shape) for row in rows), ""],
        "parameters": [f"{row.parameters:,}" if row.parameters else "" for row in lines],
        "MACs": [short(row.macs) if row.macs else "" for row in lines],
        f"out {unit}": [three_digits(row.output_bytes / size) if row.output_bytes else "" for row in lines],
        f"kept {unit}": [three_digits(row.kept_bytes / size) if row.kept_bytes else "" for row in lines],
        "field": [*(_field(row) for row in rows), ""],
        "step": [*(_by_axis([f.stride_px for f in row.field.values()]) for row in rows), ""],
    }
    if summary.timing is not None:
        whole = total.time_s or 1.0
        times = [row.time_s or 0.0 for row in lines]
        columns["ms"] = [three_digits(1e3 * time_s) for time_s in times]
        columns["share"] = [f"{time_s / whole:.0%}" for time_s in times]
        columns["GFLOP/s"] = [three_digits(speed) if (speed := summary.gflops(row)) else "" for row in lines]
    return columns


def _names(rows: Sequence[Row], *, is_short: bool = False) -> dict[int, str]:
    """Indented names, each without the part that the row around it has already, and the class.

    A layer that is a stage of another name is told by both, "conv_head: features.8 Sequential", or by the stage's name
    alone, "conv_head Sequential", where lines are short.
    """
    names, around = {}, [""]
    for row in rows:
        del around[row.depth :]
        outer = next((name for name in reversed(around) if name and row.name.startswith(f"{name}.")), "")
        around.append(row.name)
        own = row.name.removeprefix(f"{outer}.") if outer else row.name
        if row.stage not in ("", row.name):
            own = row.stage if is_short else f"{row.stage}: {own}"
        names[id(row)] = f"{'  ' * (row.depth - 1)}{own} {row.kind}" if row.depth else row.kind
    return names


def _totals(summary: Summary) -> Table:
    """The sums in words."""
    trained = summary.trained_parameters
    lines = {
        "parameters": f"{summary.parameters:,} ({short(summary.parameter_bytes)}B), "
        + ("all trained" if trained == summary.parameters else f"{trained:,} trained"),
        "MACs": f"{summary.macs:,} a picture: multiply-accumulates of convolutions and matrix products",
        "outputs": f"{short(summary.output_bytes)}B a batch, of all operations together",
        "kept": "a training step on this batch fails"
        if summary.kept_bytes is None
        else f"{short(summary.kept_bytes)}B a batch, for the backward pass of training",
    }
    if summary.field:
        size, step = (_by_axis([getattr(f, key) for f in summary.field.values()]) for key in ("size_px", "stride_px"))
        lines["field"] = f"{size} px in steps of {step} px, of the last map ({summary.field_at})"
    if summary.field_lost:
        lines["no field"] = f"from here on, {summary.field_lost}"
    if summary.gated:
        lines["gates"] = f"{len(summary.gated)} look at the whole map and are left out of the field, by convention"
    if summary.timing is not None:
        lines.update(_times(summary, summary.timing))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines.items():
        table.add_row(name, Text(text))
    return table


def _times(summary: Summary, timing: Timing) -> dict[str, str]:
    """Two measurements: a run as it is, and one with a clock at each layer, which is what the table adds up."""
    operations = 2e-9 * summary.macs * summary.batch_size
    layers = sum(row.time_s or 0.0 for row in summary.rows)
    followers = [*summary.rows[1:], None]
    around = (row.time_s or 0.0 for row, next_ in zip(summary.rows, followers, strict=True) if _is_around(row, next_))
    whole, together = (
        f"{three_digits(1e3 * time_s)} ms a batch, {three_digits(operations / time_s)} GFLOP/s"
        for time_s in (timing.forward_s, layers or timing.forward_s)
    )
    return {
        "whole run": f"{whole}, two operations a MAC; on {timing.device}",
        "layers": f"{together}: the table's sum, with a clock at each, which takes time too; "
        f"{sum(around) / (layers or 1.0):.0%} of it between the layers",
    }


def _is_around(row: Row, following: Row | None) -> bool:
    """Whether other rows are inside this one."""
    return following is not None and following.depth > row.depth


def _field(row: Row) -> str:
    if row.is_whole:
        return "all"
    return _by_axis([found.size_px for found in row.field.values()])


def _by_axis(numbers: Sequence[int]) -> str:
    """One number where all axes agree."""
    return str(numbers[0]) if len(set(numbers)) == 1 else by(numbers)


def _has_figures(row: Row) -> bool:
    return bool(row.parameters or row.macs or row.output_bytes or row.kept_bytes)
