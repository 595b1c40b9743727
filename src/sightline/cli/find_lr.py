"""`sightline find-lr`"""

import json
from pathlib import Path
from typing import Annotated

import typer

from sightline.cli import train
from sightline.cli.settings_flags import settings_of, with_flags_of


@with_flags_of(train.command, but={"resume", "dry_run"})
def command(
    data: Annotated[str, typer.Argument(help="As `sightline train` takes it: a folder, or a known name (cifar10).")],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="TOML file of the flags of `sightline train`; flags win.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of find_lr.csv and find_lr.png. Default: runs/DATA-MODEL-lr.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curve and what was found as JSON.")] = False,
    **flags: object,
) -> None:
    """Find a learning rate: train for a few steps, each with a higher rate, and see where the loss falls and rises.

    Give the flags and the TOML file that the training is to have, then `sightline train` the same with the --lr found.

    Example: sightline find-lr photos/ --model resnet18 --batch-size 32
    """
    from sightline.predict.answers import as_utf8
    from sightline.recipes.find_lr import find_lr

    found = find_lr(data, settings=settings_of({"config": config, **flags}), output=output)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else as_utf8(str(found)))
