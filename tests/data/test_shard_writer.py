"""Any data set -> shards that read back equal, here and with WebDataset's own library."""

import contextlib
import dataclasses
import gc
import json
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from sightline.data.catalog import Catalog
from sightline.data.shard_writer import write_shards
from sightline.data.sources import open_data
from sightline.errors import ConfigError, DataError
from tests.data.shard_files import picture, sample, shard_folder, write_tar


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """40 pictures of two classes, with names that are awkward as keys."""
    folder = tmp_path / "animals"
    for number in range(40):
        kind, suffix = ("cat", "dog")[number % 2], ("png", "jpg")[number // 2 % 2]
        path = folder / kind / "deep" / f"{number:02d}.v{number}.x.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, suffix=suffix))
    (folder / "cat" / "same.png").write_bytes(picture(100))
    (folder / "cat" / "same.jpg").write_bytes(picture(101, suffix="jpg"))
    return folder


def told(catalog: Catalog) -> list[tuple[object, ...]]:
    """Everything that a catalog says of its pictures but their names, in any order."""
    groups = [None] * len(catalog) if catalog.groups is None else [catalog.group_name(each) for each in catalog.groups]
    return sorted(
        (catalog.images.content(index), str(catalog.labels[index]), int(catalog.splits[index]), str(groups[index]))
        for index in range(len(catalog))
    )


def test_shards_read_back_equal(animals: Path, tmp_path: Path) -> None:
    catalog = open_data(animals, group_by="folder")
    written = write_shards(catalog, tmp_path / "shards", shard_bytes=20_000)
    again = open_data(tmp_path / "shards")
    assert told(again) == told(catalog)
    assert (again.classes, again.channels, again.typical_size) == (
        catalog.classes,
        catalog.channels,
        catalog.typical_size,
    )
    assert {each for each, _, _ in written.shards} == {path.name for path in (tmp_path / "shards").glob("*.tar")}
    assert sum(count for _, count, _ in written.shards) == len(again) == 42
    assert all(size <= 20_000 + 10_240 for _, _, size in written.shards)  # tar rounds its end up
    assert len(written.shards) > 3


def test_names_stay_where_they_can(photos: Path, tmp_path: Path) -> None:
    catalog = open_data(photos)
    write_shards(catalog, tmp_path / "shards")
    again = open_data(tmp_path / "shards")
    of = {catalog.images.name(index): catalog.images.content(index) for index in range(30)}
    assert {again.images.name(index): again.images.content(index) for index in range(30)} == of


@contextlib.contextmanager
def files_left_open() -> Iterator[None]:
    """The library leaves the shards that it opens to the garbage collector, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def test_webdataset_reads_them(animals: Path, tmp_path: Path) -> None:
    catalog = open_data(animals)
    write_shards(catalog, tmp_path / "shards", shard_bytes=20_000)
    files = sorted(map(str, (tmp_path / "shards").glob("*.tar")))
    with files_left_open():
        samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False))
        decoded = webdataset.WebDataset(files, shardshuffle=False, empty_check=False).decode("rgb8")
        (pixels, label), *_ = decoded.to_tuple("png;jpg", "cls")
        del decoded
    assert len({each["__key__"] for each in samples}) == 42
    found = sorted((each.get("png") or each["jpg"], int(each["cls"])) for each in samples)
    assert found == sorted((catalog.images.content(index), int(catalog.labels[index])) for index in range(42))
    ours = open_data(tmp_path / "shards")
    assert label == ours.labels[0]
    np.testing.assert_array_equal(pixels, ours.images.read(0))


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "set" / "train-%03d.tar"), maxcount=4, verbose=0) as sink:
        for number in range(10):
            sink.write({"__key__": f"a/{number:03d}", "png": picture(number), "cls": number % 3, "json": {"x": 1}})
    catalog = open_data(tmp_path / "set")
    assert not catalog.problems
    assert catalog.labels.tolist() == [number % 3 for number in range(10)]
    assert [catalog.images.content(index) for index in range(10)] == [picture(number) for number in range(10)]
    assert catalog.counts()["train"] == {"0": 4, "1": 3, "2": 3}


def test_the_same_data_gives_the_same_bytes(animals: Path, tmp_path: Path) -> None:
    catalog = open_data(animals)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_shards(catalog, tmp_path / name, shard_bytes=20_000, seed=seed)
    bytes_of = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in ("one", "two", "three")
    }
    assert bytes_of["one"] == bytes_of["two"]
    assert bytes_of["one"] != bytes_of["three"]
    with tarfile.open(tmp_path / "one" / "data-000000.tar") as tar:
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in tar} == {
            (0, 0, 0, "", 0o644)
        }


def test_every_shard_has_some_of_each_class(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (400, 4, 4, 3), np.uint8), np.repeat(np.arange(4), 100)
    write_shards(open_data((images, labels)), tmp_path / "shards", shard_bytes=100_000)
    catalog = open_data(tmp_path / "shards")
    shard = catalog.images.shard  # type: ignore[attr-defined]
    for number in range(shard.max()):
        counts = np.bincount(catalog.class_numbers[shard == number], minlength=4)
        assert counts.min() > 0.4 * counts.mean()


def test_arrays_become_png_and_splits_stay(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 5, 6, 1), np.uint8)
    catalog = open_data((pixels, np.arange(12) % 3))
    splits = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2], np.uint8)
    catalog = dataclasses.replace(catalog, splits=splits)
    written = write_shards(catalog, tmp_path / "shards")
    assert [name for name, _, _ in written.shards] == ["train-000000.tar", "val-000000.tar", "test-000000.tar"]
    again = open_data(tmp_path / "shards")
    assert again.channels == 1
    for index in range(12):
        original = int(again.images.name(index).removesuffix(".png").rpartition("/")[2])
        np.testing.assert_array_equal(again.images.read(index), pixels[original])
        assert (again.splits[index], again.labels[index]) == (splits[original], original % 3)
    one = write_shards(catalog, tmp_path / "one", split="val")
    assert [name for name, _, _ in one.shards] == ["val-000000.tar"]


def test_several_labels_read_back(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], np.uint8)
    catalog = open_data((np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), np.uint8), labels))
    write_shards(catalog, tmp_path / "shards")
    again = open_data(tmp_path / "shards")
    assert again.is_multilabel and again.classes == catalog.classes
    order = [int(again.images.name(index).removesuffix(".png").rpartition("/")[2]) for index in range(4)]
    assert again.labels.tolist() == labels[order].tolist()


def test_shards_are_written_anew_from_shards(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "set")
    write_shards(open_data(folder), tmp_path / "again", shard_bytes=100_000)
    assert told(open_data(tmp_path / "again")) == told(open_data(folder))


# ----------------------------------------------------------------------------------------------------------- refusals


def test_nothing_is_overwritten(photos: Path, tmp_path: Path) -> None:
    catalog = open_data(photos)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for target, words in (("full", "nothing is overwritten"), ("no/where", "there is no folder"),
                          ("full/mine.txt", "nothing is overwritten")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            write_shards(catalog, tmp_path / target)
    with pytest.raises(ConfigError, match="1 byte or more"):
        write_shards(catalog, tmp_path / "new", shard_bytes=0)
    with pytest.raises(DataError, match="no split 'trian'"):
        write_shards(catalog, tmp_path / "new", split="trian")
    with pytest.raises(DataError, match="no pictures in the split test"):
        write_shards(catalog, tmp_path / "new", split="test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "photos"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    write_shards(catalog, tmp_path / "empty")
    assert (tmp_path / "empty" / "classes.txt").read_text() == "cat\ndog\n"


def test_a_write_that_fails_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(open_data(photos), tmp_path / "shards", progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_unreadable_pictures(photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "empty.png").write_bytes(b"")
    catalog = open_data(photos)
    with pytest.raises(
        DataError, match=r"1 of 31 pictures of photos cannot be read:\n .*empty.png: .*the file is empty"
    ):
        write_shards(catalog, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    written = write_shards(catalog, tmp_path / "shards", skip_bad=True)
    assert json.loads(json.dumps(written.to_dict()))["pictures"] == 30
    assert "1 left out" in str(written)


def test_class_names_that_no_line_holds(tmp_path: Path) -> None:
    catalog = open_data((np.zeros((2, 4, 4, 3), np.uint8), np.array(["a\nb", "c"])))
    with pytest.raises(DataError, match=r"no line of classes.txt can hold"):
        write_shards(catalog, tmp_path / "shards")


def test_a_shard_with_problems_is_not_copied_in_silence(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set" / "a.tar", [*sample(1, 0), *sample(2, 1), ("3.png", picture(3))])
    with pytest.raises(DataError, match=r"a.tar/3.png: has no label"):
        write_shards(open_data(path), tmp_path / "new")
    assert len(write_shards(open_data(path), tmp_path / "new", skip_bad=True).skipped) == 1


def test_a_picture_larger_than_a_shard_has_one_to_itself(tmp_path: Path) -> None:
    catalog = open_data((np.zeros((3, 40, 40, 3), np.uint8), np.arange(3) % 2))
    assert [count for _, count, _ in write_shards(catalog, tmp_path / "shards", shard_bytes=1).shards] == [1, 1, 1]


def test_a_file_without_a_suffix_gets_that_of_its_format(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    for number in range(2):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"p{number}", "JPEG")
    table.write_text("path,label\np0,a\np1,b\n")
    write_shards(open_data(table), tmp_path / "shards")
    again = open_data(tmp_path / "shards")
    assert sorted(again.images.name(index) for index in range(2)) == ["p0.jpg", "p1.jpg"]
