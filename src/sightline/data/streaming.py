"""Pictures decoded when their batch is made and let go with it: for data that neither memory nor disk holds."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.cache_folder import cache_folder
from sightline.data.catalog import Images, Problem
from sightline.data.decode import BadImage
from sightline.data.file_lock import FileLock
from sightline.data.kept import Keeping, decoder
from sightline.data.ledger import Ledger, keys_of, latest
from sightline.data.shard_images import ShardImages
from sightline.data.threads import in_order
from sightline.errors import DataError

Indices = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]  # (pictures done, pictures in all)

_BATCH = 1024  # pictures whose trial is remembered at once
WINDOW_FRACTION = 0.2  # of free memory for the shards that are shuffled together: the system keeps what is read there


@dataclass(frozen=True, eq=False)
class Streamed:
    """Pictures of a store, none of which is held.

    Args:
        images: of the catalog.
        sources: int64 (N,), the catalog's index of each row.
        keeping: what is made of each.
        threads: how many decode at once.
    """

    images: Images
    sources: Indices
    keeping: Keeping
    threads: int

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row: int) -> Tensor:
        """uint8 (H, W, C), decoded now."""
        return self._decoded(int(self.sources[row]))

    @property
    def is_ragged(self) -> bool:
        """Whether pictures may have different sizes."""
        return self.keeping.margin is not None

    def load(self, rows: Tensor) -> Tensor | list[Tensor]:
        """Decode pictures, several at a time.

        Args:
            rows: int64 (N,).

        Returns:
            uint8 (N, H, W, C); where they are ragged, N tensors (H, W, C).

        Raises:
            DataError: one cannot be read, or its shard has changed.
        """
        with ThreadPoolExecutor(max(1, min(self.threads, len(rows)))) as pool:
            pictures = list(pool.map(self._decoded, self.sources[rows.numpy()].tolist()))
        if self.is_ragged:
            return pictures
        channels, height, width = self.keeping.preprocess.input_size
        return torch.stack(pictures) if pictures else torch.empty((0, height, width, channels), dtype=torch.uint8)

    def _decoded(self, index: int) -> Tensor:
        try:
            pixels = self.keeping.picture(self.images, index)
        except BadImage as error:
            raise DataError(
                f"{_told(self.images, index, error)}\nPictures are read as the training needs them (--stream), and "
                "none is left out without being told. Repair or remove it and start a new run; or start one with "
                "--skip-bad, which tries every picture once before the training and lists those that it leaves out."
            ) from error
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))


def tried(
    images: Images, wanted: Indices, keeping: Keeping, *, threads: int, progress: Progress | None
) -> tuple[Indices, list[Problem]]:
    """Decode every picture once and keep none, to know which cannot be read.

    What was decoded well is remembered by the SHA-256 of its file and the version of the decoder, where that is known
    without reading the file: of shards. So a run that goes on does not try it again.

    Args:
        images: of the catalog.
        wanted: which of them.
        keeping: what would be made of each.
        threads: how many decode at once.
        progress: told of every picture.

    Returns:
        The indices of those that can be read, in the order of `wanted`, and the others.
    """
    memory = _Memory(images) if isinstance(images, ShardImages) else None
    is_good = np.zeros(len(wanted), np.bool_) if memory is None else memory.known(wanted)
    problems = []

    def attempt(place: int) -> Problem | None:
        index = int(wanted[place])
        try:
            keeping.picture(images, index)
        except BadImage as error:
            return Problem(images.name(index), error.reason)
        return None

    unknown = np.flatnonzero(~is_good)
    done = len(wanted) - len(unknown)
    fresh: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        for place, problem in in_order(pool, attempt, unknown.tolist(), threads=threads):
            if problem is None:
                is_good[place] = True
                fresh.append(int(wanted[place]))
            else:
                problems.append(problem)
            if memory is not None and len(fresh) == _BATCH:
                memory.remember(fresh)
                fresh.clear()
            done += 1
            if progress is not None:
                progress(done, len(wanted))
    if memory is not None:
        memory.remember(fresh)
    return wanted[is_good], problems


class _Memory:
    """Which pictures of shards this decoder has read."""

    def __init__(self, images: ShardImages) -> None:
        self._images = images
        home = cache_folder()
        self._ledger = None if home is None else Ledger(home / f"hashes-read-{decoder()[:16]}", [])
        self._lock = None if home is None else FileLock(home / "lock-of-hashes")

    def known(self, wanted: Indices) -> npt.NDArray[np.bool_]:
        if self._ledger is not None:
            with contextlib.suppress(OSError):
                return latest(self._ledger.read(), self._keys(wanted)) >= 0
        return np.zeros(len(wanted), np.bool_)

    def remember(self, indices: list[int]) -> None:
        if self._ledger is None or self._lock is None or not indices:
            return
        with contextlib.suppress(OSError):
            self._ledger.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.acquire():
                self._ledger.append(self._keys(np.array(indices, np.int64)))

    def _keys(self, indices: Indices) -> npt.NDArray[np.uint64]:
        channels = self._images.channels.to_bytes(1, "little")  # grey and colour go different ways
        return keys_of([channels + digest.tobytes()[1:] for digest in self._images.sha256[indices]])


def window_of(images: Images, room: int) -> int:
    """How many shards are shuffled together: as many as there is room for, 2 at least.

    Args:
        images: of the catalog.
        room: bytes of memory that is free.

    Returns:
        0 for pictures that are not in shards: all are shuffled.
    """
    if not isinstance(images, ShardImages):
        return 0
    mean = max(1, int(images.sizes.sum()) // len(images.shards))
    return max(2, min(len(images.shards), int(WINDOW_FRACTION * room) // mean))


def _told(images: Images, index: int, error: BadImage) -> str:
    reason = error.reason
    if isinstance(images, ShardImages) and images.shards[images.shard[index]].name not in reason:
        reason = images.where(index, reason)
    return f"{images.name(index)} cannot be read: {reason}."
