"""Catalog: labels, splits and names stay together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.catalog import ArrayImages, Catalog, FileImages, Images, Problem
from sightline.data.decode import BadImage
from sightline.errors import DataError


def catalog(labels: list[int], splits: list[int], **options: object) -> Catalog:
    images = ArrayImages(np.zeros((3, 2, 2, 3), np.uint8), (("train", 3),))
    return Catalog("birds", None, ("crow", "gull"), images, np.array(labels), np.array(splits, np.uint8), **options)  # type: ignore[arg-type]


def test_select_and_counts() -> None:
    birds = catalog([1, 0, 1], [0, 3, 0])
    assert len(birds) == 3
    assert birds.select("train").tolist() == [0, 2]
    assert birds.select("test").tolist() == []
    assert birds.counts() == {"train": {"crow": 0, "gull": 2}, "unassigned": {"crow": 1, "gull": 0}}


def test_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"there is no split 'tests'. Nearest: test."):
        catalog([0, 0, 0], [0, 0, 0]).select("tests")


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match=r"birds has 3 images, labels of shape \(2,\) and splits of shape \(3,\)"):
        catalog([0, 0], [0, 0, 0])


@pytest.mark.parametrize("labels", [[0, 1, 2], [-1, 0, 1]])
def test_labels_must_be_classes(labels: list[int]) -> None:
    with pytest.raises(DataError, match=r"there are 2 classes: they must run from 0 to 1"):
        catalog(labels, [0, 0, 0])


def test_files_are_read_by_path(tmp_path: Path) -> None:
    (tmp_path / "crow").mkdir()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "crow" / "a.png")
    images = FileImages(tmp_path, ["crow/a.png", "crow/gone.png"])
    assert isinstance(images, Images)
    assert (len(images), images.name(0)) == (2, "crow/a.png")
    assert images.read(0).tolist() == [[[1, 2, 3]] * 3] * 2
    assert FileImages(tmp_path, ["crow/a.png"], channels=1).read(0).shape == (2, 3, 1)
    assert images.content(0) == (tmp_path / "crow" / "a.png").read_bytes()
    with pytest.raises(BadImage, match=r"gone.png: cannot be opened"):
        images.content(1)


def test_arrays_are_named_by_section() -> None:
    pixels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)
    images = ArrayImages(pixels, (("train", 3), ("test", 2)))
    assert isinstance(images, Images)
    assert [images.name(index) for index in range(5)] == [
        *("train/00000", "train/00001", "train/00002"),
        *("test/00000", "test/00001"),
    ]
    assert images.content(1) == bytes([4, 5, 6, 7])
    with pytest.raises(IndexError):
        images.name(5)


@pytest.mark.parametrize("pixels", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4, 2), np.uint8)])
def test_arrays_must_be_pictures(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"images must be uint8 of shape \(N, H, W\), \(N, H, W, 1\) or \(N, H, W, 3\)"):
        ArrayImages(pixels, (("train", 2),))


def test_sections_must_add_up() -> None:
    with pytest.raises(DataError, match=r"do not add up to the 2 images"):
        ArrayImages(np.zeros((2, 4, 4, 1), np.uint8), (("train", 3),))


def test_problem_reads_as_a_sentence() -> None:
    assert str(Problem("cat/1.jpg", "the file is empty")) == "cat/1.jpg: the file is empty"
