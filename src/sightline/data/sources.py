"""From what a user names - a folder, a file, a known set, arrays - to a Catalog, without decoding the pictures."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.data.arrays import SUFFIXES as ARRAY_SUFFIXES
from sightline.data.arrays import Arrays as Arrays
from sightline.data.arrays import from_arrays, read_array_file
from sightline.data.binary import holds_binary, read_binary
from sightline.data.catalog import ArrayImages, Catalog, FileImages
from sightline.data.class_map import in_order, read_class_map
from sightline.data.dataset import DatasetImages, MapDataset, from_dataset
from sightline.data.decode import decode
from sightline.data.fetching import Progress
from sightline.data.folder import read_folder
from sightline.data.grouping import grouped
from sightline.data.image_folder import TABLES, read_layout, read_table_file
from sightline.data.known import fetch, read_known
from sightline.data.mirroring import mind_signs
from sightline.data.parquet_images import ParquetImages
from sightline.data.published import KNOWN
from sightline.data.shard_images import ShardImages
from sightline.data.shards import names_shards, read_shards, shard_files
from sightline.errors import ConfigError, DataError, nearest

Data = str | Path | Arrays | MapDataset | Catalog
"""Everything that `open_data` takes."""


def open_data(
    source: Data,
    *,
    data_dir: Path | None = None,
    channels: Literal[1, 3] | None = None,
    class_map: str | Path | None = None,
    group_by: str | None = None,
    progress: Progress | None = None,
) -> Catalog:
    """Open a data set.

    Args:
        source: one of these.

            - The name of a known set ("cifar10"), which is fetched where it is not on this machine.
            - A folder of class folders; or one with `train`, `val` (or `valid`, `validation`) and `test`, each with
              class folders.
            - A CSV, JSON lines or Parquet file with columns path and label, and, where wanted, split and group; or a
              folder with metadata.csv, .jsonl or .parquet, whose column file_name names the pictures.
            - A Parquet file that holds pictures, or a folder of them, as the Hugging Face Hub stores data sets.
            - Tar shards in WebDataset's naming: a .tar, a folder of them, "shards/train-{000..012}.tar", or the same
              at an address, "https://host/train-{000..012}.tar".
            - A .npz or .npy file with arrays images and labels; idx files or CIFAR's binary version, or their folder.
            - A pair of arrays: uint8 images (N, H, W), (N, H, W, 1) or (N, H, W, 3), and N labels, whole numbers or
              names; or, of multi-label data, labels (N, K) of 0 and 1.
            - A map-style data set of PyTorch, whose items are (image, label).
        data_dir: where known sets lie; None for $SIGHTLINE_DATA or ~/.cache/sightline/data.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        class_map: a file with the order of the classes: one a line, or a JSON object from name to index.
        group_by: which pictures belong together: a column of the table; "folder", the picture's own folder below the
            class folder; or a regular expression with one group, looked for in the path. None takes the table's column
            "group", where there is one.
        progress: told how far a fetch is; see `known.fetch`.

    Returns:
        The catalog. Class order is the plain sort of the names, unless the data or `class_map` gives another. What the
        user should know is in its `notes`, and what could not be read in its `problems`.

    Raises:
        ConfigError: the class map cannot be read or lacks a class, or nothing is grouped by `group_by`.
        DataError: there is no such thing, or it cannot be learned from: one class only, an empty class, a class of the
            validation or test split that the training split lacks.
        MissingExtraError: pyarrow is needed and not installed.

    Example:
        >>> images = np.zeros((4, 28, 28), np.uint8)
        >>> open_data((images, np.array(["cat", "dog", "dog", "cat"]))).classes
        ('cat', 'dog')
    """
    if isinstance(source, tuple) and class_map is not None and np.asarray(source[1]).dtype.kind in "iu":
        raise ConfigError("a class map orders classes by name, and the labels are numbers already. Leave it out.")
    if (shards := _shards_of(source)) is not None:
        paths, root = shards
        catalog = read_shards(
            paths, root=root, channels=channels, class_map=class_map, group_by=group_by, progress=progress
        )
    else:
        catalog = _opened(source, data_dir=data_dir, channels=channels, group_by=group_by, progress=progress)
    if len(catalog.classes) < 2:
        raise DataError(
            f"{catalog.name} has one class only, {', '.join(catalog.classes)!r}. To tell classes apart, at least two "
            "are needed."
        )
    if class_map is not None:
        catalog = in_order(catalog, read_class_map(class_map), source=str(class_map))
    return catalog if isinstance(source, Catalog) else mind_signs(catalog)


def _shards_of(source: Data) -> tuple[str | list[Path], Path | None] | None:
    """What `read_shards` takes, and the folder; None where the source is no shards."""
    if not isinstance(source, str | Path) or source in KNOWN:
        return None
    folder = Path(source).expanduser()
    if "://" not in str(source) and folder.is_dir():
        paths = shard_files(folder)
        return (paths, folder) if paths else None
    return (str(source), None) if names_shards(str(source)) else None


def _opened(
    source: Data,
    *,
    data_dir: Path | None,
    channels: Literal[1, 3] | None,
    group_by: str | None,
    progress: Progress | None,
) -> Catalog:
    if isinstance(source, str | Path) and source not in KNOWN:
        path = Path(source).expanduser()
        return (
            _from_folder(path, channels, group_by)
            if path.is_dir()
            else _from_file(path, str(source), channels, group_by)
        )
    if isinstance(source, str):
        fetch(source, data_dir=data_dir, progress=progress)
        catalog = read_known(source, data_dir)
        if Path(source).is_dir():
            note = f"{source} is the known set. There is a folder of that name, too: ./{source}"
            catalog = replace(catalog, notes=(*catalog.notes, note))
    elif isinstance(source, Catalog):
        catalog = source
    elif isinstance(source, tuple):
        catalog = from_arrays(*source)
    elif hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        catalog = from_dataset(source, channels)
    else:
        raise DataError(
            f"cannot open a {type(source).__name__}. Give a path, the name of a known set, a pair of arrays (images, "
            "labels), or a map-style data set with __len__ and __getitem__."
        )
    return grouped(_with_channels(catalog, channels), group_by)


def _from_folder(folder: Path, channels: Literal[1, 3] | None, group_by: str | None) -> Catalog:
    if holds_binary(folder):
        return grouped(_with_channels(read_binary(folder), channels), group_by)
    catalog = read_layout(folder, channels=channels, group_by=group_by)
    return read_folder(folder, channels=channels, group_by=group_by) if catalog is None else catalog


def _from_file(path: Path, source: str, channels: Literal[1, 3] | None, group_by: str | None) -> Catalog:
    if not path.is_file():
        raise DataError(_not_there(source, path))
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return read_table_file(path, channels=channels, group_by=group_by)
    if suffix in ARRAY_SUFFIXES:
        return grouped(_with_channels(read_array_file(path), channels), group_by)
    if holds_binary(path):
        return grouped(_with_channels(read_binary(path), channels), group_by)
    raise DataError(
        f"{source} is a file. Name the folder that holds a folder of pictures for each class; or a table "
        f"({', '.join(TABLES)}), arrays ({', '.join(ARRAY_SUFFIXES)}), or a file in idx or CIFAR's binary version."
    )


def _not_there(source: str, path: Path) -> str:
    if path.exists():
        return f"{source} is neither a folder nor a plain file."
    if any(sign in source for sign in ("/", os.sep, ".")):
        return f"there is no folder {source}{', and no such file' if path.suffix else ''}."
    return f"{source!r} is neither a known set nor a folder.{nearest(source, KNOWN)}"


def _with_channels(catalog: Catalog, channels: Literal[1, 3] | None) -> Catalog:
    if channels is None or channels == catalog.channels:
        return catalog
    images = catalog.images
    if isinstance(images, FileImages | ParquetImages | DatasetImages | ShardImages):
        return replace(catalog, channels=channels, images=replace(images, channels=channels))
    if isinstance(images, ArrayImages):
        pixels = np.stack([decode(picture, channels=channels) for picture in images.pixels])
        return replace(catalog, channels=channels, images=replace(images, pixels=pixels))
    raise DataError(f"{catalog.name} has {catalog.channels} channels and cannot be read with {channels}.")
