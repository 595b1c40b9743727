"""The command `sightline`: its verbs, and how errors end it.

Nothing here imports torch: `--help` answers at once. A verb imports what it needs when it runs.
"""

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

import sightline
from sightline.cli import check, data, evaluate, export, find_lr, inspect, models, predict, pretrained, recipes, train
from sightline.cli.number_flags import WithNumbers
from sightline.errors import Interrupted, SightlineError

app = typer.Typer(
    name="sightline",
    help="From a folder of labelled images to a convolutional network that you understand, trust and can ship.",
    epilog="Start: sightline train photos/   (a folder with a folder of pictures for each class)",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.command)
app.command("train", cls=WithNumbers)(train.command)
app.command("recipes")(recipes.command)
app.command("find-lr", cls=WithNumbers)(find_lr.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("export")(export.command)
app.command("models")(models.command)
app.command("inspect")(inspect.command)
app.command("pretrained")(pretrained.command)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {sightline.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Holds the options that stand before the verb."""


def main() -> None:
    """Runs the command line; ends with 0 done, 1 a promise failed, 2 wrong usage, 130/143 interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except (SightlineError, Interrupted) as error:
        print(f"sightline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except MemoryError:
        print("sightline: out of memory. Lower --batch-size or --img-size.", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:  # torch's own words for it, outside of the training step
        from sightline.training.recovery import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print("sightline: out of memory. Lower --batch-size or --img-size.", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a vanished folder: nothing that a traceback would explain better
        print(f"sightline: {error}. Free space, or check the path and its permissions.", file=sys.stderr)
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Outside the training loop, which takes these signals itself, there is nothing to save."""
    raise Interrupted(f"interrupted by {signal.Signals(number).name}", exit_code=128 + number)
