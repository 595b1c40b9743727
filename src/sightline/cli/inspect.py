"""`sightline inspect`"""

import json
import sys
import sysconfig
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sightline.errors import ConfigError, SightlineError

if TYPE_CHECKING:
    from torch import nn

Size = tuple[int, int, int]


def command(
    model: Annotated[
        str,
        typer.Argument(help="A name of `sightline models`, a bundle's folder, or package.module:factory of your own."),
    ],
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="CxHxW", help="Of a picture. Default: the paper's, or the bundle's."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("-b", "--batch-size", help="Pictures a step. Default: 1, and no rule about batches.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Outputs. Default: the paper's.")] = None,
    stem: Annotated[
        Literal["imagenet", "small"] | None, typer.Option(help="First layers: the paper's, or for small pictures.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="How deep rows go. Default: as deep as 60 rows allow.")] = None,
    time: Annotated[bool, typer.Option("--time", help="Measure the time of each layer, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every row, or those down to --depth.")
    ] = False,
) -> None:
    """Look at a network layer by layer: shapes, parameters, multiplications, memory, receptive fields, flaws.

    Example: sightline inspect resnet18 --input 3x64x64 --batch-size 32

    Your own: sightline inspect mypackage.nets:make_net --input 1x28x28
    """
    if depth is not None and depth < 0:
        raise ConfigError(f"depth is {depth}; it must be 0 or more.")
    size = None if input_ is None else _size(input_)
    net, size, note = _network(model, size, num_classes=num_classes, stem=stem, with_weights=time)
    from rich.console import Console

    from sightline.inspection import inspect
    from sightline.inspection.table import render

    summary = inspect(net, size, batch_size=batch_size, time=time)
    if note:
        typer.echo(note, err=True)
    if as_json:
        if depth is not None:
            summary = replace(summary, rows=summary.folded(depth))
        typer.echo(json.dumps(summary.to_dict(), indent=2))
    elif (console := Console()).is_terminal:
        console.print(render(summary, width=console.width, depth=depth), highlight=False)
    else:
        typer.echo(summary.text(depth=depth))


def _network(
    model: str,
    size: Size | None,
    *,
    num_classes: int | None,
    stem: Literal["imagenet", "small"] | None,
    with_weights: bool,
) -> "tuple[nn.Module, Size, str]":
    """The network that a word on the command line means, the input, and why its stem is as it is."""
    is_bundle = Path(model).is_dir() or "/" in model  # which is in no other name
    is_factory = ":" in model and not is_bundle
    if (is_bundle or is_factory) and (num_classes is not None or stem is not None):
        raise ConfigError(
            f"--num-classes and --stem choose a network of the zoo; {model} is made already. Leave them out."
        )
    if is_bundle:
        from sightline.bundle import open_bundle

        bundle = open_bundle(model)
        return bundle.build_model(), size or bundle.preprocess.input_size, ""
    if is_factory:
        return _made(model), size or (3, 224, 224), ""
    import torch

    from sightline.models import zoo

    if model not in zoo.ZOO:
        zoo.build(model)  # says which names there are
    size = size or zoo.ZOO[model].input_size
    with torch.device("cpu" if with_weights else "meta"):
        net = zoo.build(model, num_classes=num_classes, in_channels=size[0], stem=stem, image_size=size[1:])
    is_chosen = stem is not None or size != zoo.ZOO[model].input_size
    return net, size, net.stem_reason if is_chosen else ""


def _made(path: str) -> "nn.Module":
    """What a factory of the user's makes; an error in it is told with the lines that are the user's own."""
    from sightline.inspection.factory import make

    sys.path.insert(0, "")  # the user's own files are found from where the command was typed
    try:
        return make(path)
    except SightlineError:
        raise
    except Exception as error:
        paths = sysconfig.get_paths()
        others = (paths["stdlib"], paths["purelib"], paths["platlib"], str(Path(__file__).parents[1]), "<")
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(others)]
        where = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own)
        raise ConfigError(f"{path} raised {type(error).__name__}: {error}{where}") from error


def _size(text: str) -> Size:
    """CxHxW as numbers."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--input is {text!r}. Write channels x height x width, such as 3x224x224.")
    return int(parts[0]), int(parts[1]), int(parts[2])
