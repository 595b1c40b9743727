"""Decoded pictures kept on disk for later runs, each found by the content of its file.

A cache is a folder: `pixels`, one picture behind the other; `index`, where each is, with its shape and checksum;
`problems`, of the files that hold no picture, with their reasons. All three only grow, a picture's pixels before its
record: what a killed program leaves without a record is passed over, and nobody who reads is disturbed.
"""

import contextlib
import hashlib
import json
import mmap
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightline.data.cache_folder import USING, mark_used
from sightline.data.file_lock import FileLock
from sightline.data.ledger import Keys, Ledger, Records, key_of, keys_of, latest, write_at
from sightline.data.modes import Pixels

_FIELDS: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [
    ("offset", "<u8"), ("height", "<u4"), ("width", "<u4"), ("channels", "<u4"), ("crc", "<u4"),
]  # fmt: skip
_PASSING = ("MemoryError", "processor time")  # in reasons that another run may not meet


class PictureCache:
    """The folder of one cache, which stays as long as this object is used.

    Args:
        folder: made where it is missing.

    Raises:
        OSError: it is missing and cannot be made, or has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        self.using = FileLock(folder / USING, shared=True).acquire()
        mark_used(folder / USING)
        self._index = Ledger(folder / "index", _FIELDS)
        self.reload()

    def reload(self) -> None:
        """Look again at what there is."""
        self.refused = dict(self._read_problems())
        records = self._index.read()
        ends = records["offset"] + records["height"].astype(np.uint64) * records["width"] * records["channels"]
        self.records: Records = records[ends <= self._size()]  # a power cut may take pixels and leave their record

    def find(self, keys: Keys) -> tuple[Records, list[str | None]]:
        """What is known of pictures.

        Args:
            keys: uint64 (N, 2), of their files' content.

        Returns:
            N records, of height 0 where there is none; and the reasons of those that are refused, else None.
        """
        places = latest(self.records, keys)
        found = np.zeros(len(keys), self.records.dtype)
        found[places >= 0] = self.records[places[places >= 0]]
        if not self.refused:
            return found, [None] * len(keys)
        return found, [self.refused.get(key) for key in map(tuple, keys.tolist())]

    def mapped(self) -> Tensor:
        """The pixels: uint8 (M,), not to be written to."""
        if not self._size():
            return torch.empty(0, dtype=torch.uint8)
        with (self.folder / "pixels").open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, that the memory may not be written to
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return torch.from_numpy(np.frombuffer(mapping, np.uint8))

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None]) -> Iterator["Writer"]:
        """Alone among all programs, add pictures to what there is by now.

        Args:
            waiting: called once, where another adds some: this one waits for it.

        Raises:
            OSError: the folder cannot be written.
        """
        with FileLock(self.folder / "writing").acquire(waiting):
            self.reload()
            descriptor = os.open(self.folder / "pixels", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                yield Writer(self, descriptor, self._index)
            finally:
                os.close(descriptor)
                self.reload()

    def mend(self, offset: int, pixels: Pixels) -> None:
        """Write a picture's pixels once more, where that may be done."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder / "pixels", os.O_RDWR)
            try:
                write_at(descriptor, pixels.tobytes(), offset)
            finally:
                os.close(descriptor)

    def _size(self) -> int:
        path = self.folder / "pixels"
        return path.stat().st_size if path.exists() else 0

    def _read_problems(self) -> Iterator[tuple[tuple[int, ...], str]]:
        path = self.folder / "problems"
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a part of a line
                row = json.loads(line)
                yield key_of(bytes.fromhex(row["sha256"])), str(row["reason"])


class Writer:
    """Adds to a cache.

    Args:
        cache: the cache, locked.
        descriptor: of its open pixels.
        index: of it.
    """

    def __init__(self, cache: PictureCache, descriptor: int, index: Ledger) -> None:
        self._cache, self._descriptor, self._index = cache, descriptor, index
        self._end = os.fstat(descriptor).st_size
        self._added: set[tuple[int, ...]] = set()
        self.num_bytes = 0

    def add(self, digest: bytes, pixels: Pixels) -> None:
        """Keep a picture. Where that fails, the files are as they were.

        Args:
            digest: SHA-256 of its file.
            pixels: uint8 (H, W, C).

        Raises:
            OSError: the disk is full.
        """
        if (key := key_of(digest)) in self._added:  # the same picture twice
            return
        content = pixels.tobytes()
        try:
            write_at(self._descriptor, content, self._end)
            height, width, channels = (np.array([side]) for side in pixels.shape)
            crc, offset = np.array([zlib.crc32(content)]), np.array([self._end])
            self._index.append(keys_of([digest]), offset=offset, height=height, width=width, channels=channels, crc=crc)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._end)  # nobody has been told of these bytes
            raise
        self._end += len(content)
        self.num_bytes += len(content)
        self._added.add(key)

    def refuse(self, digest: bytes, reason: str) -> None:
        """Remember that a file holds no picture.

        Args:
            digest: SHA-256 of the file.
            reason: in a sentence.

        Raises:
            OSError: the disk is full.
        """
        if not any(words in reason for words in _PASSING):
            with (self._cache.folder / "problems").open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"sha256": digest.hex(), "reason": reason}))


def digest_of(content: bytes) -> bytes:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).digest()
