"""NumPy arrays -> a Catalog: given as they are, or by the path of a .npz or .npy file. No file's code is run."""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, Labels
from sightline.data.modes import Pixels
from sightline.errors import DataError

Array = npt.NDArray[np.generic]
Arrays = tuple[Array, Array]

SUFFIXES = (".npz", ".npy")
# How the two arrays of a split are called: as one would, as MedMNIST does, and as Keras does.
_PAIRS = {
    **{("images", "labels"): "unassigned"},
    **{(f"{split}_images", f"{split}_labels"): split for split in ("train", "val", "test")},
    **{(f"x_{split}", f"y_{split}"): split for split in ("train", "val", "test")},
}
_SHOWN = 5


def from_arrays(images: Array, labels: Array, *, name: str = "arrays", sparse: bool = False) -> Catalog:
    """Pictures of one size, and their labels.

    Args:
        images: uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3).
        labels: N whole numbers, or names; or, of multi-label data, (N, K) of 0 and 1.
        name: of the catalog.
        sparse: whether numbers may be left out; then only those that come are classes.

    Raises:
        DataError: they do not fit together.
    """
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        raise DataError(
            f"images and labels must be NumPy arrays, got {type(images).__name__} and {type(labels).__name__}."
        )
    if images.size == 0 or labels.ndim not in (1, 2) or labels.shape[:1] != images.shape[:1]:
        raise DataError(f"each image needs one label, got images of shape {images.shape} and labels {labels.shape}.")
    pixels = cast("Pixels", images[:, :, :, None] if images.ndim == 3 else images)
    stored = ArrayImages(pixels, (("image", len(pixels)),))
    classes, numbers = _several(labels) if labels.ndim == 2 else _numbered(labels, sparse=sparse)
    return Catalog(
        name=name,
        root=None,
        classes=classes,
        images=stored,
        labels=numbers,
        splits=np.full(len(pixels), SPLITS.index("unassigned"), np.uint8),
        channels=3 if pixels.shape[3] == 3 else 1,
        typical_size=(pixels.shape[1], pixels.shape[2]),
    )


def from_sections(sections: Mapping[str, Arrays], *, name: str, source_files: tuple[Path, ...]) -> Catalog:
    """Arrays that came from files, split by split.

    Args:
        sections: images and labels by split; "unassigned" where the files know of none. Labels as in `from_arrays`;
            numbers may be left out.
        name: of the catalog.
        source_files: that they came from.

    Raises:
        DataError: they do not fit together.
    """
    for split, (images, labels) in sections.items():
        if images.shape[:1] != labels.shape[:1]:
            raise DataError(
                f"{name}: each image needs one label, got {split} images of shape {images.shape} and labels of shape "
                f"{labels.shape}."
            )
    if len({images.shape[1:] for images, _ in sections.values()}) > 1:
        shapes = ", ".join(f"{split} {images.shape}" for split, (images, _) in sections.items())
        raise DataError(f"{name}: the images of all splits must have one size, got {shapes}.")
    sections = {split: sections[split] for split in SPLITS if split in sections}
    images, labels = (
        parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*sections.values(), strict=True)
    )
    lengths = [(split, len(part)) for split, (part, _) in sections.items()]
    catalog = from_arrays(images, labels, name=name, sparse=True)
    pixels = cast("ArrayImages", catalog.images).pixels
    named = tuple(("image" if split == "unassigned" else split, length) for split, length in lengths)
    splits = np.repeat([SPLITS.index(split) for split, _ in lengths], [length for _, length in lengths])
    return replace(
        catalog, images=ArrayImages(pixels, named), splits=splits.astype(np.uint8), source_files=source_files
    )


def read_array_file(path: Path) -> Catalog:
    """Read a .npz file with arrays images and labels, or a .npy file of images with one of labels beside it.

    A .npz may hold train_images, train_labels and so on for val and test, or x_train, y_train and so on, instead.
    Beside images.npy the labels are labels.npy: the file's name with "labels" in the place of "images".

    Raises:
        DataError: it cannot be read, or holds other arrays.
    """
    if path.suffix.lower() == ".npz":
        stored, files = _load_npz(path), [path]
    else:
        beside = path.with_name(path.name.replace("images", "labels"))
        if beside == path or not beside.is_file():
            raise DataError(f"{path} holds pictures without labels: beside images.npy there must be a file labels.npy.")
        stored, files = {"images": _load(path), "labels": _load(beside)}, [path, beside]
    sections = {
        split: (stored[images], _one_column(stored[labels]))
        for (images, labels), split in _PAIRS.items()
        if images in stored and labels in stored
    }
    if not sections:
        raise DataError(
            f"{path} needs arrays images and labels, or train_images, train_labels, and so on. It holds: "
            f"{', '.join(sorted(stored)) or 'nothing'}."
        )
    return from_sections(sections, name=path.stem, source_files=tuple(files))


def _one_column(labels: Array) -> Array:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _load_npz(path: Path) -> dict[str, Array]:
    wanted = {name for pair in _PAIRS for name in pair}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(_unreadable(path, error)) from error


def _load(path: Path) -> Array:
    """Mapped into memory, read-only: it may be larger than that."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(_unreadable(path, error)) from error
    return array


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be read ({type(error).__name__}: {error}). It must hold arrays of numbers, and of names as "
        "numpy.array(names, dtype=str): objects are not loaded, as loading them may run code."
    )


def _numbered(labels: Array, *, sparse: bool) -> tuple[tuple[str, ...], Labels]:
    """The class names and each image's class number."""
    if labels.dtype.kind == "U" or (sparse and labels.dtype.kind in "iu"):
        names, numbers = np.unique(labels, return_inverse=True)
        return tuple(str(name) for name in names.tolist()), numbers.astype(np.int64)
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


def _several(labels: Array) -> tuple[tuple[str, ...], Labels]:
    """Multi-label: a column a class."""
    if labels.dtype.kind not in "iub" or not np.isin(labels, (0, 1)).all():
        raise DataError(f"labels with a column for each class must be 0 and 1, got {labels.dtype} {labels.shape}.")
    return tuple(str(number) for number in range(labels.shape[1])), labels.astype(np.uint8)
