"""What happens to training pictures, each sample's randomness a pure function of (seed, epoch, sample).

Pictures go through it as whole uint8 batches, in this order: crop and mirror image, upside down, rotation, policy
(`aa`), colour jitter, erasing. Those that drew the same operation share one tensor operation, each with an amount
of its own. Every operation rounds once, to the nearest level.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.crop import BOX_COLUMNS, random_boxes, resized_crops, shifted
from sightline.data.draw import (
    AUGMENT_STREAM,
    ERASE_STREAM,
    JITTER_STREAM,
    NOISE_STREAM,
    POLICY_STREAM,
    TURN_STREAM,
    draw,
)
from sightline.data.erase import ERASE_COLUMNS, erase_boxes, erased, noise
from sightline.data.jitter import JITTER_COLUMNS, jittered
from sightline.data.policy import policy_of
from sightline.data.store import Store
from sightline.data.transfer import constant, sent
from sightline.data.warp import rotate
from sightline.errors import ConfigError, nearest

Remode = Literal["const", "pixel"]

# The columns of a sample's random numbers. New uses take columns after these, so that the old ones keep their numbers.
_FLIP, _TOP, _LEFT = 0, 1, 2  # then the areas, then the ratios
_SHIFT_COLUMNS = 3
_CROP_COLUMNS = 1 + BOX_COLUMNS


@dataclass(frozen=True)
class Augment:
    """What happens to training pictures, and to no others.

    Args:
        hflip: the probability of a mirror image; 0 where left and right matter, as for digits.
        crop_padding: reflect this many px around the picture, then crop its own size at a random place; 0 for none.
        scale: the least and the greatest fraction of the picture's area in a random resized crop; None for none.
        ratio: the least and the greatest width / height of such a crop, before it is resized.
        vflip: the probability of a picture upside down.
        alternating_flip: mirror by a random choice in even epochs and by its opposite in odd ones, so that every two
            epochs show both; `hflip` is then 0.5.
        rotation: the largest angle in degrees, to either side, up to 180; the picture is reflected around itself.
        color_jitter: widths for brightness, contrast, saturation and hue, see `jitter.jittered`; in an order drawn for
            each picture. None for none. Grey pictures have no saturation and no hue to change.
        aa: a policy in timm's spelling: "rand-m9-n2", "trivial" or "augmix-m3-w3", see `policy.policy_of`; None for
            none.
        reprob: the probability of an erased rectangle, of 2 to 33 % of the area.
        remode: what it is filled with: "const", `fill`, or "pixel", noise.
        fill: a level 0-255 for all channels, or one for each: what is seen in erased rectangles, and around pictures
            that a policy has moved. The mean colour of the training pictures is 0 once they are normalised.

    Reference:
        Padded crop: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Sec. 4.2.
        Resized crop: Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842, Sec. 6; torchvision draws so.
        Alternating flip: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, Sec. 3.6.
        Erasing: Zhong et al., "Random Erasing Data Augmentation", arXiv:1708.04896.

    Deviation:
        He et al. pad with zeros; here the picture is reflected, so that no black edges appear, as in the fast CIFAR-10
        recipes of Page (DAWNBench) and Jordan (airbench).

    Example:
        >>> Augment(hflip=0, rotation=10).rotation
        10
        >>> Augment(aa="rand-m40")
        Traceback (most recent call last):
        sightline.errors.ConfigError: aa is 'rand-m40'; m must be a whole number from 0 to 30, got 40.
    """

    hflip: float = 0.5
    crop_padding: int = 0
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    vflip: float = 0.0
    alternating_flip: bool = False
    rotation: float = 0.0
    color_jitter: tuple[float, float, float, float] | None = None
    aa: str | None = None
    reprob: float = 0.0
    remode: Remode = "const"
    fill: tuple[int, ...] = (128,)

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "reprob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, got {getattr(self, name)}.")
        if self.alternating_flip and self.hflip != 0.5:
            raise ConfigError(
                f"alternating_flip mirrors every picture in one of two epochs, and hflip is {self.hflip}. "
                "Leave hflip out, or set it to 0.5."
            )
        if not 0 <= self.rotation <= 180:
            raise ConfigError(f"rotation must be 0 to 180 degrees, got {self.rotation}.")
        if self.color_jitter is not None:
            _check_jitter(self.color_jitter)
        if self.aa is not None:
            policy_of(self.aa)
        if self.remode not in get_args(Remode):
            raise ConfigError(f"remode is {self.remode!r}.{nearest(self.remode, get_args(Remode))}")
        if len(self.fill) not in (1, 3) or not all(0 <= level <= 255 for level in self.fill):
            raise ConfigError(f"fill must be 1 or 3 levels from 0 to 255, got {self.fill}.")
        self._check_crop()

    def _check_crop(self) -> None:
        if self.crop_padding < 0:
            raise ConfigError(f"crop_padding must be 0 px or more, got {self.crop_padding}.")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ConfigError(f"ratio must be (least, greatest) width / height above 0, got {self.ratio}.")
        if self.scale is None:
            return
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"scale must be (least, greatest) fraction of the area, above 0 to 1, got {self.scale}.")
        if self.crop_padding:
            raise ConfigError(
                f"crop_padding={self.crop_padding} and scale={self.scale} are two ways to crop. Choose one of them."
            )

    def check(self, store: Store) -> None:
        """Refuse pictures that cannot be augmented so.

        Raises:
            ConfigError: the pictures have different sizes and are not cropped to one, the padding is too wide, or
                `fill` has a colour for pictures that are grey.
        """
        if self.scale is None and store.is_ragged:
            raise ConfigError(
                "the store keeps pictures of different sizes, which only a random resized crop makes equal. "
                "Set scale, such as (0.35, 1.0), or build the store with keep_margin=None."
            )
        self.check_size(store.size)
        if len(store) and len(self.fill) not in (1, _channels(store)):
            raise ConfigError(
                f"fill={self.fill} has {len(self.fill)} levels, and the pictures have {_channels(store)} channel. "
                "Give one level."
            )

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse a padding that is too wide for pictures of a size, (height, width) px.

        Raises:
            ConfigError: it reflects more than there is.
        """
        if self.crop_padding >= min(size):
            raise ConfigError(
                f"crop_padding={self.crop_padding} reflects more than there is: pictures are {size[0]}x{size[1]} px. "
                f"Use at most {min(size) - 1}."
            )

    def batch(self, store: Store, rows: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Take pictures from a store and augment them.

        Args:
            store: the training pictures.
            rows: int64 (N,), which of them; N may be 0.
            seed: of the run.
            epoch: of the run.

        Returns:
            uint8 (N, height, width, C) at the store's `size`, ready for `Preprocess.tensor`, on the device of the
            pictures; a resized crop is made on the CPU. Each picture depends on `seed`, `epoch` and its own index in
            the catalog alone.

        Raises:
            ConfigError: as `check`.
        """
        self.check(store)
        if not len(rows):
            return torch.empty((0, *store.size, _channels(store)), dtype=torch.uint8, device=store.device)
        key = _Key(seed, epoch, store.sources[rows.cpu().numpy()])
        pictures = self._cropped(store, rows, key)
        if self.vflip or self.rotation:
            pictures = self._turned(pictures, key.numbers(2, TURN_STREAM))
        if self.aa is not None:
            policy = policy_of(self.aa)
            pictures = policy.apply(pictures, key.numbers(policy.columns, POLICY_STREAM), fill=self.fill)
        if self.color_jitter is not None:
            pictures = jittered(pictures, key.numbers(JITTER_COLUMNS, JITTER_STREAM), self.color_jitter)
        return self._erased(pictures, key) if self.reprob else pictures

    def _cropped(self, store: Store, rows: Tensor, key: "_Key") -> Tensor:
        """Crops and mirror images, by the same numbers whatever comes after them."""
        numbers = key.numbers(_SHIFT_COLUMNS if self.scale is None else _CROP_COLUMNS, AUGMENT_STREAM)
        mirrored = numbers[:, _FLIP] < self.hflip
        if self.alternating_flip:
            first = _Key(key.seed, 0, key.sources).numbers(1, AUGMENT_STREAM)[:, _FLIP] < self.hflip
            mirrored = first ^ (key.epoch % 2 == 1)
        if self.scale is not None:
            boxes = random_boxes(store.sizes(rows), numbers[:, _TOP:], scale=self.scale, ratio=self.ratio)
            whole = [store.picture(row) for row in rows.tolist()]
            return resized_crops(whole, boxes, mirrored, size=store.size, interpolation=store.interpolation)
        pictures = store.take(rows)
        offsets = (numbers[:, [_TOP, _LEFT]] * (2 * self.crop_padding + 1)).long() - self.crop_padding
        return shifted(pictures, sent(offsets, pictures.device), sent(mirrored, pictures.device))

    def _turned(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        """Upside down with the first number, rotation with the second."""
        upside_down = sent(numbers[:, 0] < self.vflip, pictures.device).view(-1, 1, 1, 1)
        pictures = torch.where(upside_down, pictures.flip(1), pictures)
        if not self.rotation:
            return pictures
        return rotate(pictures, self.rotation * (2 * numbers[:, 1].double() - 1), fill=None)

    def _erased(self, pictures: Tensor, key: "_Key") -> Tensor:
        size, channels = (pictures.shape[1], pictures.shape[2]), pictures.shape[3]
        rows, boxes = erase_boxes(key.numbers(ERASE_COLUMNS, ERASE_STREAM), size, probability=self.reprob)
        if self.remode == "const":
            return erased(pictures, rows, boxes, constant(self.fill, torch.uint8, pictures.device))
        numbers = _Key(key.seed, key.epoch, key.sources[rows.numpy()]).numbers(size[0] * size[1], NOISE_STREAM)
        return erased(pictures, rows, boxes, noise(numbers, size, channels))


@dataclass(frozen=True, eq=False)
class _Key:
    """What the random numbers of a batch are drawn for."""

    seed: int
    epoch: int
    sources: npt.NDArray[np.int64]

    def numbers(self, count: int, stream: int) -> Tensor:
        return draw(self.seed, self.epoch, self.sources, count, stream=stream)


def _channels(store: Store) -> int:
    return store.picture(0).shape[2]


def _check_jitter(widths: tuple[float, float, float, float]) -> None:
    if len(widths) != 4 or not all(0 <= width < math.inf for width in widths) or widths[3] > 0.5:
        raise ConfigError(
            f"color_jitter must be 4 numbers of 0 or more, (brightness, contrast, saturation, hue), hue at most 0.5, "
            f"got {widths}."
        )
