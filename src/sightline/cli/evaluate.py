"""`sightline evaluate`"""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="A folder that `sightline train` made.")],
    data: Annotated[str, typer.Argument(help="A folder of class folders, or a known name (cifar10).")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all. Default: test, else val, else all.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write metrics.json, per_class.csv and predictions.csv into this folder.")
    ] = None,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Pictures at a time.")] = 256,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="List unreadable pictures and go on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Score a bundle on labelled pictures: accuracy with intervals, per class, and confusions.

    Example: sightline evaluate runs/photos photos/ --split test
    """
    from sightline.evaluation import evaluate, write_results
    from sightline.predict.answers import as_utf8

    result = evaluate(bundle, data, split=split, batch_size=batch_size, skip_bad=skip_bad)
    if output is not None:
        write_results(output, result)
    typer.echo(json.dumps(result.to_dict(), indent=2) if as_json else as_utf8(str(result)))
