"""From the columns of a table to labels: one a row, several, or a column of 0 and 1 for each class."""

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.data.grouping import GROUP_COLUMN
from sightline.data.table import NEEDED, PATH_COLUMNS, Table
from sightline.errors import DataError

LABEL_COLUMNS = ("label", "labels")
SEPARATOR = ";"
_ONE_HOT = {"0": False, "1": True, "0.0": False, "1.0": True}
_SHOWN = 8


@dataclass(frozen=True)
class Labelling:
    """The labels of a table's rows.

    Args:
        rows: the class names of each row; of single labels one, or none where the cell is empty.
        is_multilabel: whether a row may have several.
        declared: classes that the table names whether or not a row has them.
    """

    rows: Sequence[tuple[str, ...]]
    is_multilabel: bool
    declared: tuple[str, ...] = ()


def has_labels(table: Table, *, but: Sequence[str] = ()) -> bool:
    """Whether a table has labels in one of the ways that `labels_of` reads."""
    return any(name in table.columns for name in LABEL_COLUMNS) or bool(_one_hot_columns(table, but))


def labels_of(table: Table, *, but: Sequence[str] = ()) -> Labelling:
    """Read the labels of a table.

    Args:
        table: with a column "label", whose cells may hold several names with semicolons between; or with nothing but
            0 and 1 in the columns of at least two classes.
        but: columns, in small letters, that are no class's.

    Raises:
        DataError: there is neither.
    """
    column = next((name for name in LABEL_COLUMNS if name in table.columns), None)
    if column is not None:
        cells = table.columns[column]
        if any(isinstance(cell, tuple) or SEPARATOR in cell for cell in cells):
            return Labelling([_several(cell) for cell in cells], is_multilabel=True)
        return Labelling([(str(cell),) if cell else () for cell in cells], is_multilabel=False)
    columns = _one_hot_columns(table, but)
    if not columns:
        found = list(table.written.values())
        raise DataError(
            f"{table.path} has no labels. Needed: {NEEDED}; or a column of 0 and 1 for each class. Found: "
            f"{', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}."
        )
    names = tuple(table.written[name] for name in columns)
    flags = zip(*(table.columns[name] for name in columns), strict=True)
    rows = [tuple(name for name, flag in zip(names, row, strict=True) if _ONE_HOT[str(flag)]) for row in flags]
    return Labelling(rows, is_multilabel=any(len(row) != 1 for row in rows), declared=names)


def _several(cell: str | tuple[str, ...]) -> tuple[str, ...]:
    parts = cell if isinstance(cell, tuple) else cell.split(SEPARATOR)
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _one_hot_columns(table: Table, but: Sequence[str]) -> list[str]:
    taken = {*PATH_COLUMNS, "split", GROUP_COLUMN, *but}
    columns = [name for name in table.columns if name not in taken]
    is_one_hot = len(table) > 0 and all(cell in _ONE_HOT for name in columns for cell in table.columns[name])
    return columns if len(columns) >= 2 and is_one_hot else []
