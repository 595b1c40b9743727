"""Convolution, normalisation, activation: the unit that every later network repeats."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from sightline.nn.arithmetic import same_padding

Conv = Callable[..., nn.Conv2d]
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


class SameConv2d(nn.Conv2d):
    """A convolution padded as in TensorFlow: the output has ceil(size / stride) px, and an odd zero goes after.

    With stride 2, a 3x3 kernel and an even size there is no zero before and one after, so that the kernels stand a
    pixel later than with one on each side. Weights trained in one way see shifted maps in the other.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel, px.
        stride: step of the kernel, px.
        groups: parts that channels are split into.
        bias: whether each filter has one.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> import torch
        >>> SameConv2d(3, 8, 3, stride=2)(torch.zeros(1, 3, 33, 32)).shape
        torch.Size([1, 8, 17, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = same_padding(x.shape[2], self.kernel_size[0], stride=self.stride[0])
        left, right = same_padding(x.shape[3], self.kernel_size[1], stride=self.stride[1])
        padding = (top, left)
        if padding != (bottom, right):
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def padded_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    """A convolution with as many zeros before as after, so that with an odd kernel stride 1 keeps the size.

    Takes what `SameConv2d` takes, which pads otherwise.
    """
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=bias)
