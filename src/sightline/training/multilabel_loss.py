"""What training makes small where a picture may have several labels, or none: one yes-or-no question a label.

As in `training.loss`, it is one number a picture, in nats, and no mean over pictures is taken here.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.data.transfer import constant
from sightline.errors import ConfigError, ShapeError
from sightline.training.loss import Loss
from sightline.training.options import TrainOptions


def build_multilabel_loss(options: TrainOptions) -> Loss:
    """The loss that the options name, for independent questions.

    Args:
        options: `loss`, `smoothing`, `focal_gamma`, and `class_weights`, which here are those of "yes".

    Returns:
        A function of logits (n, K) and float targets (n, K), each in [0, 1]. It gives (n,), the mean over the labels,
        in nats; n may be 0. It raises ShapeError where targets do not fit the logits, and ConfigError where the weights
        do not.

    Raises:
        ConfigError: the loss is cross-entropy, whose classes compete.

    Example:
        >>> loss = build_multilabel_loss(TrainOptions(epochs=1, batch_size=2, lr=0.1, loss="bce"))
        >>> loss(torch.zeros(2, 3), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))  # ln 2 each
        tensor([0.6931, 0.6931])
    """
    if options.loss == "cross_entropy":
        raise ConfigError(
            "loss is cross_entropy, and a picture may have several labels: its softmax shares one whole among them. "
            "Take --loss bce, a yes-or-no question a label, or --loss focal."
        )
    gamma = options.focal_gamma if options.loss == "focal" else 0.0
    return partial(binary_questions, gamma=gamma, smoothing=options.smoothing, yes_weights=options.class_weights)


def binary_questions(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 0.0,
    smoothing: float = 0.0,
    yes_weights: tuple[float, ...] | None = None,
) -> Tensor:
    """The mean over the labels of -(w q (1 - p)^γ log p + (1 - q) p^γ log(1 - p)), p = σ(logit).

    Args:
        logits: (n, K).
        targets: float (n, K): 1 where a picture has the label, 0 where not, a share where pictures are mixed.
        gamma: γ, 0 or more: how little a question counts whose answer is sure and right; 0 is binary cross-entropy.
        smoothing: s, in [0, 1): q = (1 - s) target + s / 2, half of it to either answer. Not s / K, which is for one
            class among K.
        yes_weights: w, a weight a label; None for 1. What torch calls `pos_weight`.

    Reference:
        Szegedy et al. 2015, arXiv:1512.00567, Sec. 7, of two classes, yes and no, for each label; so does Keras'
        BinaryCrossentropy(label_smoothing). Focal: Lin et al. 2017, arXiv:1708.02002, Eq. 4, as in the paper with a
        sigmoid.

    Example:
        >>> binary_questions(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), yes_weights=(3.0, 1.0))  # (3 + 1) / 2 ln 2
        tensor([1.3863])
    """
    if logits.dim() != 2 or targets.shape != logits.shape or not targets.is_floating_point():
        raise ShapeError(
            f"the loss got logits of shape {tuple(logits.shape)} and {targets.dtype} targets of shape "
            f"{tuple(targets.shape)}. It needs logits (n, K) and float targets (n, K), a yes or no for each label."
        )
    if yes_weights is not None and len(yes_weights) != logits.shape[1]:
        raise ConfigError(
            f"class_weights has {len(yes_weights)} numbers, and the network answers for {logits.shape[1]} labels. "
            "Give one a label, in their order."
        )
    weights = None if yes_weights is None else constant(yes_weights, logits.dtype, logits.device)
    targets = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    if gamma == 0:
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(dim=1)
    log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
    of_yes = targets * torch.exp(gamma * log_no) * log_yes
    of_no = (1 - targets) * torch.exp(gamma * log_yes) * log_no
    return -((of_yes if weights is None else weights * of_yes) + of_no).mean(dim=1)
