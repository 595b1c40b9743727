"""Folders and arrays: nothing disappears, no label moves, and what cannot work is said."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.sources import open_data
from sightline.errors import DataError

MakePicture = Callable[..., Path]


def rows(catalog: Catalog) -> list[tuple[str, str, str]]:
    """(name, class, split) of every picture."""
    return [
        (catalog.images.name(index), catalog.classes[catalog.labels[index]], SPLITS[catalog.splits[index]])
        for index in range(len(catalog))
    ]


# ------------------------------------------------------------------------------------------------------ class folders


def test_flat_class_folders(photos: Path) -> None:
    catalog = open_data(photos)
    assert (catalog.name, catalog.root, catalog.classes) == ("photos", photos, ("cat", "dog"))
    assert catalog.counts() == {"unassigned": {"cat": 10, "dog": 20}}
    assert rows(catalog)[10] == ("dog/00.png", "dog", "unassigned")
    assert catalog.images.read(10)[0, 0].tolist() == [0, 20, 7]
    assert (catalog.problems, catalog.notes, catalog.hflip_ok) == ((), (), True)


def test_a_path_may_be_a_string(photos: Path) -> None:
    assert rows(open_data(str(photos))) == rows(open_data(photos))


def test_class_order_is_the_plain_sort(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("10", "2", "0", "11", "1"):
        make_picture(f"digits/{name}/a.png", (int(name), 0, 0))
    catalog = open_data(tmp_path / "digits")
    assert catalog.classes == ("0", "1", "10", "11", "2")
    for index in range(5):  # the picture knows its class
        assert str(catalog.images.read(index)[0, 0, 0]) == catalog.classes[catalog.labels[index]]


def test_pictures_in_deeper_folders_belong_to_the_class(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("p/cat/home/tom/1.png")
    make_picture("p/dog/2.png")
    assert [row[:2] for row in rows(open_data(tmp_path / "p"))] == [("cat/home/tom/1.png", "cat"), ("dog/2.png", "dog")]


def test_hidden_files_are_ignored_and_others_counted(photos: Path) -> None:
    (photos / ".thumbnails").mkdir()
    (photos / "cat" / ".hidden.png").touch()
    for name in ("cat/readme.txt", "dog/notes.TXT", "dog/labels.csv", "dog/Makefile"):
        (photos / name).touch()
    catalog = open_data(photos)
    assert len(catalog) == 30
    assert catalog.notes == ("Ignored 4 files of other kinds than pictures: 1 .csv, 2 .txt, 1 without a suffix.",)


def test_pictures_beside_the_class_folders_are_said(photos: Path, make_picture: MakePicture) -> None:
    make_picture("photos/lost.png")
    assert open_data(photos).notes == ("Ignored 1 file outside the class folders: lost.png",)


def test_user_tree_is_untouched(photos: Path) -> None:
    def digest() -> str:
        parts = [
            f"{path}{path.stat().st_mtime_ns}".encode() + (path.read_bytes() if path.is_file() else b"")
            for path in sorted(photos.rglob("*"))
        ]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    before = digest()
    open_data(photos).images.read(0)
    assert digest() == before


def test_links_are_followed_and_loops_end(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(photos / name)
    (photos / "dog" / "again").symlink_to(photos / "dog")
    catalog = open_data(tmp_path / "linked")
    assert catalog.counts() == {"unassigned": {"cat": 10, "dog": 20}}
    assert [str(problem) for problem in catalog.problems] == [
        "dog/again: the link leads back to a folder that was read already"
    ]


def test_folder_that_cannot_be_listed_is_a_problem(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "cat" / "locked").mkdir()
    scandir = os.scandir

    def locked(path: str | Path) -> object:
        if Path(path).name in ("locked", "dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DataError, match=r"no pictures of dog \(cat/locked: the folder cannot be listed"):
        open_data(photos)
    (photos / "dog").rename(photos / "wolf")
    assert [str(problem) for problem in open_data(photos).problems] == [
        "cat/locked: the folder cannot be listed (PermissionError: Permission denied)"
    ]


def test_typical_size_and_channels_come_from_the_headers(tmp_path: Path, make_picture: MakePicture) -> None:
    for number, size in enumerate([(10, 40), (20, 50), (30, 60)]):
        make_picture(f"p/a/{number}.png", 9, size=size, mode="L")
        make_picture(f"p/b/{number}.png", 9, size=size, mode="L")
    catalog = open_data(tmp_path / "p")
    assert (catalog.typical_size, catalog.channels) == ((20, 50), 1)
    assert catalog.images.read(0).shape == (10, 40, 1)
    make_picture("p/b/colour.png")
    assert open_data(tmp_path / "p").channels == 3
    assert open_data(tmp_path / "p", channels=1).images.read(0).shape[2] == 1


def test_typical_size_is_that_of_the_upright_picture(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("a", "b"):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = make_picture(f"p/{name}/1.jpg", size=(10, 40))
        Image.open(path).save(path, exif=exif)
    assert open_data(tmp_path / "p").typical_size == (40, 10)


def test_unreadable_picture_is_left_to_whoever_decodes(photos: Path) -> None:
    (photos / "cat" / "00.png").write_bytes(b"")
    assert len(open_data(photos)) == 30


# ------------------------------------------------------------------------------------------------------ split folders


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path: Path, make_picture: MakePicture, val: str) -> None:
    for split, names in (("train", "abc"), (val, "ac"), ("test", "b")):
        for name in names:
            make_picture(f"p/{split}/{name}/1.png")
    catalog = open_data(tmp_path / "p")
    assert catalog.classes == ("a", "b", "c")
    assert rows(catalog) == [
        ("train/a/1.png", "a", "train"),
        ("train/b/1.png", "b", "train"),
        ("train/c/1.png", "c", "train"),
        (f"{val}/a/1.png", "a", "val"),
        (f"{val}/c/1.png", "c", "val"),  # still c, although val has no b
        ("test/b/1.png", "b", "test"),
    ]


def test_class_order_of_split_folders_is_the_plain_sort(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("11", "2", "0", "10", "1"):
        make_picture(f"p/train/{name}/a.png", (int(name), 0, 0))
    make_picture("p/val/2/b.png", (2, 0, 0))
    catalog = open_data(tmp_path / "p")
    assert catalog.classes == ("0", "1", "10", "11", "2")
    for index in range(6):  # the picture knows its class
        assert str(catalog.images.read(index)[0, 0, 0]) == catalog.classes[catalog.labels[index]]


def test_class_of_val_that_train_lacks(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/x/1.png", "val/y/1.png"):
        make_picture(f"p/{name}")
    with pytest.raises(DataError, match=r"the val split has classes that the train split lacks: x, y. Add training"):
        open_data(tmp_path / "p")


def test_test_folder_alone_can_be_opened_for_evaluation(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("test/a/1.png", "test/b/1.png"):
        make_picture(f"p/{name}")
    assert open_data(tmp_path / "p").counts() == {"test": {"a": 1, "b": 1}}


def test_a_class_may_be_called_like_a_split(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("p/test/1.png")
    make_picture("p/exam/1.png")
    assert open_data(tmp_path / "p").classes == ("exam", "test")


def test_two_folders_for_one_split(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/a/1.png", "val/a/1.png", "valid/a/1.png"):
        make_picture(f"p/{name}")
    with pytest.raises(DataError, match=r"has two folders for one split: train, val, valid. Keep one of them"):
        open_data(tmp_path / "p")


def test_unlabelled_pictures_beside_the_splits_are_said(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/7.png", "extra/8.png"):
        make_picture(f"p/{name}")
    assert open_data(tmp_path / "p").notes == ("Ignored 2 files outside the class folders: test/7.png, extra/8.png",)


# --------------------------------------------------------------------------------------------------------- bad input


def test_one_class_only(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("p/cat/1.png")
    with pytest.raises(DataError, match=r"p has one class only, 'cat'. To tell classes apart, at least two are needed"):
        open_data(tmp_path / "p")


def test_empty_class(photos: Path) -> None:
    (photos / "fox").mkdir()
    with pytest.raises(DataError, match=r"photos has no pictures of fox. Add some, or remove the empty folder"):
        open_data(photos)


def test_empty_class_of_the_training_split(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/a/1.png", "val/a/1.png", "val/b/1.png"):
        make_picture(f"p/{name}")
    (tmp_path / "p" / "train" / "b").mkdir()
    with pytest.raises(DataError, match=r"p has no training pictures of b"):
        open_data(tmp_path / "p")


def test_no_pictures(tmp_path: Path, make_picture: MakePicture) -> None:
    (tmp_path / "p" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"p holds no pictures \(.jpg, .*\) in class folders"):
        open_data(tmp_path / "p")
    (tmp_path / "p" / "cat" / "a.txt").touch()
    with pytest.raises(DataError, match=r"in class folders. Ignored 1 file of other kinds than pictures: 1 .txt."):
        open_data(tmp_path / "p")
    make_picture("q/1.png")
    with pytest.raises(DataError, match=r"q holds 1 pictures but no class folders. Put the pictures of each class"):
        open_data(tmp_path / "q")


def test_folder_that_cannot_be_read_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: str | Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(
        DataError, match=r"holds no readable pictures: .: the folder cannot be listed \(PermissionError"
    ):
        open_data(tmp_path)


def test_all_headers_unreadable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "1.png").write_bytes(b"no picture")
    with pytest.raises(
        DataError, match=r"none of the 2 pictures looked at can be read. The first: .*1.png: is none of"
    ):
        open_data(tmp_path / "p")


def test_what_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").touch()
    with pytest.raises(DataError, match=r"labels is a file. Name the folder that holds a folder of pictures"):
        open_data("labels")
    with pytest.raises(DataError, match=r"there is no folder ./gone"):
        open_data("./gone")
    with pytest.raises(DataError, match=r"'cifar-10' is neither a known set nor a folder. Nearest: cifar10, cifar100"):
        open_data("cifar-10")


# ------------------------------------------------------------------------------------------------------------ arrays


def test_arrays_with_numbers_and_with_names() -> None:
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    catalog = open_data((images, np.array([1, 0, 1], np.int32)))
    assert (catalog.classes, catalog.channels, catalog.typical_size) == (("0", "1"), 1, (4, 5))
    assert rows(catalog)[2] == ("image/00002", "1", "unassigned")
    np.testing.assert_array_equal(catalog.images.read(1)[:, :, 0], images[1])
    named = open_data((images, np.array(["owl", "bat", "owl"])))
    assert (named.classes, named.labels.tolist()) == (("bat", "owl"), [1, 0, 1])


def test_channels_of_arrays_are_converted_when_asked_for() -> None:
    grey = np.full((2, 3, 3), 7, np.uint8)
    catalog = open_data((grey, np.array([0, 1])), channels=3)
    assert isinstance(catalog.images, ArrayImages)
    assert (catalog.channels, catalog.images.pixels.shape) == (3, (2, 3, 3, 3))
    red = np.full((2, 3, 3, 3), (255, 0, 0), np.uint8)
    assert open_data((red, np.array([0, 1])), channels=1).images.read(0).ravel().tolist() == [76] * 9


def test_a_catalog_is_taken_as_it_is(photos: Path) -> None:
    catalog = open_data(photos)
    assert open_data(catalog) is catalog
    assert open_data(catalog, channels=1).images.read(0).shape == (8, 12, 1)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([[1]], np.zeros(1), "images and labels must be NumPy arrays, got list and ndarray"),
        (
            np.zeros((2, 4, 4), np.uint8),
            np.zeros(3, int),
            r"each image needs one label, got images of shape \(2, 4, 4\)",
        ),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int), "each image needs one label"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0.0, 1.0]), "labels must be whole numbers or names, got float64"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, 2]), "labels must be the numbers from 0 .* got 0, 2. Give the"),
        (np.zeros((2, 4, 4), np.uint8), np.array([-1, 0]), "labels must be the numbers from 0"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, 0]), "arrays has one class only, '0'"),
        (np.zeros((2, 4, 4)), np.array([0, 1]), "images must be uint8"),
        (np.zeros((2, 4), np.uint8), np.array([0, 1]), "images must be uint8"),
    ],
)
def test_arrays_that_cannot_work(images: object, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data((images, labels))  # type: ignore[arg-type]


def test_unknown_kind_of_pictures_cannot_change_its_channels() -> None:
    class Streamed:
        def __len__(self) -> int:
            return 1

    catalog = Catalog("stream", None, ("a", "b"), Streamed(), np.zeros(1, np.int64), np.zeros(1, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"stream has 3 channels and cannot be read with 1"):
        open_data(catalog, channels=1)
