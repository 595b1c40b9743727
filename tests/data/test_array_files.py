"""Arrays by path, idx and CIFAR binaries by path, and PyTorch's map-style data sets."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data.catalog import SPLITS, Images
from sightline.data.decode import BadImage
from sightline.data.formats import write_cifar_binary
from sightline.data.lock import data_lock
from sightline.data.sources import open_data
from sightline.errors import DataError

MakePicture = Callable[..., Path]

PIXELS = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)


# -------------------------------------------------------------------------------------------------------------- NumPy


def test_npz_with_images_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=np.array(["b", "a"] * 3))
    catalog = open_data(tmp_path / "set.npz")
    assert (catalog.name, catalog.classes, catalog.class_numbers.tolist()) == ("set", ("a", "b"), [1, 0] * 3)
    np.testing.assert_array_equal(catalog.images.read(4)[:, :, 0], PIXELS[4])
    assert data_lock(catalog)["sources"][0]["path"] == "set.npz"
    assert open_data(tmp_path / "set.npz", channels=3).images.read(0).shape == (4, 5, 3)


def test_npz_with_splits_as_medmnist_and_keras_have_them(tmp_path: Path) -> None:
    labels = np.array([[10], [2], [10], [2]])  # a column, and not from 0 on
    np.savez(tmp_path / "m.npz", train_images=PIXELS[:4], train_labels=labels, val_images=PIXELS[4:5],
             val_labels=labels[:1], test_images=PIXELS[5:], test_labels=labels[1:2])  # fmt: skip
    catalog = open_data(tmp_path / "m.npz")
    assert catalog.classes == ("2", "10")
    assert [SPLITS[each] for each in catalog.splits] == ["train"] * 4 + ["val", "test"]
    assert catalog.class_numbers.tolist() == [1, 0, 1, 0, 1, 0]
    assert [catalog.images.name(each) for each in (3, 4, 5)] == ["train/00003", "val/00000", "test/00000"]
    np.savez(tmp_path / "k.npz", x_train=PIXELS[:4], y_train=labels[:, 0], x_test=PIXELS[4:], y_test=labels[:2, 0])
    assert open_data(tmp_path / "k.npz").counts() == {"train": {"2": 2, "10": 2}, "test": {"2": 1, "10": 1}}


def test_npy_with_labels_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", PIXELS)
    with pytest.raises(DataError, match=r"images.npy holds pictures without labels: beside images.npy there must"):
        open_data(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", np.array([0, 1, 0, 1, 0, 1]))
    catalog = open_data(tmp_path / "images.npy")
    assert catalog.class_numbers.tolist() == [0, 1] * 3
    np.testing.assert_array_equal(catalog.images.read(5)[:, :, 0], PIXELS[5])


def test_labels_with_a_column_for_each_class() -> None:
    many = open_data((PIXELS, np.eye(6, 3, dtype=bool)))
    assert many.is_multilabel
    assert many.class_counts().tolist() == [1, 1, 1]
    with pytest.raises(DataError, match=r"labels with a column for each class must be 0 and 1, got int64 \(6, 2\)"):
        open_data((PIXELS, np.full((6, 2), 2)))


def test_array_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, pictures=PIXELS)
    with pytest.raises(DataError, match=r"set.npz needs arrays images and labels"):
        open_data(path)
    np.savez(path, images=PIXELS, labels=np.array(["a", "b"] * 3, dtype=object))
    with pytest.raises(DataError, match=r"objects are not loaded, as loading them may run code"):
        open_data(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"set.npz cannot be read"):
        open_data(path)
    np.savez(path, train_images=PIXELS[:4], train_labels=np.zeros(3, int))
    with pytest.raises(DataError, match=r"set: each image needs one label, got train images of shape \(4, 4, 5\)"):
        open_data(path)


# --------------------------------------------------------------------------------------------------------- idx, CIFAR


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_idx_files_of_a_folder_and_one_file(tmp_path: Path) -> None:
    write_idx(tmp_path / "m/letters-train-images-idx3-ubyte.gz", PIXELS[:4])
    write_idx(tmp_path / "m/letters-train-labels-idx1-ubyte.gz", np.array([1, 2, 11, 2]))
    write_idx(tmp_path / "m/letters-t10k-images-idx3-ubyte", PIXELS[4:])
    write_idx(tmp_path / "m/letters-t10k-labels-idx1-ubyte", np.array([11, 1]))
    catalog = open_data(tmp_path / "m")
    assert catalog.classes == ("1", "2", "11")
    assert catalog.counts() == {"train": {"1": 1, "2": 2, "11": 1}, "test": {"1": 1, "2": 0, "11": 1}}
    np.testing.assert_array_equal(catalog.images.read(5)[:, :, 0], PIXELS[5])
    assert not catalog.hflip_ok
    assert len(catalog.source_files) == 4
    one = open_data(tmp_path / "m/letters-t10k-images-idx3-ubyte")
    assert (one.classes, one.counts()) == (("1", "11"), {"test": {"1": 1, "11": 1}})
    (tmp_path / "m/letters-t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"there must be a file letters-t10k-labels-idx1-ubyte beside it"):
        open_data(tmp_path / "m")


def test_cifar_binaries_of_a_folder_and_one_file(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    write_cifar_binary(tmp_path / "data_batch_1.bin", pictures[:3], np.array([9, 0, 1]))
    write_cifar_binary(tmp_path / "data_batch_2.bin", pictures[3:5], np.array([1, 9]))
    write_cifar_binary(tmp_path / "test_batch.bin", pictures[5:], np.array([9]))
    catalog = open_data(tmp_path)
    assert (len(catalog.classes), catalog.classes[9]) == (10, "truck")
    assert catalog.class_numbers.tolist() == [9, 0, 1, 1, 9, 9]
    assert [SPLITS[each] for each in catalog.splits] == ["train"] * 5 + ["test"]
    np.testing.assert_array_equal(catalog.images.read(4), pictures[4])
    assert open_data(tmp_path / "test_batch.bin").counts()["test"]["truck"] == 1
    (tmp_path / "batches.meta.txt").write_text("".join(f"kind{n}\n" for n in range(10)))
    assert open_data(tmp_path).classes[1] == "kind1"
    (tmp_path / "other.bin").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match=r"no whole numbers of records of CIFAR-10"):
        open_data(tmp_path / "other.bin")


# ----------------------------------------------------------------------------------------------- PyTorch's data sets


class Items:
    """A map-style data set."""

    def __init__(self, items: list[tuple[Any, Any]], **attributes: Any) -> None:
        self.items = items
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.items[index]


def test_pil_images_arrays_and_tensors() -> None:
    red = np.full((4, 5, 3), (255, 0, 0), np.uint8)
    kinds = [Image.fromarray(red), red, torch.from_numpy(red).permute(2, 0, 1)]
    catalog = open_data(Items([(kind, label) for label, kind in enumerate(kinds)], classes=["pil", "array", "tensor"]))
    assert isinstance(catalog.images, Images)
    assert (catalog.classes, catalog.class_numbers.tolist()) == (("pil", "array", "tensor"), [0, 1, 2])
    assert (catalog.channels, catalog.typical_size) == (3, (4, 5))
    for index in range(3):
        np.testing.assert_array_equal(catalog.images.read(index), red)
    assert len({catalog.images.content(index) for index in range(3)}) == 1
    assert open_data(Items([(red, 0), (red, 1)]), channels=1).images.read(0)[0, 0, 0] == 76
    grey = Items(
        [(torch.zeros(1, 4, 5, dtype=torch.uint8), torch.tensor(0)), (np.zeros((4, 5), np.uint8), np.int64(1))]
    )
    assert (open_data(grey).channels, open_data(grey).classes) == (1, ("0", "1"))


def test_targets_are_taken_where_the_items_agree() -> None:
    read: list[int] = []

    class Counted(Items):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            read.append(index)
            return super().__getitem__(index)

    items = [(np.zeros((2, 2), np.uint8), n % 2) for n in range(500)]
    catalog = open_data(Counted(items, targets=[n % 2 for n in range(500)]))
    assert (catalog.class_numbers.tolist(), len(set(read)) < 100) == ([n % 2 for n in range(500)], True)
    other = open_data(Counted(items, targets=[0] * 500))  # as before a transform of the labels
    assert other.class_numbers.tolist() == [n % 2 for n in range(500)]


def test_a_subset_of_torch_is_a_data_set() -> None:
    items = Items([(np.full((2, 2), n, np.uint8), n % 2) for n in range(10)])
    catalog = open_data(torch.utils.data.Subset(items, [3, 4, 5]))  # type: ignore[arg-type]
    assert (catalog.class_numbers.tolist(), int(catalog.images.read(2)[0, 0, 0])) == ([1, 0, 1], 5)


def test_an_item_that_fails_is_a_bad_image() -> None:
    class Broken(Items):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            if index == 1:
                raise RuntimeError("disk on fire")
            return super().__getitem__(index)

    items = [(np.zeros((2, 2), np.uint8), n % 2) for n in range(4)]
    with pytest.raises(DataError, match=r"item 1 of the data set Broken is no \(image, label\) \(RuntimeError: disk"):
        open_data(Broken(items))
    catalog = open_data(Items(items))
    object.__setattr__(catalog.images, "dataset", Broken(items))
    with pytest.raises(BadImage, match=r"item/000001: the data set gives none \(RuntimeError: disk on fire\)"):
        catalog.images.read(1)


@pytest.mark.parametrize(
    ("items", "attributes", "message"),
    [
        ([], {}, "the data set Items is empty"),
        ([(torch.zeros(3, 4, 5), 0)], {}, r"none of the 1 pictures .* uint8 tensor \(C, H, W\), got Tensor of float32"),
        ([(PIXELS[0], "cat")], {}, "the labels of Items must be whole numbers, got 'cat'"),
        ([(PIXELS[0], 3), (PIXELS[0], 0)], {"classes": ["a", "b"]}, "run from 0 to 3, and its classes are 2"),
        ([(PIXELS[0], 0), (PIXELS[0], 1)], {"classes": ["a", "a"]}, "some of one name: a"),
    ],
)
def test_data_sets_that_cannot_work(items: list[Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(Items(items, **attributes))


def test_random_transforms_are_refused() -> None:
    class Augmented(Items):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            return np.random.default_rng().integers(0, 256, (8, 8), dtype=np.uint8), index % 2

    with pytest.raises(DataError, match=r"gives another picture each time .* Leave random transforms out"):
        open_data(Augmented([(None, 0)] * 4))


def test_what_is_nothing_of_all_this() -> None:
    with pytest.raises(DataError, match=r"cannot open a int. Give a path"):
        open_data(5)  # type: ignore[arg-type]
