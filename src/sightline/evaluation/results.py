"""What an evaluation found, and the files that hold it."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.atomic import write_text
from sightline.data.catalog import Problem
from sightline.errors import BundleError
from sightline.metrics import ClassMetrics, Interval, LabelMetrics, Metrics, MultilabelMetrics
from sightline.predict.answers import as_utf8


@dataclass(frozen=True)
class Scored:
    """One picture's answer beside its truth.

    Args:
        source: the picture's name in its data.
        true: its class.
        predicted: the answer.
        probability: of the answer.
        true_probability: of the true class.
        is_correct: whether the two are the same.
    """

    source: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    is_correct: bool


@dataclass(frozen=True)
class ScoredLabels:
    """One picture's labels beside those that it has.

    Args:
        source: the picture's name in its data.
        true: its labels, in the order of the classes.
        predicted: those that are said.
        probabilities: of every label, in the order of the classes.
        is_correct: whether the two are the same.
    """

    source: str
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_correct: bool


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. `str()` is a short table with everything that should be known beside it.

    Args:
        metrics: the scores; of a bundle that says any number of labels, `MultilabelMetrics`.
        rows: every picture's answer, in the order of the data; likewise `ScoredLabels`.
        skipped: what was left out, with reasons.
        notes: what was scored, why that, and what to beware of; sentences.
        test_looks: how often this bundle was scored on its own test split, this time included; 0 for other pictures.
    """

    metrics: Metrics | MultilabelMetrics
    rows: tuple[Scored, ...] | tuple[ScoredLabels, ...]
    skipped: tuple[Problem, ...]
    notes: tuple[str, ...]
    test_looks: int

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single pictures, as JSON knows it: the content of metrics.json."""
        return {
            **self.metrics.to_dict(),
            "test_looks": self.test_looks,
            "notes": list(self.notes),
            "skipped": [{"path": problem.path, "reason": problem.reason} for problem in self.skipped],
        }

    def __str__(self) -> str:
        looks = [f"This was look number {self.test_looks} at the test split."] if self.test_looks else []
        skipped = [f"left out: {problem}" for problem in self.skipped]
        return "\n".join([str(self.metrics), "", *self.notes, *looks, *skipped])


def write_results(folder: str | Path, result: Evaluation) -> None:
    """Writes metrics.json, per_class.csv, predictions.csv and calibration.json, each whole or not at all.

    Args:
        folder: where to; made where it is missing.
        result: what `evaluate` found.

    Raises:
        BundleError: the folder cannot be written.
    """
    folder = Path(folder)
    calibration = {
        "split": result.metrics.split,
        "temperature": result.metrics.temperature,
        "ece": result.metrics.ece,
        "bins": [{**vars(each), "accuracy": each.accuracy.to_dict()} for each in result.metrics.bins],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "per_class.csv", _per_class_csv(result.metrics))
        write_text(folder / "predictions.csv", _predictions_csv(result))
        write_text(folder / "calibration.json", _json(calibration))
        write_text(folder / "metrics.json", _json(result.to_dict()))
    except OSError as error:
        raise BundleError(
            f"cannot write the results into {folder}: {error.strerror}. Free space or choose another --output."
        ) from error


def _json(content: dict[str, Any]) -> str:
    return as_utf8(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def _per_class_csv(metrics: Metrics | MultilabelMetrics) -> str:
    header = ["class", "support", "predicted"]
    header += [name for share in ("precision", "recall", "f1") for name in (share, f"{share}_low", f"{share}_high")]
    if isinstance(metrics, MultilabelMetrics):
        header += ["average_precision", "average_precision_low", "average_precision_high", "threshold", "ece"]
    return _csv(header, [_class_row(each) for each in metrics.per_class])


def _class_row(each: ClassMetrics) -> list[object]:
    row = [each.name, each.support, each.predicted, *_ends(each.precision), *_ends(each.recall), *_ends(each.f1)]
    if isinstance(each, LabelMetrics):
        row += [*_ends(each.average_precision), f"{each.threshold:.7f}", f"{each.ece:.6f}"]
    return row


def _ends(share: Interval | None) -> list[str]:
    """Three cells, empty where the figure is not defined."""
    return ["", "", ""] if share is None else [f"{value:.6f}" for value in (share.value, share.low, share.high)]


def _predictions_csv(result: Evaluation) -> str:
    """A row a picture; of several labels with a column for the probability of each, called `p:` and its name."""
    header = ["source", "true", "predicted", "probability", "true_probability", "is_correct"]
    if isinstance(result.metrics, MultilabelMetrics):
        header = ["source", "true", "predicted", "is_correct", *(f"p:{name}" for name in result.metrics.classes)]
    return _csv(header, [_picture_row(row) for row in result.rows])


def _picture_row(row: Scored | ScoredLabels) -> list[object]:
    if isinstance(row, ScoredLabels):
        labels = ";".join(row.true), ";".join(row.predicted)
        return [row.source, *labels, row.is_correct, *(f"{each:.7f}" for each in row.probabilities)]
    return [
        row.source,
        row.true,
        row.predicted,
        f"{row.probability:.7f}",
        f"{row.true_probability:.7f}",
        row.is_correct,
    ]


def _csv(header: Sequence[str], table: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(table)
    return as_utf8(text.getvalue())
