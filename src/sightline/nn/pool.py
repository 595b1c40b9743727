"""Pooling: over a whole feature map, and by the L2 norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class L2Pool2d(nn.Module):
    """The square root of the sum of squares in each window.

    Between the mean and the maximum: large values weigh more than small ones, and none is lost. The gradient of a
    window's value is the window divided by it; where all is zero it is taken as zero, its subgradient of least norm.

    Args:
        kernel_size: side of the square window, px.
        stride: distance of neighbouring windows, px; None takes `kernel_size`, so that windows touch.
        padding: zeros on each side, px; at most half of the window.

    Shape:
        (N, C, H, W) -> (N, C, H', W'), H' = floor((H + 2 padding - kernel_size) / stride) + 1.

    Reference:
        Boureau, Ponce and LeCun 2010, "A Theoretical Analysis of Feature Pooling in Visual Recognition", ICML, which
        compares mean and maximum; Sermanet, Chintala and LeCun 2012, "Convolutional Neural Networks Applied to House
        Numbers Digit Classification", arXiv:1204.3968, for Lp pooling, p = 2 among it.

    Deviation:
        The second paper weighs the squares by a Gaussian over the window; here they count alike, as in torch's
        `LPPool2d`, whose gradient is not finite where a window is zero, and which has no padding.

    Example:
        >>> L2Pool2d(2)(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]]))
        tensor([[[[5.]]]])
    """

    def __init__(self, kernel_size: int, *, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # squares leave the range of half precision
        mean = F.avg_pool2d(wide.square(), self.kernel_size, self.stride, self.padding)  # padding counts, as zeros
        total = mean * self.kernel_size**2
        is_zero = total == 0
        norm = torch.where(is_zero, 1.0, total).sqrt()  # the root's gradient at zero is infinite: keep away from it
        return torch.where(is_zero, 0.0, norm).to(x.dtype)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
