"""What a Parquet file says of the pictures that it holds: labels, splits, paths, names of classes."""

import json
import re
from pathlib import Path
from typing import Any

from sightline.data.folder import SPLIT_FOLDERS
from sightline.data.labelling import LABEL_COLUMNS, labels_of
from sightline.data.parquet_file import open_parquet, picture_column
from sightline.data.table import Cell, Table, as_cell, make_table
from sightline.data.tabular import split_named
from sightline.errors import DataError


class ParquetPart:
    """The small columns of one file: everything but the pictures.

    Args:
        table: those columns.
        name: of the file, relative to the folder of all.
        class_names: what the schema calls the labels; empty where it does not say.
        paths: of the pictures, as the file has them; "" where it has none.
    """

    def __init__(self, table: Table, name: str, class_names: tuple[str, ...], paths: list[str]) -> None:
        self.table = table
        self.name = name
        self.class_names = class_names
        self.paths = paths
        self.labelling = labels_of(table)
        self.labels = self.labelling.rows
        split = split_of_file(name) or "unassigned"
        self.splits = [split_named(self.cell("split", row), table.where(row)) or split for row in range(len(table))]

    @classmethod
    def read(cls, path: Path, root: Path) -> "ParquetPart":
        """Read a file.

        Args:
            path: of the file.
            root: the folder of all.

        Raises:
            DataError: it cannot be read, has no pictures, or a label that is none of its classes.
            MissingExtraError: pyarrow is not installed.
        """
        file = open_parquet(path)
        picture = picture_column(file.schema_arrow)
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
        table = make_table(path, columns, [f"row {row}" for row in range(file.metadata.num_rows)])
        paths = [(source or {}).get("path") or "" for source in sources]
        return cls(table, path.relative_to(root).as_posix(), class_names, paths)

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
