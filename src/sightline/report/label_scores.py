"""The scores of a bundle that says any number of labels, as the report shows them: from metrics.json and
predictions.csv."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.labelling import SEPARATOR
from sightline.metrics import Interval, LabelMetrics
from sightline.report.scores import Evaluated, class_metrics_of, interval_of, read_evaluated, required_interval

_COLUMN = "p:"  # before the name of a label: its probabilities


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelScores(Evaluated):
    """The figures of `metrics.json`.

    Args:
        mean_average_precision: None where no picture has a label.
        macro_f1: mean F1 of the labels; likewise.
        micro_f1: F1 of all questions together; None where nothing is there and nothing was said.
        exact: the share of pictures with every label right.
        hamming_loss: the share of wrong answers among all questions.
        loss: mean negative log-likelihood of a question, nats.
        per_class: the weakest first, by average precision.
        num_resamples: behind the bootstrap's intervals.
    """

    mean_average_precision: Interval | None
    macro_f1: Interval | None
    micro_f1: Interval | None
    exact: Interval
    hamming_loss: Interval
    loss: float
    per_class: tuple[LabelMetrics, ...]
    num_resamples: int

    @property
    def chance(self) -> float:
        """The mean average precision of any order of the pictures, about: the mean share of pictures with a label."""
        present = [each.support / self.num_samples for each in self.per_class if each.support]
        return sum(present) / max(len(present), 1)


def read_label_scores(content: Mapping[str, Any], classes: tuple[str, ...]) -> LabelScores:
    """Takes the scores from the content of `metrics.json`.

    Args:
        content: the parsed file.
        classes: of the bundle.

    Raises:
        ValueError: the file is of another set of classes, or of one class a picture.
        KeyError, TypeError: the file is damaged.
    """
    if content.get("kind") != "multilabel":
        raise ValueError("it is of one class a picture, and the bundle says any number of labels")
    evaluated = read_evaluated(content, classes)
    per_class = [
        LabelMetrics(
            **vars(class_metrics_of(row)),
            average_precision=interval_of(row["average_precision"]),
            threshold=float(row["threshold"]),
            ece=float(row["ece"]),
        )
        for row in content["per_class"]
    ]
    return LabelScores(
        **vars(evaluated),
        mean_average_precision=interval_of(content["mean_average_precision"]),
        macro_f1=interval_of(content["macro_f1"]),
        micro_f1=interval_of(content["micro_f1"]),
        exact=required_interval(content["exact"]),
        hamming_loss=required_interval(content["hamming_loss"]),
        loss=float(content["loss"]),
        per_class=tuple(sorted(per_class, key=_weakness)),
        num_resamples=int(content["num_resamples"]),
    )


def _weakness(row: LabelMetrics) -> tuple[float, str]:
    return (2.0 if row.average_precision is None else row.average_precision.value, row.name)


@dataclass(frozen=True, eq=False)
class LabelAnswers:
    """Every picture's labels and answers: the content of `predictions.csv`.

    Args:
        sources: the pictures' names.
        truth: bool (N, K).
        said: bool (N, K).
        stated: probabilities, float64 (N, K).
    """

    sources: tuple[str, ...]
    truth: NDArray[np.bool_]
    said: NDArray[np.bool_]
    stated: NDArray[np.float64]


def read_label_answers(text: str, classes: Sequence[str]) -> LabelAnswers:
    """Takes the answers from the text of `predictions.csv`.

    Args:
        text: the file's content.
        classes: of the bundle, in index order.

    Raises:
        ValueError, KeyError: the file is damaged, or of other classes.
    """
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    if not rows:
        raise ValueError("it has no picture")
    numbers = {name: number for number, name in enumerate(classes)}
    truth, said = (np.zeros((len(rows), len(classes)), np.bool_) for _ in range(2))
    for place, row in enumerate(rows):
        for column, flags in (("true", truth), ("predicted", said)):
            for name in filter(None, row[column].split(SEPARATOR)):
                flags[place, numbers[name]] = True
    stated = np.array([[float(row[f"{_COLUMN}{name}"]) for name in classes] for row in rows])
    return LabelAnswers(tuple(row["source"] for row in rows), truth, said, stated)


@dataclass(frozen=True)
class LabelMistake:
    """A label that is said and not there, or there and not said.

    Args:
        source: the picture's name.
        true: the labels that it has; may be none.
        probability: of the label in question.
    """

    source: str
    true: tuple[str, ...]
    probability: float


@dataclass(frozen=True)
class LabelMistakes:
    """The wrong answers to one label: how many, and the surest of them.

    Args:
        name: of the label.
        num_claimed: said where it is not.
        num_missed: there and not said.
        claimed: the surest of these, surest first.
        missed: likewise: those with the lowest probability first.
    """

    name: str
    num_claimed: int
    num_missed: int
    claimed: tuple[LabelMistake, ...]
    missed: tuple[LabelMistake, ...]


def label_mistakes(answers: LabelAnswers, classes: Sequence[str], name: str, *, most: int) -> LabelMistakes:
    """The surest wrong answers to one label.

    Args:
        answers: of the evaluation.
        classes: in index order.
        name: of the label.
        most: of each kind.
    """
    number = classes.index(name)
    truth, said, stated = answers.truth[:, number], answers.said[:, number], answers.stated[:, number]

    def shown(wrong: NDArray[np.bool_], sureness: NDArray[np.float64]) -> tuple[LabelMistake, ...]:
        places = np.flatnonzero(wrong)
        places = places[np.argsort(-sureness[places], kind="stable")][:most]
        return tuple(
            LabelMistake(
                answers.sources[place],
                tuple(classes[label] for label in np.flatnonzero(answers.truth[place]).tolist()),
                float(stated[place]),
            )
            for place in places.tolist()
        )

    claimed, missed = said & ~truth, truth & ~said
    return LabelMistakes(name, int(claimed.sum()), int(missed.sum()), shown(claimed, stated), shown(missed, -stated))


@dataclass(frozen=True)
class Company:
    """A label that is wrongly said where another one is.

    Args:
        there: the label that the pictures have.
        claimed: the one that they do not have, and are said to.
        count: such pictures.
        share: of the pictures with `there` and without `claimed`.
        elsewhere: the share of pictures with neither that are said to have `claimed`.
    """

    there: str
    claimed: str
    count: int
    share: float
    elsewhere: float


def misleading(answers: LabelAnswers, classes: Sequence[str], *, most: int) -> tuple[Company, ...]:
    """Pairs of labels of which the one makes the network say the other, by how many pictures more than without it.

    Args:
        answers: of the evaluation.
        classes: in index order.
        most: how many to give.
    """
    truth = answers.truth.astype(np.float64)
    wrongly = (answers.said & ~answers.truth).astype(np.float64)
    count = truth.T @ wrongly  # (there, claimed)
    room = truth.T @ (1 - truth)
    rest = (1 - truth).T @ (1 - truth)
    elsewhere = np.divide((1 - truth).T @ wrongly, rest, out=np.zeros_like(rest), where=rest > 0)
    excess = count - elsewhere * room
    np.fill_diagonal(excess, 0)
    best = np.argsort(-excess, axis=None, kind="stable")[:most]
    return tuple(
        Company(
            classes[there],
            classes[claimed],
            int(count[there, claimed]),
            float(count[there, claimed] / room[there, claimed]),
            float(elsewhere[there, claimed]),
        )
        for there, claimed in zip(*np.unravel_index(best, excess.shape), strict=True)
        if excess[there, claimed] >= 1
    )
