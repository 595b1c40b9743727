"""The names in a large folder are remembered, and never believed when the folder has changed."""

import os
from pathlib import Path

import pytest

from sightline.data import listing
from sightline.data.listing import Entries, Listing

LONG_AGO = 1_500_000_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "_WORTH", 4)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("cat/2.png", "cat/10.png", "cat/.hidden", "cat/old/3.png", "dog/1 é.png", "dog/notes.txt", "readme"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (root / "dog" / os.fsdecode(b"no \xff text.png")).write_bytes(b"")
    settle(root)
    return root


def settle(root: Path, when: int = LONG_AGO) -> None:
    for path in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(path, (when, when))


class Look:
    """Lists everything; `scanned` is what was read from the disk for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scanned: list[str] = []
        scandir = os.scandir

        def counting(path):
            self.scanned.append(Path(path).name)
            return scandir(path)

        monkeypatch.setattr("os.scandir", counting)

    def __call__(self, root: Path) -> dict[str, Entries]:
        self.scanned.clear()
        every = Listing(root)
        found: dict[str, Entries] = {}
        waiting = [""]
        while waiting:
            here = waiting.pop(0)
            found[here] = every.entries(here)
            waiting += [f"{here}/{name}".lstrip("/") for name in found[here].folders]
        every.remember()
        return found


@pytest.fixture
def look(home: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    return Look(monkeypatch)


def test_names_are_those_on_the_disk_remembered_or_not(folder: Path, look: Look) -> None:
    first = look(folder)
    assert look.scanned == ["photos", "cat", "dog", "old"]
    assert first == {
        "": Entries(["cat", "dog"], ["readme"]),
        "cat": Entries(["old"], ["10.png", "2.png"]),
        "dog": Entries([], ["1 é.png", os.fsdecode(b"no \xff text.png"), "notes.txt"]),
        "cat/old": Entries([], ["3.png"]),
    }
    assert look(folder) == first
    assert look.scanned == []


@pytest.mark.parametrize("change", ["new", "gone", "renamed"])
def test_a_changed_folder_is_read_again_and_no_other(folder: Path, look: Look, change: str) -> None:
    look(folder)
    if change == "new":
        (folder / "cat" / "4.png").write_bytes(b"")
    elif change == "gone":
        (folder / "cat" / "2.png").unlink()
    else:
        (folder / "cat" / "2.png").rename(folder / "cat" / "5.png")
    expected = {"new": ["10.png", "2.png", "4.png"], "gone": ["10.png"], "renamed": ["10.png", "5.png"]}[change]
    assert look(folder)["cat"].files == expected
    assert look.scanned == ["cat"]


def test_what_changed_just_now_is_not_remembered(folder: Path, look: Look) -> None:
    """Within the tick of a file system's clock, another file may come and the folder's time stay."""
    (folder / "cat" / "4.png").write_bytes(b"")
    before = (folder / "cat").stat().st_mtime_ns
    look(folder)
    (folder / "cat" / "5.png").write_bytes(b"")
    os.utime(folder / "cat", ns=(before, before))
    assert look(folder)["cat"].files == ["10.png", "2.png", "4.png", "5.png"]


def test_a_folder_with_links_is_read_each_time(folder: Path, look: Look) -> None:
    """What a link leads to may become a folder, and the link's own folder keeps its time."""
    (folder / "cat" / "link").symlink_to(folder.parent / "later")
    settle(folder)
    assert look(folder)["cat"].files == ["10.png", "2.png", "link"]
    (folder.parent / "later").mkdir()
    assert look(folder)["cat"].folders == ["link", "old"]


def test_a_damaged_memory_is_not_believed(folder: Path, look: Look, home: Path) -> None:
    right = look(folder)
    (file,) = home.glob("listing-*")
    content = file.read_bytes()
    for place in (3, len(content) // 2, len(content) - 20):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert look(folder) == right
        assert len(look.scanned) == 4
        file.write_bytes(content[:place])
        assert look(folder) == right


def test_small_folders_and_the_word_off_leave_no_trace(
    folder: Path, look: Look, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_WORTH", 100)
    look(folder)
    assert not home.exists()
    monkeypatch.setattr(listing, "_WORTH", 4)
    look(folder)
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    look(folder)
    assert len(look.scanned) == 4


def test_a_cache_that_cannot_be_written_does_no_harm(folder: Path, look: Look, home: Path) -> None:
    home.write_bytes(b"")
    assert look(folder)["cat"].files == ["10.png", "2.png"]


def test_a_folder_that_is_gone_is_an_error(folder: Path, look: Look) -> None:
    look(folder)
    (folder / "cat" / "old" / "3.png").unlink()
    (folder / "cat" / "old").rmdir()
    with pytest.raises(FileNotFoundError):
        Listing(folder).entries("cat/old")
