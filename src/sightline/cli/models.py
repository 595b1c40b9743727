"""`sightline models`"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.models.figures import Figures


def command(
    pattern: Annotated[str, typer.Argument(help="A name or a part of one, or with wildcards, as 'resnet*'.")] = "*",
    max_params: Annotated[str | None, typer.Option(help="The most parameters, such as 10M.")] = None,
    max_macs: Annotated[str | None, typer.Option(help="The most multiply-accumulates a picture, such as 1G.")] = None,
    year: Annotated[int | None, typer.Option(help="Of the paper.")] = None,
    sort: Annotated[str | None, typer.Option(help="name, year, params, macs or receptive-field.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks, with what each costs and sees at its paper's input size and number of classes.

    Example: sightline models 'resnet*' --max-params 30M --sort macs
    """
    from sightline.errors import nearest
    from sightline.models.figures import select

    found = select(pattern, max_params=max_params, max_macs=max_macs, year=year, sort=sort)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in found], indent=2))
    else:
        _print_table(found)
        if not found:
            known = [row.name for row in select()]
            near = "" if select(pattern) else nearest(pattern.lower(), known)
            typer.echo(f"No network fits.{near}")


def _print_table(rows: "list[Figures]") -> None:
    """One line a network; what a narrow terminal has no room for is in the JSON."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    from sightline.quantities import by, short

    console = Console() if Console().is_terminal else Console(width=150)
    is_wide, has_offers = console.width >= 150, console.width >= 100
    columns = {
        "name": [row.name for row in rows],
        "year": [str(row.year) for row in rows],
        "params": [short(row.parameters) for row in rows],
        "MACs": [short(row.macs) for row in rows],
        "input": [by(row.input_size) for row in rows],
        "field": [str(row.receptive_field["size_px"]) if row.receptive_field else "" for row in rows],
        "paper": [row.paper if is_wide else row.paper.partition(f" {row.year}")[0] for row in rows],
    }
    if has_offers:
        columns["offers"] = [", ".join(row.options) for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, cells in columns.items():
        is_text = title in ("name", "paper", "offers")
        table.add_column(
            title,
            justify="left" if is_text else "right",
            no_wrap=title != "offers",
            min_width=None if title in ("paper", "offers") else max(map(len, [title, *cells])),
        )
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    console.print(table, highlight=False)
    total = f"{len(rows)} network{'s' if len(rows) > 1 else ''}; field: px that a unit of the last map sees"
    left_out = [*([] if has_offers else ["offers"]), *([] if is_wide else ["arXiv numbers"])]
    if left_out:
        total += f"; left out, for {console.width} characters a line: {', '.join(left_out)} (--json has all)"
    console.print(total, style="dim", highlight=False)
