"""What a network says of a picture, and how it is written down."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Problem


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Args:
        source: the path as given, or what kind of thing it was.
        label: the most probable class.
        index: its index.
        probability: its probability, in [0, 1], calibrated by the bundle's temperature.
        top: the most probable classes with their probabilities, best first; of equal ones the lower index first.
        probabilities: float32 (K,), in the order of the classes.
    """

    source: str
    label: str
    index: int
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON knows it; of the probabilities those in `top`."""
        return {
            "source": self.source,
            "label": self.label,
            "index": self.index,
            "probability": self.probability,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
        }


@dataclass(frozen=True)
class MultilabelPrediction:
    """The answer for one picture of a bundle that says any number of labels.

    Args:
        source: the path as given, or what kind of thing it was.
        labels: those whose probability reaches their threshold, with their probabilities, best first; may be empty.
        top: the most probable labels with their probabilities, said or not, best first; of equal ones the lower index
            first.
        probabilities: float32 (K,), in the order of the classes; each label's own, so that they sum to nothing.
    """

    source: str
    labels: tuple[tuple[str, float], ...]
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON knows it; of the probabilities those in `labels` and `top`."""
        return {
            "source": self.source,
            "labels": [{"label": label, "probability": probability} for label, probability in self.labels],
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
        }

    def __str__(self) -> str:
        """The labels in words, and in brackets those of `top` that are not said.

        Example:
            >>> cat, dog = ("cat", 0.9), ("dog", 0.2)
            >>> print(MultilabelPrediction("a.png", (cat,), (cat, dog), np.array([0.9, 0.2])))
            cat 90.0%  (not: dog 20.0%)
        """
        said = {label for label, _ in self.labels}
        others = ", ".join(f"{label} {probability:.1%}" for label, probability in self.top if label not in said)
        labels = "  ".join(f"{label} {probability:.1%}" for label, probability in self.labels) or "no label"
        return f"{labels}  (not: {others})" if others else labels


Answer = Prediction | MultilabelPrediction
"""What a bundle says of a picture: one class, or any number of labels."""


def to_json(predictions: Sequence[Answer], problems: Sequence[Problem] = ()) -> str:
    """Predictions and refused pictures as JSON: {"predictions": [...], "refused": [...]}.

    Args:
        predictions: of `predict_many`.
        problems: likewise.
    """
    told = {
        "predictions": [each.to_dict() for each in predictions],
        "refused": [{"path": problem.path, "reason": problem.reason} for problem in problems],
    }
    return as_utf8(json.dumps(told, indent=2, ensure_ascii=False))


def to_csv(predictions: Sequence[Answer], handle: IO[str]) -> None:
    """Predictions as CSV: source, label, probability, then label and probability of each further place.

    Of several labels a picture: source, labels and probabilities, with semicolons between, empty where there are none;
    then label and probability of the most probable ones, said or not.

    Args:
        predictions: of `predict_many`.
        handle: an open text file.
    """
    several = any(isinstance(each, MultilabelPrediction) for each in predictions)
    places = max((len(each.top) for each in predictions), default=1)
    header = ["source", "labels", "probabilities"] if several else ["source", "label", "probability"]
    further = range(1 if several else 2, places + 1)
    header += [name for place in further for name in (f"label_{place}", f"probability_{place}")]
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(header)
    for each in predictions:
        answers = [text for label, probability in each.top for text in (label, f"{probability:.7f}")]
        if isinstance(each, MultilabelPrediction):
            stated = ";".join(f"{probability:.7f}" for _, probability in each.labels)
            answers = [";".join(label for label, _ in each.labels), stated, *answers]
        writer.writerow([as_utf8(text) for text in (each.source, *answers)])


def as_utf8(text: str) -> str:
    """File names may hold bytes that are no UTF-8; they are written as escapes, which in JSON is the same name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
