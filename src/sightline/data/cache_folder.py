"""The folder in which work on pictures is kept for the next run, and how much of the disk it may take."""

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sightline.data.file_lock import HAS_LOCKS, FileLock
from sightline.data.shelf import in_words
from sightline.errors import ConfigError

FOLDER, BUDGET_GB, OFF = "SIGHTLINE_CACHE", "SIGHTLINE_CACHE_GB", "off"
USING = "using"  # the file of a cache that those lock who look at it; its time is that of the last use

# Not from a paper. Of the disk space that is free, or taken by the caches already:
BUDGET_SHARE = 0.2  # that all caches may take
LARGE_SHARE = 0.6  # that they may take where pictures do not fit into memory: a temporary file would be as large


def cache_folder() -> Path | None:
    """$SIGHTLINE_CACHE, else ~/.cache/sightline/pictures; None where that is "off", or the system has no file locks."""
    chosen = os.environ.get(FOLDER)
    if chosen == OFF or not HAS_LOCKS:
        return None
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "sightline" / "pictures"


@dataclass(frozen=True)
class Room:
    """What `make_room` found.

    Args:
        num_bytes: that may be added.
        words: what was removed, or why there is too little, in sentences.
    """

    num_bytes: int
    words: tuple[str, ...]


def name_of(root: str) -> str:
    """What the files that remember a folder are called after: the same for one folder, another for each.

    Args:
        root: its real path.
    """
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def make_room(folder: Path, own: Path, needed: int, *, is_large: bool) -> Room:
    """Remove the caches whose last use is longest ago, until there is room for more, within the budget.

    One that a running program looks at stays. Where even all of them would be too few, none is removed.

    Args:
        folder: of the caches.
        own: the one that will grow; it stays.
        needed: bytes that it needs more.
        is_large: whether it is for pictures that do not fit into memory.

    Raises:
        ConfigError: $SIGHTLINE_CACHE_GB is no number of 0 or more.
    """
    caches = sorted(_caches(folder), key=lambda cache: cache.used)
    taken = sum(cache.num_bytes for cache in caches)
    free = shutil.disk_usage(folder).free
    budget = _budget(taken + free, is_large=is_large)
    others = sum(cache.num_bytes for cache in caches if cache.path != own)
    if needed > budget - (taken - others) or needed > free + others:
        return Room(0, (_too_little(folder, needed, budget, taken - others),))
    words = []
    for cache in caches:
        if taken + needed <= budget and needed <= free:
            break
        if cache.path != own and cache.remove():
            taken, free = taken - cache.num_bytes, free + cache.num_bytes
            words.append(f"removed the cache {cache.path} ({in_words(cache.num_bytes)}), the longest unused, for room")
    num_bytes = min(budget - taken, free)
    if num_bytes < needed:
        words.append(_too_little(folder, needed, budget, taken))
    return Room(num_bytes, tuple(words))


def _budget(whole: int, *, is_large: bool) -> int:
    asked = os.environ.get(BUDGET_GB)
    if not asked:
        return int(whole * (LARGE_SHARE if is_large else BUDGET_SHARE))
    try:
        number = float(asked)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(f"{BUDGET_GB} is {asked!r}; it must be a number of gigabytes, 0 or more.")
    return int(number * 1e9)


def _too_little(folder: Path, needed: int, budget: int, taken: int) -> str:
    return (
        f"no room to keep decoded pictures in {folder}: they need {in_words(needed)}, and the caches may have "
        f"{in_words(budget)} in all, of which {in_words(taken)} are taken. Set {BUDGET_GB} to more, or {FOLDER} to a "
        "folder on a larger disk."
    )


@dataclass(frozen=True)
class _Cache:
    path: Path
    used: float
    num_bytes: int

    def remove(self) -> bool:
        """Whether it could be removed, and was."""
        try:
            if not self.path.is_dir():
                self.path.unlink()
                return True
            with FileLock(self.path / USING) as lock:
                if not lock.try_acquire():
                    return False
                shutil.rmtree(self.path)
                return True
        except OSError:  # not ours to remove
            return False


def _caches(folder: Path) -> Iterator[_Cache]:
    """The folders of kept pictures, and the files of remembered listings and hashes, and copies of shards."""
    files_too = (path for kind in ("hashes", "listing", "shard") for path in folder.glob(f"{kind}-*"))
    for path in (*folder.glob("pictures-*/"), *files_too):
        with contextlib.suppress(OSError):  # removed meanwhile
            files = [file.stat() for file in (path.iterdir() if path.is_dir() else (path,))]
            mark = path / USING if path.is_dir() else path
            used = mark.stat().st_mtime if mark.exists() else 0.0
            yield _Cache(path, used, sum(file.st_size for file in files))


def mark_used(path: Path) -> None:
    """Remember that a cache was used now, where that may be written.

    Args:
        path: of the file that stands for it.
    """
    with contextlib.suppress(OSError):
        os.utime(path)


Tell = Callable[[str], None]
"""Prints a sentence for the user."""
