"""The pictures inside Parquet files, read when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from sightline.data.decode import BadImage, decode
from sightline.data.modes import Pixels
from sightline.data.parquet_file import open_parquet, picture_column

_KEPT = 4  # row groups in memory: pictures are read in order, by threads that are near each other


class Cells:
    """The pictures of Parquet files, read a row group at a time; the last few are kept.

    Args:
        files: that hold pictures.

    Raises:
        DataError: a file cannot be read.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [open_parquet(path) for path in files]
        self._columns = [picture_column(file.schema_arrow) or "" for file in self._files]
        starts = [[0] for _ in files]
        for file, ends in zip(self._files, starts, strict=True):
            for group in range(file.num_row_groups):
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
        self._starts = [np.array(each) for each in starts]
        self._lock = Lock()  # a reader of Parquet is not to be used by two threads
        self._group = lru_cache(_KEPT)(self._read_group)

    def content(self, file: int, row: int) -> bytes | None:
        """The bytes of a picture; None where the file has none."""
        group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
        with self._lock:
            value = self._group(file, group)[row - int(self._starts[file][group])].as_py()
        return None if value is None else value["bytes"]

    def _read_group(self, file: int, group: int) -> Any:
        column = self._columns[file]
        return self._files[file].read_row_group(group, columns=[f"{column}.bytes"]).column(0)


@dataclass(frozen=True)
class ParquetImages:
    """Pictures inside Parquet files, decoded when asked for.

    Args:
        cells: reads their bytes.
        rows: (number of the file, row) of each.
        names: of each.
        channels: 3 for RGB, 1 for grey.
    """

    cells: Cells
    rows: Sequence[tuple[int, int]]
    names: Sequence[str]
    channels: Literal[1, 3] = 3

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Pixels:
        """Decode the picture."""
        try:
            return decode(self.content(index), channels=self.channels)
        except BadImage as error:
            raise BadImage(self.name(index), error.reason) from error

    def content(self, index: int) -> bytes:
        """The bytes of the picture's file."""
        try:
            content = self.cells.content(*self.rows[index])
        except (OSError, ValueError) as error:  # what pyarrow raises is of the one or the other
            raise BadImage(self.name(index), f"its part of the file cannot be read ({error})") from error
        if not content:
            raise BadImage(self.name(index), "the row has no bytes")
        return content

    def name(self, index: int) -> str:
        """The path that the file gives it, where those tell all pictures apart; else the file and the row."""
        return self.names[index]
