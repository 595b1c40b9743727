"""Which pictures are scored: those that the training held out, wherever that can be told."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.bundle import Bundle
from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.decode import BadImage
from sightline.data.hashes import content_hash, pixels_hash
from sightline.data.shard_images import ShardImages
from sightline.data.split import assign_splits
from sightline.errors import BundleError, ConfigError, DataError, nearest

LOCK = "data.lock.json"
_PROBES = 16  # files whose content decides whether a folder is the one of the training
_UNASSIGNED = SPLITS.index("unassigned")

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """The pictures to score.

    Args:
        split: what they are: one of `SPLITS`, or "all".
        indices: of the catalog.
        notes: why these, in sentences.
    """

    split: str
    indices: Indices
    notes: tuple[str, ...]


class TrainingData:
    """The data that a bundle was trained on, as its `data.lock.json` has it; nothing is known where that is missing.

    Args:
        bundle: the bundle.

    Raises:
        BundleError: `data.lock.json` is damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        path = bundle.path / LOCK
        self._record: Mapping[str, Any] = dict(bundle.provenance.get("data") or {})
        try:
            lock = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self._files: dict[str, tuple[str, str]] = {
                row["path"]: (row["split"], row["sha256"]) for row in lock.get("files", ())
            }
            self._pixels: str | None = lock.get("pixels")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"{path} is damaged ({type(error).__name__}: {error}). Copy the bundle again, or remove the file: then "
                "it is not known which pictures the training used."
            ) from error

    def is_of(self, catalog: Catalog) -> bool:
        """Whether a catalog holds the pictures of the training, judged by content, wherever they lie now."""
        if isinstance(catalog.images, ArrayImages):
            return self._pixels is not None and self._pixels == pixels_hash(catalog.images)
        known = [index for index in range(len(catalog)) if catalog.images.name(index) in self._files]
        if not known:
            return False
        probes = [known[place] for place in np.unique(np.linspace(0, len(known) - 1, _PROBES).astype(int))]
        same = [_sha256(catalog, index) == self._files[catalog.images.name(index)][1] for index in probes]
        return 2 * sum(same) > len(same)

    def splits_of(self, catalog: Catalog) -> npt.NDArray[np.uint8]:
        """The splits of the training for a catalog that holds its pictures; new pictures keep what they have."""
        if isinstance(catalog.images, ArrayImages):
            if "seed" not in self._record:
                return catalog.splits
            asked = {name: self._record.get(name) for name in ("val_fraction", "test_fraction", "folds", "fold")}
            return assign_splits(catalog, **asked, seed=int(self._record["seed"]))[0].splits
        splits = catalog.splits.copy()
        for index in range(len(catalog)):
            if (row := self._files.get(catalog.images.name(index))) is not None:
                splits[index] = SPLITS.index(row[0])
        return splits

    def num_trained_on(self, catalog: Catalog, indices: Indices, *, threads: int) -> int:
        """How many of some pictures the network has learned from, judged by the content of the files."""
        trained_on = {sha256 for split, sha256 in self._files.values() if split == "train"}
        if isinstance(catalog.images, ArrayImages) or not trained_on:
            return 0
        with ThreadPoolExecutor(threads) as pool:
            return sum(digest in trained_on for digest in pool.map(lambda index: _sha256(catalog, index), indices))

    def num_learned(self, catalog: Catalog, indices: Indices, *, threads: int) -> int | None:
        """How many of some pictures the network has learned from; None where nobody can know.

        Files are told one by one, by their content. Pictures in arrays are told as the whole that they were at the
        training: of other arrays nobody knows whether some of them are the same.

        Args:
            catalog: the data, in any splits.
            indices: of the pictures in question.
            threads: how many files are read at once.
        """
        if isinstance(catalog.images, ArrayImages):
            if not self.is_of(catalog) or "seed" not in self._record:
                return None
            return int((self.splits_of(catalog)[indices] == SPLITS.index("train")).sum())
        return self.num_trained_on(catalog, indices, threads=threads) if self._files else None


def select(catalog: Catalog, split: str | None) -> Selection:
    """The pictures of a split.

    Args:
        catalog: the data.
        split: "train", "val", "test", "unassigned" or "all"; None for test, else val, else all.

    Raises:
        ConfigError: there is no such split.
        DataError: it has no pictures.
    """
    if split is not None:
        return _asked(catalog, split)
    for name, why in (("test", "the test split"), ("val", "the validation split, as there is no test split")):
        if len(indices := catalog.select(name)):
            return Selection(name, indices, (f"Scored on {why}.", *_new_pictures(catalog)))
    indices = np.arange(len(catalog), dtype=np.int64)
    return Selection("all", indices, ("Scored on all pictures, as the data has no splits.",))


def _asked(catalog: Catalog, split: str) -> Selection:
    if split == "all":
        return Selection("all", np.arange(len(catalog), dtype=np.int64), ("Scored on all pictures, as asked.",))
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}.{nearest(split, ['all', *SPLITS])}")
    indices = catalog.select(split)
    if not len(indices):
        sizes = ", ".join(f"{size:,} {name}" for name, size in catalog.sizes().items())
        raise DataError(
            f"{catalog.name} has no {split} pictures; it has {sizes or 'none'}. Choose another --split, or all."
        )
    return Selection(split, indices, (f"Scored on the {split} split, as asked.",))


def _new_pictures(catalog: Catalog) -> list[str]:
    count = int((catalog.splits == _UNASSIGNED).sum())
    if not count:
        return []
    return [f"Not scored: {count:,} pictures that were not there at the training (--split unassigned scores them)."]


def _sha256(catalog: Catalog, index: int) -> str:
    """Of a picture's content; of a file that cannot be read, nothing that any file has."""
    if isinstance(catalog.images, ShardImages):
        return bytes(catalog.images.sha256[index]).hex()
    try:
        return content_hash(catalog.images, index).hex()
    except BadImage:
        return ""
