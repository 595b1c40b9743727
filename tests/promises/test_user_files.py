"""Promise 2, in part: no command writes, moves, renames or even touches a file of the user's data, or needs to."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline.cli.main import app
from tests.bundles import tiny_bundle
from tests.recipes.pictures import COLOURS, photo_folder

SMALL = ["--model", "simple_cnn", "--recipe", "textbook", "--img-size", "16", "-b", "8", "--no-amp", "--threads", "1"]
# Every verb that reads pictures: what is typed after it. A new one adds a row.
COMMANDS = {
    "train": ["DATA", *SMALL, "--epochs", "1", "--output", "OUT/run"],
    "train --dry-run": ["DATA", *SMALL, "--dry-run"],
    "evaluate": ["BUNDLE", "DATA", "--output", "OUT"],
    "predict": ["BUNDLE", "DATA", "--json"],
    "export": ["BUNDLE"],
    "find-lr": ["DATA", *SMALL, "--output", "OUT/rate"],
    "check": ["DATA", "--output", "OUT/check"],
    "data preview": ["DATA", "--img-size", "16", "--output", "OUT/preview.png"],
}
READ_ONLY_FOLDER, READ_ONLY_FILE = 0o555, 0o444


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that may not be written to."""
    folder = photo_folder(tmp_path_factory.mktemp("user") / "photos", count=12)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(READ_ONLY_FOLDER if path.is_dir() else READ_ONLY_FILE)
    yield folder
    for path in everything:
        if path.is_dir():
            path.chmod(0o755)  # so that it can be removed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("runs") / "photos", classes=tuple(sorted(COLOURS)), side=16)


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything there is to know of a folder but when it was read: names, contents, permissions, times of change."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = os.lstat(path)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = content, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return found


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_leaves_the_users_data_alone(
    verb: str, data: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(data), "BUNDLE": str(bundle)}
    words = [word for word in verb.split() if not word.startswith("-")]
    arguments = [places.get(word, word.replace("OUT", str(tmp_path))) for word in COMMANDS[verb]]
    before = tree(data)
    done = CliRunner().invoke(app, [*words, *arguments])
    assert done.exit_code == 0, done.output
    assert tree(data) == before


def test_a_file_that_changes_in_any_way_is_seen(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", count=1)
    picture = next(folder.rglob("*.jpg"))
    seen = tree(folder)
    picture.write_bytes(picture.read_bytes())  # the same content, written again
    assert tree(folder) != seen
    seen = tree(folder)
    (folder / "red" / ".cache").touch()
    assert tree(folder) != seen
