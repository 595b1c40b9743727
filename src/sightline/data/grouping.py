"""Which pictures belong together, by a column, by folder, or by a part of the path: they will share a split."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sightline.data.catalog import Catalog
from sightline.errors import ConfigError, nearest

FOLDER = "folder"
GROUP_COLUMN = "group"


def grouped(
    catalog: Catalog,
    group_by: str | None,
    *,
    folders: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
) -> Catalog:
    """The catalog with its groups.

    Args:
        catalog: the data set.
        group_by: the name of a column; or "folder", the picture's own folder below the class folder; or a regular
            expression with one group, looked for in each picture's name. None takes the column "group", where there
            is one.
        folders: of each picture; "" where it lies in its class folder itself.
        columns: of a table, by name in small letters, a cell a picture: those that may be wanted.
        known: the names of all its columns, for messages.

    Returns:
        With groups numbered in the sorted order of their names. A picture without one - an empty cell, no folder of
        its own, no match - is a group by itself, and is counted in the notes.

    Raises:
        ConfigError: `group_by` is none of the three, or no picture has a group.
    """
    columns = columns or {}
    if group_by is None and GROUP_COLUMN not in columns:
        return catalog
    wanted = GROUP_COLUMN if group_by is None else group_by
    cells, what = _cells(catalog, wanted, folders, columns, known)
    if not any(cells):
        if group_by is None:  # an empty column that nobody asked for
            return catalog
        raise ConfigError(f"group_by {group_by!r} gives no picture of {catalog.name} a group ({what}).")
    names = [cell or catalog.images.name(index) for index, cell in enumerate(cells)]
    groups = sorted(set(names))
    numbers = {name: number for number, name in enumerate(groups)}
    alone = sum(not cell for cell in cells)
    note = f"{len(names):,} pictures are in {len(groups):,} groups, by {what}: a group is never divided between splits."
    more = [f"{alone:,} pictures have no group and are one each."] if alone else []
    return replace(
        catalog,
        groups=np.array([numbers[name] for name in names], np.int64),
        group_names=tuple(groups),
        notes=(*catalog.notes, note, *more),
    )


def _cells(
    catalog: Catalog,
    wanted: str,
    folders: Sequence[str] | None,
    columns: Mapping[str, Sequence[str]],
    known: Sequence[str],
) -> tuple[Sequence[str], str]:
    """Each picture's group, "" for none, and what it is from."""
    if wanted.lower() in columns:
        return columns[wanted.lower()], f"the column {wanted}"
    if wanted == FOLDER:
        if folders is None:
            raise ConfigError(f"group_by {FOLDER!r} needs pictures in files, and those of {catalog.name} are not.")
        return folders, "the pictures' folders"
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigError(f"group_by {wanted!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        columns_too = f"neither a column of {catalog.name} ({', '.join(known)})" if known else "neither a column"
        raise ConfigError(
            f"group_by {wanted!r} is {columns_too}, nor {FOLDER!r}, nor a regular expression with one group in "
            f"parentheses, such as '(patient[0-9]+)_'.{nearest(wanted, [*known, FOLDER])}"
        )
    return list(_matches(catalog, pattern)), f"the part of the path that {wanted} finds"


def _matches(catalog: Catalog, pattern: re.Pattern[str]) -> Iterator[str]:
    for index in range(len(catalog)):
        found = pattern.search(catalog.images.name(index))
        yield (found[1] or "") if found else ""
