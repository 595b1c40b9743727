"""What a picture looks like, coarsely: the low frequencies of its thumbnail, and of parts of it.

A description is a discrete cosine transform, as in pHash, kept as numbers instead of bits. A crop moves everything that
a picture shows, so a picture is also described by some crops of itself, and by its mirror images.

Reference:
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, Sec. 3.2: pHash.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.fingerprint import SIDE_PX

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 1.0, 0.0, 1.0)
# (top, bottom, left, right) in fractions of the side. Not from a paper: chosen because of 1,000 crops that took 5 to
# 10 % of a side, or of each edge, 99 % were at least 0.93 like the nearest view; without views, like a stranger's.
VIEWS: tuple[Box, ...] = (
    WHOLE,
    (0.0, 0.93, 0.0, 0.93),
    (0.0, 0.93, 0.07, 1.0),
    (0.07, 1.0, 0.0, 0.93),
    (0.07, 1.0, 0.07, 1.0),
    (0.05, 0.95, 0.05, 0.95),
    (0.09, 0.91, 0.09, 0.91),
)
_FREQUENCIES = 8  # cosines along a side; of the 64 products the 35 lowest but the mean are used


def describe(lumas: Tensor, boxes: Sequence[Box]) -> Tensor:
    """What parts of each picture look like, coarsely; unmoved by brightness and contrast.

    Args:
        lumas: uint8 (N, 32, 32).
        boxes: the parts: (top, bottom, left, right), fractions of the side.

    Returns:
        float32 (parts, N, 35), of length 1; next to 0 for a part of one colour.

    Example:
        >>> faint = torch.arange(1024).view(1, 32, 32).remainder(101).to(torch.uint8)
        >>> strong = faint * 2 + 50
        >>> torch.allclose(describe(faint, VIEWS), describe(strong, VIEWS), atol=1e-4)
        True
    """
    waves = torch.cat([_waves(box) for box in boxes])
    parts = [part.flatten(1).float() @ waves.T for part in torch.split(lumas, 1 << 14)]
    described = torch.cat(parts).view(len(lumas), len(boxes), len(waves) // len(boxes)).transpose(0, 1)
    return torch.nn.functional.normalize(described, dim=2, eps=1e-3)


@cache
def _waves(box: Box) -> Tensor:
    """What a thumbnail, row after row, is multiplied by to describe a part of it: float32 (35, 1024)."""
    down, across = _cosines(box[0], box[1]), _cosines(box[2], box[3])
    products = (down[:, None, :, None] * across[None, :, None, :]).reshape(_FREQUENCIES**2, -1)
    # Pictures have less of the higher frequencies, about in inverse proportion; the root gives those some of it back.
    weights = np.sqrt(np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES])).reshape(-1, 1)
    return torch.from_numpy((products * weights)[_kept().ravel()].astype(np.float32))


def _kept() -> npt.NDArray[np.bool_]:
    """Which of the products of two cosines describe a picture: the lowest, without the mean. bool (8, 8)."""
    order = np.mgrid[:_FREQUENCIES, :_FREQUENCIES].sum(0)
    kept: npt.NDArray[np.bool_] = (order > 0) & (order < _FREQUENCIES)
    return kept


def _cosines(start: float, end: float) -> npt.NDArray[np.float64]:
    """The first functions of the discrete cosine transform (type II) of an interval: (8, 32)."""
    edges = np.linspace(0, 1, SIDE_PX + 1)
    low, high = np.maximum(edges[:-1], start), np.minimum(edges[1:], end)
    covered = np.clip(high - low, 0, None) / (end - start)
    waves: npt.NDArray[np.float64] = (
        np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * ((low + high) / 2 - start) / (end - start)) * covered
    )
    waves[1:] -= waves[1:].sum(1, keepdims=True) * covered  # so that a constant gives 0 where a pixel is cut
    waves[1:] *= math.sqrt(2)
    return waves


def mirror_signs() -> Tensor:
    """What a description is multiplied by when the picture is mirrored left to right: float32 (35,), 1 or -1."""
    across = np.mgrid[:_FREQUENCIES, :_FREQUENCIES][1]
    return torch.from_numpy(np.where(across[_kept()] % 2, -1, 1).astype(np.float32))
