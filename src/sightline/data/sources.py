"""From what a user names - a folder, a known set, arrays - to a Catalog, without decoding the pictures."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages, Problem
from sightline.data.decode import SUFFIXES, BadImage, decode, read_header
from sightline.data.fetching import Progress
from sightline.data.known import fetch, read_known
from sightline.data.modes import Pixels
from sightline.data.published import KNOWN
from sightline.errors import DataError, nearest

Arrays = tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]

# How the folders of a split may be called, in small letters.
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_PROBES = 256  # pictures whose headers tell the typical size and whether there is colour
_SHOWN = 5


def open_data(
    source: str | Path | Arrays | Catalog,
    *,
    data_dir: Path | None = None,
    channels: Literal[1, 3] | None = None,
    progress: Progress | None = None,
) -> Catalog:
    """Open a data set.

    Args:
        source: the name of a known set ("cifar10"), which is fetched where it is not on this machine; a folder of class
            folders; a folder with `train`, `val` (or `valid`, `validation`) and `test`, each with class folders; or a
            pair of arrays: uint8 images (N, H, W), (N, H, W, 1) or (N, H, W, 3), and N labels, whole numbers or names.
        data_dir: where known sets lie; None for $SIGHTLINE_DATA or ~/.cache/sightline/data.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        progress: told how far a fetch is; see `known.fetch`.

    Returns:
        The catalog. Class order is the plain sort of the names. What the user should know is in its `notes`, and what
        could not be read in its `problems`.

    Raises:
        DataError: there is no such thing, or it cannot be learned from: one class only, an empty class, a class of the
            validation or test split that the training split lacks.

    Example:
        >>> images = np.zeros((4, 28, 28), np.uint8)
        >>> open_data((images, np.array(["cat", "dog", "dog", "cat"]))).classes
        ('cat', 'dog')
    """
    if isinstance(source, Catalog):
        return _with_channels(source, channels)
    if isinstance(source, tuple):
        return _with_channels(_from_arrays(*source), channels)
    if isinstance(source, str) and source in KNOWN:
        fetch(source, data_dir=data_dir, progress=progress)
        catalog = _with_channels(read_known(source, data_dir), channels)
        note = f"{source} is the known set. There is a folder of that name, too: ./{source}"
        return replace(catalog, notes=(*catalog.notes, note)) if Path(source).is_dir() else catalog
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(_not_a_folder(str(source), folder))
    return _from_folder(folder, channels)


def _not_a_folder(source: str, folder: Path) -> str:
    if folder.exists():
        return f"{source} is a file. Name the folder that holds a folder of pictures for each class."
    if any(sign in source for sign in ("/", os.sep, ".")):
        return f"there is no folder {source}."
    return f"{source!r} is neither a known set nor a folder.{nearest(source, KNOWN)}"


# ------------------------------------------------------------------------------------------------------------ arrays


def _from_arrays(images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> Catalog:
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        raise DataError(
            f"images and labels must be NumPy arrays, got {type(images).__name__} and {type(labels).__name__}."
        )
    if images.size == 0 or labels.shape != images.shape[:1]:
        raise DataError(f"each image needs one label, got images of shape {images.shape} and labels {labels.shape}.")
    pixels = cast("Pixels", images[:, :, :, None] if images.ndim == 3 else images)
    stored = ArrayImages(pixels, (("image", len(pixels)),))
    classes, numbers = _numbered(labels)
    catalog = Catalog(
        name="arrays",
        root=None,
        classes=classes,
        images=stored,
        labels=numbers,
        splits=np.full(len(pixels), SPLITS.index("unassigned"), np.uint8),
        channels=3 if pixels.shape[3] == 3 else 1,
        typical_size=(pixels.shape[1], pixels.shape[2]),
    )
    _check_classes(catalog)
    return catalog


def _numbered(labels: npt.NDArray[np.generic]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The class names and each image's class number."""
    if labels.dtype.kind == "U":
        names, numbers = np.unique(labels, return_inverse=True)
        return tuple(names.tolist()), numbers.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be whole numbers or names, got {labels.dtype}.")
    found = np.unique(labels).tolist()
    if found != list(range(len(found))):
        shown = f"{', '.join(map(str, found[:_SHOWN]))}{', ...' if len(found) > _SHOWN else ''}"
        raise DataError(
            f"labels must be the numbers from 0 to the number of classes - 1, each of them used, got {shown}. "
            "Give the classes' names instead, or number them anew with numpy.unique(labels, return_inverse=True)."
        )
    return tuple(str(number) for number in found), labels.astype(np.int64)


def _with_channels(catalog: Catalog, channels: Literal[1, 3] | None) -> Catalog:
    if channels is None or channels == catalog.channels:
        return catalog
    images = catalog.images
    if isinstance(images, FileImages):
        return replace(catalog, channels=channels, images=replace(images, channels=channels))
    if isinstance(images, ArrayImages):
        pixels = np.stack([decode(picture, channels=channels) for picture in images.pixels])
        return replace(catalog, channels=channels, images=replace(images, pixels=pixels))
    raise DataError(f"{catalog.name} has {catalog.channels} channels and cannot be read with {channels}.")


# ----------------------------------------------------------------------------------------------------------- folders


@dataclass
class _Scan:
    """What is met on the way through a folder and is no picture of a class."""

    root: Path
    problems: list[Problem] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)
    strays: list[str] = field(default_factory=list)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """The folders and the pictures in a folder, as paths relative to the root, sorted; hidden ones left out."""
        folders, pictures = [], []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(path)
                    elif entry.name.lower().endswith(SUFFIXES):
                        pictures.append(path)
                    else:
                        self.suffixes[Path(entry.name).suffix.lower() or "without a suffix"] += 1
        except OSError as error:
            self.problems.append(
                Problem(folder or ".", f"the folder cannot be listed ({type(error).__name__}: {error.strerror})")
            )
        return sorted(folders), sorted(pictures)

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


def _from_folder(folder: Path, channels: Literal[1, 3] | None) -> Catalog:
    scan = _Scan(folder)
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
    probe = _probe(folder, [path for path, _, _ in rows])
    numbers = {name: number for number, name in enumerate(classes)}
    catalog = Catalog(
        name=folder.resolve().name,
        root=folder,
        classes=classes,
        images=FileImages(folder, [path for path, _, _ in rows], channels or probe.channels),
        labels=np.array([numbers[name] for _, name, _ in rows], np.int64),
        splits=np.array([SPLITS.index(split) for _, _, split in rows], np.uint8),
        problems=tuple(scan.problems),
        channels=channels or probe.channels,
        typical_size=probe.typical_size,
        notes=tuple(scan.notes()),
    )
    _check_classes(catalog)
    return catalog


Row = tuple[str, str, str]
"""Path, class name, split."""


def _split_rows(scan: _Scan, splits: dict[str, str]) -> tuple[tuple[str, ...], list[Row]]:
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


def _nothing_found(folder: Path, scan: _Scan) -> str:
    if scan.problems:
        return f"{folder} holds no readable pictures: {scan.problems[0]}."
    if scan.strays:
        return (
            f"{folder} holds {len(scan.strays):,} pictures but no class folders. "
            "Put the pictures of each class into a folder named after it."
        )
    return " ".join([f"{folder} holds no pictures ({', '.join(SUFFIXES)}) in class folders.", *scan.notes()])


@dataclass(frozen=True)
class _Probe:
    channels: Literal[1, 3]
    typical_size: tuple[int, int]


def _probe(folder: Path, paths: list[str]) -> _Probe:
    """Look at the headers of pictures spread over the whole set."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, _PROBES).astype(int)).tolist()
    headers, errors = [], []
    for index in chosen:
        try:
            headers.append(read_header(folder / paths[index]))
        except BadImage as error:  # a few are left to the store, which lists every one of them
            errors.append(error)
    if not headers:
        raise DataError(f"none of the {len(errors)} pictures looked at can be read. The first: {errors[0]}")
    heights, widths = [header.height for header in headers], [header.width for header in headers]
    return _Probe(
        channels=1 if all(header.is_grey for header in headers) else 3,
        typical_size=(int(np.median(heights)), int(np.median(widths))),
    )


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
