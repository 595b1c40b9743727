"""`sightline recipes`"""

import json
import shutil
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.recipes.recipe import About


def command(
    name: Annotated[str | None, typer.Argument(help="Of one recipe. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what each recipe of `sightline train` is for, what it costs and what it reaches.

    Example: sightline recipes fast
    """
    from sightline.recipes.recipe import RECIPES, about

    found = [about(each) for each in (RECIPES if name is None else [name])]
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    typer.echo("\n\n".join(_paragraph(each, is_whole=name is not None) for each in found))
    if name is None:
        typer.echo("\nsightline recipes NAME also tells the sources, and the file to copy from.")


def _paragraph(about: "About", *, is_whole: bool) -> str:
    """What a recipe says of itself, as wide as the terminal."""
    width = min(shutil.get_terminal_size((100, 0)).columns, 120)
    lines = [f"{about.name}: {about.purpose}", f"  cost: {about.cost}", f"  score: {about.score}"]
    if is_whole:
        lines += ["  sources:", *(f"    {source}" for source in about.sources), f"  file: {about.file}"]
    return "\n".join(_wrapped(line, width) for line in lines)


def _wrapped(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
