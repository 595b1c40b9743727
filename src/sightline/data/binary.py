"""idx files and CIFAR's binary version, given by the path of a file or of their folder -> a Catalog."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sightline.data.arrays import Array, Arrays, from_sections
from sightline.data.catalog import Catalog
from sightline.data.formats import read_cifar_binary, read_idx
from sightline.data.published import CIFAR10_CLASSES
from sightline.errors import DataError

_IMAGES = ("-images-idx3-ubyte", "-images.idx3-ubyte", "-images-idx4-ubyte")
_SPLITS = {"train": "train", "val": "val", "t10k": "test", "test": "test"}  # how the names of idx files begin or end
_CIFAR10_RECORD, _CIFAR100_RECORD = 1 + 3072, 2 + 3072
_CIFAR_FILES = (("train", "data_batch_*.bin"), ("test", "test_batch.bin"), ("train", "train.bin"), ("test", "test.bin"))
_NAMES = ("batches.meta.txt", "fine_label_names.txt")  # a class a line, beside the files


def holds_binary(path: Path) -> bool:
    """Whether a path is that of an idx or CIFAR file, or of a folder with some and without other folders."""
    if path.is_file():
        return _is_idx(path) or path.suffix.lower() == ".bin"
    return any(_is_idx(each) for each in path.iterdir()) or any(_cifar_files(path))


def read_binary(path: Path) -> Catalog:
    """Read idx files or CIFAR's binary version.

    Args:
        path: of a folder with all of its files, or of one file: of images, in idx, beside which the labels lie.

    Returns:
        The catalog. The split is what the names say. Classes are named as the files beside say, and CIFAR-10's, where
        the files are called as its are; else they are the numbers.

    Raises:
        DataError: files cannot be read, or some are missing.
    """
    files = [path] if path.is_file() else sorted(path.iterdir())
    idx = [each for each in files if _is_idx(each)]
    return _read_idx_files(path, idx) if idx else _read_cifar_files(path)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _is_idx(path: Path) -> bool:
    return _stem(path).endswith(_IMAGES) and path.is_file()


def _labels_of(path: Path) -> Path:
    """The file of labels that belongs to one of images."""
    name = _stem(path).replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    for each in (path.with_name(name), path.with_name(f"{name}.gz")):
        if each.is_file():
            return each
    raise DataError(f"{path} holds pictures without labels: there must be a file {name} beside it.")


def _read_idx_files(path: Path, files: list[Path]) -> Catalog:
    sections: dict[str, Arrays] = {}
    sources: list[Path] = []
    for images in files:
        words = _stem(images).split("-images")[0].lower().split("-")
        split = next((_SPLITS[word] for word in words if word in _SPLITS), "unassigned")
        if split in sections:
            raise DataError(
                f"{path} has two files of {split} pictures, {sources[-2].name} and {images.name}. Name one."
            )
        labels = _labels_of(images)
        sections[split] = (read_idx(images), read_idx(labels).astype(np.int64))
        sources += [images, labels]
    catalog = from_sections(sections, name=_name(path), source_files=tuple(sources))
    note = "Pictures from idx files are not mirrored, as they may be digits; --hflip 0.5 mirrors them."
    return replace(catalog, root=sources[0].parent, hflip_ok=False, notes=(*catalog.notes, note))


def _cifar_files(folder: Path) -> list[tuple[str, Path]]:
    return [(split, path) for split, pattern in _CIFAR_FILES for path in sorted(folder.glob(pattern))]


def _read_cifar_files(path: Path) -> Catalog:
    files = [("unassigned", path)] if path.is_file() else _cifar_files(path)
    if path.is_file():  # it may be one of a set
        files = [each for each in _cifar_files(path.parent) if each[1] == path] or files
    label_bytes = _label_bytes([file for _, file in files])
    sections: dict[str, Arrays] = {}
    for split in dict.fromkeys(split for split, _ in files):
        sections[split] = read_cifar_binary([file for each, file in files if each == split], label_bytes=label_bytes)
    sources = tuple(file for _, file in files)
    folder = path.parent if path.is_file() else path
    numbers = np.concatenate([labels for _, labels in sections.values()])
    names = _class_names(folder, files, label_bytes)
    if names:
        if int(numbers.max()) >= len(names):
            raise DataError(f"{folder} names {len(names)} classes, but a label is {numbers.max()}.")
        named: dict[str, Arrays] = {
            split: (images, np.array(names)[labels]) for split, (images, labels) in sections.items()
        }
        catalog = from_sections(named, name=_name(path), source_files=sources)
        places = {name: place for place, name in enumerate(names)}
        lookup: Array = np.array([places[name] for name in catalog.classes], np.int64)
        return replace(catalog, root=folder, classes=names, labels=lookup[catalog.class_numbers])  # type: ignore[arg-type]
    return replace(from_sections(sections, name=_name(path), source_files=sources), root=folder)


def _label_bytes(files: list[Path]) -> int:
    """1 or 2, by the length of the files: CIFAR-10's records or CIFAR-100's."""
    lengths = [file.stat().st_size for file in files]
    for record, label_bytes in ((_CIFAR10_RECORD, 1), (_CIFAR100_RECORD, 2)):
        if all(length and length % record == 0 for length in lengths):
            return label_bytes
    raise DataError(
        f"{files[0]} and the files with it have {', '.join(f'{length:,}' for length in lengths)} bytes, which are no "
        f"whole numbers of records of CIFAR-10 ({_CIFAR10_RECORD:,} bytes) or CIFAR-100 ({_CIFAR100_RECORD:,})."
    )


def _class_names(folder: Path, files: list[tuple[str, Path]], label_bytes: int) -> tuple[str, ...]:
    for name in _NAMES:
        if (folder / name).is_file():
            return tuple(line.strip() for line in (folder / name).read_text("utf-8").splitlines() if line.strip())
    is_cifar10 = label_bytes == 1 and all(file.name.startswith(("data_batch_", "test_batch")) for _, file in files)
    return CIFAR10_CLASSES if is_cifar10 else ()


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else _stem(path).split(".")[0].split("-images")[0]
