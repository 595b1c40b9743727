"""Which pictures may be copies of each other: the nearest in a coarse description, without comparing all with all.

Each picture asks with descriptions (`sightline.data.description`) of itself, of some crops of itself and of their
mirror images; the original of a cropped or mirrored copy is then near one of them. The pictures are divided into cells
by k-means, and each looks into the nearest cells only (an inverted file index).

Reference:
    Jégou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011, Sec. IV: inverted files.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.description import VIEWS, WHOLE, describe, mirror_signs

_LEAST_LIKENESS = 0.85
_MOST_EACH = 8  # candidates of one picture
_CELL_SIZE = 4000  # pictures in a cell, about
_PROBES = 4  # cells that a picture looks into
_ROUNDS = 8  # of k-means
_CHUNK = 256  # pictures that ask at a time
_BLOCK = 32  # of those, compared at a time, so that what their views are like stays near the processor


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
        >>> sorted((found.first.item(), found.second.item())), found.views.tolist(), found.mirrored.tolist()
        ([0, 2], [0], [False])
    """
    if len(lumas) < 2:
        empty = torch.empty(0, dtype=torch.int64)
        return Candidates(empty, empty, empty, empty.bool())
    (whole,) = describe(lumas, [WHOLE])
    centres = _centres(whole, max(1, round(len(whole) / _CELL_SIZE)))
    index = _Index.of(whole, centres)
    hits: list[tuple[Tensor, ...]] = []
    signs, done = mirror_signs(), 0
    for members in index.members:  # those of one cell look into nearly the same ones
        for asking in torch.split(members, _CHUNK) if len(members) else ():
            views = describe(lumas[asking], VIEWS)
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
        described: float32 (members, 35), of each cell's pictures.
        cells: int64 (N,), the cell of each picture.
        places: int64 (N,), which of its members a picture is.
    """

    whole: Tensor
    centres: Tensor
    members: list[Tensor]
    described: list[Tensor]
    cells: Tensor
    places: Tensor

    @classmethod
    def of(cls, whole: Tensor, centres: Tensor) -> "_Index":
        """Put each picture into the nearest cell."""
        cells = _nearest_cells(whole, centres, 1)[:, 0]
        members = [torch.nonzero(cells == cell)[:, 0] for cell in range(len(centres))]
        places = torch.empty_like(cells)
        for each in members:
            places[each] = torch.arange(len(each))
        return cls(whole, centres, members, [whole[each] for each in members], cells, places)

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
            self._in_cell(cell, rows, asking, views)
            for cell in torch.nonzero(wanted.any(0))[:, 0].tolist()
            if len(self.members[cell])
            for rows in torch.split(torch.nonzero(wanted[:, cell])[:, 0], _BLOCK)
        ]
        row, found, likeness = (torch.cat(part) for part in zip(*parts, strict=True))
        kept = _best_of_each(row, likeness)
        row, found = row[kept], found[kept]
        view = torch.einsum("vnd,nd->vn", views[:, row], self.whole[found]).argmax(0)
        return asking[row], found, likeness[kept], view

    def _in_cell(self, cell: int, rows: Tensor, asking: Tensor, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = views[:, rows].flatten(0, 1) @ self.described[cell].T
        alike = seen.view(len(views), len(rows), -1).amax(0)
        own = torch.nonzero(self.cells[asking[rows]] == cell)[:, 0]
        alike[own, self.places[asking[rows[own]]]] = -1  # itself
        hopeful = torch.nonzero(alike.amax(1) >= _LEAST_LIKENESS)[:, 0]  # few have a hit, and to rank takes longer
        best = alike[hopeful].topk(min(_MOST_EACH, alike.shape[1]), dim=1)
        good = best.values >= _LEAST_LIKENESS
        row = rows[hopeful][:, None].expand_as(good)[good]
        return row, self.members[cell][best.indices][good], best.values[good]


def _best_of_each(row: Tensor, likeness: Tensor) -> Tensor:
    """Positions of the best hits of each row."""
    order = torch.argsort(likeness, descending=True, stable=True)
    order = order[torch.argsort(row[order], stable=True)]
    starts = torch.searchsorted(row[order], row[order])
    return order[torch.arange(len(order)) - starts < _MOST_EACH]
