"""What a bundle says about its data: how much of each class, what was refused, and copies that spoil the score."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.data.catalog import SPLITS, Problem
from sightline.data.labelling import SEPARATOR


@dataclass(frozen=True)
class DataRecord:
    """The data behind a bundle.

    Args:
        name: of the known set, or of the folder.
        counts: split -> class -> pictures; splits in the usual order. A picture of several labels counts for each.
        refused: files that were left out.
        leaked: held-out files whose very content is among the training files too.
        contradictions: pairs of files with the same content and different labels.
        sha256: of `data.lock.json`, in hexadecimal.
        pictures: split -> pictures, where they may have several labels; None where the counts add up to them.
    """

    name: str
    counts: Mapping[str, Mapping[str, int]]
    refused: tuple[Problem, ...]
    leaked: tuple[str, ...]
    contradictions: tuple[tuple[str, str], ...]
    sha256: str
    pictures: Mapping[str, int] | None = None

    @property
    def totals(self) -> Mapping[str, int]:
        """The pictures of each split."""
        if self.pictures is not None:
            return self.pictures
        return {split: sum(classes.values()) for split, classes in self.counts.items()}

    @property
    def num_used(self) -> int:
        """The pictures of all splits."""
        return sum(self.totals.values())


def read_data(
    content: bytes,
    classes: Sequence[str],
    *,
    counts: Mapping[str, Any],
    pictures: Mapping[str, Any] | None = None,
    also_refused: Sequence[Problem] = (),
) -> DataRecord:
    """Takes the record from the content of `data.lock.json`.

    Args:
        content: of the file.
        classes: of the bundle.
        counts: split -> class -> pictures, for data that did not come as files.
        pictures: split -> pictures, of data with several labels a picture; None of one class a picture.
        also_refused: files that a later evaluation left out.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the file is damaged.
    """
    lock = json.loads(content)
    files = lock.get("files")
    refused = [Problem(str(row["path"]), str(row["reason"])) for row in lock["skipped"]]
    known = {problem.path for problem in refused}
    return DataRecord(
        name=str(lock["name"]),
        counts=_in_order(counts if files is None else _count(files, is_several=pictures is not None), classes),
        refused=tuple(refused) + tuple(problem for problem in also_refused if problem.path not in known),
        leaked=_leaked(files or ()),
        contradictions=_contradictions(files or ()),
        sha256=hashlib.sha256(content).hexdigest(),
        pictures=None if pictures is None else {split: int(pictures[split]) for split in SPLITS if split in pictures},
    )


def _count(files: Sequence[Mapping[str, str]], *, is_several: bool) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in files:
        for label in row["label"].split(SEPARATOR) if is_several else [row["label"]]:
            counts[row["split"]][label] += 1
    return counts


def _in_order(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    return {split: {name: int(counts[split].get(name, 0)) for name in classes} for split in SPLITS if split in counts}


def _leaked(files: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    trained_on = {row["sha256"] for row in files if row["split"] == "train"}
    return tuple(row["path"] for row in files if row["split"] in ("val", "test") and row["sha256"] in trained_on)


def _contradictions(files: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    first: dict[str, Mapping[str, str]] = {}
    pairs = []
    for row in files:
        earlier = first.setdefault(row["sha256"], row)
        if earlier["label"] != row["label"]:
            pairs.append((earlier["path"], row["path"]))
    return tuple(pairs)
