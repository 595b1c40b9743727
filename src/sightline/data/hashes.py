"""The SHA-256 of files, remembered for as long as a file keeps its path, size and time of change.

A file that was changed and given its old size and time back is taken for the old one. SIGHTLINE_CACHE=off trusts no
such memory: every file is read.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.cache_folder import cache_folder, mark_used, name_of
from sightline.data.catalog import ArrayImages, FileImages, Images
from sightline.data.file_lock import FileLock
from sightline.data.ledger import Ledger, keys_of, latest
from sightline.data.shard_images import ShardImages

Digests = npt.NDArray[np.uint8]
"""(N, 32)."""

_WORTH = 1000  # files, below which nothing is gained by remembering
_SETTLED_NS = 2_000_000_000  # a file system's clock may tick in seconds: what changed just now may change unseen
_BATCH = 4096  # files under way at a time, so that a million of them do not wait in memory
_TOGETHER = 64  # files of one task: handing out each one alone takes as long as reading a small one


class HashMemory:
    """The hashes of one folder's files.

    Args:
        root: the folder.
        home: of the caches.
    """

    def __init__(self, root: Path, home: Path) -> None:
        self._root = os.path.realpath(root)
        self._ledger = Ledger(home / f"hashes-{name_of(self._root)}", [("sha256", "u1", (32,))])
        self._lock = home / "lock-of-hashes"

    def look_up(self, paths: Sequence[str]) -> tuple[list[bytes | None], npt.NDArray[np.bool_], Digests]:
        """What is remembered of files as they are now.

        Args:
            paths: relative to the root.

        Returns:
            What each file is known by: a digest of its path, size and time of change, None where it is not there or
            changed just now; whether its hash is known, bool (N,); and the hashes.
        """
        identities = [self.identity(path) for path in paths]
        digests = np.zeros((len(paths), 32), np.uint8)
        try:
            records = self._ledger.read()
        except OSError:
            return identities, np.zeros(len(paths), np.bool_), digests
        mark_used(self._ledger.path)
        places = latest(records, keys_of([identity or bytes(16) for identity in identities]))
        is_known = (places >= 0) & np.array([identity is not None for identity in identities], np.bool_)
        digests[is_known] = records["sha256"][places[is_known]]
        return identities, is_known, digests

    def identity(self, path: str) -> bytes | None:
        """As `look_up` tells it of one file."""
        try:
            status = os.stat(f"{self._root}/{path}")  # noqa: PTH116 - a Path for each of a million files takes seconds
        except (OSError, ValueError):
            return None
        if status.st_mtime_ns > time.time_ns() - _SETTLED_NS:
            return None
        text = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{self._root}"
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()

    def remember(self, paths: Sequence[str], identities: Sequence[bytes | None], digests: Sequence[bytes]) -> None:
        """Add the hashes of files that are still as they were before they were read, where that may be written.

        Args:
            paths: relative to the root.
            identities: what the files were known by before; None is not remembered.
            digests: SHA-256 of each.
        """
        still = [
            (identity, digest)
            for path, identity, digest in zip(paths, identities, digests, strict=True)
            if identity is not None and self.identity(path) == identity
        ]
        if not still:
            return
        with contextlib.suppress(OSError):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock).acquire():
                values = np.frombuffer(b"".join([digest for _, digest in still]), np.uint8).reshape(-1, 32)
                self._ledger.append(keys_of([identity for identity, _ in still]), sha256=values)


def content_hash(images: Images, index: int) -> bytes:
    """The SHA-256 of what makes a picture, by which a bundle knows it again: its file's, or its pixels'.

    Args:
        images: of a catalog.
        index: of the picture.

    Raises:
        BadImage: its file cannot be read.

    Example:
        >>> images = ArrayImages(np.zeros((1, 2, 2, 1), np.uint8), (("train", 1),))
        >>> content_hash(images, 0) == hashlib.sha256(bytes(4)).digest()
        True
    """
    return hashlib.sha256(images.content(index)).digest()


def pixels_hash(images: ArrayImages) -> str:
    """The SHA-256 of all pictures that lie in memory, in hexadecimal: they come and go together.

    Args:
        images: of a catalog.
    """
    return hashlib.sha256(np.ascontiguousarray(images.pixels).data).hexdigest()


def content_hashes(
    images: Images, indices: Sequence[int] | npt.NDArray[np.int64], *, threads: int | None = None
) -> Iterator[str]:
    """The SHA-256 of pictures' files, in order: remembered ones, where there are many; else of the files as they are.

    Args:
        images: of a catalog.
        indices: which of them.
        threads: how many read at once; None for as many as suit the machine.

    Raises:
        BadImage: a file cannot be read.
    """
    if isinstance(images, ShardImages):  # known since the pass over the shards
        return map(bytes.hex, map(bytes, images.sha256[np.asarray(indices, dtype=np.int64)]))
    home = cache_folder()
    memory = None
    digests, unknown = np.zeros((len(indices), 32), np.uint8), np.arange(len(indices))
    if isinstance(images, FileImages) and home is not None and len(indices) >= _WORTH:
        memory = HashMemory(images.root, home)
        paths = [images.name(int(index)) for index in indices]
        identities, is_known, digests = memory.look_up(paths)
        unknown = np.flatnonzero(~is_known)

    def read(places: list[int]) -> list[bytes]:
        return [content_hash(images, int(indices[place])) for place in places]

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(unknown), _BATCH):
            part = unknown[start : start + _BATCH].tolist()
            tasks = [part[first : first + _TOGETHER] for first in range(0, len(part), _TOGETHER)]
            found = list(chain.from_iterable(pool.map(read, tasks)))
            digests[part] = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)
            if memory is not None:
                memory.remember([paths[place] for place in part], [identities[place] for place in part], found)
    return map(bytes.hex, map(bytes, digests))
