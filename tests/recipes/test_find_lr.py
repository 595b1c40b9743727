"""The learning-rate finder: the training's own plan, its files, and what it says."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.errors import BundleError, ConfigError, DataError, TrainingError
from sightline.recipes.find_lr import FoundRate, drawing, find_lr
from sightline.recipes.settings import Settings
from sightline.training.range_test import RangeTest
from tests.recipes.pictures import photo_folder

SETTINGS: dict[str, Any] = {"model": "simple_cnn", "img_size": 16, "batch_size": 8, "threads": 1, "amp": False}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def found(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> FoundRate:
    return find_lr(photos, settings=Settings(**SETTINGS), output=tmp_path_factory.mktemp("found") / "lr")


def _console() -> Console:
    return Console(quiet=True)


def test_a_choice_that_nobody_asked_for_is_said(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.recipes.prepare.weights_to_begin_with", lambda *_: (None, ["weights are at hand"]))
    console = Console(file=io.StringIO(), width=200)
    find_lr(photos, settings=Settings(**SETTINGS), output=tmp_path / "lr", console=console)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\n  weights are at hand\n" in told
    assert "34 of 48 pictures are for training" in told


def test_the_table_holds_the_curve(found: FoundRate) -> None:
    rows = list(csv.DictReader((found.folder / "find_lr.csv").read_text().splitlines()))
    assert [float(row["learning_rate"]) for row in rows] == list(found.test.rates)
    assert [float(row["loss"]) for row in rows] == list(found.test.losses)
    assert [float(row["smoothed_loss"]) for row in rows] == list(found.test.smoothed)


def test_the_drawing_is_a_picture_with_a_logarithmic_axis_and_the_rates_marked(found: FoundRate) -> None:
    assert sorted(path.name for path in found.folder.iterdir()) == ["find_lr.csv", "find_lr.png"]
    with Image.open(found.folder / "find_lr.png") as picture:
        assert picture.size == (960, 600)
    (axes,) = drawing(found.test, "words").axes
    assert axes.get_xscale() == "log"
    marked = [line.get_xdata()[0] for line in axes.get_lines()[2:]]  # type: ignore[index]
    assert marked == [found.test.steepest, found.test.suggestion]


def test_a_test_without_a_suggestion_can_be_drawn() -> None:
    (axes,) = drawing(RangeTest((1e-7, 1e-6), (2.0, 2.5), (2.0, 2.2), None, None), "words").axes
    assert len(axes.get_lines()) == 2
    assert axes.get_ylim() == (0.0, pytest.approx(2.8))


def test_it_says_what_to_pass(found: FoundRate) -> None:
    assert found.test.suggestion is not None
    assert found.suggestion == pytest.approx(found.test.suggestion, rel=0.05)
    assert f"--lr {found.suggestion:g}   (without it: {found.planned:g})" in str(found)
    assert str(found).splitlines()[0] == "simple_cnn, adamw, batches of 8"
    assert str(found).splitlines()[-2:] == [str(found.folder / "find_lr.csv"), str(found.folder / "find_lr.png")]


def test_the_suggestion_lies_where_a_small_network_learns(found: FoundRate) -> None:
    assert 1e-4 < found.suggestion < 0.1


def test_the_same_again_is_the_same_whatever_the_rate_asked_for(found: FoundRate, photos: Path, tmp_path: Path) -> None:
    again = find_lr(photos, settings=Settings(**SETTINGS, lr=0.5), output=tmp_path / "lr", console=_console())
    assert again.test == found.test
    assert again.planned == 0.5
    for name in ("find_lr.csv", "find_lr.png"):
        assert (tmp_path / "lr" / name).read_bytes() == (found.folder / name).read_bytes()


@pytest.mark.parametrize("model", ["simple_cnn", "airbench_small"])  # the second looks at pictures before it starts
def test_the_first_step_is_that_of_the_training(model: str, photos: Path, tmp_path: Path) -> None:
    from sightline.recipes.run import train

    settings = Settings(**{**SETTINGS, "model": model, "epochs": 1, "batch_size": 100, "smoothing": 0.3, "seed": 5})
    train(photos, settings=settings, output=tmp_path / "run", console=_console())
    (epoch,) = csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines())  # of one step
    found = find_lr(photos, settings=settings, output=tmp_path / "lr", console=_console())
    assert found.test.losses[0] == pytest.approx(float(epoch["train_loss"]), rel=1e-6)


def test_where_the_loss_never_falls_the_drawing_is_there_and_it_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 12, 12, 3)).astype(np.uint8), rng.integers(0, 2, 60)
    settings = Settings(**{**SETTINGS, "img_size": 12, "opt": "sgd", "clip_grad": 1e-9})
    with pytest.raises(TrainingError) as caught:
        find_lr((images, labels), settings=settings, output=tmp_path / "lr", console=_console())
    assert re.fullmatch(
        r"the loss falls at no rate from 1e-07 to [\d.e-]+; .*find_lr\.png shows it\. With \d+ pictures a step the "
        r"loss is noisy: take more \(--batch-size\), or train with the planned rate of [\d.]+\. If that does not learn "
        r"either, look at the labels\.",
        str(caught.value),
    )
    assert (tmp_path / "lr" / "find_lr.png").exists()


def test_a_folder_that_was_made_for_nothing_is_removed(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 28x28 px"):
        find_lr(photos, model="lenet5", settings=Settings(**SETTINGS), output=tmp_path / "a", console=_console())
    (photos / "red" / "bad.png").write_bytes(b"no")
    try:
        with pytest.raises(DataError, match=r"bad\.png"):
            find_lr(photos, settings=Settings(**SETTINGS), output=tmp_path / "a" / "b", console=_console())
    finally:
        (photos / "red" / "bad.png").unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_message(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sightline.recipes.find_lr.write_text", full)
    with pytest.raises(BundleError) as caught:
        find_lr(photos, settings=Settings(**SETTINGS), output=tmp_path / "lr", console=_console())
    assert str(caught.value) == f"cannot write to {tmp_path}/lr: No space left on device. Choose another --output."


# --- the verb ---


def test_the_verb_takes_flags_and_a_settings_file(photos: Path, tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text('model = "simple_cnn"\nimg-size = 16\nthreads = 1\nbatch-size = 4\nepochs = 3\n')
    arguments = ["find-lr", str(photos), "-c", str(toml), "-b", "8", "--opt", "lion", "--no-amp"]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "lr"), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert list(found) == [
        "suggestion", "planned", "rates", "losses", "smoothed", "lowest", "steepest", "files"
    ]  # fmt: skip
    assert found["planned"] == 1e-4  # lion's
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert all(Path(path).exists() for path in found["files"])

    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "lr")], catch_exceptions=False)
    assert "simple_cnn, lion, batches of 8" in done.stdout
    assert f"--lr {found['suggestion']:g} " in done.stdout


def test_the_verb_explains_itself() -> None:
    done = CliRunner().invoke(app, ["find-lr", "--help"])
    assert "Example: sightline find-lr" in done.stdout
