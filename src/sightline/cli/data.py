"""`sightline data`"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Known data sets.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Holds the verbs of `sightline data`."""


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="cifar10, cifar100, fashion-mnist or mnist.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where to keep it. Default: $SIGHTLINE_DATA, else ~/.cache/sightline/data.")
    ] = None,
) -> None:
    """Fetch a known data set and check it.

    Example: sightline data get cifar10
    """
    from rich.console import Console

    from sightline.data.known import fetch
    from sightline.progress import bars, labelled

    with bars(Console(stderr=True)) as bar:
        folder = fetch(name, data_dir=data_dir, progress=labelled(bar))
    typer.echo(folder)
