"""Pooling over a whole feature map."""

from torch import Tensor, nn


class GlobalAvgPool2d(nn.Module):
    """The mean of each channel over the whole map, so that the network takes any picture size.

    Shape:
        (N, C, H, W) -> (N, C).

    Reference:
        Lin, Chen and Yan 2013, "Network In Network", arXiv:1312.4400, Sec. 3.2.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class GlobalMaxPool2d(nn.Module):
    """The largest value of each channel over the whole map.

    Shape:
        (N, C, H, W) -> (N, C).
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))
