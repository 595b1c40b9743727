"""What a bundle's folder holds, read into the shapes that the report shows.

Only `config.json` must be there. Any other file may be missing or damaged: the report then says so in that place, with
the command that makes the file.
"""

import csv
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from sightline.bundle import Bundle, open_bundle
from sightline.data.catalog import Problem
from sightline.report.datarecord import DataRecord, read_data
from sightline.report.label_scores import LabelAnswers, LabelScores, read_label_answers, read_label_scores
from sightline.report.scores import Calibration, Mistakes, Scores, read_calibration, read_mistakes, read_scores
from sightline.training.events import read_history
from sightline.training.state import HistoryRow

MAX_MISTAKES = 24

Part = TypeVar("Part")

# whatever reading a file of the right name and a wrong content can raise
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, csv.Error)


@dataclass(frozen=True)
class Gap:
    """A file that the report would show and cannot.

    Args:
        reason: what is wrong, a sentence.
        command: what makes the file.
    """

    reason: str
    command: str


@dataclass(frozen=True)
class Timing:
    """Of the training: seconds in all, and pictures a second in a usual epoch."""

    seconds: float
    images_per_s: float


@dataclass(frozen=True)
class Contents:
    """Everything that the report shows; None where a file is missing or damaged, and `gaps` has it by its name.

    Of a bundle that says any number of labels, `labels` and `answers` take the place of `scores` and `mistakes`.
    """

    bundle: Bundle
    history: tuple[HistoryRow, ...] | None
    timing: Timing | None
    scores: Scores | None
    calibration: Calibration | None
    mistakes: Mistakes | None
    data: DataRecord | None
    gaps: Mapping[str, Gap]
    labels: LabelScores | None = None
    answers: LabelAnswers | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in index order."""
        return self.bundle.classes

    @property
    def data_name(self) -> str:
        """What the data is called."""
        name = self.data.name if self.data else section(self.bundle, "data").get("name")
        return str(name or "unknown data")


def read_contents(bundle_path: str | Path) -> Contents:
    """Reads a bundle's folder.

    Args:
        bundle_path: the folder.

    Raises:
        BundleError: it is no bundle.
    """
    bundle = open_bundle(bundle_path)
    gaps: dict[str, Gap] = {}
    path, data = shlex.quote(str(bundle.path)), data_word(bundle)
    evaluate, train = f"sightline evaluate {path} {data} --output {path}", f"sightline train {data}"

    def read(name: str, command: str, take: Callable[[Path], Part]) -> Part | None:
        try:
            return take(bundle.path / name)
        except FileNotFoundError:
            reason = f"{name} is not in the bundle."
        except _DAMAGE as error:
            detail = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            reason = f"{name} cannot be used: {detail}."
        gaps[name] = Gap(reason, command)
        return None

    scores, labels, mistakes, answers = None, None, None, None
    if bundle.is_multilabel:
        labels = read("metrics.json", evaluate, lambda path: read_label_scores(_json(path), bundle.classes))
        answers = read("predictions.csv", evaluate, lambda path: read_label_answers(_text(path), bundle.classes))
    else:
        scores = read("metrics.json", evaluate, lambda path: read_scores(_json(path), bundle.classes))
        mistakes = read("predictions.csv", evaluate, lambda path: read_mistakes(_text(path), most=MAX_MISTAKES))
    refused = () if (scored := scores or labels) is None else scored.refused
    return Contents(
        bundle=bundle,
        history=read("history.csv", train, _history),
        timing=read("timing.csv", train, _timing),
        scores=scores,
        calibration=read("calibration.json", evaluate, lambda path: read_calibration(_json(path))),
        mistakes=mistakes,
        data=read("data.lock.json", train, lambda path: _data(path, bundle, refused)),
        gaps=gaps,
        labels=labels,
        answers=answers,
    )


def section(bundle: Bundle, name: str) -> Mapping[str, Any]:
    """A part of a bundle's provenance; empty where it has none.

    Args:
        bundle: the bundle.
        name: of the part.
    """
    part = bundle.provenance.get(name)
    return part if isinstance(part, Mapping) else {}


def data_word(bundle: Bundle) -> str:
    """The bundle's data as it stands on a command line.

    Args:
        bundle: the bundle.
    """
    source = section(bundle, "data").get("source")
    return shlex.quote(str(source)) if source else "DATA"


def _data(path: Path, bundle: Bundle, refused: tuple[Problem, ...]) -> DataRecord:
    told = section(bundle, "data")
    counts, pictures = told.get("counts") or {}, told.get("pictures")
    return read_data(path.read_bytes(), bundle.classes, counts=counts, pictures=pictures, also_refused=refused)


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _text(path: Path) -> str:
    return path.read_bytes().decode()  # not read_text(): a name in quotes may hold a line end of its own


def _history(path: Path) -> tuple[HistoryRow, ...]:
    path.stat()  # read_history takes a missing file for one without epochs
    rows = tuple(read_history(path))
    if not rows:
        raise ValueError("it has no epoch")
    return rows


def _timing(path: Path) -> Timing:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    if not rows:
        raise ValueError("it has no epoch")
    seconds = sum(
        value for row in rows for name, value in row.items() if name.endswith("_s") and name != "images_per_s"
    )
    return Timing(seconds, median(row["images_per_s"] for row in rows))
