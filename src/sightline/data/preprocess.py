"""The one way from a picture to a network's input; stored in the bundle, so that every door gives the same answer."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sightline.data.decode import Source, decode
from sightline.data.modes import Pixels
from sightline.data.transfer import constant
from sightline.errors import ConfigError, ShapeError, nearest

Interpolation = Literal["bilinear", "bicubic"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# A picture longer than this many times the target's shape loses its ends before the resize; the centre crop would cut
# them anyway, and a 1 x 1,000,000 picture would take gigabytes. Not from a paper: far beyond any photograph's shape.
_LONGEST = 16


@dataclass(frozen=True)
class Preprocess:
    """From any picture to the numbers that a network was trained on.

    Args:
        input_size: (channels, height, width) of the network's input; channels 1 (grey) or 3 (RGB).
        mean: of values in [0, 1], one per channel; subtracted.
        std: likewise; divided by.
        interpolation: the resize filter, antialiased when shrinking (Pillow's kernels).
        crop_fraction: the picture's shorter side is resized to the network's size divided by this (rounded down), and
            the centre is cropped; timm's `crop_pct`.

    Example:
        >>> preprocess = Preprocess((3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> picture = preprocess.picture(Image.new("RGB", (64, 48), (255, 0, 0)))
        >>> picture.shape, picture.dtype
        ((32, 32, 3), dtype('uint8'))
        >>> preprocess.tensor(picture[None])[0, :, 0, 0]
        tensor([ 2., -2., -2.])
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bicubic"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        size = self.input_size
        if len(size) != 3 or size[0] not in (1, 3) or min(size[1:]) < 1:
            raise ConfigError(f"input_size must be (channels 1 or 3, height, width), got {size}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != size[0] or not all(math.isfinite(value) for value in values):
                raise ConfigError(f"{name} must be {size[0]} finite numbers, one per channel, got {values}.")
        if min(self.std) <= 0:
            raise ConfigError(f"std must be above 0, got {self.std}.")
        if self.interpolation not in _FILTERS:
            raise ConfigError(f"interpolation must be one of {', '.join(_FILTERS)}, got {self.interpolation!r}.")
        if not 0 < self.crop_fraction <= 1:
            raise ConfigError(f"crop_fraction must be above 0 and at most 1, got {self.crop_fraction}.")

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for grey, 3 for RGB."""
        return 3 if self.input_size[0] == 3 else 1

    def picture(self, source: Source) -> Pixels:
        """Decode, resize and crop to the network's size; a picture of just that size stays as it is.

        Args:
            source: anything that `decode` takes.

        Returns:
            uint8 (height, width, channels).

        Raises:
            BadImage: the picture cannot be read.
        """
        _, height, width = self.input_size
        pixels = decode(source, channels=self.channels)
        if pixels.shape[:2] == (height, width):
            return pixels
        cover = math.floor(height / self.crop_fraction), math.floor(width / self.crop_fraction)
        resized = resize_to_cover(pixels, cover, self.interpolation)
        top = round((resized.shape[0] - height) / 2)
        left = round((resized.shape[1] - width) / 2)
        return np.ascontiguousarray(resized[top : top + height, left : left + width])

    def tensor(self, pictures: Tensor | Pixels) -> Tensor:
        """Normalise a batch: (value / 255 - mean) / std.

        Args:
            pictures: (N, height, width, channels), 0-255; uint8, or float after an augmentation.

        Returns:
            float32 (N, channels, height, width) in channels_last order, on the device of the input.

        Raises:
            ShapeError: the batch has another number of dimensions or channels.
        """
        if isinstance(pictures, np.ndarray):  # torch warns of arrays that it may not write to: those are copied
            batch = torch.from_numpy(np.require(pictures, requirements=["C", "W"]))
        else:
            batch = pictures
        if batch.dim() != 4 or batch.shape[3] != self.channels:
            raise ShapeError(
                f"a batch of pictures must be (N, H, W, {self.channels}), got {tuple(batch.shape)}. "
                "Make each one with Preprocess.picture() and stack them."
            )
        # One multiplication and one addition, of constants rounded once: within 1e-6 of the formula.
        scales = tuple(1 / (255 * std) for std in self.std)
        shifts = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        scale = constant(scales, torch.float32, batch.device)
        shift = constant(shifts, torch.float32, batch.device)
        number, height, width, channels = batch.shape
        images = batch.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        # Row by row, in place, with the constants repeated along the row: a broadcast over a last dimension of three
        # would be ten times as slow on a CPU.
        images.view(number, height, width * channels).mul_(scale.repeat(width)).add_(shift.repeat(width))
        return images.permute(0, 3, 1, 2)  # channels_last already

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; `from_dict` takes it back.

        Example:
            >>> Preprocess((1, 28, 28), mean=(0.5,), std=(0.5,)).to_dict()["input_size"]
            [1, 28, 28]
        """
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "Preprocess":
        """Build from what `to_dict` gave, checking every field.

        Raises:
            ConfigError: a field is unknown, missing or of another type.

        Example:
            >>> Preprocess.from_dict({"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5]}).crop_fraction
            1.0
        """
        known = [field.name for field in fields(cls)]
        for name in mapping:
            if name not in known:
                raise ConfigError(f"Preprocess has no field {name!r}.{nearest(name, known)}")
        missing = [name for name in ("input_size", "mean", "std") if name not in mapping]
        if missing:
            raise ConfigError(f"Preprocess lacks {', '.join(missing)}.")
        values = dict(mapping)
        for name in ("input_size", "mean", "std"):
            values[name] = _numbers(name, values[name], integers=name == "input_size")
        if "crop_fraction" in values:
            (values["crop_fraction"],) = _numbers("crop_fraction", [values["crop_fraction"]], integers=False)
        if values.get("interpolation", "bicubic") not in get_args(Interpolation):
            raise ConfigError(f"interpolation must be one of {', '.join(_FILTERS)}, got {values['interpolation']!r}.")
        return cls(**values)


def resize_to_cover(pixels: Pixels, cover: tuple[int, int], interpolation: Interpolation = "bicubic") -> Pixels:
    """Resize a picture, keeping its shape, until it just covers a size: the torchvision rule for the shorter side.

    Args:
        pixels: uint8 (H, W, C), C 1 or 3.
        cover: (height, width) px. One side of the result is equal to it, the other is at least as long.
        interpolation: the filter, antialiased when shrinking.

    Example:
        >>> resize_to_cover(np.zeros((48, 64, 3), np.uint8), (32, 32)).shape
        (32, 42, 3)
    """
    pixels = _without_far_ends(pixels, cover)
    height, width = pixels.shape[:2]
    if height * cover[1] <= width * cover[0]:  # relatively wide: the height decides
        size = cover[0], max(cover[1], cover[0] * width // height)
    else:
        size = max(cover[0], cover[1] * height // width), cover[1]
    if size == (height, width):
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    resized = np.asarray(image.resize((size[1], size[0]), _FILTERS[interpolation]))
    return resized[:, :, None] if resized.ndim == 2 else resized


def _without_far_ends(pixels: Pixels, cover: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    keep_height = min(height, max(1, _LONGEST * width * cover[0] // cover[1]))
    keep_width = min(width, max(1, _LONGEST * height * cover[1] // cover[0]))
    top, left = (height - keep_height) // 2, (width - keep_width) // 2
    return pixels[top : top + keep_height, left : left + keep_width]


def _numbers(name: str, values: object, *, integers: bool) -> tuple[Any, ...]:
    kinds = (int,) if integers else (int, float)
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, kinds) and not isinstance(value, bool) for value in values
    ):
        raise ConfigError(f"{name} must be {'whole numbers' if integers else 'numbers'}, got {values!r}.")
    return tuple(values)
