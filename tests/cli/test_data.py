"""`sightline data preview`: flags and settings files reach the sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.errors import ConfigError
from tests.recipes.pictures import photo_folder

PLAIN = 'recipe = "textbook"\nmodel = "simple_cnn"\nimg-size = 32\ndevice = "cpu"\namp = false\nthreads = 1\n'


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(PLAIN)
    return photo_folder(tmp_path / "photos", count=8)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", "preview", *arguments], catch_exceptions=False)
    return done.stdout + done.stderr


def test_a_preview_is_written_and_its_path_printed(photos: Path) -> None:
    out = run("photos", "-c", "run.toml", "--count", "2", "--epochs", "1")
    assert "preview.png" in out.splitlines()
    with Image.open("preview.png") as image:
        assert image.size == (150 + 2 * (96 + 8) + 8, 18 + 2 * (96 + 8) + 8)


def test_every_flag_is_taken(photos: Path) -> None:
    flags = (
        "--seed 3 --hflip 0.5 --alternating-flip --vflip 0.25 --scale 0.5 1.0 --ratio 1.0 2.0 --rotation 20 "
        "--color-jitter 0.1 0.2 0.3 0.4 --aa trivial --reprob 0.75 --remode pixel --mixup 0.2 --cutmix 0.5 "
        "--mixup-prob 0.9 --mixup-switch-prob 0.4 --img-size 40"
    )
    told = run("photos", "-c", "run.toml", "--count", "1", "--epochs", "1", *flags.split())
    lines = {line.split()[0]: line.strip() for line in told.splitlines()}
    for name, value in {
        "img_size": "40",
        "hflip": "0.5",
        "alternating_flip": "True",
        "vflip": "0.25",
        "scale": "(0.5, 1.0)",
        "ratio": "(1.0, 2.0)",
        "rotation": "20.0",
        "color_jitter": "(0.1, 0.2, 0.3, 0.4)",
        "aa": "trivial",
        "reprob": "0.75",
        "remode": "pixel",
        "mixup": "0.2",
        "cutmix": "0.5",
        "mixup_prob": "0.9",
        "mixup_switch_prob": "0.4",
    }.items():
        assert lines[name].startswith(f"{name}  {value}  ("), name


def test_a_flag_wins_over_the_file_and_the_seed_counts(photos: Path) -> None:
    Path("run.toml").write_text(PLAIN + "hflip = 1.0\ncrop-padding = 0\n")
    sheets = {}
    for name, flags in {"file": [], "flag": ["--hflip", "0"], "seed": ["--hflip", "0", "--seed", "1"]}.items():
        run("photos", "-c", "run.toml", "--output", f"{name}.png", "--count", "1", "--epochs", "1", *flags)
        with Image.open(f"{name}.png") as image:
            sheets[name] = np.asarray(image)[18 : 18 + 96, 150:]
    before, after = sheets["file"][:, :96], sheets["file"][:, 104:200]
    assert (after[:, ::3] == before[:, ::-3]).all()
    assert (sheets["flag"][:, :96] == sheets["flag"][:, 104:200]).all()
    assert (sheets["seed"][:, :96] != sheets["flag"][:, :96]).any()  # another picture comes first


def test_a_wrong_flag_is_one_message(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"aa is 'rand-m99'; m must be a whole number from 0 to 30, got 99\."):
        run("photos", "-c", "run.toml", "--aa", "rand-m99")
    assert not Path("preview.png").exists()


def test_help_has_an_example() -> None:
    assert "Example: sightline data preview" in run("--help")
