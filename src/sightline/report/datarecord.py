"""What a bundle says about its data: how much of each class, what was refused, and copies that spoil the score."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.data.catalog import SPLITS, Problem


@dataclass(frozen=True)
class DataRecord:
    """The data behind a bundle.

    Args:
        name: of the known set, or of the folder.
        counts: split -> class -> pictures; splits in the usual order.
        refused: files that were left out.
        leaked: held-out files whose very content is among the training files too.
        contradictions: pairs of files with the same content and different labels.
        sha256: of `data.lock.json`, in hexadecimal.
    """

    name: str
    counts: Mapping[str, Mapping[str, int]]
    refused: tuple[Problem, ...]
    leaked: tuple[str, ...]
    contradictions: tuple[tuple[str, str], ...]
    sha256: str

    @property
    def num_used(self) -> int:
        """The pictures of all splits."""
        return sum(sum(classes.values()) for classes in self.counts.values())


def read_data(
    content: bytes, classes: Sequence[str], *, counts: Mapping[str, Any], also_refused: Sequence[Problem] = ()
) -> DataRecord:
    """Takes the record from the content of `data.lock.json`.

    Args:
        content: of the file.
        classes: of the bundle.
        counts: split -> class -> pictures, for data that did not come as files.
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
        counts=_in_order(counts if files is None else _count(files), classes),
        refused=tuple(refused) + tuple(problem for problem in also_refused if problem.path not in known),
        leaked=_leaked(files or ()),
        contradictions=_contradictions(files or ()),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _count(files: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in files:
        counts[row["split"]][row["label"]] += 1
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
