"""What trained weights are worth before any training: two classifiers on features that nobody changes.

A look through every picture once, and seconds of arithmetic. Where a training of the head alone, or of everything, does
not beat these, it is not worth its time; where they are near chance, the weights know little of such pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.data.loader import EvalLoader
from sightline.errors import DataError
from sightline.evaluation.features import Features, features
from sightline.evaluation.probe import fit_probe
from sightline.metrics import Interval, wilson

NEIGHBOURS = (1, 5, 10, 20, 50)
VOTE_TEMPERATURE = 0.07  # Wu et al. 2018, arXiv:1805.01978, Sec. 3.4
_AT_ONCE = 1024  # rows of similarities in memory


@dataclass(frozen=True)
class Baseline:
    """How right a classifier on held features is. `str()` is a line for each part of the data that was asked about.

    Args:
        method: "nearest neighbours" or "linear probe".
        setting: what was chosen on the training pictures alone, in words.
        num_train: training pictures.
        scores: the accuracy on each part, with Wilson's interval.
        answers: the class of each picture of a part, int64 (N,), for a paired test.
    """

    method: str
    setting: str
    num_train: int
    scores: Mapping[str, Interval]
    answers: Mapping[str, npt.NDArray[np.int64]]

    def __str__(self) -> str:
        return "\n".join(
            f"{self.method} ({self.setting}) on the features of {self.num_train:,} training pictures: "
            f"{score} of {len(self.answers[part]):,} {part} pictures"
            for part, score in self.scores.items()
        )


def baselines(net: nn.Module, train: EvalLoader, others: Mapping[str, EvalLoader]) -> tuple[Baseline, Baseline]:
    """Nearest neighbours and a linear probe, on one look through the pictures.

    Args:
        net: with trained weights; what its head says plays no part.
        train: the training pictures as they are, without augmentation.
        others: what to score, by name. Before and during a training that is "val" alone: each look at the test pictures
            makes their score a little less honest, so "test" belongs to the end of a run, beside the network's own.

    Returns:
        The nearest neighbours, and the probe.

    Raises:
        ConfigError: the network has no head, so that nobody can say what its features are.
        DataError: there are no training pictures.
    """
    learned = features(net, train)
    asked = {part: features(net, loader) for part, loader in others.items()}
    return nearest_neighbours(learned, asked), linear_probe(learned, asked)


def nearest_neighbours(train: Features, others: Mapping[str, Features]) -> Baseline:
    """Each picture gets the class of the training pictures that are most like it.

    Likeness is the cosine of the angle between features; the k nearest vote with exp(cosine / 0.07). Of `NEIGHBOURS`
    that k is taken with which the training pictures, each left out in turn, are most often right; of equals the
    largest.

    Args:
        train: the training pictures.
        others: what to score, by name.

    Raises:
        DataError: there are no training pictures.

    Reference:
        Wu, Xiong, Yu and Lin 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
        arXiv:1805.01978, Sec. 3.4.

    Example:
        >>> train = Features(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 2.0], [0.1, 3.0]]), torch.tensor([0, 0, 1, 1]))
        >>> print(nearest_neighbours(train, {"val": Features(torch.tensor([[5.0, 1.0]]), torch.tensor([0]))}))
        nearest neighbours (k = 1) on the features of 4 training pictures: 100.0% [20.7%, 100.0%] of 1 val pictures
    """
    count = _require_some(train)
    classes = F.one_hot(train.labels).float()
    memory = F.normalize(train.values, dim=1)
    choices = [k for k in NEIGHBOURS if k < count] or [1]
    k = choices[0]
    if len(choices) > 1:
        votes = _votes(memory, memory, classes, choices, is_left_out=True)
        rights = [int((votes[each].argmax(dim=1) == train.labels).sum()) for each in choices]
        k = max(zip(rights, choices, strict=True))[1]
    answers = {
        part: _votes(F.normalize(asked.values, dim=1), memory, classes, [k], is_left_out=False)[k].argmax(dim=1)
        for part, asked in others.items()
    }
    return _baseline("nearest neighbours", f"k = {k}", count, others, answers)


def linear_probe(train: Features, others: Mapping[str, Features]) -> Baseline:
    """Logistic regression on the features, its penalty chosen on training pictures that are held out in turn.

    In float64 and from zero, so that nothing is left to chance.

    Args:
        train: the training pictures.
        others: what to score, by name.

    Raises:
        DataError: there are no training pictures.

    Reference:
        Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.
        Kornblith, Shlens and Le 2019, "Do Better ImageNet Models Transfer Better?", arXiv:1805.08974: by L-BFGS, with
        an L2 penalty chosen on a held-out part.
    """
    count = _require_some(train)
    probe = fit_probe(train.values, train.labels)
    answers = {part: probe.answers(asked.values) for part, asked in others.items()}
    return _baseline("linear probe", f"L2 penalty {probe.penalty:g}", count, others, answers)


def _votes(
    queries: Tensor, memory: Tensor, classes: Tensor, choices: list[int], *, is_left_out: bool
) -> dict[int, Tensor]:
    """For each k the votes (N, K) of the k nearest; of a picture that is itself in the memory, without its own."""
    votes: dict[int, list[Tensor]] = {k: [torch.zeros(0, classes.shape[1])] for k in choices}
    for start in range(0, len(queries), _AT_ONCE):
        likeness = queries[start : start + _AT_ONCE] @ memory.T
        if is_left_out:
            rows = torch.arange(len(likeness))
            likeness[rows, start + rows] = -torch.inf
        nearest, rows_of = likeness.topk(max(choices), dim=1)
        weights = torch.exp((nearest - 1) / VOTE_TEMPERATURE)
        for k in choices:
            votes[k].append((weights[:, :k, None] * classes[rows_of[:, :k]]).sum(dim=1))
    return {k: torch.cat(each) for k, each in votes.items()}


def _require_some(train: Features) -> int:
    if not len(train.labels):
        raise DataError("there are no training pictures to learn from. Give a part of the data that has some.")
    return len(train.labels)


def _baseline(
    method: str, setting: str, num_train: int, others: Mapping[str, Features], answers: Mapping[str, Tensor]
) -> Baseline:
    rights = {part: int((answers[part] == asked.labels).sum()) for part, asked in others.items()}
    return Baseline(
        method=method,
        setting=setting,
        num_train=num_train,
        scores={part: wilson(rights[part], len(asked.labels)) for part, asked in others.items()},
        answers={part: answer.numpy() for part, answer in answers.items()},
    )
