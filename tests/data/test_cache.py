"""Decoded pictures are kept for later runs: the same pixels, cold and warm, whatever happened to the files between."""

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data import cache_folder, kept, shelf
from sightline.data.cache import PictureCache
from sightline.data.catalog import Catalog, FileImages
from sightline.data.decode import BadImage, decode
from sightline.data.hashes import HashMemory, content_hashes
from sightline.data.kept import DECODING, Keeping
from sightline.data.ledger import Ledger, keys_of, latest
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError

PREPROCESS = Preprocess((3, 24, 24), mean=(0.5,) * 3, std=(0.25,) * 3)
LONG_AGO = 1_500_000_000
SIZES = [(40, 30), (24, 24), (24, 60), (20, 90), (70, 70), (64, 48), (31, 130), (200, 220)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """JPEG and PNG files of noise that were written long ago; the fourth one is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        path = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    (folder / "3.jpg").write_bytes(b"no picture")
    settle(folder)
    return folder


def settle(folder: Path, when: int = LONG_AGO) -> None:
    for path in folder.iterdir():
        os.utime(path, (when, when))


def catalog_of(folder: Path) -> Catalog:
    paths = sorted(path.name for path in folder.iterdir())
    count = len(paths)
    return Catalog(
        name=folder.name,
        root=folder,
        classes=("a", "b"),
        images=FileImages(folder, paths),
        labels=np.arange(count, dtype=np.int64) % 2,
        splits=np.zeros(count, np.uint8),
        typical_size=(60, 60),
    )


class Build:
    """Builds stores; `told` is what the user reads, `decoded` how many files were decoded for the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self._files: list[bytes] = []

        def counting(*arguments, **options):
            if isinstance(arguments[0], bytes):
                self._files.append(arguments[0])
            return decode(*arguments, **options)

        monkeypatch.setattr(kept, "decode", counting)

    def __call__(self, folder: Path, *, margin=None, cache=True, indices=None, **options) -> Store:
        self.told.clear()
        self._files.clear()
        catalog = catalog_of(folder)
        store, self.problems = Store.build(
            catalog,
            range(len(catalog)) if indices is None else indices,
            preprocess=PREPROCESS,
            keep_margin=margin,
            threads=2,
            skip_bad=True,
            cache=cache,
            tell=self.told.append,
            **options,
        )
        return store

    @property
    def decoded(self) -> int:
        return len(self._files)


@pytest.fixture
def build(home: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(monkeypatch)


@pytest.fixture(params=["memory", "disk"])
def place(request, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "disk":
        monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    return request.param


def same(one: Store, other: Store) -> bool:
    return (
        one.sources.tolist() == other.sources.tolist()
        and torch.equal(one.labels, other.labels)
        and all(torch.equal(one.picture(row), other.picture(row)) for row in range(len(one)))
    )


def folder_of(home: Path) -> Path:
    (folder,) = home.glob("pictures-*")
    return folder


# -------------------------------------------------------------------------------------------------------- same pixels


@pytest.mark.parametrize("margin", [None, 1.25])
def test_with_and_without_the_cache_cold_and_warm_the_store_is_the_same(
    photos: Path, build: Build, place: str, margin: float | None
) -> None:
    without = build(photos, margin=margin, cache=False)
    reasons = build.problems
    assert build.decoded == 8 and [problem.path for problem in reasons] == ["3.jpg"]
    cold = build(photos, margin=margin)
    assert build.decoded == 8 and build.problems == reasons
    assert "7 of 8 decoded now" in cold.location
    warm = build(photos, margin=margin)
    assert build.decoded == 0 and build.problems == reasons
    assert "0 of 8 decoded now" in warm.location
    for store in (cold, warm):
        assert same(store, without)
        assert store.is_ragged == without.is_ragged == (margin is not None)
        assert f"{place}" in store.location
        assert torch.equal(store.sizes(torch.arange(7)), without.sizes(torch.arange(7)))
        if margin is None:
            rows = torch.tensor([5, 0, 5])
            assert torch.equal(store.take(rows), without.take(rows))
            assert store.take(rows[:0]).shape == without.take(rows[:0]).shape == (0, 24, 24, 3)


def test_other_pixels_are_never_taken(photos: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    build(photos)
    build(photos, margin=1.25)
    assert build.decoded == 8
    build(photos, margin=1.5)
    assert build.decoded == 8
    digests = {
        Keeping(Preprocess((3, 24, 24), **{"mean": (0.5,) * 3, "std": (0.25,) * 3, **other}), None).digest(3)
        for other in ({}, {"interpolation": "bilinear"}, {"crop_fraction": 0.9})
    }
    digests |= {Keeping(PREPROCESS, None).digest(1), Keeping(PREPROCESS, 1.25).digest(3)}
    assert len(digests) == 5
    with monkeypatch.context() as patch:
        patch.setattr("PIL.__version__", "0.0")
        kept.decoder.cache_clear()
        assert Keeping(PREPROCESS, None).digest(3) not in digests
    kept.decoder.cache_clear()


def test_every_module_that_makes_pixels_is_in_the_key() -> None:
    """What `kept` imports of our own to decode and to resize, and what those import, and so on."""
    found: set[str] = set()
    waiting = ["decode", "preprocess"]
    while waiting:
        name = waiting.pop()
        found.add(name)
        text = (Path(kept.__file__).parent / f"{name}.py").read_text()
        waiting += set(re.findall(r"from sightline\.data\.(\w+) import", text)) - found
    assert found - {"transfer"} | {"kept"} == set(DECODING)  # that one moves tensors


def test_pictures_are_found_by_their_content(photos: Path, build: Build, tmp_path: Path) -> None:
    first = build(photos)
    settle(photos, LONG_AGO + 5)  # touched
    assert same(build(photos), first) and build.decoded == 0
    other = tmp_path / "elsewhere" / "photos"
    other.parent.mkdir()
    photos.rename(other)  # moved
    assert same(build(other), first) and build.decoded == 0
    (other / "7.jpg").rename(other / "9.jpg")
    assert build(other).name(6) == "9.jpg" and build.decoded == 0


def test_pictures_that_only_moved_need_no_room(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(photos)
    other = _old_cache(home, "a", 9000, 100)
    settle(photos, LONG_AGO + 5)
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(25_000 / 1e9))  # 7 * 1,728 and 9,000 bytes are taken
    assert same(build(photos), first)
    assert build.decoded == 0 and build.told == [] and other.exists()


def test_a_part_of_the_pictures_in_another_order_is_taken_from_the_same_cache(
    photos: Path, build: Build, place: str
) -> None:
    build(photos)
    some = build(photos, indices=[5, 1, 0])
    assert build.decoded == 0
    assert same(some, build(photos, indices=[5, 1, 0], cache=False))


def test_a_changed_file_is_decoded_again_and_no_other(photos: Path, build: Build) -> None:
    before = build(photos)
    path = photos / "4.png"
    content = bytearray(path.read_bytes())
    Image.fromarray(np.zeros((70, 70, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes() + bytes(len(content) - path.stat().st_size))  # of the same size
    os.utime(path, (LONG_AGO, LONG_AGO + 1))
    after = build(photos)
    assert build.decoded == 1
    assert not after.picture(3).any() and before.picture(3).any()  # row 3 of the pictures that can be read
    assert same(after, build(photos, cache=False))


def test_a_refused_file_is_refused_again_until_it_is_repaired(photos: Path, build: Build) -> None:
    build(photos)
    build(photos)
    assert build.decoded == 0 and len(build.problems) == 1
    assert "judged by its content" in build.problems[0].reason
    Image.new("RGB", (30, 30)).save(photos / "3.jpg")
    assert len(build(photos)) == 8 and build.decoded == 1 and build.problems == []
    (photos / "3.jpg").unlink()
    (photos / "3.jpg").mkdir()
    assert len(build(photos)) == 7
    assert build.problems[0].reason == "is not a plain file"


def test_what_only_this_run_could_not_decode_is_tried_again(
    photos: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def short_of_memory(*_: object) -> None:
            raise BadImage("4.png", "cannot be decoded (MemoryError: )")

        patch.setattr(Keeping, "of_file", short_of_memory)
        with pytest.raises(DataError, match="MemoryError"):
            build(photos)
    assert len(build(photos)) == 7


def test_equal_pictures_are_kept_once(photos: Path, build: Build, home: Path) -> None:
    for number in range(5):
        (photos / f"copy {number}.png").write_bytes((photos / "0.png").read_bytes())
    store = build(photos)
    assert len(store) == 12
    assert (folder_of(home) / "pixels").stat().st_size == 7 * 24 * 24 * 3


def test_small_sets_and_the_word_off_keep_nothing(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(photos, cache=None)
    build(photos, cache=False)
    assert not home.exists()
    monkeypatch.setattr("sightline.data.store._WORTH_KEEPING_PIXELS", 8 * 60 * 60)
    build(photos, cache=None)
    assert home.exists()
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    build(photos, cache=True)
    assert build.decoded == 8


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    assert cache_folder.cache_folder() == tmp_path
    monkeypatch.delenv("SIGHTLINE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder.cache_folder() == tmp_path / ".cache" / "sightline" / "pictures"


# ------------------------------------------------------------------------------------------------- kills and damage


def test_an_interrupted_build_goes_on_at_the_last_whole_picture(photos: Path, build: Build) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 4:
            raise KilledError

    with pytest.raises(KilledError):
        build(photos, progress=kill)
    store = build(photos)
    assert build.decoded == 4
    assert same(store, build(photos, cache=False))


@pytest.mark.parametrize("cut", ["in a record", "between records", "all"])
def test_an_index_that_is_ahead_of_the_pixels_is_not_believed(
    photos: Path, build: Build, home: Path, cut: str, place: str
) -> None:
    build(photos)
    picture = 24 * 24 * 3
    size = {"in a record": 4 * picture + 100, "between records": 4 * picture, "all": 0}[cut]
    os.truncate(folder_of(home) / "pixels", size)
    store = build(photos)
    assert build.decoded == 7 - size // picture
    assert same(store, build(photos, cache=False))
    assert same(build(photos), store) and build.decoded == 0


def test_pixels_that_no_record_tells_of_are_passed_over(photos: Path, build: Build, home: Path) -> None:
    """A kill between the two writes, and one in the middle of each."""
    build(photos)
    index = folder_of(home) / "index"
    record = index.stat().st_size // 7
    os.truncate(index, 4 * record + 10)
    with (folder_of(home) / "pixels").open("ab") as file:
        file.write(b"half a picture")
    with (folder_of(home) / "problems").open("a") as file:
        file.write('\n{"sha256": "ab')
    store = build(photos)
    assert build.decoded == 3
    assert same(store, build(photos, cache=False))
    assert same(build(photos), store) and build.decoded == 0


@pytest.mark.parametrize("margin", [None, 1.25])
def test_a_flipped_bit_of_a_pixel_is_found_and_mended(
    photos: Path, build: Build, home: Path, place: str, margin: float | None
) -> None:
    right = build(photos, margin=margin, cache=False)
    build(photos, margin=margin)
    pixels = folder_of(home) / "pixels"
    content = bytearray(pixels.read_bytes())
    content[3000] ^= 1
    pixels.write_bytes(content)
    store = build(photos, margin=margin)
    assert same(store, right)
    assert build.decoded == 1
    content[3000] ^= 1
    assert pixels.read_bytes() == content
    assert same(build(photos, margin=margin), right) and build.decoded == 0


def test_a_flipped_bit_anywhere_in_the_index_is_found(photos: Path, build: Build, home: Path) -> None:
    right = build(photos)
    index = folder_of(home) / "index"
    whole = index.read_bytes()
    for byte in range(0, len(whole), 13):
        content = bytearray(whole)
        content[byte] ^= 1 << byte % 8
        index.write_bytes(content)
        assert same(build(photos), right)
        assert build.decoded == 1, byte


def test_a_damaged_picture_whose_file_has_changed_meanwhile_ends_the_run(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(photos)
    monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    store = build(photos)
    (folder_of(home) / "pixels").write_bytes(bytes((folder_of(home) / "pixels").stat().st_size))
    Image.new("RGB", (30, 30), (9, 9, 9)).save(photos / "0.png")
    with pytest.raises(DataError, match=r"0\.png has changed since this run began.*Start the run again"):
        store.picture(0)
    assert store.picture(1).any()  # from its file


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the third picture in its middle; the run goes on without the cache."""
    right = build(photos, cache=False)
    written = 0
    pwrite = os.pwrite

    def full(descriptor: int, content: memoryview, offset: int) -> int:
        nonlocal written
        if len(content) == 24 * 24 * 3:
            written += 1
            if written == 3:
                return pwrite(descriptor, content[:100], offset)
        if len(content) == 24 * 24 * 3 - 100:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        store = build(photos)
    assert same(store, right) and store.location.startswith("in memory")
    assert build.told == [f"not kept for later runs: {folder_of(home)} cannot be written (No space left on device)"]
    assert (folder_of(home) / "pixels").stat().st_size == 2 * 24 * 24 * 3
    assert same(build(photos), right) and build.decoded == 6


@pytest.mark.parametrize("what", ["file", "unwritable"])
def test_a_folder_that_cannot_be_used_is_said(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "file":
        home.write_bytes(b"")  # no folder can be made in it, whoever asks
    else:
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    monkeypatch.setattr(shelf, "available_bytes", lambda: 0)
    store = build(photos)
    reason = "Not a directory" if what == "file" else "Read-only file system"
    (words,) = build.told
    assert words.startswith(f"not kept for later runs: {home}/pictures-photos-") and words.endswith(f"({reason})")
    assert store.location.startswith("in a temporary file in ")
    assert build.decoded == 8


def test_a_whole_cache_that_may_only_be_read_is_used(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = build(photos)
    os_open = os.open

    def reading(path, flags, *rest, **options):
        if str(path).startswith(str(home)) and flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return os_open(path, flags, *rest, **options)

    monkeypatch.setattr("os.open", reading)
    assert same(build(photos), right)
    assert build.decoded == 0 and build.told == []
    Image.new("RGB", (50, 50)).save(photos / "new.png")
    assert len(build(photos)) == 8
    assert "Read-only file system" in build.told[0]


# ------------------------------------------------------------------------------------------------------ several runs


def test_a_second_run_waits_for_the_first_and_takes_what_it_decoded(photos: Path, build: Build, home: Path) -> None:
    build(photos)
    lock = (folder_of(home) / "writing").open("r+")
    Image.new("RGB", (50, 50)).save(photos / "new.png")
    fcntl.flock(lock, fcntl.LOCK_EX)
    freed = threading.Timer(0.3, lock.close)
    freed.start()
    store = build(photos)
    freed.join()
    assert len(store) == 8 and build.decoded == 1
    assert build.told == [f"another run adds pictures to {folder_of(home)}: waiting for it, and for what it decodes"]


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_cache import PREPROCESS, catalog_of
from sightline.data.store import Store
import sightline.data.kept as kept
import hashlib, time
plain = kept.decode
def slowly(*arguments, **options):
    time.sleep(0.02)
    return plain(*arguments, **options)
kept.decode = slowly
catalog = catalog_of(Path(sys.argv[1]))
said = []
store, _ = Store.build(catalog, range(len(catalog)), preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=True,
                       cache=True, tell=said.append)
print(hashlib.sha256(store.pictures.numpy().tobytes()).hexdigest(), store.location.rpartition("; ")[2])
"""


@pytest.mark.proof
def test_two_programs_at_once_and_one_that_is_killed(photos: Path, build: Build, home: Path) -> None:
    expected = build(photos, cache=False)
    command = [sys.executable, "-c", RUN, str(photos), str(home), str(Path(__file__).parent)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE)
    while not list(home.glob("pictures-*/index")):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [run.communicate()[0].split(" ", 1) for run in runs]
    assert {digest for digest, _ in answers} == {hashlib.sha256(expected.pictures.numpy().tobytes()).hexdigest()}
    decoded = sorted(int(words.split()[0]) for _, words in answers)
    assert decoded[0] == 0 and 1 <= decoded[1] <= 6  # what the killed one had decoded is not decoded again
    assert same(build(photos), expected) and build.decoded == 0


def test_two_threads_at_once_do_not_damage_each_other(photos: Path, build: Build, home: Path) -> None:
    right = build(photos, cache=False)
    stores: list[Store] = []
    threads = [threading.Thread(target=lambda: stores.append(build(photos))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 2 and all(same(store, right) for store in stores)
    assert (folder_of(home) / "pixels").stat().st_size == 7 * 24 * 24 * 3  # each was decoded by one of them


# ------------------------------------------------------------------------------------------------------------ budget


def _old_cache(home: Path, name: str, num_bytes: int, used: int) -> Path:
    folder = home / f"pictures-{name}"
    PictureCache(folder).using.close()
    (folder / "pixels").write_bytes(bytes(num_bytes))
    os.utime(folder / "using", (used, used))
    return folder


def test_the_longest_unused_are_removed_for_room(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, oldest, newest = (
        _old_cache(home, name, 6000, used) for name, used in (("b", 200), ("a", 100), ("c", 10**9))
    )
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(24_000 / 1e9))  # 8 * 1,728 bytes for the new one
    build(photos)
    assert [path.exists() for path in (oldest, older, newest)] == [False, False, True]
    assert build.told == [f"removed the cache {path} (0 MB), the longest unused, for room" for path in (oldest, older)]
    build(photos)  # nothing is missing: nothing goes
    assert newest.exists() and build.decoded == 0


def test_a_cache_that_a_run_looks_at_is_not_removed(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = PictureCache(_old_cache(home, "a", 9000, 100))
    os.utime(used.folder / "using", (100, 100))
    other = _old_cache(home, "b", 9000, 200)
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(25_000 / 1e9))
    build(photos)
    assert used.folder.exists() and not other.exists()


def test_a_set_beyond_the_budget_removes_nothing_and_is_not_kept(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _old_cache(home, "a", 1000, 100)
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(13_000 / 1e9))  # 13,824 would be needed
    build(photos)
    assert build.decoded == 8 and other.exists()
    (words,) = build.told
    assert words.startswith(f"not kept for later runs: no room to keep decoded pictures in {home}: they need ")
    assert words.endswith("Set SIGHTLINE_CACHE_GB to more, or SIGHTLINE_CACHE to a folder on a larger disk.")


def test_pictures_that_are_larger_than_expected_stay_within_the_budget(
    photos: Path, build: Build, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog says 60x60 px, so that 30x30 would be kept of each; these are 30x300."""
    for path in photos.iterdir():
        Image.fromarray(np.random.default_rng(int(path.stem)).integers(0, 256, (30, 300, 3), np.uint8)).save(path)
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(8 * 30 * 30 * 3 / 1e9))
    store = build(photos, margin=1.25)
    assert len(store) == 8 and same(store, build(photos, margin=1.25, cache=False))
    build(photos, margin=1.25)
    assert "not kept for later runs" in build.told[0]
    assert (folder_of(home) / "pixels").stat().st_size <= 2 * 8 * 30 * 30 * 3


def test_the_budget_is_a_share_of_the_free_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    for needed, is_large, fits in ((200, False, True), (201, False, False), (600, True, True), (601, True, False)):
        room = cache_folder.make_room(home, home / "pictures-x", needed, is_large=is_large)
        assert (room.num_bytes >= needed) == fits
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", "many")
    with pytest.raises(ConfigError, match=r"SIGHTLINE_CACHE_GB is 'many'; it must be a number of gigabytes, 0 or more"):
        cache_folder.make_room(home, home / "pictures-x", 1, is_large=False)


# ------------------------------------------------------------------------------------------------ hashes and ledgers


def _hashes(folder: Path) -> list[str]:
    images = catalog_of(folder).images
    return list(content_hashes(images, range(len(images)), threads=2))


def test_hashes_are_remembered_while_path_size_and_time_stay(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(photos.iterdir())]
    assert _hashes(photos) == right and not home.exists()  # of few files nothing is remembered
    monkeypatch.setattr("sightline.data.hashes._WORTH", 8)
    assert _hashes(photos) == right
    read: list[str] = []
    content = FileImages.content
    monkeypatch.setattr(
        FileImages, "content", lambda self, index: read.append(self.name(index)) or content(self, index)
    )
    assert _hashes(photos) == right and read == []
    os.utime(photos / "2.png", (LONG_AGO, LONG_AGO + 1))
    assert _hashes(photos) == right and read == ["2.png"]
    read.clear()
    (photos / "2.png").write_bytes(b"just now")
    for _ in range(2):  # what changed just now is not remembered: it may change again within the clock's tick
        assert _hashes(photos)[2] == hashlib.sha256(b"just now").hexdigest()
    assert read == ["2.png"] * 2
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    read.clear()
    _hashes(photos)
    assert len(read) == 8


def test_a_file_that_changes_while_it_is_read_is_not_remembered(photos: Path, home: Path) -> None:
    memory = HashMemory(photos, home)
    identities, known, _ = memory.look_up(["0.png", "1.jpg", "gone.png"])
    assert not known.any() and identities[2] is None
    os.utime(photos / "1.jpg", (LONG_AGO, LONG_AGO + 9))
    memory.remember(["0.png", "1.jpg", "gone.png"], identities, [bytes(32)] * 3)
    os.utime(photos / "1.jpg", (LONG_AGO, LONG_AGO))  # put back as it was: what was read may have been the other one
    assert memory.look_up(["0.png", "1.jpg", "gone.png"])[1].tolist() == [True, False, False]


def test_a_ledger_finds_the_last_record_of_a_key(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    digests = [rng.bytes(16) for _ in range(200)]
    ledger = Ledger(tmp_path / "ledger", [("value", "<u4")])
    assert latest(ledger.read(), keys_of(digests)).tolist() == [-1] * 200
    for start in (0, 100, 50):
        ledger.append(keys_of(digests[start : start + 60]), value=np.arange(start, start + 60))
    records = ledger.read()
    expected = {digest: place for place, digest in enumerate(digests[:60] + digests[100:160] + digests[50:110])}
    assert latest(records, keys_of(digests)).tolist() == [expected.get(digest, -1) for digest in digests]


# ------------------------------------------------------------------------------------------------------ a whole run


def test_a_training_with_and_without_the_cache_is_the_same_bit_for_bit(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    import sightline as sl
    from tests.recipes.pictures import photo_folder

    folder = photo_folder(tmp_path / "pictures", count=8, size=(120, 140))
    settings = {"model": "simple_cnn", "img_size": 32, "epochs": 1, "device": "cpu", "amp": False, "threads": 1}
    decoded: list[object] = []
    of_file = Keeping.of_file
    monkeypatch.setattr(Keeping, "of_file", lambda *arguments: decoded.append(0) or of_file(*arguments))
    counts = []
    for name, cache in (("without", False), ("cold", True), ("warm", True)):
        decoded.clear()
        sl.train(
            folder, output=tmp_path / name, settings=sl.Settings(**settings, cache=cache), console=Console(quiet=True)
        )
        counts.append(len(decoded))
    assert counts[1:] == [24, 0] and counts[0] > 24  # without, the test pictures are decoded twice
    for name in ("model.safetensors", "history.csv", "predictions.csv", "data.lock.json"):
        assert (tmp_path / "without" / name).read_bytes() == (tmp_path / "cold" / name).read_bytes(), name
        assert (tmp_path / "without" / name).read_bytes() == (tmp_path / "warm" / name).read_bytes(), name
