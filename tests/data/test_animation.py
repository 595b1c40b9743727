"""Of an animation the first frame is used, and the user is told so, once."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import sightline as sl
from sightline.cli.main import app
from sightline.data.animation import animation_note, animation_note_of
from sightline.recipes.data import open_split
from tests.bundles import tiny_bundle


def animated(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def folder_with_animations(folder: Path) -> Path:
    for number in range(6):
        for name in ("cat", "dog"):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (number * 9, 0, 0)).save(path)
    animated(folder / "cat" / "moving.gif")
    animated(folder / "dog" / "moving.webp", lossless=True)
    (folder / "dog" / "broken.gif").write_bytes(b"GIF89a")
    return folder


def test_pictures_with_frames_are_counted_in_one_sentence(tmp_path: Path) -> None:
    paths = [animated(tmp_path / f"a.{suffix}") for suffix in ("gif", "png", "webp", "tif")]
    still = io.BytesIO()
    Image.new("RGB", (3, 3)).save(still, "GIF")
    assert animation_note([*paths, still.getvalue(), b"GIF89a"]) == (
        "Of 5 pictures looked at, 4 have several frames: the first one is used."
    )
    assert animation_note([still.getvalue()]) is None


def test_a_second_view_beside_a_jpeg_is_no_frame(tmp_path: Path) -> None:
    assert animation_note([animated(tmp_path / "a.mpo")]) is None


def test_training_says_how_many_animations_there_are(tmp_path: Path) -> None:
    data = folder_with_animations(tmp_path / "data")
    _, notes = open_split(data, sl.Settings(), Console(quiet=True))
    assert "Of 14 pictures looked at, 2 have several frames: the first one is used." in notes


def test_pictures_that_are_no_files_are_not_looked_at() -> None:
    labels = np.array(["cat", "dog"])
    assert animation_note_of(sl.open_data((np.zeros((2, 4, 4), np.uint8), labels))) is None


def test_prediction_says_it_beside_its_answers(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    moving = animated(tmp_path / "moving.gif")
    red = tmp_path / "red.png"
    Image.new("RGB", (12, 10), "red").save(red)
    done = CliRunner().invoke(app, ["predict", str(bundle), str(moving), str(red), "--csv", "--device", "cpu"])
    assert done.exit_code == 0
    assert done.stderr.strip() == "Of 2 pictures looked at, 1 has several frames: the first one is used."
    first, second = (row.split(",")[1:] for row in done.stdout.splitlines()[1:])
    assert first == second  # the first frame is red all over
