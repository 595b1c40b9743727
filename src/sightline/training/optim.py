"""Optimisers by name, with weight decay where it belongs."""

from typing import Any

import torch
from torch import nn

from sightline.training.options import TrainOptions


def parameter_groups(net: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights of two and more dimensions decay; norms' scales and all biases do not.

    Decaying a scale or a bias regularises nothing, since the next normalisation undoes it (He et al. 2018,
    "Bag of Tricks", arXiv:1812.01187, Sec. 3.1, "no bias decay").

    Args:
        net: any module; parameters that need no gradient are left out.
        weight_decay: for the first group.

    Returns:
        Groups as `torch.optim` takes them; an empty group is left out.

    Example:
        >>> [len(group["params"]) for group in parameter_groups(nn.Linear(2, 3), weight_decay=0.1)]
        [1, 1]
    """
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(net: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser that the options name, over `parameter_groups`.

    Args:
        net: the network, already on its device.
        options: name, learning rate, momentum and weight decay.
    """
    groups = parameter_groups(net, weight_decay=options.weight_decay)
    # fused: one pass over all parameters instead of one kernel an operation and tensor; same arithmetic
    match options.opt:
        case "adamw":
            return torch.optim.AdamW(groups, lr=options.lr, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=options.lr, fused=True)
        case "sgd" | "momentum":
            nesterov = options.opt == "sgd" and options.momentum > 0  # Nesterov needs a momentum
            return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=nesterov, fused=True)
