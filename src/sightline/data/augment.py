"""Random flips and crops of a whole batch at once, each sample's randomness a pure function of (seed, epoch, sample).

Small pictures of one size (CIFAR, MNIST) are padded by their own reflection and cropped back to their size; that moves
pixels and computes none, so every value is an exact copy. Photographs get the random resized crop of GoogLeNet, with
the antialiasing filter that pictures get for prediction.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.data.draw import AUGMENT_STREAM, draw
from sightline.data.preprocess import Interpolation
from sightline.data.store import Store
from sightline.errors import ConfigError

_ATTEMPTS = 10  # torchvision's RandomResizedCrop tries as often before it takes the centre

# The columns of a sample's random numbers. New uses take columns after these, so that the old ones keep their numbers.
_FLIP, _TOP, _LEFT = 0, 1, 2  # then the areas, then the ratios
_SHIFT_COLUMNS = 3
_CROP_COLUMNS = 3 + 2 * _ATTEMPTS


@dataclass(frozen=True)
class Augment:
    """What happens to training pictures, and to no others.

    Args:
        hflip: the probability of a mirror image; 0 where left and right matter, as for digits.
        crop_padding: reflect this many px around the picture, then crop its own size at a random place; 0 for none.
        scale: the least and the greatest fraction of the picture's area in a random resized crop; None for none.
        ratio: the least and the greatest width / height of such a crop, before it is resized.

    Reference:
        Padded crop: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Sec. 4.2.
        Resized crop: Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842, Sec. 6; torchvision draws so.

    Deviation:
        He et al. pad with zeros; here the picture is reflected, so that no black edges appear, as in the fast CIFAR-10
        recipes of Page (DAWNBench) and Jordan (airbench).

    Example:
        >>> Augment(crop_padding=4)
        Augment(hflip=0.5, crop_padding=4, scale=None, ratio=(0.75, 1.3333333333333333))
    """

    hflip: float = 0.5
    crop_padding: int = 0
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 <= self.hflip <= 1:
            raise ConfigError(f"hflip is a probability from 0 to 1, got {self.hflip}.")
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
            ConfigError: the pictures have different sizes and are not cropped to one, or the padding is too wide.
        """
        if self.scale is None and store.is_ragged:
            raise ConfigError(
                "the store keeps pictures of different sizes, which only a random resized crop makes equal. "
                "Set scale, such as (0.35, 1.0), or build the store with keep_margin=None."
            )
        if self.crop_padding >= min(store.size):
            raise ConfigError(
                f"crop_padding={self.crop_padding} reflects more than there is: pictures are "
                f"{store.size[0]}x{store.size[1]} px. Use at most {min(store.size) - 1}."
            )

    def batch(self, store: Store, rows: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Take pictures from a store and augment them.

        Args:
            store: the training pictures.
            rows: int64 (N,), which of them.
            seed: of the run.
            epoch: of the run.

        Returns:
            uint8 (N, height, width, C) at the store's `size`, ready for `Preprocess.tensor`. Each picture depends on
            `seed`, `epoch` and its own index in the catalog alone.

        Raises:
            ConfigError: as `check`.
        """
        self.check(store)
        count = _SHIFT_COLUMNS if self.scale is None else _CROP_COLUMNS
        numbers = draw(seed, epoch, store.sources[rows.numpy()], count, stream=AUGMENT_STREAM)
        mirrored = numbers[:, _FLIP] < self.hflip
        if self.scale is not None:
            boxes = random_boxes(store.sizes(rows), numbers[:, _TOP:], scale=self.scale, ratio=self.ratio)
            pictures = [store.picture(row) for row in rows.tolist()]
            return resized_crops(pictures, boxes, mirrored, size=store.size, interpolation=store.interpolation)
        offsets = (numbers[:, [_TOP, _LEFT]] * (2 * self.crop_padding + 1)).long() - self.crop_padding
        return shifted(store.take(rows), offsets, mirrored)


def shifted(pictures: Tensor, offsets: Tensor, mirrored: Tensor) -> Tensor:
    """Shift pictures over their own reflection, then mirror some; every pixel is an exact copy.

    Args:
        pictures: (N, H, W, C).
        offsets: int64 (N, 2), (down, right): where in the unpadded picture the crop starts, in px; less than the
            picture's size in absolute value.
        mirrored: bool (N,), which ones to mirror left to right.

    Returns:
        (N, H, W, C), contiguous.

    Example:
        >>> row = torch.tensor([10, 20, 30]).view(1, 1, 3, 1)
        >>> shifted(row, torch.tensor([[0, -1]]), torch.tensor([False])).flatten()
        tensor([20, 10, 20])
        >>> shifted(row, torch.tensor([[0, -1]]), torch.tensor([True])).flatten()
        tensor([20, 10, 20])
        >>> shifted(row, torch.tensor([[0, 0]]), torch.tensor([True])).flatten()
        tensor([30, 20, 10])
    """
    count, height, width, channels = pictures.shape
    down, right = offsets[:, :1], offsets[:, 1:]
    columns = torch.arange(width, device=pictures.device)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns)  # (N, W)
    columns = _reflected(columns + right, width)
    lines = _reflected(torch.arange(height, device=pictures.device) + down, height)  # (N, H)
    lines += height * torch.arange(count, device=pictures.device)[:, None]
    # One number for each pixel of the result: the place it comes from in the batch, laid out as a list of pixels.
    pixels = (width * lines)[:, :, None] + columns[:, None, :]  # (N, H, W)
    return pictures.reshape(-1, channels).index_select(0, pixels.flatten()).view(pictures.shape)


def random_boxes(sizes: Tensor, numbers: Tensor, *, scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Where random resized crops are cut, as torchvision's RandomResizedCrop decides it.

    A box has a uniform fraction of the picture's area and a log-uniform ratio; the first of ten attempts that fits
    inside is taken. Where none fits, it is the largest box in the centre that has an allowed ratio.

    Args:
        sizes: int64 (N, 2), (height, width) of each picture.
        numbers: float (N, 22), uniform in [0, 1): for top, left, ten areas, ten ratios.
        scale: least and greatest fraction of the area.
        ratio: least and greatest width / height.

    Returns:
        int64 (N, 4): (top, left, height, width).

    Example:
        >>> random_boxes(torch.tensor([[40, 80]]), torch.zeros(1, 22), scale=(0.5, 1.0), ratio=(1.0, 1.0))
        tensor([[ 0,  0, 40, 40]])
    """
    heights, widths = sizes[:, :1].double(), sizes[:, 1:].double()
    top, left, area, shape = torch.split(numbers.double(), [1, 1, _ATTEMPTS, _ATTEMPTS], dim=1)
    area = heights * widths * (scale[0] + (scale[1] - scale[0]) * area)
    shape = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape)
    box_widths = torch.sqrt(area * shape).round()  # (N, attempts)
    box_heights = torch.sqrt(area / shape).round()
    fits = (box_widths > 0) & (box_widths <= widths) & (box_heights > 0) & (box_heights <= heights)
    first = fits.byte().argmax(dim=1, keepdim=True)  # of equal ones, the first

    widest = torch.minimum(widths, (heights * ratio[1]).round()).clamp(min=1)
    highest = torch.minimum(heights, (widths / ratio[0]).round()).clamp(min=1)
    any_fits = fits.any(dim=1, keepdim=True)
    box_heights = torch.where(any_fits, box_heights.gather(1, first), highest)
    box_widths = torch.where(any_fits, box_widths.gather(1, first), widest)
    top = torch.where(any_fits, top * (heights - box_heights + 1), (heights - box_heights) / 2).floor()
    left = torch.where(any_fits, left * (widths - box_widths + 1), (widths - box_widths) / 2).floor()
    return torch.cat([top, left, box_heights, box_widths], dim=1).long()


def resized_crops(
    pictures: list[Tensor], boxes: Tensor, mirrored: Tensor, *, size: tuple[int, int], interpolation: Interpolation
) -> Tensor:
    """Cut a box out of each picture, resize it with an antialiasing filter, and mirror some.

    Pictures of different sizes are resized one by one: measured on two cores at 224 px, that is four times as fast as
    one `grid_sample` over a padded canvas, which besides would alias wherever it shrinks.

    Args:
        pictures: N of uint8 (H, W, C), on the CPU.
        boxes: int64 (N, 4), (top, left, height, width) px, inside its picture.
        mirrored: bool (N,), which ones to mirror left to right.
        size: (height, width) px of the result.
        interpolation: the filter; Pillow's up to rounding, and up to clipping where bicubic overshoots an edge.

    Returns:
        uint8 (N, height, width, C), contiguous.

    Example:
        >>> picture = torch.arange(12, dtype=torch.uint8).view(3, 4, 1)
        >>> box = torch.tensor([[1, 1, 2, 3]])
        >>> resized_crops([picture], box, torch.tensor([True]), size=(2, 3), interpolation="bicubic")[0, :, :, 0]
        tensor([[ 7,  6,  5],
                [11, 10,  9]], dtype=torch.uint8)
    """
    result = torch.empty((len(pictures), *size, pictures[0].shape[2]), dtype=torch.uint8)
    layers = result.permute(0, 3, 1, 2)
    for number, (picture, box, is_mirrored) in enumerate(zip(pictures, boxes.tolist(), mirrored.tolist(), strict=True)):
        top, left, height, width = box
        crop = picture[top : top + height, left : left + width].permute(2, 0, 1)[None]
        if (height, width) != size:
            crop = F.interpolate(crop, size, mode=interpolation, antialias=True, align_corners=False)
        layers[number] = (crop.flip(3) if is_mirrored else crop)[0]
    return result


def _reflected(places: Tensor, size: int) -> Tensor:
    """Fold places outside 0 ... size - 1 back in, without repeating the edge."""
    places = places.abs()
    return torch.where(places < size, places, 2 * (size - 1) - places)
