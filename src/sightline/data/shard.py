"""A tar shard on this machine: its bytes from front to back, and any of them by their place."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sightline.data.shard_index import ShardIndex, Stream, read_index, remember, remembered
from sightline.errors import DataError

_SETTLED_NS = 2_000_000_000  # as of listings: a file system's clock may tick in seconds


class Shard(Protocol):
    """One tar file, wherever it lies."""

    @property
    def name(self) -> str:
        """What messages call it, and what its split is told by."""

    def index(self) -> ShardIndex:
        """What is in it: remembered, or read now. Raises DataError where it cannot be reached."""

    def num_bytes(self) -> int:
        """Its size."""

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes, any number of threads at once; fewer where it ends. Raises DataError."""


@dataclass(frozen=True)
class LocalShard:
    """A shard in a file.

    The file is opened for each picture, which takes ten microseconds and leaves none open.

    Args:
        path: of the file.
        name: relative to the folder of the shards.
    """

    path: Path
    name: str

    def index(self) -> ShardIndex:
        """What is in it: remembered while path, size and time of change stay, or read now."""
        try:
            identity = self._identity()
            found = remembered(identity)
            if found is None:
                with self._open() as stream:
                    found = read_index(stream)
                remember(found, identity if self._identity() == identity else None)
        except OSError as error:
            return ShardIndex(problems=[("", f"cannot be read ({type(error).__name__}: {error.strerror})")])
        return found

    def num_bytes(self) -> int:
        """The file's size."""
        return self.path.stat().st_size

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes."""
        try:
            return read_at(self.path, offset, size)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be read any more ({type(error).__name__}: {error.strerror}). Put it back, and go "
                "on with the run."
            ) from error

    def _identity(self) -> str | None:
        """None where it changed just now: it may change again unseen."""
        status = self.path.stat()
        if status.st_mtime_ns > time.time_ns() - _SETTLED_NS:
            return None
        return f"{os.path.realpath(self.path)}\0{status.st_size}\0{status.st_mtime_ns}"

    @contextmanager
    def _open(self) -> Iterator[Stream]:
        if not self.path.is_file():  # a pipe would wait for ever
            raise OSError(0, "no plain file")
        with self.path.open("rb") as file:
            yield file


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Some bytes of a file; fewer where it ends.

    Args:
        path: of the file.
        offset: of the first one.
        size: how many.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        pieces = []
        while size > 0 and (piece := os.pread(descriptor, size, offset)):
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)
