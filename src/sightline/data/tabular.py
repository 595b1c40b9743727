"""From tables that name pictures - a CSV, or metadata files beside the pictures - to a Catalog."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.data.catalog import SPLITS, Catalog, FileImages, Labels, Problem, Split, listed
from sightline.data.class_map import order_note
from sightline.data.decode import read_header
from sightline.data.folder import SPLIT_FOLDERS
from sightline.data.grouping import GROUP_COLUMN, grouped
from sightline.data.labelling import Labelling, labels_of
from sightline.data.probe import probe
from sightline.data.table import Table
from sightline.errors import DataError


@dataclass(frozen=True)
class Part:
    """A table and what its place says.

    Args:
        table: with a column of paths.
        folder: that its paths start from, relative to the root; "" for the root itself.
        split: of its pictures, where it has no column "split"; None where the place says nothing.
    """

    table: Table
    folder: str = ""
    split: Split | None = None


@dataclass(frozen=True)
class _Row:
    path: str
    labels: tuple[str, ...]
    split: Split | None
    table: Table
    number: int

    @property
    def where(self) -> str:
        return self.table.where(self.number)

    def cell(self, column: str) -> str:
        cells = self.table.columns.get(column)
        return "" if cells is None else str(cells[self.number])


def read_parts(
    name: str, root: Path, parts: Sequence[Part], *, channels: Literal[1, 3] | None, group_by: str | None
) -> Catalog:
    """Read the pictures that tables name.

    Args:
        name: of the catalog.
        root: the folder that paths are relative to; nothing in it is written.
        parts: the tables. Their rows may be in any order: pictures are sorted by path.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        group_by: see `grouped`.

    Returns:
        The catalog. A row that names no file that is there, or has no label, is among its problems.

    Raises:
        DataError: there are no labels, no pictures, an unknown split, or two labels of one picture.
    """
    used = tuple([] if group_by is None else [group_by.lower()])
    labellings = [labels_of(part.table, but=used) for part in parts]
    is_multilabel = any(labelling.is_multilabel for labelling in labellings)
    problems = [problem for part in parts for problem in part.table.problems]
    found: list[_Row] = []
    for part, labelling in zip(parts, labellings, strict=True):
        for row in _rows(part, labelling):
            if (reason := _refusal(root, row, is_multilabel=is_multilabel)) is not None:
                problems.append(Problem(row.path or row.where, reason))
            else:
                found.append(row)
    rows, notes = _merged(found, is_multilabel=is_multilabel)
    if not rows:
        raise DataError(f"{parts[0].table.path} names no picture that can be used:\n{listed(problems)}")
    names = {label for row in rows for label in row.labels}
    classes = tuple(sorted(names.union(*(labelling.declared for labelling in labellings))))
    paths = [row.path for row in rows]
    looks = probe(len(paths), lambda place: read_header(root / paths[place]))
    splits, split_note = _splits(rows)
    catalog = Catalog(
        name=name,
        root=root,
        classes=classes,
        images=FileImages(root, paths, channels or looks.channels),
        labels=numbered([row.labels for row in rows], classes, is_multilabel=is_multilabel),
        splits=np.array([SPLITS.index(split) for split in splits], np.uint8),
        problems=tuple(problems),
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
        looks=looks,
        source_files=tuple(part.table.path for part in parts),
        notes=(*notes, *split_note, *_unlabelled(rows), *order_note(classes)),
    )
    known = {column for part in parts for column in part.table.columns}
    columns = {column: [row.cell(column) for row in rows] for column in known & {GROUP_COLUMN, *used}}
    folders = [posixpath.dirname(path) for path in paths]
    return grouped(catalog, group_by, folders=folders, columns=columns, known=sorted(known))


def numbered(rows: Sequence[tuple[str, ...]], classes: tuple[str, ...], *, is_multilabel: bool) -> Labels:
    """Names as labels: int64 (N,), or uint8 (N, K) of multi-label data.

    Example:
        >>> numbered([("b",), ("a",)], ("a", "b"), is_multilabel=False)
        array([1, 0])
        >>> numbered([("b", "a"), ()], ("a", "b"), is_multilabel=True).tolist()
        [[1, 1], [0, 0]]
    """
    numbers = {name: number for number, name in enumerate(classes)}
    if not is_multilabel:
        return np.array([numbers[labels[0]] for labels in rows], np.int64)
    table = np.zeros((len(rows), len(classes)), np.uint8)
    for row, labels in enumerate(rows):
        table[row, [numbers[label] for label in labels]] = 1
    return table


def split_named(cell: str, where: str) -> Split | None:
    """The split that a cell names; None where it is empty.

    Raises:
        DataError: it names none.
    """
    if not cell:
        return None
    split = SPLIT_FOLDERS.get(cell.lower())
    if split is None:
        raise DataError(f"{where} has the split {cell!r}. It must be {', '.join(SPLIT_FOLDERS)}, or empty.")
    return split  # type: ignore[return-value]


def _rows(part: Part, labelling: Labelling) -> Iterator[_Row]:
    table = part.table
    paths = table.columns[table.path_column or ""]
    for number in range(len(table)):
        path = str(paths[number])
        row = _Row(
            posixpath.normpath(posixpath.join(part.folder, path)) if path else "",
            labelling.rows[number],
            part.split,
            table,
            number,
        )
        own = split_named(row.cell("split"), row.where)
        yield row if own is None else replace(row, split=own)


def _refusal(root: Path, row: _Row, *, is_multilabel: bool) -> str | None:
    """Why a row cannot be used; None where it can."""
    if not row.path:
        return "the row names no file"
    if not row.labels and not is_multilabel:
        return f"has no label ({row.where})"
    if not (root / row.path).is_file():
        hint = ". Folders are separated by /" if "\\" in row.path else ""
        return f"no such file ({row.where}){hint}"
    return None


def _merged(found: Sequence[_Row], *, is_multilabel: bool) -> tuple[list[_Row], list[str]]:
    """One row a picture, sorted by path; a note of those that came again."""
    by_path: dict[str, list[_Row]] = {}
    for row in found:
        by_path.setdefault(row.path, []).append(row)
    rows, conflicts, repeated = [], [], 0
    for path, same in sorted(by_path.items()):
        repeated += len(same) - 1
        labels = {row.labels for row in same}
        if len({row.split for row in same}) > 1 or len({row.cell(GROUP_COLUMN) for row in same}) > 1:
            conflicts.append(Problem(path, "has two splits or groups: " + ", ".join(row.where for row in same)))
        elif len(labels) > 1 and not is_multilabel:
            each = ", ".join(f"{' '.join(row.labels)} ({row.where})" for row in same)
            conflicts.append(Problem(path, f"has different labels: {each}"))
        all_labels = tuple(dict.fromkeys(label for row in same for label in row.labels))
        rows.append(replace(same[0], labels=all_labels))
    if conflicts:
        raise DataError(
            f"{len(conflicts):,} pictures are named more than once and differently:\n{listed(conflicts)}\n"
            "Keep one row of each; or, for several labels of a picture, write them in one row with ; between."
        )
    what = "their labels are put together" if is_multilabel else "they say the same, and one of each is kept"
    return rows, [f"{repeated:,} rows name a picture again: {what}."] if repeated else []


def _unlabelled(rows: Sequence[_Row]) -> list[str]:
    count = sum(not row.labels for row in rows)
    return [f"{count:,} pictures have no label: they are of none of the classes."] if count else []


def _splits(rows: Sequence[_Row]) -> tuple[list[Split], list[str]]:
    """The split of each picture: its own; where no row has one, the folder's, where all are in split folders."""
    if any(row.split for row in rows):
        without = Counter(row.split for row in rows)[None]
        note = [f"{without:,} pictures have no split of their own: they are training pictures, or drawn from."]
        return [row.split or "unassigned" for row in rows], note if without else []
    tops = [SPLIT_FOLDERS.get(row.path.split("/")[0].lower()) if "/" in row.path else None for row in rows]
    if "train" in tops and None not in tops:
        return tops, ["The split of a picture is the folder that its path begins with."]  # type: ignore[return-value]
    return ["unassigned"] * len(rows), []
