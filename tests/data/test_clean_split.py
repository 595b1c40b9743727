"""A clean split: who moves, who is left out, and that the table says it to `open_data`."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages, Problem
from sightline.data.clean_split import clean_split, write_split
from sightline.data.sources import open_data
from sightline.errors import ConfigError, DataError

TRAIN, VAL, TEST = (SPLITS.index(split) for split in ("train", "val", "test"))


def catalog_of(rows: list[tuple[str, str, int]], root: Path = Path("data"), groups: list[int] | None = None) -> Catalog:
    """Of (path, label, split)."""
    classes = tuple(sorted({label for _, label, _ in rows}))
    return Catalog(
        "data",
        root,
        classes,
        FileImages(root, [path for path, _, _ in rows]),
        np.array([classes.index(label) for _, label, _ in rows]),
        np.array([split for _, _, split in rows], np.uint8),
        groups=None if groups is None else np.array(groups),
    )


SPARE = [("sa", "a", TRAIN), ("sb", "b", TRAIN)]


@pytest.mark.parametrize(
    ("rows", "sets", "splits", "left_out"),
    [
        ([("0", "a", TRAIN), ("1", "a", TEST)], [(0, 1)], {"0": TEST, "1": TEST}, []),
        ([("0", "a", TRAIN), ("1", "a", VAL)], [(0, 1)], {"0": VAL, "1": VAL}, []),
        ([("0", "a", VAL), ("1", "a", TEST), ("2", "a", TRAIN)], [(0, 1, 2)], dict.fromkeys("012", TEST), []),
        ([("0", "b", TRAIN), ("1", "a", TEST)], [(0, 1)], {"1": TEST}, ["0"]),
        ([("0", "b", VAL), ("1", "a", TEST), ("2", "a", TRAIN)], [(0, 1, 2)], {"1": TEST, "2": TEST}, ["0"]),
        ([("0", "a", TEST), ("1", "b", TEST), ("2", "b", TRAIN)], [(0, 1, 2)], dict.fromkeys("012", TEST), []),
        ([("0", "a", TRAIN), ("1", "b", TRAIN)], [(0, 1)], {"0": TRAIN, "1": TRAIN}, []),
        ([("0", "a", TRAIN), ("1", "a", TEST)], [], {"0": TRAIN, "1": TEST}, []),
    ],
)
def test_who_moves_and_who_is_left_out(rows, sets, splits, left_out) -> None:
    catalog = catalog_of([*rows, *SPARE])
    clean = clean_split(catalog, sets)
    used = {path: clean.splits[index] for index, (path, _, _) in enumerate(rows) if clean.is_used[index]}
    assert used == splits
    assert [problem.path for problem in clean.left_out] == left_out
    assert all(problem.reason == "its copy in another split has another label" for problem in clean.left_out)


def test_groups_move_as_a_whole_whatever_their_labels() -> None:
    rows = [("0", "a", TRAIN), ("1", "b", TRAIN), ("2", "a", TEST), ("3", "a", TRAIN), *SPARE]
    clean = clean_split(catalog_of(rows, groups=[7, 7, 7, 8, 9, 10]), [(3, 0)])  # a copy joins group 8 to it
    assert clean.splits.tolist() == [TEST, TEST, TEST, TEST, TRAIN, TRAIN]
    assert clean.is_used.all()
    assert clean.moved == {("train", "test"): 3}
    assert str(clean) == "3 moved from train to test"


def test_what_cannot_be_read_is_left_out_and_its_twin_stays() -> None:
    rows = [("0", "b", TRAIN), ("1", "a", TEST), *SPARE]
    clean = clean_split(catalog_of(rows), [(0, 1)], [Problem("1", "the file is empty")])
    assert clean.is_used.tolist() == [True, False, True, True]
    assert clean.left_out == (Problem("1", "cannot be read: the file is empty"),)


def test_a_class_without_training_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="no training picture of a: copies of all of them"):
        clean_split(catalog_of([("0", "a", TRAIN), ("1", "a", TEST), ("2", "b", TRAIN)]), [(0, 1)])


def test_the_table_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        label, name = "ab"[number % 2], f"{'ab'[number % 2]}/p{number}, é.png"
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(tmp_path / "data" / name)
        rows.append((name, label, (TRAIN, TRAIN, TRAIN, TRAIN, VAL, VAL, TEST, TEST)[number]))
    catalog = replace(
        catalog_of(rows, tmp_path / "data", groups=[0, 1, 2, 3, 4, 5, 6, 0]), group_names=tuple("tuvwxyz")
    )
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "clean.csv"
    clean = clean_split(catalog, [(1, 5)])
    assert write_split(path, catalog, clean) == []
    back = open_data(path)
    assert back.classes == ("a", "b")
    read = {
        Path(os.path.normpath(back.images.path(index))): (
            back.classes[back.labels[index]],
            back.splits[index],
            back.group_name(int(back.groups[index])),
        )
        for index in range(len(back))
    }
    assert read == {
        tmp_path / "data" / name: (label, clean.splits[index], "tuvwxyz"[catalog.groups[index]])
        for index, (name, label, _) in enumerate(rows)
    }
    assert read[tmp_path / "data" / rows[1][0]][1] == VAL
    assert read[tmp_path / "data" / rows[0][0]][1] == TEST


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.csv", "there.csv exists, and nothing is overwritten"),
        ("clean.txt", "--fix-split writes a CSV"),
        ("no/such/clean.csv", "there is no folder"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.csv").write_text("mine")
    catalog = catalog_of(SPARE)
    with pytest.raises(ConfigError, match=message):
        write_split(tmp_path / name, catalog, clean_split(catalog, []))
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_pictures_that_are_no_files_cannot_be_listed(tmp_path: Path) -> None:
    images = ArrayImages(np.zeros((2, 4, 4, 1), np.uint8), (("train", 2),))
    catalog = Catalog("arrays", None, ("a", "b"), images, np.array([0, 1]), np.zeros(2, np.uint8))
    with pytest.raises(ConfigError, match="the pictures of arrays are not in files of their own"):
        write_split(tmp_path / "clean.csv", catalog, clean_split(catalog, []))


@pytest.mark.parametrize("label", ["a;b", " a"])
def test_a_class_that_a_table_cannot_hold_is_refused(tmp_path: Path, label: str) -> None:
    catalog = catalog_of([("0", label, TRAIN), ("1", "b", TRAIN)])
    with pytest.raises(ConfigError, match="a table cannot hold the class"):
        write_split(tmp_path / "clean.csv", catalog, clean_split(catalog, []))


def test_names_that_a_table_cannot_hold_are_left_out_and_told(tmp_path: Path) -> None:
    catalog = catalog_of([("\udcff.png", "a", TRAIN), *SPARE])
    left_out = write_split(tmp_path / "clean.csv", catalog, clean_split(catalog, []))
    assert [(problem.path, problem.reason) for problem in left_out] == [
        ("\udcff.png", "its name is not UTF-8, as a CSV must be")
    ]
