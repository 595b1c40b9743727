"""Parquet: tables that name pictures, and files that hold them, as the Hugging Face Hub stores data sets.

A file of the Hub has a column of structs with the fields `bytes` (a picture's file) and `path`, and a column `label`,
whose numbers the schema's metadata may give names to. pyarrow reads it; nothing else here needs pyarrow.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.data.catalog import SPLITS, Catalog, Problem
from sightline.data.class_map import order_note
from sightline.data.decode import read_header
from sightline.data.grouping import grouped
from sightline.data.parquet_file import SUFFIX as SUFFIX
from sightline.data.parquet_file import open_parquet, picture_column
from sightline.data.parquet_images import Cells, ParquetImages
from sightline.data.parquet_part import ParquetPart
from sightline.data.parquet_part import split_of_file as split_of_file
from sightline.data.probe import probe
from sightline.data.table import Table, as_cell, make_table
from sightline.data.tabular import numbered
from sightline.errors import DataError

_PROBES = 64

Place = tuple[int, int]
"""The number of a part, and a row of it."""


def is_of_pictures(path: Path) -> bool:
    """Whether a Parquet file holds pictures, and does not only name them."""
    return picture_column(open_parquet(path).schema_arrow) is not None


def read_parquet_table(path: Path) -> Table:
    """Read a Parquet file that names pictures.

    Raises:
        DataError: it cannot be read, or has no column of paths.
        MissingExtraError: pyarrow is not installed.
    """
    content = open_parquet(path).read()
    columns = {name: [as_cell(value) for value in content.column(name).to_pylist()] for name in content.column_names}
    table = make_table(path, columns, [f"row {row}" for row in range(content.num_rows)])
    if table.path_column is None:
        raise DataError(
            f"{path} needs a column path (or file_name) and a column label; or a column of pictures as structs of "
            f"bytes and path. Found: {', '.join(columns)}."
        )
    return table


# ------------------------------------------------------------------------------------------ files that hold pictures


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
    parts = [ParquetPart.read(path, root) for path in files]
    is_multilabel = any(part.labelling.is_multilabel for part in parts)
    kept, problems = _labelled(parts, is_multilabel=is_multilabel)
    if not kept:
        raise DataError(f"{root} holds no labelled pictures: {', '.join(path.name for path in files)}.")
    labels = [parts[number].labels[row] for number, row in kept]
    declared = next((part.class_names for part in parts if part.class_names), ())
    classes = declared or tuple(sorted({label for names in labels for label in names}))
    _require_one_naming(root, labels, classes)
    cells, names = Cells(files), _names(parts, kept)
    images = ParquetImages(cells, kept, names)
    looks = probe(len(images), lambda place: read_header(images.content(place)), most=_PROBES)
    catalog = Catalog(
        name=name,
        root=root,
        classes=classes,
        images=ParquetImages(cells, kept, names, channels or looks.channels),
        labels=numbered(labels, classes, is_multilabel=is_multilabel),
        splits=np.array([SPLITS.index(parts[number].splits[row]) for number, row in kept], np.uint8),
        problems=tuple(problems),
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
        looks=looks,
        notes=tuple([] if declared else order_note(classes)),
    )
    known = sorted({column for part in parts for column in part.table.columns})
    columns = {column: [parts[number].cell(column, row) for number, row in kept] for column in known}
    return grouped(catalog, group_by, columns=columns, known=known)


def _labelled(parts: Sequence[ParquetPart], *, is_multilabel: bool) -> tuple[list[Place], list[Problem]]:
    """The pictures that have a label, and those that lack one; of multi-label data all have."""
    kept: list[Place] = []
    problems = []
    for number, part in enumerate(parts):
        for row, labels in enumerate(part.labels):
            if labels or is_multilabel:
                kept.append((number, row))
            else:
                problems.append(Problem(f"{part.name}/{row:06d}", "has no label"))
    return kept, problems


def _require_one_naming(root: Path, labels: Sequence[Sequence[str]], classes: Sequence[str]) -> None:
    unnamed = {label for each in labels for label in each} - set(classes)
    if unnamed:
        raise DataError(
            f"{root}: the files give their classes different names; without one: {', '.join(sorted(unnamed))}."
        )


def _names(parts: Sequence[ParquetPart], kept: Sequence[Place]) -> list[str]:
    names = [parts[number].paths[row] for number, row in kept]
    if all(names) and len(set(names)) == len(names):
        return names
    return [f"{parts[number].name}/{row:06d}" for number, row in kept]
