"""Probabilities that a picture's own label has no part in: each is judged by what the other folds have taught."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline import metrics
from sightline.errors import ConfigError
from sightline.evaluation.probe import PENALTIES, logits_of, projection, solve
from sightline.progress import Count

Indices = npt.NDArray[np.int64]


def probe_out_of_fold(
    values: Tensor, labels: Indices, folds: Indices, *, progress: Count = lambda done, total: None
) -> npt.NDArray[np.float32]:
    """What a linear probe says of each picture that was trained on the features of the other folds.

    All folds have one penalty, the one under which they predict each other best. Penalties are tried from strong to
    weak until that gets worse: the weak ones, which would learn wrong labels by heart, also take the longest. This one
    number is all that a picture's own label has a part in.

    Args:
        values: features, (N, D).
        labels: int64 (N,), 0 to K - 1.
        folds: int64 (N,), from 0.
        progress: told how many probes are trained, of as many as there may be.

    Returns:
        float32 (N, K), rows summing to 1.

    Raises:
        ConfigError: a class is in one fold alone.

    Example:
        >>> values = torch.tensor([[0.0], [1.0], [0.1], [0.9]])
        >>> probe_out_of_fold(values, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])).argmax(axis=1)
        array([0, 1, 0, 1])
    """
    num_classes, count = int(labels.max()) + 1, int(folds.max()) + 1
    mean, directions = projection(values)
    projected, given = (values.double() - mean) @ directions, torch.from_numpy(labels)
    parts = [torch.from_numpy(folds == fold) for fold in range(count)]
    for fold, is_held in enumerate(parts):
        require_every_class(labels[~is_held.numpy()], num_classes, fold)
    weights: list[Tensor | None] = [None] * count
    best, best_loss = torch.zeros(len(labels), num_classes).double(), np.inf
    for done, penalty in enumerate(PENALTIES):
        logits = torch.zeros_like(best)
        for fold, is_held in enumerate(parts):
            learned, own = projected[~is_held], given[~is_held]
            found = solve(learned, own, penalty=penalty, num_classes=num_classes, start=weights[fold])
            logits[is_held] = logits_of(projected[is_held], found)
            weights[fold] = found
            progress(done * count + fold + 1, len(PENALTIES) * count)
        loss = float(F.cross_entropy(logits, given))
        if loss >= best_loss:
            break
        best, best_loss = logits, loss
    return metrics.probabilities(best.numpy())


def require_every_class(labels: Indices, num_classes: int, fold: int) -> None:
    """Refuses folds without which a class would have nothing to be learned from.

    Args:
        labels: int64 (n,), of what is learned from.
        num_classes: K.
        fold: that is left out, for the message.

    Raises:
        ConfigError: a class is not among the labels.
    """
    lacking = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(lacking):
        raise ConfigError(
            f"without fold {fold} nothing of class number {lacking[0]} is left to learn from. Put its pictures into "
            "two folds or more, or leave it out."
        )
