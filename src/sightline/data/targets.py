"""What a network is to answer, from the labels of a store: a class number a picture, or a yes or no for each class."""

import torch
from torch import Tensor


def is_multilabel(labels: Tensor) -> bool:
    """Whether labels are a yes or no for each class.

    Args:
        labels: int64 (n,), or of multi-label data uint8 (n, K).
    """
    return labels.dim() == 2


def targets_of(labels: Tensor) -> Tensor:
    """The labels as the loss takes them: as they are, or of multi-label data float32.

    Args:
        labels: int64 (n,), or of multi-label data uint8 (n, K).

    Example:
        >>> targets_of(torch.tensor([2, 0])), targets_of(torch.tensor([[1, 0, 1]], dtype=torch.uint8))
        (tensor([2, 0]), tensor([[1., 0., 1.]]))
    """
    return labels.to(torch.float32) if is_multilabel(labels) else labels


def shares_of(labels: Tensor, num_classes: int) -> Tensor:
    """The labels as rows that can be mixed.

    Args:
        labels: int64 (n,), or of multi-label data uint8 (n, K).
        num_classes: K.

    Returns:
        float32 (n, K).

    Example:
        >>> shares_of(torch.tensor([2, 0]), 3)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    if is_multilabel(labels):
        return targets_of(labels)
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(torch.float32)


def fits(labels: Tensor, num_classes: int) -> bool:
    """Whether rows of a number of classes have a place for every label.

    Args:
        labels: of a store, one or more.
        num_classes: K.

    Example:
        >>> fits(torch.tensor([2, 0]), 3), fits(torch.tensor([2, 0]), 2)
        (True, False)
    """
    return labels.shape[1] == num_classes if is_multilabel(labels) else int(labels.max()) < num_classes
