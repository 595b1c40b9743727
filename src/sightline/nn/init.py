"""How weights begin."""

from typing import Literal

import torch
from torch import Tensor, nn

IMAGES_AT_ONCE = 32  # bounds the memory that the patches take
WHITENING_EPS = 5e-4  # airbench94, arXiv:2404.00498, Listing 1: added to the variances, so that noise is not blown up


def kaiming_normal_(net: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Fills every convolution from N(0, 2 / fan), norms with 1 and 0, and biases with 0.

    Args:
        net: its convolutions and batch norms are filled in place; linear layers keep torch's default.
        mode: what keeps its size through layers of ReLU, whatever their number: with "fan_out" the gradients, with
            "fan_in" the values. They differ where a layer takes in many times the channels that it puts out.

    Reference:
        He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, Eq. 10 (fan_in) and 14 (fan_out). torchvision
        has fan_out in ResNet and fan_in in DenseNet.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            _constant(module.bias, 0.0)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def patch_whitening_filters(images: Tensor, kernel_size: int, *, eps: float = WHITENING_EPS) -> Tensor:
    """Filters that turn the patches of natural pictures into uncorrelated numbers of equal variance.

    They are the eigenvectors of the patches' covariance, each divided by the root of its eigenvalue, followed by their
    negatives, so that an activation that cuts negative values loses nothing.

    Args:
        images: float32 (N, C, H, W), normalised as the network will see them; a few thousand are plenty.
        kernel_size: side of the patch, px.
        eps: added to each eigenvalue.

    Returns:
        float32 (2 C k k, C, k, k), the strongest directions first in each half.

    Reference:
        Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, Sec. 3.2, after Page 2019,
        "How to Train Your ResNet", part 8.
    """
    channels = images.shape[1]
    length = channels * kernel_size**2
    total, num_patches = torch.zeros(length, length, dtype=torch.float64), 0
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = images[start : start + IMAGES_AT_ONCE].cpu().double()
        patches = some.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)  # (n, C, H', W', k, k)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, length)
        total += flat.T @ flat
        num_patches += len(flat)
    variances, directions = torch.linalg.eigh(total / num_patches)  # ascending
    filters = (directions / torch.sqrt(variances + eps)).T.flip(0).reshape(-1, channels, kernel_size, kernel_size)
    return torch.cat((filters, -filters)).float()


@torch.no_grad()
def kaiming_normal_by_group_(net: nn.Module) -> None:
    """As `kaiming_normal_`, but with the fan_out of one group: N(0, 2 groups / fan_out).

    A value that a depthwise convolution reads goes into k x k outputs, not into k x k of every channel. Under
    `kaiming_normal_` such filters begin so small that the eps of a batch norm outweighs their variance.

    Args:
        net: its convolutions and batch norms are filled in place; linear layers keep torch's default.

    Reference:
        Tan and Le 2019, in the published code of EfficientNet, arXiv:1905.11946; timm.
    """
    kaiming_normal_(net)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.weight.mul_(module.groups**0.5)


def normal_(net: nn.Module, *, std: float, bias: float = 0.0) -> None:
    """Fills convolutions and linear layers from N(0, std^2), and their biases with a constant.

    One spread for all, whatever a layer's number of inputs: deep networks without norms fade under it.

    Args:
        net: its other layers are left as they are.
        std: of the weights.
        bias: of every bias.

    Reference:
        Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
        Sec. 5: 0.01.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            _constant(module.bias, bias)


def kaiming_uniform_(net: nn.Module, *, gain: float = 2**0.5, bias: float = 0.0) -> None:
    """Fills convolutions and linear layers from U(-b, b), b = gain sqrt(3 / fan_in), and their biases with a constant.

    So the variance of the weights is gain^2 / fan_in.

    Args:
        net: its other layers are left as they are.
        gain: sqrt(2), for layers that ReLU follows, keeps the size of the values through all layers; 1 is what Caffe
            calls Xavier, after Glorot and Bengio 2010.
        bias: of every bias.

    Reference:
        He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, Eq. 10.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = gain * (3 / module.weight[0].numel()) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
            _constant(module.bias, bias)


def uniform_by_inputs_(net: nn.Module) -> None:
    """Fills weights and biases of convolutions and linear layers from U(-2.4 / F, 2.4 / F), F a unit's inputs.

    Made for squashing functions: a unit begins where its slope is greatest.

    Args:
        net: its other layers are left as they are.

    Reference:
        LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", Appendix A.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 2.4 / module.weight[0].numel()
            for parameter in module.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound)


@torch.no_grad()
def partial_identity_(net: nn.Module) -> None:
    """Makes the first filters of every convolution pass their channel on as it is, one for each channel that comes in.

    So a deep plain network begins by passing its input to the end, as a residual network does, and the other filters,
    which keep their values, are free to differ.

    Args:
        net: its convolutions are filled in place.

    Reference:
        Jordan 2024, arXiv:2404.00498, Sec. 3.3.

    Example:
        >>> conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        >>> partial_identity_(conv)
        >>> conv.weight[0, 0].tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])


def _constant(bias: Tensor | None, value: float) -> None:
    if bias is not None:
        nn.init.constant_(bias, value)


def trunc_normal_(net: nn.Module, *, std: float) -> None:
    """Fills convolutions and linear layers from N(0, std^2), drawn again beyond -2 and 2, and their biases with 0.

    Args:
        net: other layers are left as they are.
        std: of the weights.

    Reference:
        Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545, in the published code: 0.02. torchvision and timm
        have it.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            _constant(module.bias, 0.0)
