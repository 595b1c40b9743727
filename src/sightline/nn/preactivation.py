"""Residual units with norm and activation before each convolution: nothing but sums is on the direct way."""

from collections import OrderedDict

from torch import Tensor, nn

from sightline.nn.conv import relu
from sightline.nn.drop import StochasticDepth
from sightline.nn.residual import Dilation, Shortcut, conv3x3


def bare_projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A strided 1x1 convolution where shapes change, else the identity: what it is given has been normalised before.

    Reference:
        He et al. 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027, appendix.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)))


class PreActBasicBlock(nn.Module):
    """Norm, activation, 3x3 convolution, twice; the unit of the pre-activation ResNets with two layers and of WRNs.

    The identity adds the input as it is. Any other shortcut takes what the first activation makes of it.

    Args:
        in_channels: channels of the input.
        channels: channels between the convolutions; in the papers as many as `out_channels`.
        out_channels: channels of the output.
        stride: of the first convolution.
        dilation: of the first convolution, and of the second.
        shortcut: makes the shortcut.
        dropout: between the convolutions, in [0, 1).

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2016, arXiv:1603.05027, Fig. 4 (e). Zagoruyko and Komodakis 2016, arXiv:1605.07146, Fig. 1 (d): with
        dropout.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: Dilation = (1, 1),
        shortcut: Shortcut = bare_projection,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.downsample = shortcut(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = relu()
        self.conv1 = conv3x3(in_channels, channels, stride=stride, dilation=dilation[0])
        self.norm2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(channels, out_channels, dilation=dilation[1])
        self.drop_path = StochasticDepth(0.0)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.norm1(x))
        branch = self.conv1(activated)
        branch = self.conv2(self.dropout(self.relu(self.norm2(branch))))
        out: Tensor = self.drop_path(branch)
        out += x if self.downsample is None else self.downsample(activated)
        return out


class PreActBottleneck(nn.Module):
    """Norm, activation, convolution, three times: 1x1 to fewer channels, 3x3 on those, 1x1 to more again.

    The identity adds the input as it is. Any other shortcut takes what the first activation makes of it.

    Args:
        in_channels: channels of the input.
        channels: channels of the 3x3 convolution.
        out_channels: channels of the output.
        stride: of the 3x3 convolution.
        dilation: of the 3x3 convolution; the second number, for 3x3 convolutions after it, has none to hold for.
        shortcut: makes the shortcut.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2016, arXiv:1603.05027, Fig. 4 (e) on a bottleneck.

    Deviation:
        The stride is in the 3x3 convolution, as in timm and in `residual.Bottleneck`, not in the first 1x1 as in the
        authors' code: it costs more (ResNet-50: 4,089 million multiplications instead of 3,858), with equal parameters.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: Dilation = (1, 1),
        shortcut: Shortcut = bare_projection,
    ) -> None:
        super().__init__()
        self.downsample = shortcut(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = relu()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride=stride, dilation=dilation[0])
        self.norm3 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.drop_path = StochasticDepth(0.0)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.norm1(x))
        branch = self.conv1(activated)
        branch = self.conv2(self.relu(self.norm2(branch)))
        branch = self.conv3(self.relu(self.norm3(branch)))
        out: Tensor = self.drop_path(branch)
        out += x if self.downsample is None else self.downsample(activated)
        return out
