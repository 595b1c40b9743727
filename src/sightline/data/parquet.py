"""Parquet: tables that name pictures, and files that hold them, as the Hugging Face Hub stores data sets.

A file of the Hub has a column of structs with the fields `bytes` (a picture's file) and `path`, and a column `label`,
whose numbers the schema's metadata may give names to. pyarrow reads it; nothing else here needs pyarrow.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from sightline.data.catalog import SPLITS, Catalog, Problem
from sightline.data.class_map import order_note
from sightline.data.decode import BadImage, decode, read_header
from sightline.data.folder import SPLIT_FOLDERS
from sightline.data.grouping import grouped
from sightline.data.labelling import LABEL_COLUMNS, labels_of
from sightline.data.modes import Pixels
from sightline.data.probe import probe
from sightline.data.table import Cell, Table, as_cell, make_table
from sightline.data.tabular import numbered, split_named
from sightline.errors import DataError, MissingExtraError

SUFFIX = ".parquet"
_KEPT = 4  # row groups in memory: pictures are read in order, by threads that are near each other
_PROBES = 64


def is_of_pictures(path: Path) -> bool:
    """Whether a Parquet file holds pictures, and does not only name them."""
    return _picture_column(_open(path).schema_arrow) is not None


def read_parquet_table(path: Path) -> Table:
    """Read a Parquet file that names pictures.

    Raises:
        DataError: it cannot be read, or has no column of paths.
        MissingExtraError: pyarrow is not installed.
    """
    content = _open(path).read()
    columns = {name: [as_cell(value) for value in content.column(name).to_pylist()] for name in content.column_names}
    table = make_table(path, columns, [f"row {row}" for row in range(content.num_rows)])
    if table.path_column is None:
        raise DataError(
            f"{path} needs a column path (or file_name) and a column label; or a column of pictures as structs of "
            f"bytes and path. Found: {', '.join(columns)}."
        )
    return table


# ------------------------------------------------------------------------------------------ files that hold pictures


class _Cells:
    """The pictures of Parquet files, read a row group at a time; the last few are kept."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [_open(path) for path in files]
        self._columns = [_picture_column(file.schema_arrow) or "" for file in self._files]
        starts = [[0] for _ in files]
        for file, ends in zip(self._files, starts, strict=True):
            for group in range(file.num_row_groups):
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
        self._starts = [np.array(each) for each in starts]
        self._lock = Lock()  # a reader of Parquet is not to be used by two threads
        self._group = lru_cache(_KEPT)(self._read_group)

    def content(self, file: int, row: int) -> bytes | None:
        """The bytes of a picture; None where the file has none."""
        group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
        with self._lock:
            value = self._group(file, group)[row - int(self._starts[file][group])].as_py()
        return None if value is None else value["bytes"]

    def _read_group(self, file: int, group: int) -> Any:
        column = self._columns[file]
        return self._files[file].read_row_group(group, columns=[f"{column}.bytes"]).column(0)


@dataclass(frozen=True)
class ParquetImages:
    """Pictures inside Parquet files, decoded when asked for.

    Args:
        cells: reads their bytes.
        rows: (number of the file, row) of each.
        names: of each.
        channels: 3 for RGB, 1 for grey.
    """

    cells: _Cells
    rows: Sequence[tuple[int, int]]
    names: Sequence[str]
    channels: Literal[1, 3] = 3

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Pixels:
        """Decode the picture."""
        try:
            return decode(self.content(index), channels=self.channels)
        except BadImage as error:
            raise BadImage(self.name(index), error.reason) from error

    def content(self, index: int) -> bytes:
        """The bytes of the picture's file."""
        try:
            content = self.cells.content(*self.rows[index])
        except (OSError, ValueError) as error:  # what pyarrow raises is of the one or the other
            raise BadImage(self.name(index), f"its part of the file cannot be read ({error})") from error
        if not content:
            raise BadImage(self.name(index), "the row has no bytes")
        return content

    def name(self, index: int) -> str:
        """The path that the file gives it, where those tell all pictures apart; else the file and the row."""
        return self.names[index]


def read_picture_files(
    name: str, root: Path, files: Sequence[Path], *, channels: Literal[1, 3] | None, group_by: str | None
) -> Catalog:
    """Read Parquet files that hold pictures.

    Args:
        name: of the catalog.
        root: the folder that the files' names are relative to.
        files: in order. The split of a file's pictures is what its name begins with, or its folder: train, test, ...;
            a column "split" wins.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        group_by: see `grouped`.

    Returns:
        The catalog. Classes are in the order of the names that the schema gives to the labels, where it does, else in
        the plain sort of the labels.

    Raises:
        DataError: a file cannot be read, or has no labels.
        MissingExtraError: pyarrow is not installed.
    """
    parts = [_Part.read(path, root) for path in files]
    declared = next((part.class_names for part in parts if part.class_names), ())
    is_multilabel = any(part.labelling.is_multilabel for part in parts)
    kept = [
        (number, row)
        for number, part in enumerate(parts)
        for row, labels in enumerate(part.labels)
        if labels or is_multilabel
    ]
    problems = [
        Problem(f"{part.name}/{row:06d}", "has no label")
        for part in parts for row, labels in enumerate(part.labels) if not labels and not is_multilabel
    ]  # fmt: skip
    if not kept:
        raise DataError(f"{root} holds no labelled pictures: {', '.join(path.name for path in files)}.")
    labels = [parts[number].labels[row] for number, row in kept]
    classes = declared or tuple(sorted({label for names in labels for label in names}))
    unnamed = {label for each in labels for label in each} - set(classes)
    if unnamed:
        raise DataError(
            f"{root}: the files give their classes different names; without one: {', '.join(sorted(unnamed))}."
        )
    images = ParquetImages(_Cells(files), kept, _names(parts, kept))
    looks = probe(len(images), lambda place: read_header(images.content(place)), most=_PROBES)
    splits = [parts[number].splits[row] for number, row in kept]
    catalog = Catalog(
        name=name,
        root=root,
        classes=classes,
        images=ParquetImages(images.cells, kept, images.names, channels or looks.channels),
        labels=numbered(labels, classes, is_multilabel=is_multilabel),
        splits=np.array([SPLITS.index(split) for split in splits], np.uint8),
        problems=tuple(problems),
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
        notes=tuple([] if declared else order_note(classes)),
    )
    known = sorted({column for part in parts for column in part.table.columns})
    columns = {column: [parts[number].cell(column, row) for number, row in kept] for column in known}
    return grouped(catalog, group_by, columns=columns, known=known)


class _Part:
    """The small columns of one file."""

    def __init__(self, table: Table, name: str, class_names: tuple[str, ...], paths: list[str], split: str) -> None:
        self.table = table
        self.name = name
        self.class_names = class_names
        self.paths = paths
        self.labelling = labels_of(table)
        self.labels = self.labelling.rows
        self.splits = [split_named(self.cell("split", row), table.where(row)) or split for row in range(len(table))]

    @classmethod
    def read(cls, path: Path, root: Path) -> "_Part":
        """Everything of a file but the pictures' bytes."""
        file = _open(path)
        picture = _picture_column(file.schema_arrow)
        if picture is None:
            raise DataError(
                f"{path} has no column of pictures, and other files here have. Found: "
                f"{', '.join(file.schema_arrow.names)}."
            )
        others = [name for name in file.schema_arrow.names if name != picture]
        try:
            content = file.read(columns=others)
            sources = file.read(columns=[f"{picture}.path"]).column(0).to_pylist()
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as Parquet ({type(error).__name__}: {error}).") from error
        label = next((each for each in others if each.strip().lower() in LABEL_COLUMNS), None)
        class_names = _class_names(file.schema_arrow.metadata, label)
        columns: dict[str, list[Cell]] = {}
        for name in content.column_names:
            values = content.column(name).to_pylist()
            columns[name] = [_class_of(each, class_names) if name == label else as_cell(each) for each in values]
        rows = file.metadata.num_rows
        paths = [(source or {}).get("path") or "" for source in sources]
        table = make_table(path, columns, [f"row {row}" for row in range(rows)])
        relative = path.relative_to(root).as_posix()
        return cls(table, relative, class_names, paths, split_of_file(relative) or "unassigned")

    def cell(self, column: str, row: int) -> str:
        """A cell as text; "" where there is none."""
        cells = self.table.columns.get(column)
        return "" if cells is None else str(cells[row])


def split_of_file(path: str) -> str | None:
    """The split that a file's name begins with, or that its folder is called.

    Example:
        >>> [split_of_file(path) for path in ("data/train-00000-of-00002.parquet", "test/0.parquet", "0.parquet")]
        ['train', 'test', None]
    """
    *folders, file = path.lower().split("/")
    start = re.split(r"[^a-z]", file, maxsplit=1)[0]
    return SPLIT_FOLDERS.get(start) or next((SPLIT_FOLDERS[each] for each in folders if each in SPLIT_FOLDERS), None)


def _names(parts: Sequence[_Part], kept: Sequence[tuple[int, int]]) -> list[str]:
    names = [parts[number].paths[row] for number, row in kept]
    if all(names) and len(set(names)) == len(names):
        return names
    return [f"{parts[number].name}/{row:06d}" for number, row in kept]


def _class_of(value: Any, class_names: tuple[str, ...]) -> Cell:
    """A label as the name of its class; the Hub marks a missing label with -1."""
    if not class_names or value is None:
        return as_cell(value)
    if isinstance(value, list):
        return tuple(name for each in value if (name := str(_class_of(each, class_names))))
    if isinstance(value, str) or value == -1:
        return "" if value == -1 else str(value)
    if not 0 <= value < len(class_names):
        raise DataError(f"a label is {value}, and the file names {len(class_names)} classes.")
    return class_names[int(value)]


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...]:
    """What the schema calls the labels; none where it does not say."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]
        while isinstance(features, list):
            features = features[0]
        features = features.get("feature", features)  # of a list of labels
        return tuple(map(str, features["names"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return ()


def _picture_column(schema: Any) -> str | None:
    """The first column of structs with the fields bytes and path."""
    for field in schema:
        if hasattr(field.type, "fields") or str(field.type).startswith("struct"):
            names = [field.type.field(number).name for number in range(field.type.num_fields)]
            if {"bytes", "path"} <= set(names):
                return str(field.name)
    return None


def _open(path: Path) -> Any:
    try:
        import pyarrow.lib  # noqa: PLC0415 - of an extra, which only Parquet needs
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet", purpose="read Parquet files") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({type(error).__name__}: {error}).") from error
