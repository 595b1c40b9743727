"""Two thumbnails laid on each other as well as they go, and how alike they then are.

The one is scaled and shifted until it fits the other best (Lucas and Kanade, with the scales of both axes free, and a
brightness and a contrast between the two). Then their slopes are compared: what a picture shows is in where it gets
lighter and darker. Broad gradients, such as a sky's, weigh little in that, and a copy's brightness weighs nothing. They
are compared in blocks, so that one strong edge that two pictures share, a horizon or a frame, does not speak for all.

Reference:
    Lucas, Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision", IJCAI 1981.
    Baker, Matthews, "Lucas-Kanade 20 Years On: A Unifying Framework", IJCV 2004.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.description import VIEWS
from sightline.data.fingerprint import SIDE_PX
from sightline.data.neighbours import Candidates

_SMOOTHING_PX = 0.8  # of a Gaussian: takes the noise of JPEG away, not the picture
_COARSE_STEPS = 3  # at half size
_FINE_STEPS = 2
# A crop of a tenth of each edge leaves 0.8 of a side and moves the centre by 0.1 of it at most, with room to err.
_LEAST_SCALE, _MOST_SCALE = 0.74, 1.1
_MOST_SHIFT = 0.13
_MOST_STEP = 0.06
_HOPELESS = 0.6  # likeness after the coarse steps
# Grey levels a pixel of the thumbnail; a block with weaker slopes says little, for it may hold the noise of JPEG only.
_NOISE = 4.0
# Of a picture. Not from a paper: 98 % of CIFAR-10's pictures have more, a planetary nebula on black has 28 to 50. The
# cube was chosen because with it no pair of different nebulae is left.
_ENOUGH_DETAILS = 100
_CHUNK = 512  # pairs at a time


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike the two pictures of each pair are, laid on each other.

    Args:
        score: float32 (M,), at most 1: the correlation of their slopes, mean of blocks. Its distance to 1 counts for
            more where a picture has few details: two discs on black are alike, and no copies.
        relief: float32 (M,), the root mean square slope of the flatter one, in grey levels a pixel of the thumbnail.
            A picture of one colour has 0, and no evidence in it.
    """

    score: Tensor
    relief: Tensor


def likeness(lumas: Tensor, pairs: Candidates) -> Likeness:
    """Compare pairs of pictures closely.

    Args:
        lumas: uint8 (N, 32, 32), thumbnails.
        pairs: of them.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> lumas = torch.randint(256, (3, 32, 32), generator=generator).to(torch.uint8)
        >>> lumas[2] = lumas[0].flip(1)
        >>> one = torch.tensor([0])
        >>> mirrored = Candidates(one, torch.tensor([2]), one, torch.tensor([True]))
        >>> round(likeness(lumas, mirrored).score.item(), 3)
        1.0
    """
    enough = (details(lumas) / _ENOUGH_DETAILS).clamp(0.01, 1)
    boxes = torch.tensor(VIEWS)
    scores, reliefs = [torch.empty(0)], [torch.empty(0)]
    for at in torch.split(torch.arange(len(pairs)), _CHUNK) if len(pairs) else ():
        first, second = lumas[pairs.first[at]].float(), lumas[pairs.second[at]].float()
        first = torch.where(pairs.mirrored[at][:, None, None], first.flip(2), first)
        score, relief = _of_chunk(first, second, _placed(boxes[pairs.views[at]]))
        scores.append(score)
        reliefs.append(relief)
    fewer = torch.minimum(enough[pairs.first], enough[pairs.second])
    return Likeness(1 - (1 - torch.cat(scores)) / fewer**3, torch.cat(reliefs))


def details(lumas: Tensor) -> Tensor:
    """About how many details each picture has: how many pixels share its slopes, and how soon those change.

    Args:
        lumas: uint8 (N, 32, 32), thumbnails.

    Returns:
        float32 (N,): the participation ratio of the squared slopes, times the mean squared curvature in units of the
        mean squared slope.

    Example:
        >>> lumas = torch.zeros(2, 32, 32, dtype=torch.uint8)
        >>> lumas[0, 14:18, 14:18] = 255  # a lone block
        >>> lumas[1] = torch.randint(256, (32, 32), generator=torch.Generator().manual_seed(0))
        >>> [round(number, -1) for number in details(lumas).tolist()]
        [40.0, 1780.0]
    """
    parts = [torch.empty(0)]
    for part in torch.split(lumas, 1 << 12):
        pictures = _smoothed(part.float())
        steep = torch.stack(_slopes(pictures)).square().sum(0).flatten(1) / SIDE_PX**2
        inner = pictures[:, 1:-1, 1:-1]
        around = pictures[:, 2:, 1:-1] + pictures[:, :-2, 1:-1] + pictures[:, 1:-1, 2:] + pictures[:, 1:-1, :-2]
        curved = (around - 4 * inner).square().flatten(1).sum(1)
        total = steep.sum(1)
        parts.append(total * curved / steep.square().sum(1).clamp_min(1e-6))
    return torch.cat(parts)


def _of_chunk(first: Tensor, second: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    first, second = _smoothed(first), _smoothed(second)
    place = _fitted(_halved(first), _halved(second), place, _COARSE_STEPS)
    score, relief = _compared(first, second, place)
    promising = torch.nonzero(score >= _HOPELESS)[:, 0]
    if len(promising):
        first, second = first[promising], second[promising]
        fine = _fitted(first, second, place[promising], _FINE_STEPS)
        better, its_relief = _compared(first, second, fine)
        is_better = better > score[promising]
        relief[promising] = torch.where(is_better, its_relief, relief[promising])
        score[promising] = torch.where(is_better, better, score[promising])
    return score, relief


def _placed(boxes: Tensor) -> Tensor:
    """Boxes (M, 4) as places: (scale down, shift down, scale across, shift across), in sides, from the centre."""
    top, bottom, left, right = boxes.unbind(1)
    return torch.stack([bottom - top, (top + bottom - 1) / 2, right - left, (left + right - 1) / 2], dim=1)


# ------------------------------------------------------------------------------------------------------------- fitting


def _fitted(first: Tensor, second: Tensor, place: Tensor, steps: int) -> Tensor:
    """Where in the first pictures the second ones lie: from a guess, in Gauss-Newton steps.

    Each step solves, by least squares over all pixels, second = contrast * (first + its slopes * move) + brightness.
    """
    side = first.shape[-1]
    along = _along(side)
    down, across = along[:, None].expand(side, side), along.expand(side, side)
    one = torch.ones_like(first)
    firm = torch.tensor([1e-3, 1e-3, 1e-3, 1e-3, 0.0, 0.0])  # keeps the move small where nothing tells it
    for _ in range(steps):
        seen, mask = _seen(first, place)
        slope_down, slope_across = _slopes(seen)
        features = torch.stack(
            [slope_down * down, slope_down, slope_across * across, slope_across, seen / side, one], dim=1
        ).flatten(2)  # (M, 6, side * side)
        weighed = features * mask.flatten(1)[:, None]
        normal = weighed @ features.transpose(1, 2)
        ridge = normal.diagonal(dim1=1, dim2=2) * firm + 1e-3
        solved = torch.linalg.solve(normal + torch.diag_embed(ridge), weighed @ second.flatten(1)[:, :, None])[:, :, 0]
        contrast = (solved[:, 4:5] / side).clamp_min(0.2)
        move = (solved[:, :4] / contrast).clamp(-_MOST_STEP, _MOST_STEP)
        place = _moved(place, move)
    return place


def _moved(place: Tensor, move: Tensor) -> Tensor:
    """A place after a move that is measured within it."""
    scale = (place[:, 0::2] * (1 + move[:, 0::2])).clamp(_LEAST_SCALE, _MOST_SCALE)
    shift = (place[:, 1::2] + place[:, 0::2] * move[:, 1::2]).clamp(-_MOST_SHIFT, _MOST_SHIFT)
    return torch.stack([scale[:, 0], shift[:, 0], scale[:, 1], shift[:, 1]], dim=1)


def _seen(pictures: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The part of each picture at its place, at the full size, and where both it and its neighbours exist (0 or 1)."""
    side = pictures.shape[-1]
    along = _along(side)
    rows = (place[:, 0:1] * along + place[:, 1:2]) * side + (side - 1) / 2
    columns = (place[:, 2:3] * along + place[:, 3:4]) * side + (side - 1) / 2
    inside = _inside(rows, side)[:, :, None] * _inside(columns, side)[:, None, :]
    return _between(rows, side) @ pictures @ _between(columns, side).transpose(1, 2), inside


def _along(side: int) -> Tensor:
    """Where the pixels are along a side of length 1, from its centre."""
    return (torch.arange(side) - (side - 1) / 2) / side


def _between(at: Tensor, side: int) -> Tensor:
    """The weights of linear interpolation: (M, side, side)."""
    return (1 - (at.clamp(0, side - 1)[:, :, None] - torch.arange(side)).abs()).clamp_min(0)


def _inside(at: Tensor, side: int) -> Tensor:
    """1 where a pixel and both neighbours lie within the picture, else 0."""
    exists = ((at >= -0.5) & (at <= side - 0.5)).float()
    exists[:, 1:-1] *= exists[:, :-2] * exists[:, 2:]
    exists[:, 0] = exists[:, -1] = 0
    return exists


# ----------------------------------------------------------------------------------------------------------- comparing


def _compared(first: Tensor, second: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The mean correlation of the slopes over blocks where both pictures exist, and the relief of the flatter one."""
    seen, mask = _seen(first, place)
    slopes = [torch.stack(_slopes(picture)) / picture.shape[-1] * mask for picture in (seen, second)]
    energies = [each.square().sum(0) for each in slopes]
    of_first, of_second, product = (_blocks(each) for each in (*energies, (slopes[0] * slopes[1]).sum(0)))
    strength = (of_first * of_second).sqrt()
    weight = strength / (strength + _NOISE**2)
    score = (weight * product / (strength + 1e-3)).sum(1) / weight.sum(1).clamp_min(1e-6)
    totals = [each.sum((1, 2)) / mask.sum((1, 2)).clamp_min(1) for each in energies]
    return score, torch.minimum(*totals).sqrt()


def _blocks(values: Tensor) -> Tensor:
    """The mean of each block of a quarter of the side; blocks overlap by half."""
    side = values.shape[-1] // 4
    return torch.nn.functional.avg_pool2d(values[:, None], side, stride=side // 2).flatten(1)


def _slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """How fast pictures get lighter, downwards and to the right, a side; 0 at the edges, where nothing tells."""
    side = pictures.shape[-1]
    down, across = torch.zeros_like(pictures), torch.zeros_like(pictures)
    down[:, 1:-1] = (pictures[:, 2:] - pictures[:, :-2]) * (side / 2)
    across[:, :, 1:-1] = (pictures[:, :, 2:] - pictures[:, :, :-2]) * (side / 2)
    return down, across


def _smoothed(pictures: Tensor) -> Tensor:
    at = torch.arange(pictures.shape[-1], dtype=torch.float32)
    weights = torch.exp(-0.5 * ((at[:, None] - at) / _SMOOTHING_PX).square())
    weights /= weights.sum(1, keepdim=True)
    return weights @ pictures @ weights.T


def _halved(pictures: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(pictures, 2)
