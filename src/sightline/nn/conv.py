"""Convolution, normalisation, activation: the unit that every later network repeats."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]
Activation = Callable[[], nn.Module]


def relu() -> nn.ReLU:
    """ReLU in place: its input is not needed for the gradient, so its memory is reused."""
    return nn.ReLU(inplace=True)


class ConvNormAct(nn.Sequential):
    """A convolution, a normalisation over its channels, and an activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel, px.
        stride: step of the kernel, px.
        padding: zeros on each side; None keeps the size at stride 1 with an odd kernel.
        bias: of the convolution. A normalisation right after it takes the mean away, so it is dead weight there.
        norm: from a number of channels to a normalisation.
        act: makes the activation.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H', W'), H' = floor((H + 2 padding - kernel_size) / stride) + 1.

    Reference:
        Ioffe and Szegedy 2015, "Batch Normalization", arXiv:1502.03167, Sec. 3.2: between convolution and activation.

    Example:
        >>> import torch
        >>> ConvNormAct(3, 8, 3, stride=2)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = False,
        norm: Norm = nn.BatchNorm2d,
        act: Activation = relu,
    ) -> None:
        if padding is None:
            padding = kernel_size // 2
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias)
        super().__init__(OrderedDict(conv=conv, norm=norm(out_channels), act=act()))
