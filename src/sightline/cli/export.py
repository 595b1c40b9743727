"""`sightline export`"""

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="A folder that `sightline train` made.")],
    format_: Annotated[str, typer.Option("--format", help="Only onnx so far.")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="The file. Default: model.onnx in the bundle.")] = None,
    data: Annotated[str | None, typer.Option(help="Pictures for the proof. Default: those of the training.")] = None,
) -> None:
    """Export a bundle, and prove that the export answers as the bundle does; refused otherwise.

    Example: sightline export runs/photos --format onnx
    """
    from sightline.exporting import export

    typer.echo(export(bundle, format=format_, output=output, data=data))
