"""Losses: the formulas of their papers, smoothed once, and the same gradient however a batch is split."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import ConfigError, ShapeError
from sightline.training.loss import binary_cross_entropy, build_loss, cross_entropy, focal
from sightline.training.options import TrainOptions

CLASSES = 5
WEIGHTS = (0.3, 1.0, 2.5, 0.7, 1.9)
KINDS: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "smoothed": {"smoothing": 0.1},
    "bce": {"loss": "bce", "smoothing": 0.1},
    "focal": {"loss": "focal", "focal_gamma": 2.0},
    "focal, smoothed": {"loss": "focal", "focal_gamma": 0.5, "smoothing": 0.1},
}


def options(**changes: Any) -> TrainOptions:
    return TrainOptions(epochs=1, batch_size=32, lr=0.1, **changes)


def logits_of(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, CLASSES, dtype=torch.float64, generator=generator)


def labels_of(count: int) -> Tensor:
    return torch.arange(count) * 7 % CLASSES


def mixed(count: int) -> Tensor:
    """Targets as Mixup makes them: two classes' shares, unsmoothed."""
    share = torch.linspace(0.1, 0.9, count, dtype=torch.float64)[:, None]
    ones = torch.eye(CLASSES, dtype=torch.float64)
    labels = labels_of(count)
    return share * ones[labels] + (1 - share) * ones[(labels + 1 + torch.arange(count) % 2) % CLASSES]


def softmax(logits: Tensor) -> np.ndarray:
    exp = np.exp(logits.numpy())
    return exp / exp.sum(axis=1, keepdims=True)


def test_cross_entropy_is_the_formula() -> None:
    logits, labels = logits_of(9), labels_of(9)
    p = softmax(logits)
    np.testing.assert_allclose(cross_entropy(logits, labels), -np.log(p[np.arange(9), labels.numpy()]), rtol=1e-12)
    np.testing.assert_allclose(cross_entropy(logits, mixed(9)), -(mixed(9).numpy() * np.log(p)).sum(1), rtol=1e-12)


def test_smoothing_is_the_formula() -> None:
    logits, labels = logits_of(9), labels_of(9)
    q = 0.9 * np.eye(CLASSES)[labels.numpy()] + 0.1 / CLASSES
    expected = -(q * np.log(softmax(logits))).sum(axis=1)
    np.testing.assert_allclose(cross_entropy(logits, labels, smoothing=0.1), expected, rtol=1e-12)
    np.testing.assert_allclose(build_loss(options(smoothing=0.1))(logits, labels), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "focal"])
def test_smoothing_twice_with_mixup(name: Any) -> None:
    """Mixup of smoothed targets, as in timm, is smoothing of mixed targets: once, and not once more."""
    logits, labels = logits_of(9), labels_of(9)
    share, partners = 0.7, labels.flip(0)
    ones = torch.eye(CLASSES, dtype=torch.float64)
    smoothed = 0.9 * ones + 0.1 / CLASSES  # timm's one_hot with off_value = smoothing / K
    once = share * smoothed[labels] + (1 - share) * smoothed[partners]
    plain = build_loss(options(loss=name))
    loss = build_loss(options(loss=name, smoothing=0.1))
    targets = share * ones[labels] + (1 - share) * ones[partners]
    torch.testing.assert_close(loss(logits, targets), plain(logits, once))
    torch.testing.assert_close(loss(logits, labels), loss(logits, ones[labels]))
    assert not torch.allclose(loss(logits, targets), loss(logits, once))  # what smoothing in both places would give


def test_smoothed_mixup_is_that_of_timm() -> None:
    """timm 1.0.31, SoftTargetCrossEntropy of mixup_target([2, 3], 4, lam=0.7, smoothing=0.1)."""
    logits = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.25, -1.5, 2.0]])
    targets = torch.tensor([[0.0, 0.0, 0.7, 0.3], [0.0, 0.0, 0.3, 0.7]])
    losses = build_loss(options(smoothing=0.1))(logits, targets)
    torch.testing.assert_close(losses, torch.tensor([2.014753580, 1.418401957]))


def test_binary_cross_entropy_is_the_formula() -> None:
    logits, labels = logits_of(9), labels_of(9)
    yes = 1 / (1 + np.exp(-logits.numpy()))
    q = 0.8 * np.eye(CLASSES)[labels.numpy()] + 0.2 / CLASSES  # 1 - s + s / K and s / K, as in timm
    expected = -(q * np.log(yes) + (1 - q) * np.log(1 - yes)).mean(axis=1)
    np.testing.assert_allclose(binary_cross_entropy(logits, labels, smoothing=0.2), expected, rtol=1e-12)


def test_binary_cross_entropy_is_that_of_timm() -> None:
    """timm 1.0.31, BinaryCrossEntropy(smoothing=0.1, reduction="none") and the mean over classes, of both kinds."""
    logits = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.25, -1.5, 2.0]])
    loss = binary_cross_entropy(logits, torch.tensor([2, 3]), smoothing=0.1)
    torch.testing.assert_close(loss, torch.tensor([1.237588525, 0.507169425]))
    several = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(binary_cross_entropy(logits, several), torch.tensor([0.990713537, 0.961856961]))


def test_binary_questions_do_not_compete() -> None:
    logits = logits_of(4).requires_grad_()
    binary_cross_entropy(logits, labels_of(4))[:, None].sum().backward()
    one = torch.zeros(4, CLASSES, dtype=torch.float64)
    one[torch.arange(4), labels_of(4)] = 1
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - one) / CLASSES)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_equation_4(gamma: float) -> None:
    logits, labels = logits_of(9), labels_of(9)
    p = softmax(logits)[np.arange(9), labels.numpy()]
    np.testing.assert_allclose(focal(logits, labels, gamma=gamma), -((1 - p) ** gamma) * np.log(p), rtol=1e-10)


def test_focal_loss_counts_a_sure_picture_as_the_paper_says() -> None:
    """Lin et al. 2017, Sec. 3.2: at gamma 2, p = 0.9 has a loss 100 times lower, p = 0.968 a thousand times."""
    logits = torch.tensor([[0.9, 0.1], [0.968, 0.032]], dtype=torch.float64).log()
    labels = torch.zeros(2, dtype=torch.int64)
    ratio = cross_entropy(logits, labels) / focal(logits, labels, gamma=2.0)
    np.testing.assert_allclose(ratio, [100, 976.5625], rtol=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_at_gamma_0_is_cross_entropy(smoothing: float) -> None:
    for targets in (labels_of(9), mixed(9)):
        logits = logits_of(9)
        torch.testing.assert_close(
            focal(logits, targets, gamma=0.0, smoothing=smoothing), cross_entropy(logits, targets, smoothing=smoothing)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    loss = build_loss(options(**KINDS[kind], class_weights=WEIGHTS))
    for targets in (labels_of(3), mixed(3)):
        assert torch.autograd.gradcheck(lambda logits, t=targets: loss(logits, t), logits_of(3).requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_a_certain_picture_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [20.0, 0.0]], requires_grad=True)
    losses = focal(logits, torch.tensor([0, 0, 1]), gamma=gamma)
    losses.sum().backward()
    np.testing.assert_allclose(losses.detach(), [0, 200, 20], atol=1e-5)
    assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_mean_of_batch_means(kind: str, weights: Any) -> None:
    """A batch of 32 has the gradient of its parts, equal or not: nothing is divided by a part's own sum."""
    loss = build_loss(options(**KINDS[kind], class_weights=weights))
    for targets in (labels_of(32), mixed(32)):
        gradients = []
        for sizes in ([32], [8, 8, 8, 8], [13, 1, 0, 18]):
            logits = logits_of(32).requires_grad_()
            for part, wanted in zip(logits.split(sizes), targets.split(sizes), strict=True):
                (loss(part, wanted).sum() / 32).backward()
            assert logits.grad is not None
            gradients.append(logits.grad)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-14, atol=0)
        torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-14, atol=0)


def test_class_weights_multiply_the_loss_of_a_picture() -> None:
    logits, labels = logits_of(9), labels_of(9)
    for changes in KINDS.values():
        plain, weighted = build_loss(options(**changes)), build_loss(options(**changes, class_weights=WEIGHTS))
        by_label = torch.tensor([WEIGHTS[label] for label in labels.tolist()], dtype=torch.float64)
        torch.testing.assert_close(weighted(logits, labels), plain(logits, labels) * by_label)
        by_share = (mixed(9) * torch.tensor(WEIGHTS, dtype=torch.float64)).sum(dim=1)
        torch.testing.assert_close(weighted(logits, mixed(9)), plain(logits, mixed(9)) * by_share)


def test_unsmoothed_class_weights_are_those_of_torch() -> None:
    logits, labels = logits_of(9), labels_of(9)
    expected = F.cross_entropy(logits, labels, torch.tensor(WEIGHTS, dtype=torch.float64), reduction="none")
    torch.testing.assert_close(build_loss(options(class_weights=WEIGHTS))(logits, labels), expected)


def test_a_picture_of_several_classes_weighs_their_mean_and_one_of_none_weighs_1() -> None:
    several = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0], [0.0] * 5])
    logits = logits_of(2).float()
    losses = build_loss(options(loss="bce", class_weights=WEIGHTS))(logits, several)
    plain = build_loss(options(loss="bce"))(logits, several)
    torch.testing.assert_close(losses / plain, torch.tensor([(0.3 + 2.5) / 2, 1.0]))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_has_no_loss(kind: str, weights: Any) -> None:
    loss = build_loss(options(**KINDS[kind], class_weights=weights))
    for targets in (torch.zeros(0, dtype=torch.int64), torch.zeros(0, CLASSES)):
        logits = torch.zeros(0, CLASSES, requires_grad=True)
        losses = loss(logits, targets)
        losses.sum().backward()
        assert losses.shape == (0,) and logits.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_float32_targets_fit_logits_of_either_type(kind: str) -> None:
    loss = build_loss(options(**KINDS[kind], class_weights=WEIGHTS))
    for dtype in (torch.float32, torch.float64):
        losses = loss(logits_of(4).to(dtype), mixed(4).float())
        assert losses.dtype == dtype and losses.shape == (4,)
        torch.testing.assert_close(losses.double(), loss(logits_of(4), mixed(4)), rtol=1e-5, atol=1e-6)


def test_a_loss_before_training_is_that_of_chance() -> None:
    logits, labels = torch.zeros(1, CLASSES), torch.tensor([2])
    assert float(cross_entropy(logits, labels)) == pytest.approx(math.log(CLASSES))
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(math.log(2))


def test_weights_of_other_classes_are_refused() -> None:
    loss = build_loss(options(class_weights=(1.0, 2.0, 3.0)))
    with pytest.raises(ConfigError, match=r"class_weights has 3 numbers, and the network answers for 5 classes\. Give"):
        loss(logits_of(2), labels_of(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "targets", [torch.zeros(3, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(2, 1), torch.zeros(2)],
    ids=lambda t: str(tuple(t.shape)),
)  # fmt: skip
def test_targets_that_do_not_fit_are_refused(kind: str, targets: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"the loss got logits of shape \(2, 5\) and torch.* It needs logits \(n, K\)"):
        build_loss(options(**KINDS[kind], class_weights=WEIGHTS))(logits_of(2), targets)
