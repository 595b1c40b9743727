"""From the logits of independent questions to probabilities, and from these to yes or no.

A picture of multi-label data may have several labels, or none. Each label is a question of its own: its probability is
the logistic function of its logit, and the answer is yes from a threshold on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError
from sightline.metrics.calibration import fit_temperature
from sightline.metrics.ranking import Floats

Labels = npt.NDArray[np.integer] | npt.NDArray[np.bool_]

USUAL = 0.5
# With fewer pictures on either side, one of them moves a label's F1 by several points. Not from a paper.
LEAST_PICTURES = 10
# A cut between nearer probabilities would be no decision: another runtime rounds by up to a tenth of this.
LEAST_GAP = 1e-5


def sigmoid(logits: Floats, temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """The probability of yes to each question, computed in float64.

    Args:
        logits: (N, K).
        temperature: positive; divides them.

    Returns:
        float32 (N, K), each in [0, 1]; rows need not sum to anything.

    Raises:
        ConfigError: the temperature is not above 0.

    Example:
        >>> sigmoid(np.array([[0.0, np.log(3)]]))
        array([[0.5 , 0.75]], dtype=float32)
    """
    if not temperature > 0:
        raise ConfigError(f"the temperature must be above 0, got {temperature}.")
    scaled = np.asarray(logits, np.float64) / temperature
    small = np.exp(-np.abs(scaled))  # of the less likely answer: never too large
    result: npt.NDArray[np.float32] = (np.where(scaled >= 0, 1.0, small) / (1 + small)).astype(np.float32)
    return result


def binary_loss(logits: Floats, labels: Labels, temperature: float = 1.0) -> float:
    """The mean over pictures and labels of -log(probability of the true answer), in nats.

    Args:
        logits: (N, K).
        labels: (N, K), 1 where a picture has the label.
        temperature: divides the logits.

    Raises:
        ConfigError: the shapes do not fit, or the labels are not 0 and 1.

    Example:
        >>> round(binary_loss(np.zeros((1, 4)), np.array([[1, 0, 0, 1]])), 6)  # log 2
        0.693147
    """
    check_questions(logits, labels)
    scaled = np.asarray(logits, np.float64) / temperature
    against = np.where(np.asarray(labels) == 1, -scaled, scaled)
    return float(np.logaddexp(0, against).mean())


def fit_binary_temperature(logits: Floats, labels: Labels) -> float:
    """The one temperature of all labels under which the true answers are the most probable.

    A question is a choice of two classes with the logits 0 (no) and z (yes), so this is `fit_temperature` over all of
    them.

    Args:
        logits: (N, K), of pictures that the network was not trained on.
        labels: (N, K), 1 where a picture has the label.

    Returns:
        T, between 0.1 and 10; 1 where every answer is right already.

    Raises:
        ConfigError: the shapes do not fit, or the labels are not 0 and 1.

    Reference:
        Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599, Sec. 4.1 (two classes) and 4.2.

    Example:
        >>> round(fit_binary_temperature(np.full((4, 1), 3.0), np.array([[1], [1], [1], [0]])), 3)
        2.731
    """
    check_questions(logits, labels)
    yes = np.asarray(logits, np.float64).ravel()
    return fit_temperature(np.stack([np.zeros_like(yes), yes], axis=1), np.asarray(labels).ravel().astype(np.int64))


@dataclass(frozen=True)
class Thresholds:
    """From which probability on each label is answered with yes.

    Args:
        values: one a label, in the order of the classes.
        notes: sentences about those that could not be chosen.
    """

    values: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def usual(cls, classes: Sequence[str], reason: str) -> "Thresholds":
        """One half for every label.

        Args:
            classes: the names.
            reason: why nothing better is known, in a sentence without a full stop.
        """
        return cls((USUAL,) * len(classes), (f"Every threshold is {USUAL}: {reason}.",))


def choose_thresholds(probabilities: Floats, labels: Labels, classes: Sequence[str]) -> Thresholds:
    """The threshold of each label with the highest F1 on some pictures.

    It lies in the middle between two probabilities. Of cuts with the same F1 that in the widest gap is taken.

    Args:
        probabilities: (N, K), of pictures that the network was not trained on.
        labels: (N, K), 1 where a picture has the label.
        classes: K names.

    Returns:
        The thresholds. One half for a label that fewer than 10 pictures have, or lack, with a note.

    Raises:
        ConfigError: the shapes do not fit, or the labels are not 0 and 1.

    Reference:
        Yang 2001, "A Study of Thresholding Strategies for Text Categorization", SIGIR: a cut for each label by its
        score on validation data, and none for rare labels. Lipton, Elkan, Narayanaswamy 2014, arXiv:1402.1892: the best
        threshold for F1 is half of the F1 that it reaches, so it is seldom one half.

    Example:
        >>> sure = np.linspace(0.0, 1.0, 40)[:, None]
        >>> chosen = choose_thresholds(sure, (np.arange(40) >= 25)[:, None], ("fox",))
        >>> [round(value, 3) for value in chosen.values], chosen.notes
        ([0.628], ())
    """
    check_questions(probabilities, labels)
    truth = np.asarray(labels) == 1
    values, few, unclear = [], [], []
    for number, name in enumerate(classes):
        positives = int(truth[:, number].sum())
        least = min(positives, len(truth) - positives)
        best = _best_cut(probabilities[:, number], truth[:, number]) if least >= LEAST_PICTURES else None
        values.append(USUAL if best is None else best)
        if least < LEAST_PICTURES:
            few.append(f"{name} ({positives:,} with it, {len(truth) - positives:,} without)")
        elif best is None:
            unclear.append(name)
    notes = []
    if few:
        notes.append(
            f"The threshold is {USUAL} where fewer than {LEAST_PICTURES} validation pictures have the label, or lack "
            f"it, since one picture would move it far: {', '.join(few)}."
        )
    if unclear:
        notes.append(f"The threshold is {USUAL} where all probabilities are alike: {', '.join(unclear)}.")
    return Thresholds(tuple(values), tuple(notes))


def check_questions(scores: Floats, labels: Labels) -> None:
    """Refuse scores and labels that do not belong together.

    Raises:
        ConfigError: there is no picture, the shapes do not fit, or a label is neither 0 nor 1.
    """
    if scores.ndim != 2 or labels.shape != scores.shape or not scores.size:
        raise ConfigError(
            "scores (N, K) and labels (N, K) of at least one picture are needed, got "
            f"{scores.shape} and {labels.shape}."
        )
    if not np.isin(labels, (0, 1)).all():
        raise ConfigError(f"labels must be 0 or 1 for each class, got {labels.min()} to {labels.max()}.")


def _best_cut(probabilities: Floats, truth: npt.NDArray[np.bool_]) -> float | None:
    """The cut with the highest F1; None where all probabilities are too near to each other to be cut."""
    order = np.argsort(-probabilities, kind="stable")
    stated = np.append(np.asarray(probabilities, np.float64)[order], 0.0)
    gaps = stated[:-1] - stated[1:]
    f1 = 2 * np.cumsum(truth[order]) / (np.arange(1, len(order) + 1) + truth.sum())
    possible = np.flatnonzero(gaps >= LEAST_GAP)
    if not len(possible) or f1[possible].max() == 0:
        return None
    best = possible[np.lexsort((gaps[possible], f1[possible]))[-1]]
    return float((stated[best] + stated[best + 1]) / 2)
