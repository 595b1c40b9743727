"""The learning rate to train with: a range test of the very training that the settings make."""

import contextlib
import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from sightline.atomic import replacing, write_text
from sightline.config import from_mapping
from sightline.data.sources import Data
from sightline.errors import BundleError, TrainingError
from sightline.predict.answers import as_utf8
from sightline.progress import bars, say
from sightline.recipes.beginning import first_network
from sightline.recipes.data import decode_all, initialise_from_pictures
from sightline.recipes.fitting import train_loader
from sightline.recipes.folder import new_folder
from sightline.recipes.prepare import prepare
from sightline.recipes.settings import Settings
from sightline.report.figures import BLUE, INK, PALE, VERMILION
from sightline.training.distributed import SINGLE
from sightline.training.range_test import RangeTest, range_test
from sightline.training.task import task_of

TABLE, DRAWING = "find_lr.csv", "find_lr.png"


@dataclass(frozen=True)
class FoundRate:
    """What a range test of a plan found.

    Args:
        test: the curve, and the rates read off it.
        suggestion: the peak learning rate to train with, in two digits.
        planned: what the training would take without it.
        words: what was trained.
        folder: where the table and the drawing are.
    """

    test: RangeTest
    suggestion: float
    planned: float
    words: str
    folder: Path

    def __str__(self) -> str:
        return (
            f"{self.words}\n"
            f"loss falls fastest at  {_digits(self.test.steepest)}\n"
            f"loss is lowest at      {_digits(self.test.lowest)}\n"
            f"train with             --lr {_digits(self.suggestion)}   (without it: {self.planned:g})\n"
            f"{self.folder / TABLE}\n{self.folder / DRAWING}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "suggestion": self.suggestion,
            "planned": self.planned,
            **dataclasses.asdict(self.test),
            "files": [str(self.folder / TABLE), str(self.folder / DRAWING)],
        }


def find_lr(
    data: Data,
    *,
    model: str | None = None,
    settings: Settings | None = None,
    output: str | Path | None = None,
    console: Console | None = None,
) -> FoundRate:
    """Finds a peak learning rate for `train`, by a short run in which the rate rises until the loss goes up.

    Everything but the rate is chosen as `train` chooses it. Give `train` the same settings, and the rate found.

    Args:
        data: as `train` takes it.
        model: a name of `list_models()`.
        settings: everything else that can be asked for.
        output: the folder of the table and the drawing; None makes `runs/<data>-<model>-lr`, with a number where that
            is taken.
        console: where to print; None prints to standard error.

    Raises:
        ConfigError: a setting is wrong.
        DataError: pictures cannot be read (and `settings.skip_bad` is not set), or the data cannot be trained on.
        TrainingError: the loss falls at no rate, or is not finite from the start.
        BundleError: the files cannot be written.
    """
    console = console or Console(stderr=True)
    given = {} if model is None else {"model": model}
    settings = from_mapping({**dataclasses.asdict(settings or Settings()), **given}, Settings, source="find_lr")
    prepared = prepare(data, settings, console)
    catalog, plan, runtime, weights = prepared.catalog, prepared.plan, prepared.runtime, prepared.weights
    for note in prepared.notes:
        say(console, as_utf8(f"  {note}"))
    folder, made = new_folder(output, f"{catalog.name}-{plan.model}-lr", data=catalog)
    try:
        net, _ = first_network(plan, weights, num_classes=len(catalog.classes))
        skip_bad = bool(settings.skip_bad)
        store, _, _ = decode_all(catalog, plan, runtime, skip_bad=skip_bad, console=console, cache=settings.cache)
        loader = train_loader(store, plan, runtime, SINGLE, num_classes=len(catalog.classes))
        if weights is None:
            initialise_from_pictures(net, loader)
        words = f"{plan.model}, {plan.options.opt}, batches of {plan.options.batch_size}"
        say(console, as_utf8(f"  {catalog.name}: {words}, on {runtime.device.type} in {runtime.precision}"))
        with bars(console) as bar:
            test = range_test(
                net, loader, plan.options, runtime, task=task_of(store.labels), progress=bar("range test")
            )
        _write(folder, test, words)
    except BaseException:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()
        raise
    if test.suggestion is None:
        raise TrainingError(
            f"the loss falls at no rate from {test.rates[0]:g} to {test.rates[-1]:g}; {folder / DRAWING} shows it. "
            f"With {plan.options.batch_size} pictures a step the loss is noisy: take more (--batch-size), or train "
            f"with the planned rate of {plan.options.lr:g}. If that does not learn either, look at the labels."
        )
    return FoundRate(test, float(_digits(test.suggestion)), plan.options.lr, words, folder)


def _write(folder: Path, test: RangeTest, words: str) -> None:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["learning_rate", "loss", "smoothed_loss"])
    rows.writerows(zip(test.rates, test.losses, test.smoothed, strict=True))
    try:
        write_text(folder / TABLE, table.getvalue())
        with replacing(folder / DRAWING) as temporary:
            drawing(test, words).savefig(temporary, format="png", dpi=150, metadata={"Software": None})
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}. Choose another --output.") from error


def drawing(test: RangeTest, words: str) -> Figure:
    """The loss against the rate, with the rates read off it.

    Args:
        test: at least one step.
        words: for the title.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color=PALE, linewidth=0.8, label="loss of a step")
    axes.plot(test.rates, test.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
    if test.steepest is not None:
        axes.axvline(test.steepest, color=INK, linewidth=1.0, linestyle=":", label=f"steepest: {test.steepest:.2g}")
    if test.suggestion is not None:
        axes.axvline(test.suggestion, color=VERMILION, linewidth=1.4, label=f"suggestion: {test.suggestion:.2g}")
    fallen = test.smoothed[: int(np.argmin(test.smoothed)) + 1]
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 1.4 * max(fallen)))  # not its explosion
    axes.set_title(words, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def _digits(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2g}"
