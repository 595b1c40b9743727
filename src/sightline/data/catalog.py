"""What a data set holds: pictures, labels, splits and classes, before any pixel is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from sightline.data.decode import decode, read_bytes
from sightline.data.modes import Pixels
from sightline.data.probe import Probe
from sightline.errors import DataError, nearest

SPLITS = ("train", "val", "test", "unassigned")
Split = Literal["train", "val", "test", "unassigned"]

Labels = npt.NDArray[np.int64] | npt.NDArray[np.uint8]
"""A class number a picture, int64 (N,); or, of multi-label data, a yes or no for each class, uint8 (N, K)."""


@dataclass(frozen=True)
class Problem:
    """A file that is not used.

    Args:
        path: as the catalog names it.
        reason: why not, in a sentence without a full stop.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def listed(problems: Sequence[Problem], *, most: int = 20) -> str:
    """Problems for a message, indented, a line each; of more than `most`, the first and the number of the rest.

    Example:
        >>> print(listed([Problem("a.png", "empty file"), Problem("b.png", "empty file")], most=1))
          a.png: empty file
          and 1 more
    """
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  and {len(problems) - most} more")
    return "\n".join(lines)


@runtime_checkable
class Images(Protocol):
    """The pictures of a catalog, by index."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, index: int) -> Pixels:
        """uint8 (H, W, C), 0-255. Raises BadImage."""

    def content(self, index: int) -> bytes:
        """The bytes that make the picture, for hashing: the file's, or the array's."""

    def name(self, index: int) -> str:
        """Where it is from: "galaxy/m31.png" or "train/00017"."""


@dataclass(frozen=True)
class FileImages:
    """Pictures in files, decoded when asked for.

    Args:
        root: the folder that holds them.
        paths: of the files, relative to it, with forward slashes.
        channels: 3 for RGB, 1 for grey.
    """

    root: Path
    paths: Sequence[str]
    channels: Literal[1, 3] = 3

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Pixels:
        """Decode the file."""
        return decode(self.path(index), channels=self.channels)

    def content(self, index: int) -> bytes:
        """The file's bytes."""
        return read_bytes(self.path(index))

    def name(self, index: int) -> str:
        """The path, relative to the root."""
        return self.paths[index]

    def path(self, index: int) -> Path:
        """The path to open."""
        return self.root / self.paths[index]


@dataclass(frozen=True)
class ArrayImages:
    """Pictures of one size that lie in memory.

    Args:
        pixels: uint8 (N, H, W, C), 0-255, C 1 or 3.
        sections: the names and lengths of its parts in order, such as (("train", 50000), ("test", 10000)).

    Example:
        >>> images = ArrayImages(np.zeros((5, 2, 2, 1), np.uint8), (("train", 3), ("test", 2)))
        >>> images.name(4), images.read(4).shape
        ('test/00001', (2, 2, 1))
    """

    pixels: Pixels
    sections: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] not in (1, 3):
            raise DataError(
                f"images must be uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), "
                f"got {self.pixels.dtype} {self.pixels.shape}."
            )
        if sum(length for _, length in self.sections) != len(self.pixels):
            raise DataError(f"sections {self.sections} do not add up to the {len(self.pixels)} images.")

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Pixels:
        """A view of the picture, not a copy."""
        pixels: Pixels = self.pixels[index]
        return pixels

    def content(self, index: int) -> bytes:
        """The pixels' bytes."""
        return self.read(index).tobytes()

    def name(self, index: int) -> str:
        """The section and the number within it."""
        rest = index
        for section, length in self.sections:
            if rest < length:
                return f"{section}/{rest:05d}"
            rest -= length
        raise IndexError(index)


@dataclass(frozen=True)
class Catalog:
    """A data set: what `open_data` gives and everything after it takes.

    Args:
        name: of the known set, or of the folder.
        root: the folder that it came from; None for arrays.
        classes: the names, in the order of the label numbers.
        images: the pictures.
        labels: int64 (N,), indices into `classes`; of multi-label data uint8 (N, K), 1 where a picture has the class.
        splits: uint8 (N,), indices into `SPLITS`.
        problems: what was found and is not used.
        channels: 3 for RGB; 1 where every picture is grey.
        typical_size: the median (height, width) in px.
        hflip_ok: whether a mirrored picture is still of its class; False for digits and letters.
        source_files: what an array set, or a table of files, was read from; empty for a folder, whose every picture is
            a file of its own.
        notes: what to tell the user about the way it was read, in sentences.
        groups: int64 (N,), equal numbers for pictures that must share a split (a patient, a burst, a video); None where
            each stands for itself.
        group_names: what each number stands for; empty where the numbers are all that there is.
        looks: what the headers of some pictures say; None where none was looked at.
    """

    name: str
    root: Path | None
    classes: tuple[str, ...]
    images: Images
    labels: Labels
    splits: npt.NDArray[np.uint8]
    problems: tuple[Problem, ...] = ()
    channels: Literal[1, 3] = 3
    typical_size: tuple[int, int] = (224, 224)
    hflip_ok: bool = True
    source_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    groups: npt.NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()
    looks: Probe | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        expected = (count, len(self.classes)) if self.is_multilabel else (count,)
        if self.labels.shape != expected or self.splits.shape != (count,):
            raise DataError(
                f"{self.name} has {count} images, labels of shape {self.labels.shape} and splits of shape "
                f"{self.splits.shape}. Give one of each per image."
            )
        if self.groups is not None and self.groups.shape != (count,):
            raise DataError(
                f"{self.name} has {count} images and groups of shape {self.groups.shape}. Give one number per image."
            )
        highest = 2 if self.is_multilabel else len(self.classes)
        if self.labels.size and (self.labels.min() < 0 or self.labels.max() >= highest):
            if self.is_multilabel:
                raise DataError(f"multi-label labels of {self.name} must be 0 or 1, got {self.labels.max()}.")
            raise DataError(
                f"labels of {self.name} run from {self.labels.min()} to {self.labels.max()}, "
                f"but there are {len(self.classes)} classes: they must run from 0 to {len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        """One line, such as "photos: 5 classes, 313 train, 67 val, 67 test pictures"."""
        counts = ", ".join(f"{size:,} {split}" for split, size in self.sizes().items())
        return f"{self.name}: {len(self.classes)} classes, {counts} pictures"

    @property
    def is_multilabel(self) -> bool:
        """Whether a picture may have several classes, or none."""
        return self.labels.ndim == 2

    @property
    def class_numbers(self) -> npt.NDArray[np.int64]:
        """The one class of each picture: int64 (N,), indices into `classes`.

        Raises:
            DataError: pictures may have several.
        """
        if self.is_multilabel:
            raise DataError(
                f"{self.name} is multi-label data: a picture may have several of its {len(self.classes)} classes. Here "
                "one class a picture is needed. Give a table with one label in each row."
            )
        return cast("npt.NDArray[np.int64]", self.labels)

    def class_counts(self, indices: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """How many pictures have each class: int64 (K,). A multi-label picture counts once for each class it has.

        Args:
            indices: of the pictures to count; None for all.

        Example:
            >>> images = ArrayImages(np.zeros((2, 2, 2, 1), np.uint8), (("train", 2),))
            >>> many = np.array([[1, 1, 0], [0, 1, 0]], np.uint8)
            >>> Catalog("many", None, ("a", "b", "c"), images, many, np.zeros(2, np.uint8)).class_counts()
            array([1, 2, 0])
        """
        labels = self.labels if indices is None else self.labels[indices]
        if self.is_multilabel:
            counts: npt.NDArray[np.int64] = labels.sum(axis=0, dtype=np.int64)
            return counts
        return np.bincount(labels, minlength=len(self.classes)).astype(np.int64)

    def group_name(self, group: int) -> str:
        """What a message calls a group."""
        return self.group_names[group] if self.group_names else str(group)

    def select(self, split: str) -> npt.NDArray[np.int64]:
        """The indices of a split's pictures, ascending.

        Raises:
            DataError: there is no split of that name.
        """
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}.{nearest(split, SPLITS)}")
        return np.flatnonzero(self.splits == SPLITS.index(split)).astype(np.int64)

    def sizes(self) -> dict[str, int]:
        """How many pictures each split has; splits without a picture are left out."""
        counts = np.bincount(self.splits, minlength=len(SPLITS)).tolist()
        return {split: count for split, count in zip(SPLITS, counts, strict=True) if count}

    def counts(self) -> dict[str, dict[str, int]]:
        """How many pictures each split has of each class; splits without a picture are left out.

        A multi-label picture counts once for each class it has.

        Example:
            >>> images = ArrayImages(np.zeros((3, 2, 2, 1), np.uint8), (("train", 3),))
            >>> two = Catalog("two", None, ("a", "b"), images, np.array([0, 1, 1]), np.array([0, 0, 2], np.uint8))
            >>> two.counts()
            {'train': {'a': 1, 'b': 1}, 'test': {'a': 0, 'b': 1}}
        """
        table = {}
        for number, split in enumerate(SPLITS):
            indices = np.flatnonzero(self.splits == number)
            if len(indices):
                table[split] = dict(zip(self.classes, self.class_counts(indices).tolist(), strict=True))
        return table
