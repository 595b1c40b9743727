"""Optimisers by name, with weight decay where it belongs and a rate of its own for each layer where that is asked."""

from typing import Any

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.training.depth import depth_of_parameters
from sightline.training.lion import Lion
from sightline.training.matrices import updates_of
from sightline.training.muon import AUXILIARY_RATE, Muon
from sightline.training.options import TrainOptions

RMSPROP_ALPHA = 0.9  # Hinton's lecture 6e; torch's own is 0.99


def parameter_groups(net: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
    """The parameters to train, by what the optimiser does with them.

    Weights of two and more dimensions decay; biases and the scales of norms and branches do not. Decaying them
    regularises nothing, since the next normalisation undoes it (He et al. 2018, "Bag of Tricks", arXiv:1812.01187,
    Sec. 3.1, "no bias decay").

    With `layer_decay` a layer d below the head gets layer_decay ** d of the rate: early layers of trained weights are
    the most general (Clark et al. 2020, arXiv:2003.10555, Sec. 3.1; Bao et al. 2021, arXiv:2106.08254, Sec. 3).

    Args:
        net: any module; parameters that need no gradient are left out. Those that are to be frozen for a while only
            must need theirs here.
        options: `opt`, `weight_decay` and `layer_decay`.

    Returns:
        Groups as `torch.optim` takes them, with "params", "weight_decay" and "lr_scale", which `set_learning_rate`
        multiplies the rate by; of Muon also "update".

    Example:
        >>> options = TrainOptions(epochs=1, batch_size=1, lr=0.1, weight_decay=0.01)
        >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(nn.Linear(2, 3), options)]
        [(1, 0.01), (1, 0.0)]
    """
    depths = {} if options.layer_decay is None else depth_of_parameters(net)
    deepest = max(depths.values(), default=0)
    updates = updates_of(net) if options.opt == "muon" else {}
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        kind: dict[str, Any] = {
            "weight_decay": options.weight_decay if _is_matrix(parameter) else 0.0,
            "lr_scale": 1.0 if options.layer_decay is None else options.layer_decay ** (deepest - depths[name]),
        }
        if options.opt == "muon":
            kind["update"] = updates.get(parameter, "adamw")
            kind["lr_scale"] *= AUXILIARY_RATE if kind["update"] == "adamw" else 1.0
        groups.setdefault(tuple(kind.values()), {"params": [], **kind})["params"].append(parameter)
    return list(groups.values())


def build_optimizer(net: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser that the options name, over `parameter_groups`.

    Args:
        net: the network, already on its device.
        options: name, learning rate, and what belongs to the optimiser; docs/optimisation.md has the formulas.

    Raises:
        ConfigError: no parameter is to be trained.
    """
    groups = parameter_groups(net, options)
    if not groups:
        raise ConfigError(
            f"all {sum(1 for _ in net.parameters())} parameters of the network are frozen, so there is nothing to "
            "train. Set requires_grad of those to train."
        )
    optimizer = _optimizer(groups, options)
    set_learning_rate(optimizer, options.lr)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the rate of the next step.

    Args:
        optimizer: of `build_optimizer`.
        lr: what a group of scale 1 gets.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _optimizer(groups: list[dict[str, Any]], options: TrainOptions) -> torch.optim.Optimizer:
    lr, momentum = options.lr, options.momentum
    betas: dict[str, Any] = {} if options.opt_betas is None else {"betas": options.opt_betas}
    eps: dict[str, Any] = {} if options.opt_eps is None else {"eps": options.opt_eps}
    # fused: one pass over all parameters instead of one kernel an operation and tensor; same arithmetic
    match options.opt:
        case "sgd" | "momentum":
            nesterov = options.opt == "sgd" and momentum > 0  # Nesterov needs a momentum
            optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
            if momentum > 0:
                _begin_at_rest(optimizer)
            return optimizer
        case "rmsprop":  # torch has no fused kernel; on a GPU it takes foreach by itself
            return torch.optim.RMSprop(groups, lr=lr, momentum=momentum, alpha=RMSPROP_ALPHA, **eps)
        case "adagrad":
            has_kernel = groups[0]["params"][0].device.type in ("cpu", "cuda")
            return torch.optim.Adagrad(groups, lr=lr, fused=has_kernel or None, **eps)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=True, **betas, **eps)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True, **betas, **eps)
        case "lion":
            return Lion(groups, lr=lr, **betas)
        case "muon":
            return Muon(groups, lr=lr, momentum=momentum, **betas, **eps)


def _begin_at_rest(sgd: torch.optim.SGD) -> None:
    """Gives every parameter a momentum of zero.

    Torch gives it one with its first gradient, which is the same; but its fused kernel then fails where some parameters
    have had theirs and others, after epochs of the head alone, have not.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _is_matrix(parameter: nn.Parameter) -> bool:
    """Whether it weighs inputs; a scale of one number a channel, (C, 1, 1), has three dimensions and does not."""
    return parameter.ndim >= 2 and not (parameter.ndim == 3 and parameter.shape[1:].numel() == 1)
