"""RandAugment, TrivialAugment and AugMix: which operations a picture goes through, and how strongly.

A policy is a pure function of pictures and of uniform random numbers, a row of them for each picture.
"""

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sightline.data.operation import augmix_spans, operate, rand_spans, trivial_spans
from sightline.data.transfer import sent
from sightline.data.warp import Fill
from sightline.errors import ConfigError, nearest

_BINS = 30  # the greatest magnitude of RandAugment and TrivialAugment in torchvision
_HALF_STEP = 2.0**-25  # moves the multiples of 2**-24 in [0, 1) to the middle of their steps, away from 0 and 1
_RANDOM_DEPTHS = 3  # an AugMix chain has 1 to 3 operations (Hendrycks et al. 2019, Sec. 3)


class Policy(Protocol):
    """What the setting `aa` names."""

    @property
    def columns(self) -> int:
        """How many random numbers a picture needs."""

    def apply(self, pictures: Tensor, numbers: Tensor, *, fill: Fill) -> Tensor:
        """Augment a batch.

        Args:
            pictures: uint8 (N, H, W, C).
            numbers: float32 (N, columns), on the CPU, uniform multiples of 2**-24 in [0, 1).
            fill: the colour around a moved picture.

        Returns:
            uint8 (N, H, W, C), new.
        """


@dataclass(frozen=True)
class RandAugment:
    """Each picture goes through `num_ops` operations drawn evenly from fourteen, all of one magnitude.

    Args:
        magnitude: 0 to 30, torchvision's scale.
        num_ops: operations a picture, one after the other; one may come twice.
        magnitude_std: standard deviation of normal noise on the magnitude of each operation, which is then clipped to
            0 ... 30; timm's addition.

    Reference:
        Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
        arXiv:1909.13719, Sec. 3 and 4.
    """

    magnitude: int = 9
    num_ops: int = 2
    magnitude_std: float = 0.0

    @property
    def columns(self) -> int:
        """Choice, sign and noise of each operation."""
        return 3 * self.num_ops

    def apply(self, pictures: Tensor, numbers: Tensor, *, fill: Fill) -> Tensor:
        """As `Policy.apply`."""
        spans = rand_spans(*pictures.shape[1:3])
        for choice, sign, luck in numbers.double().T.reshape(self.num_ops, 3, len(pictures)):
            noise = self.magnitude_std * torch.special.ndtri(luck + _HALF_STEP)
            levels = (self.magnitude + noise).clamp(0, _BINS) / _BINS
            pictures = operate(pictures, spans, _among(len(spans), choice), levels, _signs(sign), fill=fill)
        return pictures


@dataclass(frozen=True)
class TrivialAugment:
    """Each picture goes through one operation drawn evenly from fourteen, at one of 31 magnitudes drawn evenly.

    Reference:
        Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", arXiv:2103.10158,
        Sec. 3, with the ranges "Wide" of Table 1.
    """

    columns = 3

    def apply(self, pictures: Tensor, numbers: Tensor, *, fill: Fill) -> Tensor:
        """As `Policy.apply`."""
        spans = trivial_spans(*pictures.shape[1:3])
        choice, sign, luck = numbers.double().T
        levels = _among(_BINS + 1, luck).double() / _BINS
        return operate(pictures, spans, _among(len(spans), choice), levels, _signs(sign), fill=fill)


@dataclass(frozen=True)
class AugMix:
    """Each picture is mixed with a mixture of itself after several chains of operations.

    The result is (1 - m) x picture + m x sum of w_i x chain_i, with m from Beta(1, 1) and w from Dirichlet(1, ..., 1),
    computed in float32 and rounded once.

    Args:
        severity: 1 to 10; each operation has a magnitude drawn evenly from 0.1 to this, of 10.
        width: number of chains.
        depth: operations a chain; None draws 1, 2 or 3 for each chain.

    Reference:
        Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
        arXiv:1912.02781, Sec. 3 and Algorithm 1.

    Deviation:
        The mixing alone, without the paper's Jensen-Shannon term in the loss, as in timm and torchvision. "Posterize"
        rounds to the nearest number of bits and keeps at least one; the paper's code cuts off the fraction.
    """

    severity: int = 3
    width: int = 3
    depth: int | None = None

    @property
    def columns(self) -> int:
        """m, the chains' weights, and for each chain its depth and choice, sign and magnitude of its operations."""
        return 1 + self.width * (2 + 3 * self._most)

    @property
    def _most(self) -> int:
        return self.depth or _RANDOM_DEPTHS

    def apply(self, pictures: Tensor, numbers: Tensor, *, fill: Fill) -> Tensor:
        """As `Policy.apply`."""
        count, height, width, channels = pictures.shape
        spans = augmix_spans(height, width)
        parts = torch.split(numbers.double(), [1, self.width, self.width * (1 + 3 * self._most)], dim=1)
        share = parts[0]  # Beta(1, 1) is uniform
        weights = -torch.log(parts[1] + _HALF_STEP)  # exponential: in parts of their sum they are Dirichlet(1, ..., 1)
        weights = share * weights / weights.sum(dim=1, keepdim=True)
        chains = pictures.repeat_interleave(self.width, dim=0)  # (N * chains, H, W, C)
        depth, *steps = parts[2].reshape(count * self.width, -1).T
        depths = torch.full_like(depth, self.depth) if self.depth else 1 + _among(_RANDOM_DEPTHS, depth)
        for turn in range(self._most):
            choice, sign, luck = steps[3 * turn : 3 * turn + 3]
            choices = torch.where(turn < depths, _among(len(spans), choice), -1)
            levels = (0.1 + (self.severity - 0.1) * luck) / 10
            chains = operate(chains, spans, choices, levels, _signs(sign), fill=fill)
        mixed = sent((1 - share).to(torch.float32), pictures.device).view(-1, 1, 1, 1) * pictures
        chains = chains.view(count, self.width, height, width, channels)
        for number, weight in enumerate(sent(weights.to(torch.float32), pictures.device).T):
            mixed += weight.view(-1, 1, 1, 1) * chains[:, number]
        return mixed.round_().clamp_(0, 255).to(torch.uint8)


# What may stand behind a name: letters -> (least, greatest, whether it must be whole)
_PARTS: dict[str, dict[str, tuple[int, int, bool]]] = {
    "rand": {"m": (0, _BINS, True), "n": (1, 10, True), "mstd": (0, _BINS, False)},
    "trivial": {},
    "augmix": {"m": (1, 10, True), "w": (1, 10, True), "d": (1, 10, True)},
}


def policy_of(text: str) -> Policy:
    """The policy that a word names, in timm's spelling.

    Args:
        text: "rand-m9-n2", "rand-m9-n2-mstd0.5", "trivial", "augmix-m3-w3", "augmix-m3-w3-d2"; a part left out has its
            usual value.

    Raises:
        ConfigError: the name or a part is unknown, comes twice, or is out of its range.

    Example:
        >>> policy_of("rand-m9-mstd0.5")
        RandAugment(magnitude=9, num_ops=2, magnitude_std=0.5)
    """
    name, *parts = text.split("-")
    if name not in _PARTS:
        raise ConfigError(f"aa is {text!r}; it must begin with {', '.join(_PARTS)}.{nearest(name, _PARTS)}")
    values: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", part)
        letters = match[1] if match else part
        if match is None or letters not in _PARTS[name] or letters in values:
            raise ConfigError(_unknown_part(text, name, part))
        least, most, is_whole = _PARTS[name][letters]
        values[letters] = float(match[2])
        if not least <= values[letters] <= most or (is_whole and "." in match[2]):
            kind = "a whole number" if is_whole else "a number"
            raise ConfigError(f"aa is {text!r}; {letters} must be {kind} from {least} to {most}, got {match[2]}.")
    if name == "rand":
        return RandAugment(int(values.get("m", 9)), int(values.get("n", 2)), values.get("mstd", 0.0))
    if name == "trivial":
        return TrivialAugment()
    depth = values.get("d")
    return AugMix(int(values.get("m", 3)), int(values.get("w", 3)), None if depth is None else int(depth))


def _unknown_part(text: str, name: str, part: str) -> str:
    known = ", ".join(f"{letters}{least}..{most}" for letters, (least, most, _) in _PARTS[name].items())
    message = f"aa is {text!r}; after {name} may stand, each once, {known or 'nothing'}, got {part!r}."
    if name == "rand" and part.startswith("inc"):
        message += " Every operation here grows with m already, as with timm's inc1, and m goes to 30, timm's to 10."
    return message


def _among(count: int, uniform: Tensor) -> Tensor:
    """One of 0 ... count - 1, each equally likely: int64."""
    return (count * uniform).long()


def _signs(uniform: Tensor) -> Tensor:
    return 1 - 2 * (uniform < 0.5).double()
