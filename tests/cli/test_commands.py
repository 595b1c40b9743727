"""The command line: exit codes, one message for an error and never a traceback, output that a script reads."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import run
from tests.recipes.pictures import photo_folder

TRAIN = ["--model", "simple_cnn", "--img-size", "16", "--epochs", "2", "-b", "8", "--no-amp", "--threads", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def bundle(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "photos"
    done = run("train", photos, "--output", folder, *TRAIN, "--epochs", "6")
    assert done.returncode == 0, done.stderr
    assert f"report: {folder}/report.html" in done.stderr
    return folder


def test_choices_are_printed_with_their_reasons(photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, "--output", tmp_path / "run", *TRAIN)
    assert "epochs            2  (as asked)" in done.stderr
    assert "opt               adamw  (works for every network without tuning)" in done.stderr
    assert "epoch 2/2  train loss" in done.stderr


def test_a_dry_run_prints_the_plan_of_the_run_and_writes_nothing(photos: Path, tmp_path: Path) -> None:
    dry = run("train", photos, *TRAIN, "--dry-run", cwd=tmp_path)
    assert (dry.returncode, list(tmp_path.iterdir())) == (0, []), dry.stderr
    real = run("train", photos, "--output", tmp_path / "run", *TRAIN)
    planned = [f"  {line}" for line in dry.stdout.splitlines()]
    assert "  epochs            2  (as asked)" in planned
    assert planned == real.stderr.splitlines()[: len(planned)]


def test_flags_win_over_the_settings_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('model = "simple_cnn"\nepochs = 7\nimg-size = 16\nthreads = 1\nlr = 0.002\n')
    done = run("train", photos, "-c", tmp_path / "run.toml", "--epochs", "1", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["options"]
    assert (options["epochs"], options["lr"]) == (1, 0.002)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train"], 2, "no data given"),
        (["train", "cifar11"], 1, "Nearest: cifar10"),
        (["train", "no/such/folder"], 1, "no/such/folder"),
        (["train", "PHOTOS", "--model", "resnet19"], 2, "there is no network 'resnet19'. Nearest: resnet18"),
        (["train", "PHOTOS", "--epochs", "0"], 2, "epochs is 0; it must be 1 or more."),
        (["train", "no/such/folder", "--lr", "-1"], 2, "lr is -1.0; it must be more than 0 and finite."),
        (["train", "PHOTOS", "--epochs", "many"], 2, "Invalid value for '--epochs'"),
        (["train", "PHOTOS", "--in-chans", "2"], 2, "in_chans is 2"),
        (["train", "PHOTOS", "--threads", "0"], 2, "threads is 0"),
        (["train", "--resume", "nowhere"], 1, "no run to resume at nowhere"),
        (["train", "PHOTOS", "--resume", "a", "--output", "b"], 2, "name two folders"),
        (["train", "--resume", "a", "--dry-run"], 2, "--dry-run plans a new run"),
        (["evaluate", "nowhere", "PHOTOS"], 1, "no bundle at nowhere"),
        (["evaluate", "BUNDLE", "PHOTOS", "--split", "tset"], 2, "Nearest: test"),
        (["predict", "BUNDLE", "no.png"], 1, "no.png"),
        (["predict", "BUNDLE", "PHOTOS", "--json", "--csv"], 2, "Give one"),
        (["export", "BUNDLE", "--format", "onx"], 2, "Nearest: onnx"),
        (["data", "get", "cifar11"], 1, "Nearest: cifar10"),
        (["trian"], 2, "trian"),
    ],
)
def test_a_mistake_gives_one_message_and_no_traceback(
    arguments: list[str], exit_code: int, message: str, photos: Path, bundle: Path, tmp_path: Path
) -> None:
    places = {"PHOTOS": photos, "BUNDLE": bundle}
    done = run(*(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_predict_prints_a_table_json_and_csv(photos: Path, bundle: Path) -> None:
    picture = photos / "red" / "001.png"
    table = run("predict", bundle, picture, "--top-k", "2")
    assert str(picture) in table.stdout
    assert "red" in table.stdout
    answers = json.loads(run("predict", bundle, photos / "red", "--json").stdout)["predictions"]
    assert len(answers) == 16
    assert sum(each["label"] == "red" for each in answers) >= 14
    rows = list(csv.DictReader(io.StringIO(run("predict", bundle, "-", "--csv", stdin=f"{picture}\n").stdout)))
    assert [row["source"] for row in rows] == [str(picture)]


def test_a_bad_picture_is_listed_the_others_are_answered_and_the_exit_code_is_1(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    done = run("predict", bundle, tmp_path / "bad.png", photos / "red" / "001.png", "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["predictions"]) == 1
    assert "bad.png" in done.stderr


def test_evaluate_prints_what_training_measured(photos: Path, bundle: Path, tmp_path: Path) -> None:
    done = run("evaluate", bundle, photos, "--json", "--output", tmp_path)
    found, before = json.loads(done.stdout), json.loads((bundle / "metrics.json").read_text())
    assert found["split"] == "test"
    assert found["confusion"] == before["confusion"]
    assert found["test_looks"] > before["test_looks"]
    assert (tmp_path / "predictions.csv").read_text() == (bundle / "predictions.csv").read_text()


def test_export_writes_a_proved_file(bundle: Path) -> None:
    done = run("export", bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(bundle / "model.onnx")
    assert json.loads((bundle / "parity.json").read_text())["ok"] is True


def test_models_are_listed() -> None:
    found = json.loads(run("models", "resnet*", "--json").stdout)
    assert [row["name"] for row in found][:2] == ["resnet18", "resnet34"]


def test_every_verb_has_help_with_an_example() -> None:
    for verb in ("train", "evaluate", "predict", "export", "models", "inspect"):
        assert "Example: sightline" in run(verb, "--help").stdout


@pytest.fixture(scope="module")
def long_run(photos: Path) -> list[str]:
    """The command of a run that is long enough to be interrupted."""
    return ["train", str(photos), *TRAIN, "--epochs", "40", "--checkpoint-every", "0.2"]


@pytest.fixture(scope="module")
def undisturbed(long_run: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run(*long_run, "--output", folder).returncode == 0
    return folder


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_in_the_same_weights(
    number: signal.Signals, exit_code: int, long_run: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "sightline", *long_run, "--output", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(folder.glob("checkpoints/step-*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == exit_code, errors
    assert f"stopped by {number.name}" in errors
    assert "Traceback" not in errors
    assert run("train", "--resume", folder).returncode == 0
    for name in ("model.safetensors", "history.csv", "predictions.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_read_only_data_folder_is_enough_and_nothing_in_it_is_touched(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", count=8)
    for path in [*photos.rglob("*"), photos]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in [photos, *photos.rglob("*")]}
    done = run("train", photos, "--output", tmp_path / "run", *TRAIN, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in [photos, *photos.rglob("*")]} == before


def test_an_output_that_cannot_be_a_folder_is_one_message(photos: Path) -> None:
    done = run("train", photos, "--output", "/dev/full/run", *TRAIN)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/dev/full" in done.stderr
