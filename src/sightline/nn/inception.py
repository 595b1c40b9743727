"""The inception unit, kernels of several sizes side by side on the same input, and the auxiliary head beside it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.nn.conv import relu

Unit = Callable[[int, int, int], nn.Module]  # from in_channels, out_channels, kernel_size; keeps the size of the map


class InceptionWidths(NamedTuple):
    """The channels of an inception unit: a row of Table 1 in "Going Deeper with Convolutions", arXiv:1409.4842.

    Args:
        conv1x1: of the branch with nothing but a 1x1 convolution.
        reduce3x3: of the 1x1 convolution before the 3x3.
        conv3x3: of the 3x3 convolution.
        reduce5x5: of the 1x1 convolution before the 5x5.
        conv5x5: of the 5x5 convolution.
        pool_projection: of the 1x1 convolution after the max pool.

    Example:
        >>> InceptionWidths(64, 96, 128, 16, 32, 32).out_channels  # inception (3a)
        256
    """

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_projection: int

    @property
    def out_channels(self) -> int:
        """Of all branches together."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.pool_projection


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a max pool on the same input, their outputs one after the other.

    1x1 convolutions before the larger kernels make them affordable: they see fewer channels.

    Args:
        in_channels: channels of the input.
        widths: channels of the branches.
        unit: makes a convolution that keeps the size, with whatever follows it.
        large_kernel_size: of the third branch.

    Shape:
        (N, in_channels, H, W) -> (N, widths.out_channels, H, W).

    Reference:
        Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842, Fig. 2b.
    """

    def __init__(self, in_channels: int, widths: InceptionWidths, *, unit: Unit, large_kernel_size: int = 5) -> None:
        super().__init__()
        self.branch1 = unit(in_channels, widths.conv1x1, 1)
        self.branch2 = nn.Sequential(
            unit(in_channels, widths.reduce3x3, 1),
            unit(widths.reduce3x3, widths.conv3x3, 3),
        )
        self.branch3 = nn.Sequential(
            unit(in_channels, widths.reduce5x5, 1),
            unit(widths.reduce5x5, widths.conv5x5, large_kernel_size),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            unit(in_channels, widths.pool_projection, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on a middle layer: its gradient reaches the early layers on a shorter way.

    Args:
        in_channels: channels of the input.
        num_classes: outputs.
        pool: to 4x4 px.
        unit: makes the convolution.

    Shape:
        (N, in_channels, H, W) -> (N, num_classes).

    Reference:
        Szegedy et al. 2014, arXiv:1409.4842, Sec. 5.
    """

    def __init__(self, in_channels: int, num_classes: int, *, pool: nn.Module, unit: Unit) -> None:
        super().__init__()
        self.pool = pool
        self.conv = unit(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = relu()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        logits: Tensor = self.fc2(self.dropout(self.relu(self.fc1(x))))
        return logits


class AuxiliaryPool(nn.Module):
    """The mean of 5x5 windows, 3 px apart, to 4x4 px; where the map is not of 14 to 16 px, adaptive windows.

    Shape:
        (N, C, H, W) -> (N, C, 4, 4).

    Reference:
        Szegedy et al. 2014, arXiv:1409.4842, Sec. 5, for maps of 14x14 px: pictures of 224x224.
    """

    def forward(self, x: Tensor) -> Tensor:
        fits = all(14 <= side <= 16 for side in x.shape[2:])
        return F.avg_pool2d(x, 5, stride=3) if fits else F.adaptive_avg_pool2d(x, 4)
