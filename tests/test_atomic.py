"""Files are whole or not there."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sightline.atomic import replacing, sweep, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(OSError, match="disk is full"), replacing(target) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk is full")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_a_killed_writer_leaves_a_file_that_sweep_removes(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from sightline.atomic import replacing
        with replacing({str(tmp_path / "a.json")!r}) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    (tmp_path / ".users-own").write_text("kept")
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".users-own"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode
