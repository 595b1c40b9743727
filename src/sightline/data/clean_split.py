"""A split without leaks, as a table: what belongs together is put on one side, and no file of the user's is touched.

Each set of copies, and each group, goes to one split. The test split wins over validation, and that over training:
what has been scored before is scored again, and the training gives up what it should not have seen. A copy moves to the
split of its twin where their labels agree. Where they contradict, nobody knows which is right, so what would have to
move is left out.
"""

import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.atomic import write_text
from sightline.data.catalog import SPLITS, Catalog, FileImages, Problem
from sightline.data.copies import joined
from sightline.data.finding import label_of
from sightline.errors import ConfigError, DataError

COLUMNS = ("path", "label", "split", "group")
_BY_RANK = ("test", "val", "train")  # who keeps a set that lies in several


@dataclass(frozen=True, eq=False)
class CleanSplit:
    """What a clean split would be.

    Args:
        splits: uint8 (N,), indices into `SPLITS`.
        is_used: bool (N,), whether a picture is in it.
        moved: how many pictures changed their split, by (from, to).
        left_out: which are not in it, and why.
    """

    splits: npt.NDArray[np.uint8]
    is_used: npt.NDArray[np.bool_]
    moved: dict[tuple[str, str], int]
    left_out: tuple[Problem, ...]

    def __str__(self) -> str:
        told = [f"{count:,} moved from {old} to {new}" for (old, new), count in sorted(self.moved.items())]
        told += [f"{len(self.left_out):,} left out"] if self.left_out else []
        return ", ".join(told) or "nothing moved"


def clean_split(catalog: Catalog, sets: Sequence[Sequence[int]], unreadable: Sequence[Problem] = ()) -> CleanSplit:
    """Puts what belongs together into one split.

    Args:
        catalog: with its splits assigned.
        sets: pictures that are one, as `duplicates.clusters` gives them.
        unreadable: pictures that cannot be decoded; they are left out.

    Raises:
        DataError: no training picture of a class would be left.
    """
    count = len(catalog)
    copies = np.arange(count, dtype=np.int64)
    for members in sets:
        copies[list(members)] = members[0]
    together = copies if catalog.groups is None else joined(copies, catalog.groups)
    rank = np.array([_BY_RANK.index(split) if split in _BY_RANK else len(_BY_RANK) for split in SPLITS])
    ranks = rank[catalog.splits]
    best = np.full(count, len(_BY_RANK))
    np.minimum.at(best, together, ranks)
    splits = np.array([SPLITS.index(split) for split in _BY_RANK], np.uint8)[best[together]]
    reasons = {problem.path: f"cannot be read: {problem.reason}" for problem in unreadable}
    left_out = [
        Problem(name, reasons[name]) for index in range(count) if (name := catalog.images.name(index)) in reasons
    ]
    is_used = np.array([catalog.images.name(index) not in reasons for index in range(count)], np.bool_)
    for members in sets:
        for index in _contradicted(catalog, [each for each in members if is_used[each]]):
            is_used[index] = False
            left_out.append(Problem(catalog.images.name(index), "its copy in another split has another label"))
    has_moved = is_used & (splits != catalog.splits)
    moves = zip(catalog.splits[has_moved].tolist(), splits[has_moved].tolist(), strict=True)
    moved = Counter((SPLITS[old], SPLITS[new]) for old, new in moves)
    clean = CleanSplit(splits, is_used, dict(moved), tuple(left_out))
    _require_training(catalog, clean)
    return clean


def _contradicted(catalog: Catalog, members: Sequence[int]) -> list[int]:
    """The pictures of a set that would have to move and whose label none of those that stay has."""
    best = min((_BY_RANK.index(SPLITS[catalog.splits[each]]) for each in members), default=0)
    staying = [each for each in members if SPLITS[catalog.splits[each]] == _BY_RANK[best]]
    labels = {label_of(catalog, each) for each in staying}
    return [each for each in members if each not in staying and label_of(catalog, each) not in labels]


def _require_training(catalog: Catalog, clean: CleanSplit) -> None:
    train = SPLITS.index("train")
    had = catalog.class_counts(np.flatnonzero(catalog.splits == train))
    left = catalog.class_counts(np.flatnonzero(clean.is_used & (clean.splits == train)))
    lost = [catalog.classes[label] for label in np.flatnonzero((had > 0) & (left == 0))]
    if lost:
        raise DataError(
            f"a clean split would leave no training picture of {', '.join(lost)}: copies of all of them, or pictures "
            "of their groups, are held out. Add pictures, or take fewer for validation and test."
        )


def require_writable(catalog: Catalog, path: Path) -> None:
    """Refuses early what `write_split` could not do.

    Raises:
        ConfigError: the pictures are not in files of their own, the file exists, or it would be no CSV.
    """
    root_of(catalog)
    unfit = [name for name in catalog.classes if ";" in name or name != name.strip() or not _is_text(name)]
    if unfit:
        raise ConfigError(
            f"a table cannot hold the class {unfit[0]!r}: no semicolon, no space at its ends, and UTF-8. Rename it."
        )
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--fix-split writes a CSV, got {path}. End its name in .csv.")
    if path.exists():
        raise ConfigError(f"{path} exists, and nothing is overwritten. Name another file for --fix-split.")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {path.name}. Make it, or name another.")


def root_of(catalog: Catalog) -> Path:
    """The folder that holds the pictures.

    Raises:
        ConfigError: they are not in files of their own.
    """
    if isinstance(catalog.images, FileImages):
        return catalog.images.root
    raise ConfigError(
        f"--fix-split lists files, and the pictures of {catalog.name} are not in files of their own. Leave it out."
    )


def write_split(path: Path, catalog: Catalog, clean: CleanSplit) -> list[Problem]:
    """Writes a clean split as a table that `open_data` reads; paths are relative to its folder.

    Args:
        path: of the CSV; it does not exist yet.
        catalog: as `clean_split` took it.
        clean: what it gave.

    Returns:
        The pictures that are not in the table, and why.

    Raises:
        ConfigError: see `require_writable`.
    """
    require_writable(catalog, path)
    left_out = list(clean.left_out)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    root = Path(os.path.relpath(root_of(catalog).resolve(), path.parent.resolve())).as_posix()
    for index in np.flatnonzero(clean.is_used).tolist():
        name = catalog.images.name(index)
        if reason := _unwritable(name):
            left_out.append(Problem(name, reason))
            continue
        group = "" if catalog.groups is None else catalog.group_name(int(catalog.groups[index]))
        where = posixpath.normpath(f"{root}/{name}")
        rows.writerow([where, label_of(catalog, index), SPLITS[clean.splits[index]], group])
    write_text(path, text.getvalue())
    return left_out


def _unwritable(name: str) -> str | None:
    """Why a table cannot name a file."""
    if not _is_text(name):
        return "its name is not UTF-8, as a CSV must be"
    return "its name begins or ends with a space, which a table does not keep" if name != name.strip() else None


def _is_text(name: str) -> bool:
    """Whether it is UTF-8: a file's name need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
