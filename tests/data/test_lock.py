"""The data lock: equal data, equal lock; any change has a sentence."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.data.catalog import Problem
from sightline.data.decode import BadImage
from sightline.data.lock import data_lock, verify_lock
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import DataError


def test_every_file_with_split_label_and_hash(photos: Path) -> None:
    catalog, _ = assign_splits(open_data(photos))
    lock = data_lock(catalog)
    assert lock["classes"] == ["cat", "dog"]
    assert {split: row["pictures"] for split, row in lock["splits"].items()} == {
        split: sum(row.values()) for split, row in catalog.counts().items()
    }
    assert [row["path"] for row in lock["files"]] == sorted(
        path.relative_to(photos).as_posix() for path in photos.rglob("*.png")
    )
    first = lock["files"][0]
    assert first["label"] == "cat"
    assert first["sha256"] == hashlib.sha256((photos / "cat/00.png").read_bytes()).hexdigest()
    assert first["path"] in [catalog.images.name(int(index)) for index in catalog.select(first["split"])]


def test_lock_is_deterministic_and_json(photos: Path) -> None:
    catalog, _ = assign_splits(open_data(photos))
    text = json.dumps(data_lock(catalog))
    assert text == json.dumps(data_lock(assign_splits(open_data(photos))[0]))
    assert verify_lock(json.loads(text), catalog) == []
    assert str(photos) not in text  # the same on every machine


def test_skipped_files_are_listed_with_reasons_and_not_hashed(photos: Path) -> None:
    catalog = open_data(photos)
    (photos / "dog/03.png").unlink()
    problems = (Problem("elsewhere", "the folder cannot be listed"),)
    lock = data_lock(replace(catalog, problems=problems), [Problem("dog/03.png", "cannot be opened")])
    assert "dog/03.png" not in [row["path"] for row in lock["files"]]
    assert lock["skipped"] == [
        {"path": "dog/03.png", "reason": "cannot be opened"},
        {"path": "elsewhere", "reason": "the folder cannot be listed"},
    ]
    assert lock["splits"]["unassigned"]["pictures"] == 29
    with pytest.raises(BadImage, match=r"03.png: cannot be opened"):
        data_lock(catalog)


def test_each_change_of_files_has_its_sentence(photos: Path) -> None:
    catalog, _ = assign_splits(open_data(photos))
    lock = data_lock(catalog)
    (photos / "cat/01.png").write_bytes((photos / "cat/02.png").read_bytes())
    (photos / "dog/05.png").rename(photos / "dog/new.png")
    now = open_data(photos)
    splits = {catalog.images.name(index): catalog.splits[index] for index in range(30)}
    carried = np.array([splits.get(now.images.name(index), 0) for index in range(30)], np.uint8)
    carried[0] = (carried[0] + 1) % 3
    differences = verify_lock(lock, replace(now, splits=carried))
    assert differences[0].startswith("cat/00.png had the split ")
    assert differences[1:] == ["cat/01.png has another content", "dog/05.png is gone", "dog/new.png is new"]


def test_first_ten_differences_are_named_and_the_rest_counted(photos: Path) -> None:
    catalog = open_data(photos)
    lock = data_lock(catalog)
    swapped = replace(catalog, labels=1 - catalog.labels)
    differences = verify_lock(lock, swapped)
    assert differences[0] == "cat/00.png had the label cat and has now dog"
    assert (len(differences), differences[-1]) == (11, "and 20 more differences")


def test_arrays_are_locked_by_pixels_members_and_labels() -> None:
    pixels = np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2)
    labels = np.array([0, 1] * 4)
    catalog = open_data((pixels, labels))
    lock = json.loads(json.dumps(data_lock(catalog)))
    assert lock["pixels"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert verify_lock(lock, catalog) == []
    changed = pixels.copy()
    changed[3, 0, 0] += 1
    assert verify_lock(lock, open_data((changed, labels))) == ["the pixels of the pictures have changed"]
    assert verify_lock(lock, open_data((pixels, 1 - labels))) == [
        "the splits or labels have changed: 8 unassigned before, 8 unassigned now"
    ]
    split, _ = assign_splits(catalog, val_fraction=0.25, test_fraction=0)
    assert verify_lock(lock, split) == ["the splits or labels have changed: 8 unassigned before, 6 train, 2 val now"]


def test_sources_of_arrays_are_hashed(tmp_path: Path) -> None:
    source = tmp_path / "set.bin"
    source.write_bytes(b"content")
    catalog = replace(open_data((np.zeros((2, 2, 2), np.uint8), np.array([0, 1]))), source_files=(source,))
    assert data_lock(catalog)["sources"] == [{"path": "set.bin", "sha256": hashlib.sha256(b"content").hexdigest()}]
    source.unlink()
    with pytest.raises(DataError, match=r"set.bin cannot be read any more"):
        data_lock(catalog)


def test_other_kind_and_other_classes(photos: Path) -> None:
    folder = open_data(photos)
    arrays = open_data((np.zeros((2, 2, 2), np.uint8), np.array([0, 1])))
    assert verify_lock(data_lock(folder), arrays) == [
        "the classes were cat, dog and are now 0, 1",
        "the pictures came as files and come now as arrays",
    ]


def test_lock_of_another_version_or_damaged(photos: Path) -> None:
    catalog = open_data(photos)
    lock = data_lock(catalog)
    with pytest.raises(DataError, match=r"the data lock has version 2; this program reads version 1"):
        verify_lock({**lock, "version": 2}, catalog)
    for damaged in ({}, {**lock, "files": [{"path": "cat/00.png"}]}, {**lock, "skipped": [3]}, {**lock, "files": 5}):
        with pytest.raises(DataError, match=r"the data lock is damaged"):
            verify_lock(damaged, catalog)
