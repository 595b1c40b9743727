"""`sightline models`"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.models.figures import Figures


def command(
    pattern: Annotated[str, typer.Argument(help="A name with wildcards, such as 'resnet*'.")] = "*",
    max_params: Annotated[str | None, typer.Option(help="The most parameters, such as 10M.")] = None,
    max_macs: Annotated[str | None, typer.Option(help="The most multiply-accumulates a picture, such as 1G.")] = None,
    year: Annotated[int | None, typer.Option(help="Of the paper.")] = None,
    sort: Annotated[str | None, typer.Option(help="name, year, params, macs or receptive-field.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks, with what each costs and sees at its paper's input size and number of classes.

    Example: sightline models 'resnet*' --max-params 30M --sort macs
    """
    from sightline.models.figures import select

    found = select(pattern, max_params=max_params, max_macs=max_macs, year=year, sort=sort)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in found], indent=2))
    else:
        _print_table(found)


def _print_table(rows: "list[Figures]") -> None:
    """One line a network; what a narrow terminal has no room for is in the JSON."""
    from rich.console import Console
    from rich.table import Table

    from sightline.quantities import by, short

    console = Console() if Console().is_terminal else Console(width=150)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("name", "parameters", "MACs", "input", "field px"):
        table.add_column(title, justify="left" if title == "name" else "right", no_wrap=True)
    table.add_column("paper", no_wrap=True, overflow="ellipsis")
    if console.width >= 100:
        table.add_column("offers")
    for row in rows:
        paper = row.paper if console.width >= 150 else row.paper.partition(", arXiv")[0]
        field = row.receptive_field["size_px"] if row.receptive_field else ""
        cells = [row.name, short(row.parameters), short(row.macs), by(row.input_size), str(field), paper]
        table.add_row(*cells, *([", ".join(row.options)] if console.width >= 100 else []))
    console.print(table, highlight=False)
    console.print(f"{len(rows)} networks" if rows else "No network fits.", style="dim")
