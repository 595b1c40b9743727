"""Exactly which data a model was trained on: every file with its split, label and hash, and every one refused."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, Problem
from sightline.data.finding import label_of
from sightline.data.hashes import content_hashes, pixels_hash
from sightline.data.lock_file import FILES, Row
from sightline.errors import DataError

_VERSION = 1
_SHOWN = 10


def data_lock(catalog: Catalog, skipped: Sequence[Problem] = ()) -> dict[str, Any]:
    """What `data.lock.json` holds; equal data gives an equal lock, on any machine.

    Args:
        catalog: with its splits assigned.
        skipped: pictures that were refused when they were decoded; the catalog's own problems are added.

    Returns:
        JSON. `name` and `classes`; `splits`, with the number of pictures of each; `files`, with the path, split, label
        (several with ; between), SHA-256 and, where there are groups, group of each, sorted by path; `skipped`, with
        path and reason; `sources`, the tables that named the files. Pictures that came as arrays have, in the place of
        `files`, `pixels` (one SHA-256 of all of them), a digest of the members, labels and groups of each split, and
        `sources`, the files that they were read from.

    Raises:
        BadImage: a file that is not among the skipped ones cannot be read.
    """
    lock = lock_parts(catalog, skipped)
    return {key: list(part) if key == FILES else part for key, part in lock.items()}


def lock_parts(catalog: Catalog, skipped: Sequence[Problem] = ()) -> dict[str, Any]:
    """The same with an iterator in the place of `files`, for `write_lock`: a million rows are made one by one.

    Args:
        catalog: as in `data_lock`, as is `skipped`.
    """
    refused = {problem.path: problem.reason for problem in (*catalog.problems, *skipped)}
    used = np.array([index for index in range(len(catalog)) if catalog.images.name(index) not in refused], np.int64)
    members = {split: used[catalog.splits[used] == number] for number, split in enumerate(SPLITS)}
    lock: dict[str, Any] = {
        "version": _VERSION,
        "name": catalog.name,
        "classes": list(catalog.classes),
        "splits": {split: {"pictures": len(indices)} for split, indices in members.items() if len(indices)},
    }
    if isinstance(catalog.images, ArrayImages):
        for split, row in lock["splits"].items():
            row["sha256"] = _members_digest(catalog, members[split])
        lock["pixels"] = pixels_hash(catalog.images)
    else:
        lock[FILES] = _file_rows(catalog, used)
    if isinstance(catalog.images, ArrayImages) or catalog.source_files:
        lock["sources"] = [{"path": path.name, "sha256": _file_digest(path)} for path in catalog.source_files]
    lock["skipped"] = [{"path": path, "reason": refused[path]} for path in sorted(refused)]
    return lock


def verify_lock(lock: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Compare data with the lock of an earlier run.

    Args:
        lock: what `data_lock` gave then, or `read_lock` reads.
        catalog: the data as it is now, with its splits assigned the same way.

    Returns:
        The first ten differences in sentences, and how many more there are; empty where there is none.

    Raises:
        DataError: the lock is of another version or damaged.
    """
    try:
        if lock["version"] != _VERSION:
            raise DataError(f"the data lock has version {lock['version']}; this program reads version {_VERSION}.")
        skipped = [Problem(row["path"], row["reason"]) for row in lock["skipped"]]
        differences = list(_differences(lock, lock_parts(catalog, skipped)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the data lock is damaged ({type(error).__name__}: {error}).") from error
    if len(differences) > _SHOWN:
        return [*differences[:_SHOWN], f"and {len(differences) - _SHOWN:,} more differences"]
    return differences


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old["classes"] != new["classes"]:
        yield f"the classes were {', '.join(old['classes'])} and are now {', '.join(new['classes'])}"
    if (FILES in old) != (FILES in new):
        yield f"the pictures came as {_kind(old)} and come now as {_kind(new)}"
    elif FILES in old:
        yield from _file_differences(old[FILES], new[FILES])
    else:
        if old["pixels"] != new["pixels"]:
            yield "the pixels of the pictures have changed"
        if old["splits"] != new["splits"]:
            yield f"the splits or labels have changed: {_sizes(old)} before, {_sizes(new)} now"


def _file_differences(old: Sequence[Row], new: Iterable[Row]) -> Iterator[str]:
    """Sorted by path."""
    places = {row["path"]: place for place, row in enumerate(old)}
    found: list[tuple[str, str]] = []
    for row in new:
        path = row["path"]
        place = places.pop(path, None)
        changes = [f"{path} is new"] if place is None else _row_differences(old[place], row)
        found += [(path, change) for change in changes]
    found += [(path, f"{path} is gone") for path in places]
    yield from (sentence for _, sentence in sorted(found, key=itemgetter(0)))


def _row_differences(old: Row, new: Row) -> Iterator[str]:
    if old["sha256"] != new["sha256"]:
        yield f"{new['path']} has another content"
        return
    for key in ("split", "label", "group"):
        before, now = old.get(key), new.get(key)
        if before != now:
            yield f"{new['path']} had {_said(key, before)} and has now {now or 'none'}"


def _said(key: str, value: str | None) -> str:
    return f"no {key}" if value is None else f"the {key} {value}"


def _kind(lock: Mapping[str, Any]) -> str:
    return "files" if FILES in lock else "arrays"


def _sizes(lock: Mapping[str, Any]) -> str:
    return ", ".join(f"{row['pictures']:,} {split}" for split, row in lock["splits"].items())


def _file_rows(catalog: Catalog, used: npt.NDArray[np.int64]) -> Iterator[Row]:
    ordered = sorted(used.tolist(), key=catalog.images.name)
    for index, digest in zip(ordered, content_hashes(catalog.images, ordered), strict=True):
        yield {
            "path": catalog.images.name(index),
            "split": SPLITS[catalog.splits[index]],
            "label": label_of(catalog, index),
            "sha256": digest,
            **({} if catalog.groups is None else {"group": catalog.group_name(int(catalog.groups[index]))}),
        }


def _members_digest(catalog: Catalog, indices: npt.NDArray[np.int64]) -> str:
    columns = [indices, catalog.labels[indices]]
    if catalog.groups is not None:
        columns.append(catalog.groups[indices])
    return hashlib.sha256(np.column_stack(columns).astype("<i8").tobytes()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read any more ({type(error).__name__}: {error.strerror}).") from error
