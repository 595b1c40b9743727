"""Normalisation across feature maps: as it was done before batch normalisation, and as it is done again."""

from torch import Tensor, nn
from torch.nn import functional as F


def local_response_norm() -> nn.LocalResponseNorm:
    """Divides a value by (2 + 1e-4 S)^0.75, S the squares' sum over its map and the two maps on each side.

    A strong response holds down those of the neighbouring maps at the same place.

    Shape:
        (N, C, H, W) -> (N, C, H, W).

    Reference:
        Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
        Sec. 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75.

    Example:
        >>> import torch
        >>> equal_maps = torch.full((1, 9, 1, 1), 100.0)
        >>> round(local_response_norm()(equal_maps)[0, 4].item() * (2 + 1e-4 * 5 * 100**2) ** 0.75, 3)
        100.0
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # torch divides alpha by n, the paper does not


class LayerNorm2d(nn.LayerNorm):
    """At each place of the map, brings its channels to mean 0 and variance 1; then a scale and a shift a channel.

    A picture's values do not depend on the rest of its batch, and there are no running statistics.

    Args:
        channels: of the input.
        eps: added to the variances.

    Shape:
        (N, channels, H, W) -> (N, channels, H, W), in memory with the channels last.

    Reference:
        Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450; over channels alone as in ConvNeXt,
        arXiv:2201.03545, Sec. 2.6.

    Example:
        >>> import torch
        >>> LayerNorm2d(2)(torch.tensor([[[[1.0]], [[3.0]]]])).detach().flatten()
        tensor([-1.0000,  1.0000])
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
