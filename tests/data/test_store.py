"""Every picture is decoded once, exactly as for prediction; a bad one is named, and never replaced."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data import shelf
from sightline.data.catalog import ArrayImages, Catalog, FileImages
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.errors import DataError

PREPROCESS = Preprocess((3, 24, 24), mean=(0.5,) * 3, std=(0.25,) * 3)
SIZES = [(40, 30), (24, 24), (24, 60), (20, 90), (70, 70), (64, 48), (31, 300)]


def catalog_of(images, *, root=None, channels=3, typical_size=(40, 40), num_classes=2) -> Catalog:
    count = len(images)
    return Catalog(
        name="pictures",
        root=root,
        classes=tuple(f"class {label}" for label in range(num_classes)),
        images=images,
        labels=np.arange(count, dtype=np.int64) % num_classes,
        splits=np.zeros(count, np.uint8),
        channels=channels,
        typical_size=typical_size,
    )


def photos(folder: Path, sizes=SIZES, *, bad=()) -> Catalog:
    """Files of noise; those in `bad` are empty."""
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(sizes):
        paths.append(f"{number:03d}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / paths[-1])
        if number in bad:
            (folder / paths[-1]).write_bytes(b"")
    return catalog_of(FileImages(folder, paths), root=folder)


def arrays(count=10, size=(24, 24), channels=3) -> Catalog:
    pixels = np.random.default_rng(1).integers(0, 256, (count, *size, channels), np.uint8)
    return catalog_of(ArrayImages(pixels, (("train", count),)), channels=channels)


def build(catalog, indices=None, *, preprocess=PREPROCESS, keep_margin=None, threads=2, skip_bad=False, progress=None):
    return Store.build(
        catalog,
        range(len(catalog)) if indices is None else indices,
        preprocess=preprocess,
        keep_margin=keep_margin,
        threads=threads,
        skip_bad=skip_bad,
        progress=progress,
    )


@pytest.fixture(params=["memory", "file"])
def place(request, monkeypatch, tmp_path_factory) -> str:
    """Both places that the pixels can be in."""
    if request.param == "file":
        monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("large")))
        monkeypatch.setattr("tempfile.tempdir", None)  # read $TMPDIR again
        monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    return request.param


@pytest.mark.parametrize("threads", [1, 5])
def test_fixed_pictures_are_those_of_preprocess_byte_for_byte(tmp_path: Path, place: str, threads: int) -> None:
    catalog = photos(tmp_path)
    store, problems = build(catalog, threads=threads)
    assert problems == []
    assert len(store) == len(SIZES) and store.size == (24, 24) and not store.is_ragged
    assert store.pictures.dtype == torch.uint8 and store.pictures.shape == (len(SIZES), 24, 24, 3)
    for row in range(len(SIZES)):
        expected = PREPROCESS.picture(tmp_path / f"{row:03d}.png")
        np.testing.assert_array_equal(store.picture(row).numpy(), expected)
    assert place in store.location


def test_rows_follow_the_indices(tmp_path: Path, place: str) -> None:
    catalog = photos(tmp_path)
    for keep_margin in (None, 1.25):
        whole, _ = build(catalog, keep_margin=keep_margin)
        store, _ = build(catalog, [5, 1, 4], keep_margin=keep_margin)
        assert store.sources.tolist() == [5, 1, 4]
        assert store.labels.tolist() == [1, 1, 0] and store.labels.dtype == torch.int64
        assert [store.name(row) for row in range(3)] == ["005.png", "001.png", "004.png"]
        for row, index in enumerate([5, 1, 4]):
            assert torch.equal(store.picture(row), whole.picture(index))


def test_whole_pictures_shrink_until_they_cover_the_margin(tmp_path: Path, place: str) -> None:
    store, problems = build(photos(tmp_path), keep_margin=1.25)
    assert store.is_ragged and problems == []
    # The shorter side becomes 24 * 1.25 = 30 px, the longer one in proportion, rounded down; never enlarged.
    expected = [(40, 30), (24, 24), (24, 60), (20, 90), (30, 30), (40, 30), (30, 290)]
    assert store.sizes(torch.arange(len(SIZES))).tolist() == [list(size) for size in expected]
    for row, (size, before) in enumerate(zip(expected, SIZES, strict=True)):
        image = Image.open(tmp_path / f"{row:03d}.png")
        if size != before:
            image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(store.picture(row).numpy(), np.asarray(image))
    assert place in store.location


def test_the_margin_of_an_oblong_network_covers_both_sides(tmp_path: Path) -> None:
    preprocess = Preprocess((3, 20, 40), mean=(0.5,) * 3, std=(0.25,) * 3)
    store, _ = build(photos(tmp_path, [(100, 100), (50, 200)]), preprocess=preprocess, keep_margin=1.01)
    # ceil(20.2) = 21 px high and ceil(40.4) = 41 px wide are covered.
    assert store.sizes(torch.arange(2)).tolist() == [[41, 41], [21, 84]]


def test_a_memory_mapped_file_is_unlinked(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    catalog = photos(tmp_path / "photos")
    for keep_margin in (None, 1.25):
        store, _ = build(catalog, keep_margin=keep_margin)
        assert list(folder.iterdir()) == []
        assert store.location.startswith(f"in a temporary file in {folder} (")


def test_arrays_of_the_networks_size_are_taken_as_they_are() -> None:
    catalog = arrays()
    pixels = catalog.images.pixels
    adjacent, _ = build(catalog, range(2, 7))
    np.testing.assert_array_equal(adjacent.pictures.numpy(), pixels[2:7])
    assert np.shares_memory(adjacent.pictures.numpy(), pixels)  # no second copy of a set that is in memory
    apart, _ = build(catalog, [7, 0, 3])
    np.testing.assert_array_equal(apart.pictures.numpy(), pixels[[7, 0, 3]])
    assert apart.labels.tolist() == [1, 0, 1] and apart.name(1) == "train/00000"
    assert adjacent.location == "in memory (0 MB)"


def test_arrays_that_may_not_be_written_are_copied() -> None:
    catalog = arrays()
    catalog.images.pixels.flags.writeable = False
    store, _ = build(catalog, range(4))
    np.testing.assert_array_equal(store.pictures.numpy(), catalog.images.pixels[:4])
    assert not np.shares_memory(store.pictures.numpy(), catalog.images.pixels)


def test_arrays_of_another_size_or_colour_go_through_preprocess() -> None:
    for catalog in (arrays(size=(30, 28)), arrays(channels=1)):
        store, _ = build(catalog)
        for row in range(10):
            expected = PREPROCESS.picture(catalog.images.read(row))
            np.testing.assert_array_equal(store.picture(row).numpy(), expected)


def test_grey_photographs(tmp_path: Path) -> None:
    preprocess = Preprocess((1, 24, 24), mean=(0.5,), std=(0.25,))
    catalog = photos(tmp_path)
    fixed, _ = build(catalog, preprocess=preprocess)
    ragged, _ = build(catalog, preprocess=preprocess, keep_margin=1.25)
    assert fixed.pictures.shape == (7, 24, 24, 1)
    for row in range(7):
        np.testing.assert_array_equal(fixed.picture(row).numpy(), preprocess.picture(tmp_path / f"{row:03d}.png"))
    grey = np.asarray(Image.open(tmp_path / "000.png").convert("L"))[:, :, None]
    np.testing.assert_array_equal(ragged.picture(0).numpy(), grey)


def test_take_copies() -> None:
    store, _ = build(arrays())
    rows = torch.tensor([3, 3, 0])
    taken = store.take(rows)
    np.testing.assert_array_equal(taken.numpy(), store.pictures.numpy()[[3, 3, 0]])
    before = store.pictures.clone()
    taken.fill_(0)
    assert torch.equal(store.pictures, before)


def test_pictures_of_different_sizes_cannot_be_taken_together(tmp_path: Path) -> None:
    store, _ = build(photos(tmp_path), keep_margin=1.25)
    with pytest.raises(DataError) as caught:
        store.take(torch.tensor([0, 1]))
    assert str(caught.value) == (
        "pictures of different sizes cannot be stacked. Crop them with Augment(scale=...), "
        "or build the store with keep_margin=None."
    )


def test_a_store_of_nothing(place: str) -> None:
    for keep_margin in (None, 1.25):
        store, problems = build(arrays(), [], keep_margin=keep_margin)
        assert len(store) == 0 and problems == [] and store.labels.shape == (0,)
        assert store.sizes(torch.arange(0)).shape == (0, 2)


def test_progress_is_told_of_every_picture(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    build(photos(tmp_path, bad=[2]), skip_bad=True, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 7) for done in range(1, 8)]
    calls.clear()
    build(arrays(), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(10, 10)]


def test_decoding_runs_in_the_threads_asked_for() -> None:
    """Three pictures that are each read only while the two others are being read."""
    together = threading.Barrier(3)

    class Meeting(ArrayImages):
        def read(self, index: int) -> np.ndarray:
            together.wait(timeout=30)
            return super().read(index)

    pixels = np.zeros((3, 30, 30, 3), np.uint8)
    store, _ = build(catalog_of(Meeting(pixels, (("train", 3),))), threads=3)
    assert len(store) == 3


def test_what_waits_to_be_stored_is_bounded() -> None:
    """A large set is not decoded faster than it is stored."""
    ahead = 0
    most = 0

    class Counting(ArrayImages):
        def read(self, index: int) -> np.ndarray:
            nonlocal ahead, most
            ahead += 1
            most = max(most, ahead)
            return super().read(index)

    def stored(done: int, total: int) -> None:
        nonlocal ahead
        ahead -= 1

    catalog = catalog_of(Counting(np.zeros((1000, 2, 2, 3), np.uint8), (("train", 1000),)))
    build(catalog, threads=1, progress=stored)
    assert ahead == 0 and most <= 64


# ------------------------------------------------------------------------------------------------------ bad pictures


def test_bad_pictures_stop_the_build_and_are_all_named(tmp_path: Path, place: str) -> None:
    for keep_margin in (None, 1.25):
        with pytest.raises(DataError) as caught:
            build(photos(tmp_path, bad=[1, 4]), keep_margin=keep_margin)
        assert str(caught.value) == (
            f"2 of 7 pictures of {tmp_path} cannot be read:\n"
            "  001.png: the file is empty\n"
            "  004.png: the file is empty\n"
            "Repair or remove them, or leave them out with --skip-bad (skip_bad=True), which lists them."
        )


def test_of_many_bad_pictures_twenty_are_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        build(photos(tmp_path, [(5, 5)] * 30, bad=range(3, 28)))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"25 of 30 pictures of {tmp_path} cannot be read:"
    assert [line[2:9] for line in lines[1:21]] == [f"{number:03d}.png" for number in range(3, 23)]
    assert lines[21] == "  and 5 more"
    assert len(lines) == 23


def test_skipped_pictures_are_left_out_and_returned(tmp_path: Path, place: str) -> None:
    good = [0, 2, 3, 5, 6]
    for keep_margin in (None, 1.25):
        store, problems = build(photos(tmp_path, bad=[1, 4]), keep_margin=keep_margin, skip_bad=True)
        assert [problem.path for problem in problems] == ["001.png", "004.png"]
        assert all(problem.reason == "the file is empty" for problem in problems)
        assert store.sources.tolist() == good and store.labels.tolist() == [index % 2 for index in good]
        assert len(store) == len(store.pictures) == 5
        whole, _ = build(photos(tmp_path), keep_margin=keep_margin)
        for row, index in enumerate(good):
            assert torch.equal(store.picture(row), whole.picture(index))


def test_skipping_may_not_make_a_class_disappear(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        build(photos(tmp_path, bad=[1, 3, 5]), skip_bad=True)
    assert str(caught.value) == (
        "no picture of class 1 can be read, so leaving out the bad ones would leave nothing of it. "
        "Repair some, or remove the class. The bad ones:\n"
        "  001.png: the file is empty\n"
        "  003.png: the file is empty\n"
        "  005.png: the file is empty"
    )
    # A class that was not asked for is not missed.
    store, _ = build(photos(tmp_path, bad=[1, 3, 5]), [0, 2], skip_bad=True)
    assert len(store) == 2


# ------------------------------------------------------------------------------------------------- memory and disk


@pytest.mark.parametrize("keep_margin", [None, 1.25])
def test_no_room_in_memory_or_on_disk(tmp_path: Path, monkeypatch, keep_margin) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(shelf, "available_bytes", lambda: 2_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 3_000_000}))
    catalog = catalog_of(ArrayImages(np.zeros((2000, 2, 2, 3), np.uint8), (("train", 2000),)), typical_size=(40, 40))
    with pytest.raises(DataError) as caught:
        build(catalog, keep_margin=keep_margin)
    # 2,000 pictures of 24 * 24 * 3 bytes, or with the margin of 30 * 30 * 3.
    needed = "3 MB" if keep_margin is None else "5 MB"
    assert str(caught.value) == (
        f"the decoded pictures need {needed}; free are 2 MB of memory, of which they may use 60%, and 3 MB in "
        f"{tmp_path}. Set TMPDIR to a folder on a larger disk, choose a smaller --img-size, or decode "
        "pictures as they are needed with --stream."
    )


def test_a_disk_that_fills_up_while_pictures_come(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "photos").mkdir()
    catalog = photos(tmp_path / "photos")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    full = Path("/dev/full")  # the kernel's own full disk
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: full.open("r+b", buffering=0))
    for keep_margin in (None, 1.25):
        with pytest.raises(
            DataError, match=r"the decoded pictures need .* \(.+\)\. Set TMPDIR to a folder on a larger"
        ):
            build(catalog, keep_margin=keep_margin)


def test_a_write_that_takes_a_part_is_continued(monkeypatch, tmp_path: Path) -> None:
    class Slow:
        """A file that takes 1,000 bytes at a time, as a raw file may."""

        def __init__(self) -> None:
            self.file = (tmp_path / "slow").open("w+b", buffering=0)

        def write(self, data) -> int:
            return self.file.write(data[:1000])

        def close(self) -> None:
            self.file.close()

    monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    room = shelf.RaggedShelf(10_000)
    room._file.close()
    room._file = Slow()
    picture = np.random.default_rng(0).integers(0, 256, (50, 33, 3), np.uint8)
    room.add(picture)
    room._file = room._file.file
    np.testing.assert_array_equal(room.finish()[0].numpy(), picture)
    room.close()


def test_available_memory_is_what_the_kernel_says_within_the_containers_limit(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "meminfo").write_text("MemTotal:       8000 kB\nMemAvailable:   5000 kB\nHugePages_Total:       0\n")
    assert shelf.available_bytes(proc, cgroup) == 5000 * 1024
    (cgroup / "memory.max").write_text("max\n")
    assert shelf.available_bytes(proc, cgroup) == 5000 * 1024
    (cgroup / "memory.max").write_text("3000000\n")
    (cgroup / "memory.current").write_text("2500000\n")
    (cgroup / "memory.stat").write_text("anon 1900000\ninactive_file 600000\n")
    assert shelf.available_bytes(proc, cgroup) == 3_000_000 - (2_500_000 - 600_000)
    (cgroup / "memory.current").write_text("9000000\n")
    assert shelf.available_bytes(proc, cgroup) == 0
    assert shelf.available_bytes(tmp_path / "none", tmp_path / "none") > 0  # the machine's own memory


def test_large_files_stay_out_of_tmp_unless_asked_for(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr("os.access", lambda path, mode: True)
    assert shelf._temporary_folder() == Path("/var/tmp")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert shelf._temporary_folder() == tmp_path
