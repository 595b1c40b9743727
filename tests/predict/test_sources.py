"""What the arguments of a command line stand for."""

import os
from pathlib import Path

import pytest

from sightline.errors import DataError
from sightline.predict import gather_sources


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ with pictures at two depths and what is none; the working folder is the one above."""
    for name in (
        "b.png",
        "a.JPG",
        "sub/c.webp",
        "sub/deep/d.tiff",
        "notes.txt",
        ".hidden.png",
        ".cache/e.png",
        "x[1].png",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


EVERY = ["photos/a.JPG", "photos/b.png", "photos/sub/c.webp", "photos/sub/deep/d.tiff", "photos/x[1].png"]


def test_a_folder_stands_for_all_pictures_below_it(photos: Path) -> None:
    assert gather_sources(["photos"], []) == EVERY
    assert gather_sources([str(photos / "sub")], []) == [str(photos / "sub/c.webp"), str(photos / "sub/deep/d.tiff")]


def test_files_stand_for_themselves_in_the_order_given(photos: Path) -> None:
    given = ["photos/b.png", "./photos/a.JPG", "photos/notes.txt", "photos/b.png"]
    assert gather_sources(given, []) == given


def test_globs_are_expanded_and_sorted(photos: Path) -> None:
    assert gather_sources(["photos/*.png"], []) == ["photos/b.png", "photos/x[1].png"]
    assert gather_sources(["photos/**/*.[tw]*"], []) == [
        "photos/notes.txt",
        "photos/sub/c.webp",
        "photos/sub/deep/d.tiff",
    ]
    assert gather_sources(["photos/s*"], []) == ["photos/sub/c.webp", "photos/sub/deep/d.tiff"]


def test_a_name_with_brackets_is_a_name_before_it_is_a_pattern(photos: Path) -> None:
    assert gather_sources(["photos/x[1].png"], []) == ["photos/x[1].png"]


def test_a_dash_reads_paths_from_standard_input(photos: Path) -> None:
    lines = ["photos/b.png\n", "\n", "photos/sub\r\n", "photos/a.JPG"]
    expected = ["photos/b.png", "photos/sub/c.webp", "photos/sub/deep/d.tiff", "photos/a.JPG"]
    assert gather_sources(["-"], lines) == expected
    assert gather_sources(["photos/notes.txt", "-"], lines)[0] == "photos/notes.txt"


def test_standard_input_is_left_alone_without_a_dash(photos: Path) -> None:
    def unread() -> "list[str]":
        yield pytest.fail("standard input was read")

    assert gather_sources(["photos/b.png"], unread()) == ["photos/b.png"]


def test_links_are_followed_but_not_in_circles(photos: Path, tmp_path: Path) -> None:
    (photos / "sub" / "back").symlink_to(photos)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.png").touch()
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    assert gather_sources(["photos"], []) == sorted([*EVERY, "photos/link/f.png"])


def test_a_missing_path_is_refused_with_the_nearest_names(photos: Path) -> None:
    with pytest.raises(DataError) as caught:
        gather_sources(["photos/c.png", "photos/b.png", "photo/a.JPG", "gone/x.png"], [])
    assert str(caught.value).splitlines() == [
        "photos/c.png does not exist: there is no c.png in photos. Nearest there: b.png, x[1].png. Check the path.",
        "photo/a.JPG does not exist: there is no photo in this folder. Nearest there: photos. Check the path.",
        "gone/x.png does not exist: there is no gone in this folder. Check the path.",
    ]


def test_many_missing_paths_are_cut(photos: Path) -> None:
    with pytest.raises(DataError, match=r"\nand 3 more$") as caught:
        gather_sources(["-"], [f"gone{number}.gif\n" for number in range(23)])
    assert len(str(caught.value).splitlines()) == 21


def test_folders_and_patterns_without_a_picture_are_refused(photos: Path) -> None:
    (photos / "void").mkdir()
    with pytest.raises(DataError, match=r"photos/void holds no picture \(\.jpg, .*\.webp\)\. Give another folder\."):
        gather_sources(["photos/void"], [])
    with pytest.raises(DataError, match=r"photos/\*\.gif matches no picture\. Check the pattern\."):
        gather_sources(["photos/*.gif"], [])


def test_a_folder_that_cannot_be_listed_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"photos/sub cannot be listed \(PermissionError: Permission denied\)\."):
        gather_sources(["photos"], [])
