"""The weights of the best epoch, for runs that end when nothing gets better."""

import copy
import math
from collections.abc import Mapping

from torch import nn

from sightline.training.average import copy_values


class Best:
    """Keeps the weights of the epoch with the lowest validation loss.

    Of equal losses the first is kept. A loss that is not a number is worse than any other. The first epoch is kept
    whatever its loss, so that there are trained weights to ship.

    Its state is the tensors of `net` and `numbers()`: a checkpoint that holds both restores it exactly.

    Args:
        net: the network to follow; `net` starts as its copy.

    Attributes:
        net: the best epoch's network, a copy of its own in evaluation mode.
        epoch: number of epochs before the best one; None before the first.
        val_loss: its validation loss in nats; infinite before the first, and where that was not a number.

    Reference:
        Goodfellow, Bengio and Courville 2016, "Deep Learning", Algorithm 7.1, with one epoch between evaluations.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> best = Best(net)
        >>> [best.offer(net, epoch=epoch, val_loss=loss) for epoch, loss in enumerate([0.9, 0.7, 0.7, 0.8])]
        [True, True, False, False]
        >>> best.epoch, best.val_loss
        (1, 0.7)
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.epoch: int | None = None
        self.val_loss = math.inf

    def offer(self, net: nn.Module, *, epoch: int, val_loss: float) -> bool:
        """Keeps the network's weights if they are the best so far.

        Args:
            net: as it was validated.
            epoch: number of epochs before this one.
            val_loss: in nats.

        Returns:
            Whether they are.
        """
        if math.isnan(val_loss):
            val_loss = math.inf
        if self.epoch is not None and val_loss >= self.val_loss:
            return False
        copy_values(net, self.net)
        self.epoch, self.val_loss = epoch, val_loss
        return True

    def numbers(self) -> dict[str, float]:
        """What a checkpoint needs besides the tensors of `net`; nothing before the first epoch."""
        return {} if self.epoch is None else {"epoch": self.epoch, "val_loss": self.val_loss}

    def load_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` gave."""
        self.epoch = int(numbers["epoch"]) if numbers else None
        self.val_loss = numbers["val_loss"] if numbers else math.inf
