"""Which pictures may be copies of each other: the nearest in a coarse description, without comparing all with all.

A description is the low frequencies of a thumbnail (a discrete cosine transform, as in pHash), kept as numbers instead
of bits. A crop moves everything that a picture shows, so each picture also asks with some crops of itself, and with its
mirror images; the original is then near one of them. The pictures are divided into cells by k-means, and each looks
into the nearest cells only (an inverted file index).

Reference:
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, Sec. 3.2: pHash.
    Jégou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011, Sec. IV: inverted files.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
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
_LEAST_LIKENESS = 0.85
_MOST_EACH = 8  # candidates of one picture
_CELL_SIZE = 4000  # pictures in a cell, about
_PROBES = 4  # cells that a picture looks into
_ROUNDS = 8  # of k-means
_CHUNK = 256  # pictures that ask at a time


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs that may be copies, each once as it is and once mirrored at most.

    Args:
        first: int64 (M,), the picture of which a part is like the second.
        second: int64 (M,).
        views: int64 (M,), which part: numbers of `VIEWS`.
        mirrored: bool (M,), whether the first has to be mirrored left to right for that, before its part is taken.
    """

    first: Tensor
    second: Tensor
    views: Tensor
    mirrored: Tensor

    def __len__(self) -> int:
        return len(self.first)


def candidates(lumas: Tensor, *, progress: Callable[[int, int], None] | None = None) -> Candidates:
    """Find the pairs of pictures that are worth a closer look.

    Args:
        lumas: uint8 (N, 32, 32), thumbnails.
        progress: called with (pictures done, pictures in all).

    Returns:
        For each picture, and for its mirror image, the 8 others at most that are the most alike, and at least 0.85
        (the cosine of their descriptions), from the cells nearest to it.

    Example:
        >>> lumas = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        >>> lumas[2] = lumas[0] // 2
        >>> found = candidates(lumas)
        >>> found.first.tolist(), found.second.tolist(), found.views.tolist(), found.mirrored.tolist()
        ([0], [2], [0], [False])
    """
    if len(lumas) < 2:
        empty = torch.empty(0, dtype=torch.int64)
        return Candidates(empty, empty, empty, empty.bool())
    whole = describe(lumas, WHOLE)
    centres = _centres(whole, max(1, round(len(whole) / _CELL_SIZE)))
    cells = _nearest_cells(whole, centres, 1)[:, 0]
    index = _Index(whole, centres, [torch.nonzero(cells == cell)[:, 0] for cell in range(len(centres))])
    hits: list[tuple[Tensor, ...]] = []
    signs, done = _mirror_signs(), 0
    for members in index.members:  # those of one cell look into nearly the same ones
        for asking in torch.split(members, _CHUNK):
            views = torch.stack([describe(lumas[asking], box) for box in VIEWS])
            for is_mirrored, seen in ((False, views), (True, views * signs)):
                found = index.look_up(asking, seen)
                hits.append((*found, torch.full_like(found[0], is_mirrored, dtype=torch.bool)))
            done += len(asking)
            if progress is not None:
                progress(done, len(lumas))
    return _each_once(*(torch.cat(parts) for parts in zip(*hits, strict=True)))


def _each_once(first: Tensor, second: Tensor, likeness: Tensor, views: Tensor, mirrored: Tensor) -> Candidates:
    """Of a pair that was found from both sides, the better; ordered by the pair's numbers."""
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    keys = (low * (int(high.max()) + 1 if len(high) else 1) + high) * 2 + mirrored
    order = torch.argsort(likeness, descending=True, stable=True)
    order = order[torch.argsort(keys[order], stable=True)]
    kept = order[torch.nonzero(torch.diff(keys[order], prepend=keys.new_tensor([-1])))[:, 0]]
    return Candidates(first[kept], second[kept], views[kept], mirrored[kept])


def describe(lumas: Tensor, box: Box) -> Tensor:
    """What a part of each picture looks like, coarsely; unmoved by brightness and contrast.

    Args:
        lumas: uint8 (N, 32, 32).
        box: the part: (top, bottom, left, right), fractions of the side.

    Returns:
        float32 (N, 35), of length 1; 0 for a part of one colour.
    """
    down, across = _cosines(box[0], box[1]), _cosines(box[2], box[3])
    grid = np.mgrid[:_FREQUENCIES, :_FREQUENCIES]
    kept = torch.from_numpy(np.flatnonzero((grid.sum(0) < _FREQUENCIES) & (grid.sum(0) > 0)))
    # Pictures have less of the higher frequencies, about in inverse proportion; the root gives those some of it back.
    weights = torch.from_numpy(np.sqrt(np.hypot(*grid)).astype(np.float32)).flatten()
    parts = []
    for part in torch.split(lumas, 1 << 14):
        transformed = (down @ part.float() @ across.T).flatten(1) * weights
        parts.append(torch.nn.functional.normalize(transformed[:, kept], dim=1, eps=1e-3))
    return torch.cat(parts) if parts else torch.empty(0, len(kept))


def _cosines(start: float, end: float) -> Tensor:
    """The first functions of the discrete cosine transform (type II) of an interval: (8, 32)."""
    edges = np.linspace(0, 1, SIDE_PX + 1)
    low, high = np.maximum(edges[:-1], start), np.minimum(edges[1:], end)
    covered = np.clip(high - low, 0, None) / (end - start)
    waves = np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * ((low + high) / 2 - start) / (end - start)) * covered
    waves[1:] -= waves[1:].sum(1, keepdims=True) * covered  # so that a constant gives 0 where a pixel is cut
    waves[1:] *= math.sqrt(2)
    return torch.from_numpy(waves.astype(np.float32))


def _mirror_signs() -> Tensor:
    """What a description is multiplied by when the picture is mirrored left to right: (35,)."""
    grid = np.mgrid[:_FREQUENCIES, :_FREQUENCIES]
    kept = (grid.sum(0) < _FREQUENCIES) & (grid.sum(0) > 0)
    return torch.from_numpy(np.where(grid[1][kept] % 2, -1, 1).astype(np.float32))


# -------------------------------------------------------------------------------------------------------------- cells


def _centres(descriptions: Tensor, count: int) -> Tensor:
    """The centres of k-means, begun at evenly spaced pictures: no draw, so every run gives the same."""
    sample = descriptions[:: max(1, len(descriptions) // (count * 256))]
    centres = sample[torch.linspace(0, len(sample) - 1, count).long()].clone()
    for _ in range(_ROUNDS if count > 1 else 0):
        cells = _nearest_cells(sample, centres, 1)[:, 0]
        sums = torch.zeros_like(centres).index_add_(0, cells, sample)
        sizes = torch.bincount(cells, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    return centres


def _nearest_cells(descriptions: Tensor, centres: Tensor, count: int) -> Tensor:
    """The nearest cells of each: int64 (N, count), or fewer where there are fewer."""
    half_square = centres.square().sum(1) / 2
    nearest = [
        (part @ centres.T - half_square).topk(min(count, len(centres)), dim=1).indices
        for part in torch.split(descriptions, 1 << 14)
    ]
    return torch.cat(nearest)


# -------------------------------------------------------------------------------------------------------------- index


@dataclass(frozen=True, eq=False)
class _Index:
    """Descriptions divided into cells.

    Args:
        whole: float32 (N, 35), of the whole pictures.
        centres: float32 (cells, 35).
        members: the numbers of each cell's pictures.
    """

    whole: Tensor
    centres: Tensor
    members: list[Tensor]

    def look_up(self, asking: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best hits of some pictures.

        Args:
            asking: int64 (n,), their numbers.
            views: float32 (V, n, 35), the first of the whole picture, which decides on the cells.

        Returns:
            For each hit: who asked, who was found, how alike they are, and in which view.
        """
        nearest = _nearest_cells(views[0], self.centres, _PROBES)
        wanted = torch.zeros(len(asking), len(self.centres), dtype=torch.bool).scatter_(1, nearest, True)
        parts = [
            self._in_cell(cell, torch.nonzero(wanted[:, cell])[:, 0], asking, views)
            for cell in torch.nonzero(wanted.any(0))[:, 0].tolist()
        ]
        row, found, likeness = (torch.cat(part) for part in zip(*parts, strict=True))
        kept = _best_of_each(row, likeness)
        row, found = row[kept], found[kept]
        view = torch.einsum("vnd,nd->vn", views[:, row], self.whole[found]).argmax(0)
        return asking[row], found, likeness[kept], view

    def _in_cell(self, cell: int, rows: Tensor, asking: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        members = self.members[cell]
        there = self.whole[members].T
        alike = views[0, rows] @ there
        for view in views[1:]:
            torch.maximum(alike, view[rows] @ there, out=alike)
        alike[asking[rows][:, None] == members] = -1  # itself
        best = alike.topk(min(_MOST_EACH, alike.shape[1]), dim=1)
        good = best.values >= _LEAST_LIKENESS
        return rows[:, None].expand_as(good)[good], members[best.indices][good], best.values[good]


def _best_of_each(row: Tensor, likeness: Tensor) -> Tensor:
    """Positions of the best hits of each row."""
    order = torch.argsort(likeness, descending=True, stable=True)
    order = order[torch.argsort(row[order], stable=True)]
    starts = torch.searchsorted(row[order], row[order])
    return order[torch.arange(len(order)) - starts < _MOST_EACH]
