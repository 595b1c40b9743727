"""Multinomial logistic regression: the best that a dense layer could do on features that stay as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PENALTIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # strong to weak: each begins where the one before it ended
FOLDS = 5
FOLDED_BELOW = 2000  # pictures; of more, a fifth held out once says enough


@dataclass(frozen=True)
class Probe:
    """A trained probe.

    Args:
        penalty: what was chosen.
        mean: subtracted from features, (D,).
        directions: (D, R), into which they are then projected.
        weights: (R + 1, K), the biases last.
    """

    penalty: float
    mean: Tensor
    directions: Tensor
    weights: Tensor

    def answers(self, values: Tensor) -> Tensor:
        """The class of each row of features (N, D): int64 (N,)."""
        return logits_of((values.double() - self.mean) @ self.directions, self.weights).argmax(dim=1)


def fit_probe(values: Tensor, labels: Tensor) -> Probe:
    """Chooses the penalty on training pictures that are held out, and fits on all of them.

    Features get mean 0 and a mean squared length of 1, so that a penalty means the same for every network.

    Args:
        values: (N, D), N at least 1.
        labels: int64 (N,).
    """
    mean, directions = projection(values)
    projected = (values.double() - mean) @ directions
    penalty = choose_penalty(projected, labels)
    return Probe(penalty, mean, directions, solve(projected, labels, penalty=penalty))


def projection(values: Tensor) -> tuple[Tensor, Tensor]:
    """What brings features to mean 0 and a mean squared length of 1, along no more directions than are needed.

    Args:
        values: (N, D), N at least 1.

    Returns:
        The mean, float64 (D,), and directions, float64 (D, R): R is D, or N where that is less.
    """
    values = values.double()
    mean = values.mean(dim=0)
    centred = values - mean
    length = float(centred.square().sum(dim=1).mean().sqrt()) or 1.0  # a single picture is its own mean
    # Weights at right angles to all training pictures change no answer there, so that the best have no such part:
    # of few pictures with many features, the axes of the pictures are enough.
    is_wide = values.shape[1] > len(values)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh.T if is_wide else torch.eye(values.shape[1]).double()
    return mean, axes / length


def choose_penalty(values: Tensor, labels: Tensor) -> float:
    """The one of `PENALTIES` with the least cross-entropy on what is held out, a fifth of each class at a time.

    Args:
        values: float64 (N, D).
        labels: int64 (N,).
    """
    num_classes = int(labels.max()) + 1
    place = torch.zeros_like(labels)  # of each picture among those of its class
    for label in range(num_classes):
        place[labels == label] = torch.arange(int((labels == label).sum()))
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for fold in range(FOLDS if len(labels) < FOLDED_BELOW else 1):
        held_out = place % FOLDS == fold
        if held_out.all() or not held_out.any():
            continue  # fewer pictures of each class than folds
        weights = None
        for number, penalty in enumerate(PENALTIES):
            weights = solve(
                values[~held_out], labels[~held_out], penalty=penalty, num_classes=num_classes, start=weights
            )
            losses[number] += F.cross_entropy(logits_of(values[held_out], weights), labels[held_out], reduction="sum")
    return PENALTIES[int(losses.argmin())]


def solve(
    values: Tensor, labels: Tensor, *, penalty: float, num_classes: int | None = None, start: Tensor | None = None
) -> Tensor:
    """The weights with the least mean cross-entropy plus penalty, by L-BFGS.

    Args:
        values: float64 (N, D).
        labels: int64 (N,).
        penalty: half of it times the squared length of the weights, without the biases, is added.
        num_classes: K; None takes one more than the largest label.
        start: weights to begin with; None for zero. The problem is convex: they change the time, not the result.

    Returns:
        float64 (D + 1, K), the biases last.

    Example:
        >>> weights = solve(torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0, 1]), penalty=1.0)
        >>> [round(weight, 4) for weight in weights[0].tolist()]  # w = sigmoid(-2 w) and its negative
        [-0.3374, 0.3374]
    """
    if num_classes is None:
        num_classes = int(labels.max()) + 1
    weights = torch.zeros(values.shape[1] + 1, num_classes, dtype=torch.float64) if start is None else start.clone()
    weights.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=1000, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits_of(values, weights), labels) + penalty / 2 * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def logits_of(values: Tensor, weights: Tensor) -> Tensor:
    """What a softmax makes probabilities of: (N, K), for values (N, D) and weights (D + 1, K), the biases last."""
    return values @ weights[:-1] + weights[-1]
