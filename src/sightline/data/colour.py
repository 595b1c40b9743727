"""Changes of colour of whole batches: each picture with an amount of its own, rounded once, to the nearest level.

They are Pillow's `ImageEnhance` and `ImageOps` on (N, H, W, C) tensors of any device. Every sum over a picture is a sum
of whole numbers, so a picture comes out the same whatever else is in its batch.
"""

import torch
from torch import Tensor

from sightline.data.transfer import sent

_LUMA = (19595, 38470, 7471)  # ITU-R BT.601 in parts of 65536, as Pillow converts RGB to grey


def luma(pictures: Tensor) -> Tensor:
    """Grey of each pixel, as Pillow's convert("L").

    Args:
        pictures: uint8 (N, H, W, C), C 1 or 3.

    Returns:
        int32 (N, H, W, 1), 0-255.

    Example:
        >>> luma(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 1, 1, 3)).item()
        76
    """
    values = pictures.to(torch.int32)
    if pictures.shape[3] == 1:
        return values
    red, green, blue = torch.split(values, 1, dim=3)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + 32768) >> 16


def brightness(pictures: Tensor, factors: Tensor) -> Tensor:
    """Multiply each value; 0 is black, 1 the picture itself.

    Args:
        pictures: uint8 (N, H, W, C).
        factors: float (N,), 0 or more.

    Example:
        >>> brightness(torch.tensor([10, 100, 200], dtype=torch.uint8).view(1, 1, 1, 3), torch.tensor([1.5])).flatten()
        tensor([ 15, 150, 255], dtype=torch.uint8)
    """
    return _levels(pictures.to(torch.float32) * _each(factors, pictures))


def contrast(pictures: Tensor, factors: Tensor) -> Tensor:
    """Move each value away from the picture's mean grey, or towards it; 0 is that grey, 1 the picture itself.

    Args:
        pictures: uint8 (N, H, W, C).
        factors: float (N,), 0 or more.

    Example:
        >>> contrast(torch.tensor([90, 100, 110], dtype=torch.uint8).view(1, 1, 3, 1), torch.tensor([2.0])).flatten()
        tensor([ 80, 100, 120], dtype=torch.uint8)
    """
    count = pictures.shape[1] * pictures.shape[2]
    total = luma(pictures).sum(dim=(1, 2, 3), dtype=torch.int64)
    mean = (2 * total + count) // (2 * count)  # rounded to the nearest level, as Pillow does
    return _blended(mean.to(torch.float32).view(-1, 1, 1, 1), pictures, factors)


def saturation(pictures: Tensor, factors: Tensor) -> Tensor:
    """Move each pixel away from its own grey, or towards it; 0 is a grey picture, 1 the picture itself.

    Args:
        pictures: uint8 (N, H, W, C); with C = 1 they are returned as they are.
        factors: float (N,), 0 or more.

    Example:
        >>> saturation(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 1, 1, 3), torch.tensor([0.0])).flatten()
        tensor([76, 76, 76], dtype=torch.uint8)
    """
    if pictures.shape[3] == 1:
        return pictures
    return _blended(luma(pictures).to(torch.float32), pictures, factors)


def hue(pictures: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of each pixel; its greatest and its least value stay.

    Args:
        pictures: uint8 (N, H, W, C); with C = 1 they are returned as they are.
        shifts: float (N,), parts of the circle: 0 and 1 are the picture itself, 1/3 makes red green.

    Reference:
        Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978: HSV. It is computed in floating point, where Pillow's HSV
        mode has 8 bits for the hue.

    Example:
        >>> hue(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 1, 1, 3), torch.tensor([1 / 3])).flatten()
        tensor([  0, 255,   0], dtype=torch.uint8)
    """
    if pictures.shape[3] == 1:
        return pictures
    values = pictures.to(torch.float32)
    red, green, blue = torch.split(values, 1, dim=3)
    greatest = values.amax(dim=3, keepdim=True)
    chroma = greatest - values.amin(dim=3, keepdim=True)
    divisor = chroma.clamp(min=1)  # 0 for grey pixels alone, which have no hue and need none
    sixth = torch.where(
        greatest == red,
        (green - blue) / divisor,
        torch.where(greatest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixth = sixth + 6 * _each(shifts, pictures)
    # How far each channel is below the greatest value, in parts of the chroma, at each place of the circle.
    places = torch.remainder(torch.cat([sixth + 5, sixth + 3, sixth + 1], dim=3), 6)
    return _levels(greatest - chroma * torch.minimum(places, 4 - places).clamp(0, 1))


def sharpness(pictures: Tensor, factors: Tensor) -> Tensor:
    """Move each value away from its smoothed neighbourhood, or towards it; 0 is smooth, 1 the picture itself.

    The smoothing is Pillow's `ImageFilter.SMOOTH`, (1 1 1, 1 5 1, 1 1 1) / 13; the outermost pixels stay.

    Args:
        pictures: uint8 (N, H, W, C).
        factors: float (N,), 0 or more.

    Example:
        >>> dot = torch.zeros(1, 3, 3, 1, dtype=torch.uint8)
        >>> dot[0, 1, 1] = 130
        >>> sharpness(dot, torch.tensor([0.0]))[0, :, :, 0]
        tensor([[ 0,  0,  0],
                [ 0, 50,  0],
                [ 0,  0,  0]], dtype=torch.uint8)
    """
    if min(pictures.shape[1:3]) < 3:
        return pictures  # nothing but outermost pixels
    values = pictures.to(torch.float32)
    inner = values[:, 1:-1, 1:-1]
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    smooth = values.clone()
    smooth[:, 1:-1, 1:-1] = ((rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * inner) / 13).round()
    return _blended(smooth, pictures, factors)


def posterize(pictures: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits of each value.

    Args:
        pictures: uint8 (N, H, W, C).
        bits: (N,), 1 to 8 whole numbers; 8 is the picture itself.

    Example:
        >>> posterize(torch.tensor([255, 64, 63], dtype=torch.uint8).view(1, 1, 3, 1), torch.tensor([2])).flatten()
        tensor([192,  64,   0], dtype=torch.uint8)
    """
    steps = sent(torch.pow(2, 8 - bits).to(torch.int32), pictures.device).view(-1, 1, 1, 1)
    return (pictures.to(torch.int32) // steps * steps).to(torch.uint8)


def solarize(pictures: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the values from a threshold on.

    Args:
        pictures: uint8 (N, H, W, C).
        thresholds: float (N,); above 255 is the picture itself, 0 its negative.

    Example:
        >>> solarize(torch.tensor([255, 128, 127], dtype=torch.uint8).view(1, 1, 3, 1), torch.tensor([128])).flatten()
        tensor([  0, 127, 127], dtype=torch.uint8)
    """
    return torch.where(pictures >= _each(thresholds, pictures), 255 - pictures, pictures)


def autocontrast(pictures: Tensor) -> Tensor:
    """Stretch each channel of each picture to 0-255; one flat colour stays.

    Args:
        pictures: uint8 (N, H, W, C).

    Example:
        >>> autocontrast(torch.tensor([100, 110, 120], dtype=torch.uint8).view(1, 1, 3, 1)).flatten()
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    values = pictures.to(torch.int32)
    least, greatest = values.amin(dim=(1, 2), keepdim=True), values.amax(dim=(1, 2), keepdim=True)
    width = (greatest - least).clamp(min=1)
    stretched = (2 * 255 * (values - least) + width) // (2 * width)
    return torch.where(greatest > least, stretched, values).to(torch.uint8)


def equalize(pictures: Tensor) -> Tensor:
    """Give each channel of each picture an even histogram, by Pillow's rule; one flat colour stays.

    Args:
        pictures: uint8 (N, H, W, C).

    Example:
        >>> steps = (torch.arange(512) // 128 * 10).to(torch.uint8)  # 0, 10, 20 and 30, each 128 times
        >>> equalize(steps.view(1, 1, 512, 1)).unique()
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    count, height, width, channels = pictures.shape
    layer = torch.arange(count * channels, device=pictures.device).view(count, 1, 1, channels)
    places = 256 * layer + pictures  # where each value is counted, in one list of N x C histograms
    one = torch.ones(1, dtype=torch.int32, device=pictures.device)
    counts = one.new_zeros(256 * count * channels).scatter_add_(0, places.flatten(), one.expand(pictures.numel()))
    counts = counts.view(-1, 256)
    last = counts.gather(1, (pictures.amax(dim=(1, 2)).view(-1, 1)).to(torch.int64))
    step = (height * width - last) // 255  # pixels a level, the brightest value left out
    before = counts.cumsum(dim=1, dtype=torch.int32) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=pictures.device)).to(torch.uint8)
    return table.flatten().index_select(0, places.flatten()).view(pictures.shape)


def _blended(towards: Tensor, pictures: Tensor, factors: Tensor) -> Tensor:
    return _levels(towards + _each(factors, pictures) * (pictures.to(torch.float32) - towards))


def _each(amounts: Tensor, pictures: Tensor) -> Tensor:
    """One number a picture, as float32 beside the pictures."""
    return sent(amounts.to(torch.float32), pictures.device).view(-1, 1, 1, 1)


def _levels(values: Tensor) -> Tensor:
    """Rounded to the nearest level, ties to even, and kept within 0-255."""
    return values.round_().clamp_(0, 255).to(torch.uint8)
