"""`sightline pretrained`"""

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    model: Annotated[str, typer.Argument(help="A name of `sightline models`.")],
    output: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    weights: Annotated[
        str, typer.Option(help="auto, a file (.safetensors, .pth, .pt, .bin), a bundle's folder, or hf-hub:org/name.")
    ] = "auto",
    img_size: Annotated[int | None, typer.Option(help="Input height and width, px. Default: the weights' own.")] = None,
    interpolation: Annotated[
        Literal["bilinear", "bicubic"] | None, typer.Option(help="Resize filter. Default: the weights' own.")
    ] = None,
    crop_pct: Annotated[
        float | None, typer.Option(help="Share kept by the centre crop. Default: the weights' own.")
    ] = None,
) -> None:
    """Make a bundle of trained weights, which predict, evaluate and export then take.

    Example: sightline pretrained efficientnet_lite0 --output runs/imagenet
    """
    from sightline.pretrained import save_pretrained

    bundle, notes = save_pretrained(
        model, output, weights=weights, img_size=img_size, interpolation=interpolation, crop_pct=crop_pct
    )
    for note in notes:
        typer.echo(note, err=True)
    licence = bundle.provenance["pretrained"]["licence"]
    typer.echo(f"{len(bundle.classes)} classes; licence of the weights: {licence}", err=True)
    typer.echo(bundle.path)
