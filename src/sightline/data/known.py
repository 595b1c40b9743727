"""The known sets on this machine: find, fetch and read them.

A set counts as found when all files of one of its layouts lie in a folder. It is read, and refused unless it is the
published one: by the SHA-256 of its content where that is published, and by its counts, its balance and the mean of its
pixels in any case. So it does not matter which way it came.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.fetching import Archive, Progress, Way
from sightline.data.published import KNOWN, Contents, Known, Layout, file_of
from sightline.errors import DataError, nearest


def default_data_dir() -> Path:
    """$SIGHTLINE_DATA, else ~/.cache/sightline/data."""
    chosen = os.environ.get("SIGHTLINE_DATA")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "sightline" / "data"


def find(name: str, data_dir: Path | None = None) -> tuple[Layout, Path] | None:
    """Where a known set lies on this machine; None where it does not.

    Args:
        name: a key of `KNOWN`.
        data_dir: the data folder; None for `default_data_dir()`.
    """
    known = _known(name)
    root = default_data_dir() if data_dir is None else data_dir
    for layout in known.layouts:
        for folder in (*(root / part for part in layout.folders), *map(Path, known.system_folders)):
            if _has_all(folder, layout):
                return layout, folder
    return None


def fetch(name: str, *, data_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Make sure that a known set is on this machine.

    It is looked for in the data folder and where the distribution installs it; else each way is tried in turn. What
    comes is checked before it is moved into place, file by file, so an interrupted run leaves nothing half-written.

    Args:
        name: a key of `KNOWN`.
        data_dir: the data folder; None for `default_data_dir()`.
        progress: called with what is being fetched, the bytes so far, and the bytes in all or None.

    Returns:
        The folder that holds its files.

    Raises:
        DataError: no way works; all are listed with their reasons.
    """
    known = _known(name)
    found = find(name, data_dir)
    if found is not None:
        return found[1]
    root = default_data_dir() if data_dir is None else data_dir
    home = root / known.layouts[0].folders[0]
    reasons = []
    for way in known.ways:
        try:
            return _fetch_by(way, name, root, home, progress or _say_nothing)
        except DataError as error:
            reasons.append(f"  {way.label}: {error}")
    raise DataError(
        f"{known.title} is not in {root} and could not be fetched:\n" + "\n".join(reasons) + "\n"
        f"Run it again when the network is back, or put {_by_hand(known)} into {home}."
    )


def read_known(name: str, data_dir: Path | None = None) -> Catalog:
    """Read a known set that is on this machine.

    Raises:
        DataError: it is not there, or its files are not the published ones.
    """
    known = _known(name)
    found = find(name, data_dir)
    if found is None:
        root = default_data_dir() if data_dir is None else data_dir
        raise DataError(f"{known.title} is not in {root}. Fetch it: sightline data get {name}")
    layout, folder = found
    contents = _read_checked(known, layout, folder)
    images = np.concatenate([contents.train_images, contents.test_images])
    counts = len(contents.train_images), len(contents.test_images)
    return Catalog(
        name=name,
        root=folder,
        classes=contents.classes,
        images=ArrayImages(images, (("train", counts[0]), ("test", counts[1]))),
        labels=np.concatenate([contents.train_labels, contents.test_labels]),
        splits=np.repeat(np.array([SPLITS.index("train"), SPLITS.index("test")], np.uint8), counts),
        channels=3 if images.shape[3] == 3 else 1,
        typical_size=(images.shape[1], images.shape[2]),
        hflip_ok=known.hflip_ok,
        source_files=tuple(path for file in layout.files if (path := file_of(folder, file))),
    )


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise DataError(f"there is no known set {name!r}.{nearest(name, KNOWN)}")
    return KNOWN[name]


def _say_nothing(what: str, done: int, total: int | None) -> None:
    """The progress of who did not ask for any."""


def _by_hand(known: Known) -> str:
    way = known.ways[0]
    return way.url if isinstance(way, Archive) else f"the files of {way.label}"


def _fetch_by(way: Way, name: str, root: Path, home: Path, progress: Progress) -> Path:
    """Fetch into a folder beside, check what came, and move it into place."""
    known = _known(name)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
            folder = Path(temporary)
            way.fetch(folder, home, progress)
            for layout in known.layouts:
                if _has_all(folder, layout):
                    if layout.rewrite is not None:
                        layout.rewrite(folder)
                        layout = known.layouts[0]
                    _read_checked(known, layout, folder)
                    _move(folder, layout, home)
                    return home
    except OSError as error:
        raise DataError(f"{error.strerror or error} ({error.filename or root})") from error
    raise DataError("what came lacks some of the files")


def _has_all(folder: Path, layout: Layout) -> bool:
    return all(file_of(folder, file) for file in layout.files)


def _move(folder: Path, layout: Layout, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for file in layout.files:
        path = file_of(folder, file)
        if path is not None:
            path.replace(home / path.name)


def _read_checked(known: Known, layout: Layout, folder: Path) -> Contents:
    """Read a layout, and refuse what is not the published set."""
    contents = layout.read(folder)
    counts = len(contents.train_images), len(contents.test_images)
    if counts != (known.num_train, known.num_test):
        raise DataError(
            f"{folder} holds {counts[0]:,} + {counts[1]:,} pictures, "
            f"but {known.title} has {known.num_train:,} + {known.num_test:,}."
        )
    for labels in (contents.train_labels, contents.test_labels):
        numbers = np.bincount(labels, minlength=len(contents.classes))
        if len(numbers) != len(contents.classes) or (known.is_balanced and numbers.min() != numbers.max()):
            raise DataError(
                f"the labels in {folder} are not those of {known.title}: it has {len(contents.classes)} classes of "
                f"equal size, but here their sizes run from {numbers.min():,} to {numbers.max():,}."
            )
    # Summed over the pictures first, along contiguous memory: twenty times faster than over all axes at once.
    totals = contents.train_images.sum(axis=0, dtype=np.uint32)
    mean = totals.mean(axis=(0, 1)) / (255 * counts[0])
    if mean.shape != (len(known.mean),) or np.abs(mean - known.mean).max() > 5e-4:
        raise DataError(
            f"the pictures in {folder} are not those of {known.title}: their mean is "
            f"{' '.join(f'{value:.4f}' for value in mean)} instead of "
            f"{' '.join(f'{value:.4f}' for value in known.mean)}. Delete the folder and fetch it again."
        )
    return contents
