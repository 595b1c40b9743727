"""What the first convolution and the batch norm after it remember of the pictures that they were trained on.

The norm has kept mean and variance of what the convolution made of them, and the convolution is linear, so that both
can be followed back to the pictures as they came in.
"""

import contextlib
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sightline.data.preprocess import Preprocess

# What photographs are like, in [0, 1]: the mean of ImageNet's colours; the directions and the variances in which they
# differ, Krizhevsky et al. 2012, Sec. 4.1, as fb.resnet.torch has them (datasets/imagenet.lua).
NATURAL_MEAN = (0.485, 0.456, 0.406)
_VARIANCES = (0.2175, 0.0188, 0.0045)
_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_GREY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
# How alike two pixels are that lie a pixel apart; those further apart by its powers. Not in a paper: chosen because
# with it four published sets of weights give back the deviation that they were trained with, within 5 %.
_LIKENESS = 0.96


@dataclass(frozen=True)
class Memory:
    """What the two layers remember.

    Args:
        conv: takes the pictures.
        norm: takes what it makes of them, and has seen some.
        inputs: the mean of each channel as it came to the convolution, float64 (C,).
        mean: what had been subtracted from values in [0, 1], if the pictures were photographs.
        std: what they had then been divided by.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    inputs: Tensor
    mean: tuple[float, ...]
    std: float


def memory_of(net: nn.Module, preprocess: Preprocess) -> Memory | None:
    """What the first layers remember; None where that cannot be seen.

    It can be seen where a batch norm that has seen pictures follows a convolution that takes them as they are, of one
    channel or three.

    Args:
        net: with trained weights; it is left as it was.
        preprocess: for the size and the channels of a picture.
    """
    pair = _first_layers(net, preprocess)
    if pair is None:
        return None
    conv, norm = pair
    means, variances = running_statistics(norm)
    if conv.in_channels not in (1, 3) or not means.any():
        return None
    if conv.bias is not None:
        means = means - conv.bias.detach().double().cpu()
    live = answering(variances)
    weights, means, variances = conv.weight.detach().double().cpu()[live], means[live], variances[live]
    # A channel that is m everywhere adds m times the sum of its weights to the output: solved for all channels at once.
    sums = weights.sum(dim=(2, 3)) / variances.sqrt()[:, None]
    inputs = torch.linalg.lstsq(sums, (means / variances.sqrt())[:, None]).solution[:, 0]
    natural_mean, covariance = natural_colours(conv.in_channels)
    kernels = weights.flatten(2)  # (outputs, channels, places)
    of_photographs = torch.einsum("okp,kl,olq,pq->o", kernels, covariance, kernels, _likeness(weights.shape[2:]))
    std = float((of_photographs / variances).median().sqrt())
    return Memory(conv, norm, inputs, tuple((natural_mean - inputs * std).tolist()), std)


def natural_colours(channels: int) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C) of photographs, float64, of values in [0, 1].

    Args:
        channels: 3, or 1 for grey.

    Example:
        >>> [round(float(value), 3) for value in natural_colours(3)[1].diag().sqrt()]
        [0.284, 0.276, 0.29]
    """
    directions = torch.tensor(_DIRECTIONS, dtype=torch.float64)
    covariance = directions @ torch.diag(torch.tensor(_VARIANCES, dtype=torch.float64)) @ directions.T
    mean = torch.tensor(NATURAL_MEAN, dtype=torch.float64)
    if channels == 3:
        return mean, covariance
    grey = torch.tensor([_GREY], dtype=torch.float64)
    return grey @ mean, grey @ covariance @ grey.T


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a norm that keeps them, float64 (outputs,), on the CPU."""
    return cast(Tensor, norm.running_mean).double().cpu(), cast(Tensor, norm.running_var).double().cpu()


def answering(variances: Tensor) -> Tensor:
    """Which outputs answer at all, bool (outputs,): trained networks have some that do not."""
    return variances > 1e-3 * variances.max()


def _first_layers(net: nn.Module, preprocess: Preprocess) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """The convolution that takes the pictures and the batch norm that takes what comes out, as it is."""
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    images = torch.zeros(1, *preprocess.input_size, device=device)
    made: list[tuple[nn.Conv2d, Tensor]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and args[0] is images:
            made.append((module, output))

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            pairs.extend((conv, module) for conv, output in made if output is args[0])

    with contextlib.ExitStack() as at_the_end, torch.inference_mode():
        for module in net.modules():
            at_the_end.callback(setattr, module, "training", module.training)
            at_the_end.callback(module.register_forward_hook(after).remove)
            at_the_end.callback(module.register_forward_pre_hook(before).remove)
        net.eval()(images)
    return pairs[0] if pairs else None


def _likeness(kernel_size: torch.Size) -> Tensor:
    """How alike the pixels under a kernel are: float64 (places, places)."""
    height, width = kernel_size
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()
    return torch.exp(math.log(_LIKENESS) * torch.cdist(places, places))
