"""Residual units: the input is added to what the convolutions make of it."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from sightline.nn.conv import Norm, relu


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the unit of ResNet-18 and -34 and of the CIFAR ResNets.

    Args:
        in_channels: channels of the input.
        channels: channels of both convolutions and of the output.
        stride: of the first convolution.
        downsample: the shortcut where size or channels change; None adds the input as it is.
        norm: from a number of channels to a normalisation.

    Shape:
        (N, in_channels, H, W) -> (N, channels, H / stride, W / stride).

    Reference:
        He et al. 2015, "Deep Residual Learning", arXiv:1512.03385, Fig. 5 left.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        downsample: nn.Module | None = None,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.relu = relu()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3 on those, 1x1 to four times as many; the unit of ResNet-50 and deeper.

    Args:
        in_channels: channels of the input.
        channels: channels of the 3x3 convolution; the output has four times as many.
        stride: of the 3x3 convolution.
        downsample: the shortcut where size or channels change; None adds the input as it is.
        norm: from a number of channels to a normalisation.

    Shape:
        (N, in_channels, H, W) -> (N, 4 channels, H / stride, W / stride).

    Reference:
        He et al. 2015, "Deep Residual Learning", arXiv:1512.03385, Fig. 5 right.

    Deviation:
        The stride is in the 3x3 convolution, not in the first 1x1 as in the paper: it loses fewer of the input's
        values, 0.5 points better on ImageNet at 5 % more cost. torchvision, "ResNet v1.5" after NVIDIA.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        downsample: nn.Module | None = None,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = relu()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class PaddedShortcut(nn.Module):
    """Every `stride`-th value of the input, with channels of zeros added: a shortcut without parameters.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; the zeros are split before and after the input's channels.
        stride: of the subsampling.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride).

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 3.3, option A.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = out_channels - in_channels
        self.padding = (0, 0, 0, 0, missing // 2, missing - missing // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


def projection(in_channels: int, out_channels: int, stride: int, *, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """A strided 1x1 convolution and a norm: the shortcut of the ImageNet ResNets where shapes change.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the convolution.
        norm: from a number of channels to a normalisation.

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 3.3, option B.
    """
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), norm(out_channels))


Block = type[BasicBlock] | type[Bottleneck]
Shortcut = Callable[[int, int, int], nn.Module]


def residual_stage(
    block: Block, in_channels: int, channels: int, num_blocks: int, *, stride: int, shortcut: Shortcut = projection
) -> nn.Sequential:
    """A run of equal residual units, the first of which changes size and channels.

    Args:
        block: the unit.
        in_channels: channels of the input.
        channels: as the unit takes it; the output has `block.expansion` times as many.
        num_blocks: units in the run.
        stride: of the first unit.
        shortcut: makes the first unit's shortcut from (in_channels, out_channels, stride), where shapes change.
    """
    out_channels = channels * block.expansion
    changes = stride != 1 or in_channels != out_channels
    first = block(
        in_channels,
        channels,
        stride=stride,
        downsample=shortcut(in_channels, out_channels, stride) if changes else None,
    )
    return nn.Sequential(first, *(block(out_channels, channels) for _ in range(num_blocks - 1)))
