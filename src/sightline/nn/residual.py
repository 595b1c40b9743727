"""Residual units: the input is added to what the convolutions make of it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from sightline.nn.conv import relu
from sightline.nn.drop import StochasticDepth

Dilation = tuple[int, int]  # of the convolution that takes a unit's stride, and of those after it
Shortcut = Callable[[int, int, int], nn.Module | None]  # from (in_channels, out_channels, stride); None: the identity


class PaddedShortcut(nn.Module):
    """Every `stride`-th value of the input, with channels of zeros added: a shortcut without parameters.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; the zeros are split before and after the input's channels.
        stride: of the subsampling.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = out_channels - in_channels
        self.padding = (0, 0, 0, 0, missing // 2, missing - missing // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


def zero_padding(in_channels: int, out_channels: int, stride: int) -> PaddedShortcut | None:
    """A padded shortcut where shapes change, else the identity.

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 3.3, option A.
    """
    return PaddedShortcut(in_channels, out_channels, stride) if stride > 1 or in_channels != out_channels else None


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A strided 1x1 convolution and a norm where shapes change, else the identity.

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 3.3, option B.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size at stride 1, whatever the dilation."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups, bias=False
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the unit of ResNet-18 and -34 and of the CIFAR ResNets.

    Args:
        in_channels: channels of the input.
        channels: channels between the convolutions; in the papers as many as `out_channels`.
        out_channels: channels of the output.
        stride: of the first convolution.
        dilation: of the first convolution, and of the second.
        groups: parts that each convolution's channels are split into.
        shortcut: makes the shortcut.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2015, "Deep Residual Learning", arXiv:1512.03385, Fig. 5 left.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: Dilation = (1, 1),
        groups: int = 1,
        shortcut: Shortcut = projection,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride=stride, dilation=dilation[0], groups=groups)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = relu()
        self.conv2 = conv3x3(channels, out_channels, dilation=dilation[1], groups=groups)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.drop_path = StochasticDepth(0.0)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.drop_path(self.bn2(self.conv2(branch)))
        branch += x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(branch)
        return out


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3 on those, 1x1 to more again; the unit of ResNet-50 and deeper.

    With more channels in the middle it is the unit of the wide ResNets; with its 3x3 in groups, that of ResNeXt.

    Args:
        in_channels: channels of the input.
        channels: channels of the 3x3 convolution.
        out_channels: channels of the output.
        stride: of the 3x3 convolution.
        dilation: of the 3x3 convolution; the second number, for 3x3 convolutions after it, has none to hold for.
        groups: parts that the channels of the 3x3 convolution are split into: the cardinality.
        shortcut: makes the shortcut.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2015, "Deep Residual Learning", arXiv:1512.03385, Fig. 5 right. Zagoruyko and Komodakis 2016, "Wide
        Residual Networks", arXiv:1605.07146, Sec. 3. Xie et al. 2016, "Aggregated Residual Transformations",
        arXiv:1611.05431, Fig. 3 (c).

    Deviation:
        The stride is in the 3x3 convolution, not in the first 1x1 as in He et al.: it loses fewer of the input's
        values, 0.5 points better on ImageNet at 6 % more cost (ResNet-50: 4,089 million multiplications instead of
        3,858). torchvision, "ResNet v1.5" after NVIDIA.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: Dilation = (1, 1),
        groups: int = 1,
        shortcut: Shortcut = projection,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride=stride, dilation=dilation[0], groups=groups)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = relu()
        self.drop_path = StochasticDepth(0.0)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.relu(self.bn2(self.conv2(branch)))
        branch = self.drop_path(self.bn3(self.conv3(branch)))
        branch += x if self.downsample is None else self.downsample(x)  # last: a training step is 4 % faster on the CPU
        out: Tensor = self.relu(branch)
        return out


class PlainBlock(nn.Module):
    """`BasicBlock` without its shortcut: the unit of the plain networks, which show what the shortcut is good for.

    Args:
        in_channels: channels of the input.
        channels: channels between the convolutions.
        out_channels: channels of the output.
        stride: of the first convolution.
        dilation: of the first convolution, and of the second.
        groups: parts that each convolution's channels are split into.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 3.3, "Plain Network".
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: Dilation = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride=stride, dilation=dilation[0], groups=groups)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = relu()
        self.conv2 = conv3x3(channels, out_channels, dilation=dilation[1], groups=groups)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)))
        return out


class Block(Protocol):
    """Makes a unit: one of the classes above, or one with some of its arguments given (functools.partial)."""

    def __call__(
        self, in_channels: int, channels: int, out_channels: int, *, stride: int = 1, dilation: Dilation = (1, 1)
    ) -> nn.Module: ...


def residual_stage(
    block: Block,
    in_channels: int,
    channels: int,
    out_channels: int,
    num_blocks: int,
    *,
    stride: int = 1,
    dilation: Dilation = (1, 1),
) -> nn.Sequential:
    """A run of equal units, the first of which changes size and channels.

    Args:
        block: makes the units.
        in_channels: channels of the input.
        channels: channels within the units.
        out_channels: channels of the output.
        num_blocks: units in the run.
        stride: of the first unit.
        dilation: of the convolution that takes the stride, and of all after it.
    """
    first = block(in_channels, channels, out_channels, stride=stride, dilation=dilation)
    after = dilation[1], dilation[1]
    return nn.Sequential(
        first, *(block(out_channels, channels, out_channels, dilation=after) for _ in range(num_blocks - 1))
    )


class Sampling(NamedTuple):
    """How a stage looks at its input: the stride and the dilation of `residual_stage`."""

    stride: int
    dilation: Dilation = (1, 1)


# Output stride -> the sampling of the third and the fourth stage. Where a stage keeps stride 1 instead of 2, the map
# holds every place instead of every other one. Kernels from there on, dilated twice as far, meet the same values as
# before at every other place, so that the weights still fit; the places between are new. The convolution that has lost
# its stride reads a map as fine as ever and keeps the dilation it had.
LATE_STAGES: dict[int, tuple[Sampling, Sampling]] = {
    32: (Sampling(stride=2), Sampling(stride=2)),
    16: (Sampling(stride=2), Sampling(stride=1, dilation=(1, 2))),
    8: (Sampling(stride=1, dilation=(1, 2)), Sampling(stride=1, dilation=(2, 4))),
}
