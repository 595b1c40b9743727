"""`sightline data shards`, and a training on what it has written."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.data.sources import open_data
from sightline.errors import ConfigError
from tests.recipes.pictures import photo_folder

TINY = (
    "--recipe textbook --model simple_cnn --epochs 2 --batch-size 8 --img-size 32 --device cpu --no-amp --threads 1 "
    "--crop-padding 2 --stream"
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return photo_folder(tmp_path / "photos", count=12)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout + done.stderr


def test_shards_are_written_and_told(photos: Path) -> None:
    said = json.loads(
        CliRunner().invoke(app, ["data", "shards", "photos", "shards", "--shard-size", "10kB", "--json"]).stdout
    )
    assert said["pictures"] == len(open_data(photos)) == len(open_data("shards"))
    assert [shard["name"] for shard in said["shards"]] == sorted(path.name for path in Path("shards").glob("*.tar"))
    assert len(said["shards"]) > 1 and all(shard["bytes"] == (Path("shards") / shard["name"]).stat().st_size
                                           for shard in said["shards"])  # fmt: skip
    assert f"{said['pictures']} pictures in 1 shards" in run("data", "shards", "photos", "one")


def test_a_folder_that_is_there_is_refused(photos: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        CliRunner().invoke(app, ["data", "shards", "photos", "photos"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="is no amount"):
        CliRunner().invoke(app, ["data", "shards", "photos", "new", "--shard-size", "big"], catch_exceptions=False)


def test_a_training_that_streams(photos: Path) -> None:
    """It says so, ends, and has the weights of the same training from memory, whose order is that of one window."""
    run("data", "shards", "photos", "shards", "--shard-size", "10kB")
    said = run("train", "shards", *TINY.split(), "--output", "streamed")
    assert "stream" in said and "as asked" in said and "shuffled together" in said
    assert "decoded as they are needed, and not kept" in said
    plan = json.loads(Path("streamed/run.json").read_text())["plan"]
    shards = len(list(Path("shards").glob("*.tar")))
    assert (plan["stream"], plan["window"], plan["workers"]) == (True, shards, 2)
    run("train", "shards", *TINY.replace("--stream", "--no-stream").split(), "--output", "held")
    streamed, held = (load_file(f"{name}/model.safetensors") for name in ("streamed", "held"))
    assert streamed.keys() == held.keys()
    assert all((streamed[name] == held[name]).all() for name in streamed)
    locks = [json.loads(Path(name, "data.lock.json").read_text()) for name in ("streamed", "held")]
    assert locks[0] == locks[1] and len(locks[0]["files"]) == len(open_data("shards"))
