"""Squeeze and excitation: each channel is scaled by what the whole map shows."""

from torch import Tensor, nn

from sightline.nn.conv import Activation, relu


class SqueezeExcite(nn.Module):
    """Pools each channel over the map, and from these few numbers finds a factor for each channel.

    The state-dict names are torchvision's.

    Args:
        channels: of the input and the output.
        squeezed_channels: between the two dense layers, which are 1x1 convolutions on a map of 1x1 px.
        act: makes the activation between them: ReLU in the paper, SiLU in EfficientNet.
        gate: makes the function that turns the last layer's outputs into factors between 0 and 1: a sigmoid, or
            MobileNet v3's hard sigmoid, which is cheaper.

    Shape:
        (N, channels, H, W) -> (N, channels, H, W).

    Reference:
        Hu, Shen, Albanie, Sun and Wu 2017, "Squeeze-and-Excitation Networks", arXiv:1709.01507, Sec. 3.

    Example:
        >>> import torch
        >>> SqueezeExcite(16, 4)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self, channels: int, squeezed_channels: int, *, act: Activation = relu, gate: Activation = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed_channels, 1)
        self.act = act()
        self.fc2 = nn.Conv2d(squeezed_channels, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)  # (N, channels, 1, 1)
        factors: Tensor = self.gate(self.fc2(self.act(self.fc1(means))))
        return x * factors
