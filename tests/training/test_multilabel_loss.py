"""The loss of independent questions, against torch's own and the papers' formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sightline.data.imbalance import positive_weights
from sightline.errors import ConfigError, ShapeError
from sightline.training.multilabel_loss import binary_questions, build_multilabel_loss
from sightline.training.options import TrainOptions

WEIGHTS = (0.5, 2.0, 7.0)


def options(**changes: Any) -> TrainOptions:
    return TrainOptions(**{"epochs": 1, "batch_size": 32, "lr": 0.1, "loss": "bce", **changes})


def questions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(8, 3, dtype=torch.float64, generator=generator)
    return logits, torch.rand(8, 3, dtype=torch.float64, generator=generator).round(decimals=1)


def test_it_is_that_of_torch_with_its_weights() -> None:
    logits, targets = questions()
    theirs = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=torch.tensor(WEIGHTS, dtype=torch.float64), reduction="none"
    )
    torch.testing.assert_close(build_multilabel_loss(options(class_weights=WEIGHTS))(logits, targets), theirs.mean(1))


def test_smoothing_goes_half_to_either_answer() -> None:
    """Keras 3, BinaryCrossentropy(label_smoothing=s): y (1 - s) + s / 2. Not s / K, which K = 3 would tell."""
    logits, targets = questions()
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * targets + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(build_multilabel_loss(options(smoothing=0.2))(logits, targets), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_equation_4_of_each_question(gamma: float) -> None:
    logits, targets = questions()
    p, q = 1 / (1 + np.exp(-logits.numpy())), targets.numpy()
    each = -(np.array(WEIGHTS) * q * (1 - p) ** gamma * np.log(p) + (1 - q) * p**gamma * np.log(1 - p))
    loss = build_multilabel_loss(options(loss="focal", focal_gamma=gamma, class_weights=WEIGHTS))
    np.testing.assert_allclose(loss(logits, targets), each.mean(1), rtol=1e-10)
    torch.testing.assert_close(
        binary_questions(logits, targets, gamma=1e-12), binary_questions(logits, targets), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_gradients_are_those_of_finite_differences(loss: Any) -> None:
    logits, targets = questions()
    of = build_multilabel_loss(options(loss=loss, smoothing=0.1, class_weights=WEIGHTS))
    assert torch.autograd.gradcheck(lambda z: of(z, targets), logits.requires_grad_())
    certain = torch.tensor([[300.0, -300.0, 0.0]], requires_grad=True)
    of(certain, torch.tensor([[1.0, 0.0, 1.0]])).sum().backward()
    assert certain.grad is not None and certain.grad.isfinite().all()


def test_cross_entropy_is_refused_with_what_to_take() -> None:
    with pytest.raises(ConfigError, match=r"loss is cross_entropy, .* several labels: .* Take --loss bce"):
        build_multilabel_loss(options(loss="cross_entropy"))


def test_targets_and_weights_that_do_not_fit_are_refused() -> None:
    loss = build_multilabel_loss(options(class_weights=(1.0, 2.0)))
    with pytest.raises(ShapeError, match="a yes or no for each label"):
        loss(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="class_weights has 2 numbers, and the network answers for 3 labels"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3))


def test_balanced_weights_make_yes_and_no_count_the_same() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0]] * 5 + [[0.0, 1.0, 0.0]] * 15)
    rare, always, never = positive_weights(labels.sum(0).long().tolist(), 20, "balanced")
    assert (always, never) == (1.0, 1.0)
    logits = torch.zeros(20, 3, requires_grad=True)
    binary_questions(logits, labels, yes_weights=(rare, always, never)).sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, 0].sum().item() == pytest.approx(0, abs=1e-6)  # pulled as much to yes as to no
    assert positive_weights([10], 20_000, "effective")[0] < positive_weights([10], 20_000, "balanced")[0]
    with pytest.raises(ConfigError, match="of 3 pictures, each label has 0 to as many"):
        positive_weights([4], 3, "balanced")
