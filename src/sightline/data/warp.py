"""Rotation, shear and translation of whole batches: each picture by an amount of its own, bilinear, rounded once.

What comes in from outside is the picture's own reflection (without a second copy of the edge, as in the padded crop) or
one colour.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.data.transfer import constant, sent

Fill = tuple[int, ...]  # one level for all channels, or one for each


def rotate(pictures: Tensor, degrees: Tensor, *, fill: Fill | None) -> Tensor:
    """Turn pictures about their centres, counterclockwise.

    Args:
        pictures: uint8 (N, H, W, C).
        degrees: float (N,).
        fill: the colour around the picture; None reflects it.

    Example:
        >>> rotate(torch.tensor([[1, 2], [3, 4]]).view(1, 2, 2, 1), torch.tensor([90.0]), fill=None)[0, :, :, 0]
        tensor([[2, 4],
                [1, 3]], dtype=torch.uint8)
    """
    angle = torch.deg2rad(degrees.double())
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = pictures.shape[2] / 2, pictures.shape[1] / 2
    return warped(pictures, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, fill=fill)


def shear_x(pictures: Tensor, amounts: Tensor, *, fill: Fill | None) -> Tensor:
    """Shift each line sideways by its distance from the top times an amount.

    Args:
        pictures: uint8 (N, H, W, C).
        amounts: float (N,), px to the left a px down.
        fill: the colour around the picture; None reflects it.

    Example:
        >>> square = torch.tensor([[1, 2], [3, 4]]).view(1, 2, 2, 1)
        >>> shear_x(square, torch.tensor([2.0]), fill=(0,))[0, :, :, 0]
        tensor([[2, 0],
                [0, 0]], dtype=torch.uint8)
    """
    one, zero = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warped(pictures, one, amounts, zero, zero, one, zero, fill=fill)


def shear_y(pictures: Tensor, amounts: Tensor, *, fill: Fill | None) -> Tensor:
    """Shift each column upwards by its distance from the left edge times an amount.

    Args:
        pictures: uint8 (N, H, W, C).
        amounts: float (N,), px up a px to the right.
        fill: the colour around the picture; None reflects it.

    Example:
        >>> shear_y(torch.tensor([[1, 2], [3, 4]]).view(1, 2, 2, 1), torch.tensor([2.0]), fill=(0,))[0, :, :, 0]
        tensor([[3, 0],
                [0, 0]], dtype=torch.uint8)
    """
    one, zero = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warped(pictures, one, zero, zero, amounts, one, zero, fill=fill)


def translate_x(pictures: Tensor, amounts: Tensor, *, fill: Fill | None) -> Tensor:
    """Shift pictures to the left by whole pixels.

    Args:
        pictures: uint8 (N, H, W, C).
        amounts: float (N,), px; what is behind the point is cut off.
        fill: the colour around the picture; None reflects it.

    Example:
        >>> translate_x(torch.tensor([1, 2, 3]).view(1, 1, 3, 1), torch.tensor([1.9]), fill=(9,)).flatten()
        tensor([2, 3, 9], dtype=torch.uint8)
    """
    one, zero = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warped(pictures, one, zero, amounts.trunc(), zero, one, zero, fill=fill)


def translate_y(pictures: Tensor, amounts: Tensor, *, fill: Fill | None) -> Tensor:
    """Shift pictures upwards by whole pixels.

    Args:
        pictures: uint8 (N, H, W, C).
        amounts: float (N,), px; what is behind the point is cut off.
        fill: the colour around the picture; None reflects it.

    Example:
        >>> translate_y(torch.tensor([1, 2, 3]).view(1, 3, 1, 1), torch.tensor([-1.0]), fill=None).flatten()
        tensor([2, 1, 2], dtype=torch.uint8)
    """
    one, zero = torch.ones_like(amounts), torch.zeros_like(amounts)
    return warped(pictures, one, zero, zero, zero, one, amounts.trunc(), fill=fill)


def warped(
    pictures: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor, *, fill: Fill | None
) -> Tensor:
    """Show at each place (x, y) what each picture has at (a x + b y + c, d x + e y + f): Pillow's `Image.AFFINE`.

    Places are px from the upper left corner, so that the middle of the first pixel is (0.5, 0.5).

    Args:
        pictures: (N, H, W, C), 0-255.
        a: float (N,); likewise b to f.
        fill: the colour around the picture, mixed in along its edge; None reflects it.

    Returns:
        uint8 (N, H, W, C), bilinear, rounded to the nearest level.
    """
    _, height, width, _ = pictures.shape
    amounts = torch.stack([a, b, c, d, e, f]).to(torch.float32)
    a, b, c, d, e, f = sent(amounts, pictures.device)[:, :, None, None]  # (N, 1, 1) each
    x = (torch.arange(width, device=pictures.device) + 0.5).view(1, 1, width)
    y = (torch.arange(height, device=pictures.device) + 0.5).view(1, height, 1)
    x, y = a * x + b * y + c, d * x + e * y + f  # (N, H, W) each
    layers = pictures.to(torch.float32).permute(0, 3, 1, 2)
    if fill is None:  # -1 and 1 are the middles of the outermost pixels, about which the picture is reflected
        grid = torch.stack([(2 * x - 1) / max(width - 1, 1) - 1, (2 * y - 1) / max(height - 1, 1) - 1], dim=3)
        shown = F.grid_sample(layers, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    else:  # -1 and 1 are the picture's edges; beyond them the difference from the colour is 0
        colour = constant(fill, torch.float32, pictures.device).view(1, -1, 1, 1)
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=3)
        shown = F.grid_sample(layers - colour, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        shown = shown + colour
    return shown.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
