"""The wrong mean and deviation, noticed before the training: by what the first batch norm remembers of its pictures.

Weights work with the normalisation that they were trained with, and with another one they work somewhat: nothing fails,
the score is lower.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.data.preprocess import Preprocess
from sightline.pretrained.first_layers import (
    NATURAL_MEAN,
    Memory,
    answering,
    memory_of,
    natural_colours,
    running_statistics,
)

SCALE_TOLERANCE = math.log(2) / 2  # half the way from a deviation of 0.5 to 1, and to ImageNet's
SHIFT_TOLERANCE = 0.5  # of the deviation of photographs
MOST_PICTURES = 64


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from values in [0, 1], and what they are divided by.

    Args:
        name: what it is called; empty for one that has no name.
        mean: of each channel.
        std: likewise.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f"mean {_figures(self.mean)}, std {_figures(self.std)}"


USUAL = (
    Normalisation("ImageNet's", NATURAL_MEAN, (0.229, 0.224, 0.225)),
    Normalisation("that to the range -1 to 1, Inception's", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Normalisation("that to the range 0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Normalisation("none, values of 0 to 255", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
)


@dataclass(frozen=True)
class Finding:
    """A normalisation that does not suit the weights. `str()` says so, and what to do.

    Args:
        given: the normalisation that was to be used.
        fitting: the one that the weights were trained with: one of `USUAL`, or, where none of them fits, an estimate.
        drift: how far the given one is from it; 1 is the tolerance.
        has_blue_first: whether the weights take blue for the first channel; nothing else is wrong then.
    """

    given: Normalisation
    fitting: Normalisation
    drift: float
    has_blue_first: bool = False

    def __str__(self) -> str:
        if self.has_blue_first:
            return (
                "by the statistics in their first batch norm, these weights were trained on pictures with blue as the "
                "first channel; here red is the first. Turn the input channels of their first convolution round: "
                "weight.flip(1)."
            )
        called = f", {self.fitting.name}" if self.fitting.name else ""
        return (
            f"the normalisation {self.given} does not suit these weights: by the statistics in their first batch norm "
            f"they were trained with {self.fitting}{called} (drift {self.drift:.1f}, of which 1 would be tolerable). "
            f"Give --mean {_figures(self.fitting.mean)} --std {_figures(self.fitting.std)}, or leave both out where "
            "the weights bring their own."
        )


def check_normalisation(net: nn.Module, pictures: Tensor, preprocess: Preprocess) -> Finding | None:
    """Whether a normalisation is the one that trained weights expect.

    Two readings of the batch norm's statistics are tried: that the weights were trained on photographs, whose
    colours are known, or on pictures like those given. The normalisation is wrong where it agrees with neither. So
    dark, flat or blurred pictures raise no alarm, and neither do weights that were trained on such.

    Args:
        net: with trained weights.
        pictures: uint8 (N, H, W, C), some of the training pictures as `preprocess.picture` makes them. The first 64 are
            looked at.
        preprocess: with the normalisation in question.

    Returns:
        What is wrong; None where nothing is, or where nothing can be seen: see `memory_of`.
    """
    memory = memory_of(net, preprocess)
    if memory is None:
        return None
    given = Normalisation("", preprocess.mean, preprocess.std)
    images = preprocess.tensor(pictures[:MOST_PICTURES].to(memory.conv.weight.device))
    drift = min(_drift_on_photographs(given, memory), _drift_on(images, memory))
    if drift > 1:
        return Finding(given, _nearest(memory), drift)
    if _has_blue_first(given, images, memory):
        return Finding(given, given, drift, has_blue_first=True)
    return None


def fitting_normalisation(net: nn.Module, preprocess: Preprocess) -> Normalisation | None:
    """The normalisation that weights were trained with, where they do not say it and were trained on photographs.

    Args:
        net: with trained weights.
        preprocess: for the size and the channels of a picture; its normalisation does not matter.

    Returns:
        One of `USUAL`, or an estimate where none of them fits; None where nothing can be seen: see `memory_of`.
    """
    memory = memory_of(net, preprocess)
    return None if memory is None else _nearest(memory)


def _nearest(memory: Memory) -> Normalisation:
    """The usual normalisation that the layers remember, or else the one."""
    channels = len(memory.mean)
    usual = [
        Normalisation(each.name, (_averaged(each.mean),), (_averaged(each.std),)) if channels == 1 else each
        for each in USUAL
    ]
    best = min(usual, key=lambda each: _drift_on_photographs(each, memory))
    is_near = _drift_on_photographs(best, memory) <= 1
    return best if is_near else Normalisation("", memory.mean, (memory.std,) * channels)


def _drift_on_photographs(given: Normalisation, memory: Memory) -> float:
    """How far a normalisation is from the remembered one, by what both make of photographs; 1 is the tolerance."""
    spread = natural_colours(len(given.mean))[1].diag().sqrt()
    scale = float((torch.tensor(given.std) / memory.std).log().mean())
    shift = float(((torch.tensor(given.mean) - torch.tensor(memory.mean)) / spread).abs().max())
    return max(abs(scale) / SCALE_TOLERANCE, shift / SHIFT_TOLERANCE)


@torch.inference_mode()
def _drift_on(images: Tensor, memory: Memory) -> float:
    """How far what the layers make of these pictures is from what they remember; 1 is the tolerance."""
    parts = [memory.conv(part).transpose(0, 1).flatten(1).cpu() for part in torch.split(images, 16)]
    now = torch.cat(parts, dim=1).double().var(dim=1)
    remembered = running_statistics(memory.norm)[1]
    live = answering(remembered) & (now > 0)
    if not live.any():
        return math.inf  # pictures of one flat colour
    scale = float((now / remembered)[live].log().median()) / 2
    spread = natural_colours(images.shape[1])[1].diag().sqrt() / memory.std
    shift = float(((_mean_of(images) - memory.inputs) / spread).abs().max())
    return max(abs(scale) / SCALE_TOLERANCE, shift / SHIFT_TOLERANCE)


def _has_blue_first(given: Normalisation, images: Tensor, memory: Memory) -> bool:
    """Whether the colours that the layers remember are those of photographs the other way round.

    It can be seen where the normalisation leaves the colours different: photographs are less blue than red. Layers that
    remember just the colours of these pictures were trained on such, whatever photographs are like.
    """
    mean = natural_colours(len(given.mean))[0]
    natural = (mean - torch.tensor(given.mean)) / torch.tensor(given.std)

    def misses(expected: Tensor) -> float:
        return float((memory.inputs - expected).norm())

    own = _mean_of(images)
    is_turned = misses(natural.flip(0)) < misses(natural) / 2
    return is_turned and not misses(own) < misses(own.flip(0)) / 2


def _mean_of(images: Tensor) -> Tensor:
    return images.double().mean(dim=(0, 2, 3)).cpu()


def _averaged(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _figures(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
