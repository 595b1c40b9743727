"""Pictures that lie one behind the other in a run of bytes: a few numbers each, however many there are."""

import zlib
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.modes import Pixels

Numbers = npt.NDArray[np.int64]


class Pile:
    """A sequence of pictures, each a view of the bytes when it is asked for.

    Args:
        data: uint8 (M,): memory, or a mapped file, of which the system loads what is looked at.
        shapes: int64 (N, 3), (H, W, C) of each picture.
        offsets: int64 (N,), where each begins; None where they follow each other.
        checks: int64 (N,), the CRC-32 that each must have when it is first looked at; None to look without.
        again: from a row whose bytes are damaged to its pixels; needed with `checks`.
        holds: what must live as long as the pictures, such as a lock.

    Example:
        >>> pile = Pile(torch.arange(6, dtype=torch.uint8), np.array([[1, 2, 1], [2, 2, 1]]))
        >>> pile[1].flatten()
        tensor([2, 3, 4, 5], dtype=torch.uint8)
    """

    def __init__(
        self,
        data: Tensor,
        shapes: Numbers,
        offsets: Numbers | None = None,
        *,
        checks: Numbers | None = None,
        again: Callable[[int], Pixels] | None = None,
        holds: object = None,
    ) -> None:
        self._data = data
        self._shapes = shapes
        self._lengths = shapes.prod(axis=1)
        self._offsets = np.cumsum(self._lengths) - self._lengths if offsets is None else offsets
        self._checks, self._again, self._holds = checks, again, holds
        self._is_checked = np.zeros(len(shapes), np.bool_)
        self._repaired: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Tensor:
        """uint8 (H, W, C), a view."""
        row = range(len(self))[row]
        if row in self._repaired:
            return self._repaired[row]
        offset = int(self._offsets[row])
        flat = self._data[offset : offset + int(self._lengths[row])]
        if self._checks is not None and not self._is_checked[row]:
            if zlib.crc32(flat.numpy().data) != self._checks[row] and self._again is not None:
                self._repaired[row] = torch.from_numpy(self._again(row))
                return self._repaired[row]
            self._is_checked[row] = True
        return flat.view(self._shapes[row].tolist())

    def sizes(self, rows: Tensor) -> Tensor:
        """(height, width) px: int64 (N, 2); no picture is looked at."""
        return torch.from_numpy(self._shapes[rows.numpy(), :2])

    def take(self, rows: Tensor) -> Tensor:
        """Copy pictures of one size: uint8 (N, H, W, C).

        Args:
            rows: int64 (N,); N may be 0.
        """
        if not len(rows):
            return self._data.new_empty((0, *self._shapes[0].tolist()) if len(self) else (0, 0, 0, 0))
        return torch.stack([self[row] for row in rows.tolist()])

    @property
    def is_ragged(self) -> bool:
        """Whether the pictures have different sizes."""
        return len(self) > 0 and bool((self._shapes != self._shapes[0]).any())
