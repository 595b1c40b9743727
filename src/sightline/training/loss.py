"""What training makes small: one number a picture, in nats.

The loop sums these numbers and divides by the pictures of the whole step. No loss takes a mean over pictures itself,
so micro-batches and processes, which split a step in parts of unequal size, cannot change its gradient.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.data.transfer import constant
from sightline.errors import ConfigError, ShapeError
from sightline.training.options import TrainOptions

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (n, K), targets (n,) int64 or (n, K) float -> (n,) in nats


def build_loss(options: TrainOptions) -> Loss:
    """The loss that the options name, with their smoothing and class weights.

    Args:
        options: `loss`, `smoothing`, `focal_gamma` and `class_weights`.

    Returns:
        A function of logits (n, K), float32 or float64, and targets, int64 labels (n,) or shares of the classes (n, K):
        those of Mixup, or the ones and zeros of several labels a picture. It gives (n,), one loss a picture, in nats;
        n may be 0. It raises ShapeError where targets do not fit the logits, and ConfigError where the class weights
        do not.

    Example:
        >>> loss = build_loss(TrainOptions(epochs=1, batch_size=2, lr=0.1, class_weights=(1.0, 3.0)))
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1]))  # ln 2 each, the second counted three times
        tensor([0.6931, 2.0794])
    """
    loss: Loss
    match options.loss:
        case "cross_entropy":
            loss = partial(cross_entropy, smoothing=options.smoothing)
        case "bce":
            loss = partial(binary_cross_entropy, smoothing=options.smoothing)
        case "focal":
            loss = partial(focal, gamma=options.focal_gamma, smoothing=options.smoothing)
    return loss if options.class_weights is None else partial(_weighted, loss, options.class_weights)


def cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """-Σ q log p over the classes, p the softmax of the logits and q the smoothed targets.

    With smoothing s, q = (1 - s) target + s / K: the one place where targets are smoothed, those of Mixup included.

    Args:
        logits: (n, K).
        targets: labels (n,), or shares of the classes (n, K).
        smoothing: s, in [0, 1).

    Reference:
        Szegedy et al. 2015, "Rethinking the Inception Architecture", arXiv:1512.00567, Sec. 7.

    Example:
        >>> cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
        tensor([0.1269])
    """
    _check(logits, targets)
    if targets.is_floating_point():
        targets = targets.to(logits.dtype)
    return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def binary_cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """One yes-or-no question a class: the mean over the classes of -(q log σ(z) + (1 - q) log(1 - σ(z))).

    The classes do not compete, so a picture may have several (ones in its row of targets), or none. It is the mean over
    classes and not their sum, as in timm, so that published learning rates hold and the loss does not grow with K.

    Args:
        logits: (n, K).
        targets: labels (n,), or an answer in [0, 1] to each question (n, K).
        smoothing: s, in [0, 1): q = (1 - s) target + s / K.

    Reference:
        Wightman, Touvron and Jégou 2021, "ResNet strikes back", arXiv:2110.00476, "Loss: multi-label
        classification objective". timm's BinaryCrossEntropy.

    Deviation:
        timm smooths labels by the same formula and leaves rows of targets to Mixup, which smooths them before; there
        the numbers are the same. Its rows of several labels are not smoothed, or are towards 1/2.

    Example:
        >>> binary_cross_entropy(torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]))
        tensor([0.6931])
    """
    _check(logits, targets)
    targets = _smoothed(_shares(logits, targets), smoothing)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


def focal(logits: Tensor, targets: Tensor, *, gamma: float, smoothing: float = 0.0) -> Tensor:
    """-Σ q (1 - p)^γ log p over the classes: cross-entropy in which pictures that are easy already count little.

    Args:
        logits: (n, K).
        targets: labels (n,), or shares of the classes (n, K).
        gamma: γ, 0 or more; 0 is cross-entropy. At 2 a picture with p = 0.9 counts a hundredth.
        smoothing: as in `cross_entropy`.

    Reference:
        Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002, Eq. 4, with a softmax in place of
        the paper's sigmoid; with class weights for α it is Eq. 5.

    Example:
        >>> logits = torch.tensor([[0.9, 0.1]]).log()
        >>> focal(logits, torch.tensor([0]), gamma=2.0) / cross_entropy(logits, torch.tensor([0]))
        tensor([0.0100])
    """
    _check(logits, targets)
    targets = _smoothed(_shares(logits, targets), smoothing)
    log_p = F.log_softmax(logits, dim=1)
    # 1 - p without cancellation. Under the least number there is, the slope of a root would be infinite.
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(logits.dtype).tiny)
    return -(targets * missing**gamma * log_p).sum(dim=1)


def _weighted(loss: Loss, class_weights: tuple[float, ...], logits: Tensor, targets: Tensor) -> Tensor:
    """A loss times the weight of each picture's class: of its classes on average, where its target has several.

    The weights are not divided by their sum in the batch, as torch does it in a mean: that sum is another in every
    part of a batch. A picture of no class, which binary questions allow, weighs 1.
    """
    losses = loss(logits, targets)
    if len(class_weights) != logits.shape[1]:
        raise ConfigError(
            f"class_weights has {len(class_weights)} numbers, and the network answers for {logits.shape[1]} classes. "
            "Give one a class, in their order."
        )
    weights = constant(class_weights, logits.dtype, logits.device)
    if not targets.is_floating_point():
        return losses * weights[targets]
    total = targets.sum(dim=1)
    return losses * torch.where(total > 0, targets.to(weights.dtype) @ weights / total, 1.0)


def _shares(logits: Tensor, targets: Tensor) -> Tensor:
    """Targets as shares of the classes (n, K), in the type of the logits."""
    if not targets.is_floating_point():
        targets = F.one_hot(targets, logits.shape[1])
    return targets.to(logits.dtype)


def _smoothed(shares: Tensor, smoothing: float) -> Tensor:
    return shares * (1 - smoothing) + smoothing / shares.shape[1]


def _check(logits: Tensor, targets: Tensor) -> None:
    """Refuses targets that belong to other logits: broadcasting would make something of them."""
    needed = logits.shape if targets.is_floating_point() else logits.shape[:1]
    if logits.dim() != 2 or targets.shape != needed:
        raise ShapeError(
            f"the loss got logits of shape {tuple(logits.shape)} and {targets.dtype} targets of shape "
            f"{tuple(targets.shape)}. It needs logits (n, K) and int64 labels (n,), or float shares of classes (n, K)."
        )
