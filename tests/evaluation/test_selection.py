"""Which split is scored, and what is said of it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from sightline.bundle import open_bundle
from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.errors import BundleError, ConfigError, DataError
from sightline.evaluation.selection import TrainingData, select


def catalog(*splits: str) -> Catalog:
    """One picture for each split named."""
    images = ArrayImages(np.arange(len(splits), dtype=np.uint8)[:, None, None, None], (("image", len(splits)),))
    numbers = np.array([SPLITS.index(split) for split in splits], np.uint8)
    return Catalog("some", None, ("a", "b"), images, np.zeros(len(splits), np.int64), numbers)


@pytest.mark.parametrize(
    ("splits", "asked", "found", "indices", "note"),
    [
        (("train", "val", "test", "test"), None, "test", [2, 3], "Scored on the test split."),
        (("train", "val"), None, "val", [1], "Scored on the validation split, as there is no test split."),
        (("train", "train"), None, "all", [0, 1], "Scored on all pictures, as the data has no splits."),
        (("unassigned",), None, "all", [0], "Scored on all pictures, as the data has no splits."),
        (("train", "val", "test"), "all", "all", [0, 1, 2], "Scored on all pictures, as asked."),
        (("train", "val", "test"), "train", "train", [0], "Scored on the train split, as asked."),
        (("test", "unassigned"), "unassigned", "unassigned", [1], "Scored on the unassigned split, as asked."),
    ],
)
def test_test_then_val_then_all(
    splits: tuple[str, ...], asked: str | None, found: str, indices: list[int], note: str
) -> None:
    selection = select(catalog(*splits), asked)
    assert (selection.split, selection.indices.tolist(), selection.notes) == (found, indices, (note,))


def test_an_unknown_split_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no split 'tset'\. Nearest: test\."):
        select(catalog("test"), "tset")


def test_an_empty_split_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        DataError, match=r"some has no val pictures; it has 2 train, 1 test\. Choose another --split, or all"
    ):
        select(catalog("train", "test", "train"), "val")


@pytest.mark.parametrize("content", ["{", "[]", '{"files": [{"path": "a"}]}', '{"files": 3}'])
def test_a_damaged_lock_is_refused(bundle: Path, content: str) -> None:
    (bundle / "data.lock.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        BundleError, match=r"data\.lock\.json is damaged \(\w+: .*\)\. Copy the bundle again, or remove"
    ):
        TrainingData(open_bundle(bundle))


def test_a_bundle_without_a_record_knows_no_data(bundle: Path) -> None:
    data = catalog("train", "test")
    training = TrainingData(open_bundle(bundle))
    assert not training.is_of(data)
    assert training.num_trained_on(data, np.array([0, 1]), threads=1) == 0


def test_arrays_of_a_bundle_that_lost_its_seed_keep_their_splits(bundle: Path) -> None:
    data = catalog("train", "test")
    pixels = hashlib.sha256(data.images.content(0) + data.images.content(1)).hexdigest()
    (bundle / "data.lock.json").write_text(json.dumps({"pixels": pixels}), encoding="utf-8")
    training = TrainingData(open_bundle(bundle))
    assert training.is_of(data)
    assert training.splits_of(data).tolist() == data.splits.tolist()
