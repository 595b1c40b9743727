"""The moving average of the weights, which is often better than the weights."""

import copy

import torch
from torch import nn


class Ema:
    """An exponential moving average of a network's parameters and buffers.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)) after t updates, so that the average does not remember the
    random start of a short run. Integer buffers (batch norm's counters) are copied.

    Args:
        net: the network to follow; the average starts as its copy.
        decay: what each update keeps of the average, in [0, 1).

    Attributes:
        net: the averaged network, in evaluation mode.

    Reference:
        Polyak and Juditsky 1992; the warm-up as in TensorFlow's ExponentialMovingAverage(num_updates).
    """

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, *, step: int) -> None:
        """Moves the average towards the network.

        Args:
            net: the network after an optimiser step.
            step: number of updates before this one.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, current = self.net.state_dict(), net.state_dict()
        moving = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in moving], [current[n] for n in moving], 1 - decay)
        for name in averaged.keys() - set(moving):
            averaged[name].copy_(current[name])
