"""Room for decoded pictures: in memory while they fit, else in a temporary file that is mapped into memory."""

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from sightline.data.modes import Pixels
from sightline.data.pile import Pile
from sightline.errors import DataError

# Of the memory that is free now. Not from a paper: the rest is for the network, its gradients and the batches.
MEMORY_FRACTION = 0.6


class FixedShelf:
    """Room for pictures of one size, filled from the first row on.

    Args:
        shape: (N, H, W, C), N being the most that will come.

    Raises:
        DataError: neither memory nor disk has room.
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        num_bytes = math.prod(shape)
        self._num_filled = 0
        self.location = _location(num_bytes, in_memory=fits_in_memory(num_bytes))
        if fits_in_memory(num_bytes):
            self._rows = torch.empty(shape, dtype=torch.uint8)
        else:
            with _temporary_file(num_bytes) as file:  # the mapping outlives the open file
                _reserve(file, num_bytes)
                self._rows = _mapped(file, num_bytes).view(shape)

    def add(self, picture: Pixels) -> None:
        """Copy a picture into the next row."""
        self._rows.numpy()[self._num_filled] = picture
        self._num_filled += 1

    def finish(self) -> Tensor:
        """What was added: uint8 (n, H, W, C)."""
        return self._rows[: self._num_filled]

    def close(self) -> None:
        """Let go of the open file; there is none any more."""


class RaggedShelf:
    """Room for pictures of any sizes.

    Args:
        num_bytes: how much they will need together, about; decides where they go.

    Raises:
        DataError: neither memory nor disk has room.
    """

    def __init__(self, num_bytes: int) -> None:
        self._pictures: list[Tensor] = []
        self._shapes: list[tuple[int, ...]] = []
        self._num_bytes = 0
        self._file = None if fits_in_memory(num_bytes) else _temporary_file(num_bytes)

    @property
    def location(self) -> str:
        """Where the pixels are, in words."""
        return _location(self._num_bytes, in_memory=self._file is None)

    def add(self, picture: Pixels) -> None:
        """Copy a picture behind the last.

        Raises:
            DataError: the disk is full.
        """
        self._num_bytes += picture.size
        if self._file is None:
            self._pictures.append(torch.from_numpy(picture.copy()))
            return
        self._shapes.append(picture.shape)
        try:
            rest = memoryview(picture.tobytes())
            while rest:  # an unbuffered file may take a part only
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise DataError(_no_room(self._num_bytes, error)) from error

    def finish(self) -> list[Tensor] | Pile:
        """What was added: uint8 (H, W, C) each."""
        if self._file is None or not self._shapes:
            return self._pictures
        return Pile(_mapped(self._file, self._num_bytes), np.array(self._shapes, np.int64))

    def close(self) -> None:
        """Let go of the open file; what `finish` mapped stays."""
        if self._file is not None:
            self._file.close()


def in_words(num_bytes: int) -> str:
    """A number of bytes as a person says it.

    Example:
        >>> in_words(153_600_000), in_words(3_200_000_000)
        ('154 MB', '3.2 GB')
    """
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def available_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that could be used now: what the kernel says, within the limit of the container.

    Args:
        proc: where the kernel tells of the machine.
        cgroup: where it tells of the container (cgroup v2).
    """
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (proc / "meminfo").exists():
        available = _fields(proc / "meminfo")["MemAvailable:"] * 1024
    limit = cgroup / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        used = int((cgroup / "memory.current").read_text()) - _fields(cgroup / "memory.stat")["inactive_file"]
        available = min(available, max(0, int(text) - used))  # cached files that nobody uses give way
    return available


def _fields(path: Path) -> dict[str, int]:
    """The first number of each "name number ..." line."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}


def fits_in_memory(num_bytes: int) -> bool:
    """Whether so much may be taken of the memory that is free now."""
    return num_bytes <= MEMORY_FRACTION * available_bytes()


def has_room(num_bytes: int) -> bool:
    """Whether memory or the disk of temporary files holds so much now."""
    return fits_in_memory(num_bytes) or num_bytes <= shutil.disk_usage(_temporary_folder()).free


def _location(num_bytes: int, *, in_memory: bool) -> str:
    place = "in memory" if in_memory else f"in a temporary file in {_temporary_folder()}"
    return f"{place} ({in_words(num_bytes)})"


def _temporary_folder() -> Path:
    """Where large temporary files go: $TMPDIR, else /var/tmp, since /tmp is often a file system in memory."""
    large = Path("/var/tmp")
    is_usable = "TMPDIR" not in os.environ and os.access(large, os.W_OK)
    return large if is_usable else Path(tempfile.gettempdir())


def _temporary_file(num_bytes: int) -> IO[bytes]:
    """An open file without a name, gone when the process ends, however it ends.

    Unbuffered: a full disk is met by the picture that does not fit.
    """
    folder = _temporary_folder()
    if shutil.disk_usage(folder).free < num_bytes:
        raise DataError(_no_room(num_bytes, None))
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _reserve(file: IO[bytes], num_bytes: int) -> None:
    """Take the disk space now: a disk that fills up under a mapping ends the process with a bus error."""
    try:
        file.truncate(num_bytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        raise DataError(_no_room(num_bytes, error)) from error


def _mapped(file: IO[bytes], num_bytes: int) -> Tensor:
    """The file's bytes as a tensor: uint8 (num_bytes,)."""
    return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=(num_bytes,)))


def _no_room(num_bytes: int, error: OSError | None) -> str:
    folder = _temporary_folder()
    return (
        f"the decoded pictures need {in_words(num_bytes)}; free are {in_words(available_bytes())} of memory, of which "
        f"they may use {MEMORY_FRACTION:.0%}, and {in_words(shutil.disk_usage(folder).free)} in {folder}"
        + (f" ({error.strerror})" if error is not None else "")
        + ". Set TMPDIR to a folder on a larger disk, choose a smaller --img-size, or decode pictures as they are "
        "needed with --stream."
    )
