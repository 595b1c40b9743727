"""Layers one after the other, as one part of a network."""

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor, nn


def in_turn(layers: Iterable[nn.Module]) -> Callable[[Tensor], Tensor]:
    """What the layers make of an input, each taking what the one before it gave.

    For networks whose state-dict names number all layers in one list, so that their stages have no module of their
    own. A slice of an nn.Sequential would do the same, but is a new module each time, which costs more than some of
    the layers.

    Args:
        layers: in order.

    Example:
        >>> import torch
        >>> in_turn([nn.Flatten(), nn.Softmax(dim=1)])(torch.zeros(1, 2, 2))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return partial(_run, tuple(layers))


def _run(layers: tuple[nn.Module, ...], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
