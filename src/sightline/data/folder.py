"""Class folders, flat or in split folders -> a Catalog, without decoding the pictures."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.data.catalog import SPLITS, Catalog, FileImages, Problem
from sightline.data.class_map import order_note
from sightline.data.decode import SUFFIXES, read_header
from sightline.data.grouping import grouped
from sightline.data.listing import Listing
from sightline.data.probe import probe
from sightline.errors import DataError

# How the folders of a split may be called, in small letters.
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SHOWN = 5


@dataclass
class Scan:
    """What is met on the way through a folder and is no picture of a class."""

    root: Path
    problems: list[Problem] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    strays: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listing = Listing(self.root)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """The folders and the pictures in a folder, as paths relative to the root, sorted; hidden ones left out."""
        try:
            entries = self.listing.entries(folder)
        except OSError as error:
            reason = f"the folder cannot be listed ({type(error).__name__}: {error.strerror})"
            self.problems.append(Problem(folder or ".", reason))
            return [], []
        prefix = f"{folder}/" if folder else ""
        pictures = []
        for name in entries.files:
            if name.lower().endswith(SUFFIXES):
                pictures.append(prefix + name)
            else:
                self.suffixes[Path(name).suffix.lower() or "without a suffix"] += 1
        return [prefix + name for name in entries.folders], pictures

    def pictures(self, folder: str) -> list[str]:
        """All pictures in a folder and below it, sorted by path."""
        found: list[str] = []
        waiting, seen = [folder], set()
        while waiting:
            here = waiting.pop()
            identity = os.path.realpath(self.root / here)
            if identity in seen:
                self.problems.append(Problem(here, "the link leads back to a folder that was read already"))
                continue
            seen.add(identity)
            folders, pictures = self.children(here)
            waiting += folders
            found += pictures
        return sorted(found)

    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        said = []
        if self.suffixes:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self.suffixes.items()))
            said.append(f"Ignored {_files(self.suffixes.total())} of other kinds than pictures: {kinds}.")
        if self.strays:
            shown = ", ".join(self.strays[:_SHOWN]) + (", ..." if len(self.strays) > _SHOWN else "")
            said.append(f"Ignored {_files(len(self.strays))} outside the class folders: {shown}")
        return said


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count != 1 else ''}"


def read_folder(folder: Path, *, channels: Literal[1, 3] | None, group_by: str | None) -> Catalog:
    """Read a folder of class folders, or of `train`, `val` (`valid`, `validation`) and `test` with class folders.

    Args:
        folder: to read; nothing in it is written.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        group_by: see `grouped`.

    Raises:
        DataError: it holds no pictures in class folders, or the training split lacks a class.
    """
    scan = Scan(folder)
    folders, strays = scan.children("")
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS}
    scan.strays += strays
    # A class may be called "test"; but beside "train", or where there is nothing else, it is a split.
    if "train" in splits.values() or (splits and len(splits) == len(folders)):
        classes, rows = _split_rows(scan, splits)
        for name in folders:
            if name not in splits:
                scan.strays += scan.pictures(name)
    else:
        found = {name: scan.pictures(name) for name in folders}
        classes = tuple(sorted(found))
        rows = [(path, name, "unassigned") for name in classes for path in found[name]]
    if not rows:
        raise DataError(_nothing_found(folder, scan))
    scan.listing.remember()
    paths = [path for path, _, _ in rows]
    looks = probe(len(paths), lambda place: read_header(folder / paths[place]))
    numbers = {name: number for number, name in enumerate(classes)}
    catalog = Catalog(
        name=folder.resolve().name,
        root=folder,
        classes=classes,
        images=FileImages(folder, paths, channels or looks.channels),
        labels=np.array([numbers[name] for _, name, _ in rows], np.int64),
        splits=np.array([SPLITS.index(split) for _, _, split in rows], np.uint8),
        problems=tuple(scan.problems),
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
        looks=looks,
        notes=(*scan.notes(), *order_note(classes)),
    )
    _check_classes(catalog)
    if group_by is None:  # a million paths need not be taken apart
        return catalog
    depths = [1 if split == "unassigned" else 2 for _, _, split in rows]
    below = ["/".join(path.split("/")[depth:-1]) for path, depth in zip(paths, depths, strict=True)]
    return grouped(catalog, group_by, folders=below)


Row = tuple[str, str, str]
"""Path, class name, split."""


def _split_rows(scan: Scan, splits: dict[str, str]) -> tuple[tuple[str, ...], list[Row]]:
    """The classes and pictures of a folder of split folders; `splits` goes from folder to split."""
    if len(set(splits.values())) < len(splits):
        raise DataError(f"{scan.root} has two folders for one split: {', '.join(sorted(splits))}. Keep one of them.")
    rows: list[Row] = []
    classes: dict[str, set[str]] = {}
    for folder, split in sorted(splits.items(), key=lambda item: SPLITS.index(item[1])):
        class_folders, strays = scan.children(folder)
        scan.strays += strays
        found = {path.rsplit("/", 1)[-1]: scan.pictures(path) for path in class_folders}
        # A class folder of the training split counts even when it is empty, so that it is complained about.
        classes[split] = {name for name, paths in found.items() if paths or split == "train"}
        rows += [(path, name, split) for name in sorted(found) for path in found[name]]
    known = classes.get("train") or set().union(*classes.values())
    for split, names in classes.items():
        unknown = sorted(names - known)
        if unknown:
            raise DataError(
                f"{scan.root}: the {split} split has {'a class' if len(unknown) == 1 else 'classes'} that the train "
                f"split lacks: {', '.join(unknown)}. Add training pictures of it, or remove it."
            )
    return tuple(sorted(known)), rows


def _nothing_found(folder: Path, scan: Scan) -> str:
    if scan.problems:
        return f"{folder} holds no readable pictures: {scan.problems[0]}."
    if scan.strays:
        return (
            f"{folder} holds {len(scan.strays):,} pictures but no class folders. "
            "Put the pictures of each class into a folder named after it."
        )
    return " ".join([f"{folder} holds no pictures ({', '.join(SUFFIXES)}) in class folders.", *scan.notes()])


def _check_classes(catalog: Catalog) -> None:
    """Refuse what nothing can be learned from."""
    because = f" ({catalog.problems[0]})" if catalog.problems else ""
    if len(catalog.classes) < 2:
        raise DataError(
            f"{catalog.name} has one class only, {catalog.classes[0]!r}{because}. To tell classes apart, at least two "
            "are needed: one folder of pictures for each."
        )
    counts = catalog.counts()
    split = "train" if "train" in counts else next(iter(counts))
    numbers = counts[split] if "train" in counts else _totals(counts.values())
    empty = [name for name, number in numbers.items() if number == 0]
    if empty:
        raise DataError(
            f"{catalog.name} has no {'training ' if split == 'train' else ''}pictures of {', '.join(empty)}{because}. "
            "Add some, or remove the empty folder."
        )


def _totals(tables: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(total)
