"""`sightline predict`"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.predict import Answer


def command(
    bundle: Annotated[Path, typer.Argument(help="A folder that `sightline train` made.")],
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs; - reads paths from standard input.")],
    top_k: Annotated[int, typer.Option(help="How many classes to show; of several labels, all that are said.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Pictures at a time.")] = 64,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
) -> None:
    """Say what is in pictures.

    Unreadable pictures are listed with their reason, and the exit code is then 1; the others are answered all the same.

    Example: sightline predict runs/photos new/*.jpg --top-k 3
    """
    from sightline.data.animation import animation_note
    from sightline.errors import ConfigError
    from sightline.predict import gather_sources, load, to_csv, to_json

    if as_json and as_csv:
        raise ConfigError("--json and --csv were both given. Give one.")
    predictor = load(bundle, device=device)
    sources = gather_sources(paths, sys.stdin)
    predictions, problems = predictor.predict_many(sources, top_k=top_k, batch_size=batch_size)
    if as_json:
        typer.echo(to_json(predictions, problems))
    elif as_csv:
        to_csv(predictions, sys.stdout)
    else:
        _print_table(predictions)
    if animations := animation_note(sources):
        typer.echo(animations, err=True)
    for problem in problems:
        typer.echo(f"not predicted: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def _print_table(predictions: "list[Answer]") -> None:
    """One line a picture: its path, then the classes with their probabilities."""
    from sightline.predict.answers import MultilabelPrediction, as_utf8

    width = max((len(each.source) for each in predictions), default=0)
    for each in predictions:
        answers = "  ".join(f"{label} {probability:.1%}" for label, probability in each.top)
        if isinstance(each, MultilabelPrediction):
            answers = str(each)
        typer.echo(as_utf8(f"{each.source:<{width}}  {answers}"))
