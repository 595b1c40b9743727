"""Lion: the sign of an averaged gradient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sightline.training.by_group import ByGroup


class Lion(ByGroup):
    """Every weight moves by the learning rate, up or down: only the sign of the averaged gradient counts.

        update    = sign(beta1 m + (1 - beta1) g)
        weight   -= lr (update + weight_decay weight)
        m         = beta2 m + (1 - beta2) g

    One average instead of Adam's two, so half the memory. Since the step is as long as Adam's only where Adam is sure
    of the direction, lr is to be 3 to 10 times as small as Adam's and the weight decay as many times as large (Sec. 5).

    Args:
        groups: as `torch.optim` takes them; "lr", "betas" and "weight_decay" may differ from group to group.
        lr: learning rate.
        betas: what of the average goes into the update, and what of it is kept.

    Reference:
        Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, Program 1; betas of Sec. 5.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> weight.grad = torch.tensor([0.001, -30.0])
        >>> Lion([{"params": [weight]}], lr=0.5).step()
        >>> weight.tolist()
        [0.5, -1.5]
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    def step_group(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Moves the parameters by the sign of their averages."""
        lr, betas, weight_decay = group["lr"], group["betas"], group["weight_decay"]
        for parameter in parameters:
            if "exp_avg" not in self.state[parameter]:
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["exp_avg"] for parameter in parameters]

        # foreach: one kernel for many tensors on a GPU
        updates = torch._foreach_lerp(averages, gradients, weight=1 - betas[0])
        torch._foreach_sign_(updates)
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        torch._foreach_add_(parameters, updates, alpha=-lr)
        torch._foreach_lerp_(averages, gradients, weight=1 - betas[1])
