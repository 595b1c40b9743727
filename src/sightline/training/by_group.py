"""What optimisers of our own have in common: a step is one update for the parameters of each group."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class ByGroup(torch.optim.Optimizer):
    """An optimiser that moves all parameters of a group together."""

    @abstractmethod
    def step_group(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient.

        Args:
            parameters: one or more.
            gradients: theirs, in the same order.
            group: its numbers, by name.
        """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves every parameter that has a gradient.

        Args:
            closure: computes the loss and the gradients anew, where the caller has not.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self.step_group(parameters, [parameter.grad for parameter in parameters], group)
        return loss
