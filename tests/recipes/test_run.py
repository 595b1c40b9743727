"""Whole runs: data to bundle, and every way in which they end early."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sightline as sl
from sightline.errors import BundleError, ConfigError, DataError, Interrupted
from sightline.recipes import run as run_module
from tests.recipes.pictures import photo_folder

QUICK = sl.Settings(model="simple_cnn", img_size=16, epochs=2, batch_size=8, device="cpu", amp=False, threads=1)
FILES = [
    "calibration.json", "checkpoints", "config.json", "data.lock.json", "history.csv", "metrics.json",
    "model.safetensors",
    "per_class.csv", "predictions.csv", "report.html", "run.json", "test_looks.csv", "timing.csv",
]  # fmt: skip


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


def _train(data: object, output: Path, **arguments: object) -> sl.train:
    arguments = {"settings": QUICK, "console": Console(quiet=True), **arguments}
    return sl.train(data, output=output, **arguments)


def test_a_folder_becomes_a_bundle_and_stays_as_it_was(photos: Path, tmp_path: Path) -> None:
    before = _tree(photos)
    predictor = _train(photos, tmp_path / "run", epochs=6)
    assert _tree(photos) == before
    made = sorted(path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("events"))
    assert made == FILES
    assert predictor.classes == ("blue", "green", "red")
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert scores["split"] == "test"
    assert scores["test_looks"] == 1
    assert predictor.predict(photos / "red" / "003.png").label == "red"


def test_every_file_is_in_the_lock_once(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "run", epochs=1)
    lock = json.loads((tmp_path / "run" / "data.lock.json").read_text())
    assert sorted(row["path"] for row in lock["files"]) == sorted(_tree(photos))


def test_the_same_seed_gives_the_same_files(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _train(photos, tmp_path / name)
    for name in ("model.safetensors", "history.csv", "predictions.csv", "data.lock.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_photographs_are_cropped_at_random_from_a_store_with_a_margin(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", count=8, size=(120, 140))
    settings = sl.Settings(model="simple_cnn", img_size=32, epochs=1, device="cpu", amp=False, threads=1)
    _train(photos, tmp_path / "run", settings=settings)
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert plan["augment"]["scale"] == [0.35, 1.0]
    assert plan["keep_margin"] == 1.25


class Crash(Exception):
    """Stands for a kill."""


def test_a_run_killed_between_training_and_report_resumes_to_the_same_bundle(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(photos, tmp_path / "whole")

    def crash(*_: object, **__: object) -> None:
        raise Crash

    for point in ("shipped_net", "save", "evaluate", "write_results", "write_report"):
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(run_module, point, crash)
            _train(photos, tmp_path / point)
        _train(None, tmp_path / point, settings=None, resume=True)
        for name in ("model.safetensors", "history.csv", "predictions.csv"):
            assert (tmp_path / point / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (point, name)


def test_a_finished_run_has_nothing_to_resume(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "run")
    before = _tree(tmp_path / "run")
    _train(None, tmp_path / "run", settings=None, resume=True)
    assert _tree(tmp_path / "run") == before


def _unfinished(photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that stopped after its training."""

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(run_module, "save", crash)
        _train(photos, folder)
    return folder


def test_changed_data_is_not_resumed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _unfinished(photos, tmp_path / "run", monkeypatch)
    (photos / "red" / "003.png").write_bytes((photos / "blue" / "003.png").read_bytes())
    with pytest.raises(DataError, match=r"the data has changed since this run began: .*003.png"):
        _train(None, folder, settings=None, resume=True)


def test_changed_settings_are_not_resumed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _unfinished(photos, tmp_path / "run", monkeypatch)
    with pytest.raises(ConfigError, match=r"--lr is 0.5, but in the run .* it was 0\.001, chosen by the run itself: a"):
        _train(None, folder, settings=None, lr=0.5, resume=True)
    with pytest.raises(ConfigError, match=r"--mixup is 0.2, but in the run .* it was off: a resumed run"):
        _train(None, folder, settings=sl.Settings(mixup=0.2), resume=True)
    with pytest.raises(ConfigError, match=r"--epochs is 9, but in the run .* it was 2"):
        _train(None, folder, settings=None, epochs=9, resume=True)


def test_what_the_run_chose_itself_may_be_said_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _unfinished(photos, tmp_path / "run", monkeypatch)
    choices = json.loads((folder / "run.json").read_text())["plan"]["choices"]
    chosen = {each["name"]: each["value"] for each in choices}
    asked = sl.Settings(lr=chosen["lr"], sched=chosen["sched"], hflip=chosen["hflip"])
    assert _train(None, folder, settings=asked, resume=True).path == folder


def test_the_machine_s_settings_may_change_on_the_way(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(photos, tmp_path / "whole")
    folder = _unfinished(photos, tmp_path / "run", monkeypatch)
    workers: list[int] = []
    loader_of = run_module.train_loader

    def seen(*arguments: object, **others: object) -> object:
        loader = loader_of(*arguments, **others)
        workers.append(arguments[1].workers)
        return loader

    monkeypatch.setattr(run_module, "train_loader", seen)
    _train(None, folder, settings=sl.Settings(workers=2), resume=True)
    assert workers == [2]
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no run to resume at .*: it has no run.json"):
        _train(None, tmp_path, settings=None, resume=True)
    with pytest.raises(ConfigError, match="resume needs the folder"):
        sl.train(None, resume=True)


def test_an_output_that_holds_a_run_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    _train(photos, tmp_path / "run")
    before = _tree(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"already holds a run. Choose another --output, or go on with it: --resume"):
        _train(photos, tmp_path / "run")
    assert _tree(tmp_path / "run") == before


def test_default_folders_are_numbered(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [sl.train(photos, settings=QUICK, epochs=1, console=Console(quiet=True)).path.as_posix() for _ in range(2)]
    assert names == ["runs/photos-simple_cnn", "runs/photos-simple_cnn-2"]


def test_unreadable_pictures_stop_the_run_and_leave_nothing(photos: Path, tmp_path: Path) -> None:
    (photos / "red" / "bad.png").write_bytes(b"not a picture")
    whole = (photos / "blue" / "001.png").read_bytes()
    (photos / "blue" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        _train(photos, tmp_path / "run")
    assert "red/bad.png" in str(caught.value)
    assert "blue/cut.png" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_skip_bad_lists_them_and_goes_on(photos: Path, tmp_path: Path) -> None:
    for number in range(12):  # enough to be in every split
        (photos / "red" / f"bad{number}.png").write_bytes(b"not a picture")
    settings = sl.Settings(**{**vars(QUICK), "skip_bad": True})
    _train(photos, tmp_path / "run", settings=settings)
    lock = json.loads((tmp_path / "run" / "data.lock.json").read_text())
    refused = sorted(row["path"] for row in lock["skipped"])
    assert refused == sorted(f"red/bad{number}.png" for number in range(12))
    assert not set(refused) & {row["path"] for row in lock["files"]}


def test_pictures_too_small_for_the_network_are_named_before_training(photos: Path, tmp_path: Path) -> None:
    settings = sl.Settings(model="simple_cnn", img_size=4, epochs=1, device="cpu", threads=1)
    with pytest.raises(ConfigError, match=r"simple_cnn needs images of at least 8x8 px, got 4x4 px. Enlarge --img-s"):
        _train(photos, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_failed_run_leaves_the_users_own_files_in_the_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"there is no network 'resnet19'. Nearest: resnet18"):
        _train(photos, tmp_path / "run", model="resnet19")
    assert _tree(tmp_path / "run") == {"notes.txt": b"mine"}


def test_a_folder_that_cannot_be_written_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"cannot write to .*file/run: Not a directory. Choose another --output"):
        _train(photos, tmp_path / "file" / "run")


def test_a_batch_of_one_at_the_end_trains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (30, 12, 12, 3)).astype(np.uint8), np.arange(30) % 2
    settings = sl.Settings(**{**vars(QUICK), "img_size": 12, "batch_size": 7})  # 22 training pictures: 7, 7, 8
    predictor = _train((images, labels), tmp_path / "run", settings=settings)
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text())["sightline"]["provenance"]["training"]["steps"] == 6
    )
    assert predictor.classes == ("0", "1")


def test_the_validation_curve_is_that_of_the_weights_that_ship(photos: Path, tmp_path: Path) -> None:
    settings = sl.Settings(**{**vars(QUICK), "model_ema": True, "model_ema_decay": 0.5})
    predictor = _train(photos, tmp_path / "run", settings=settings)
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    result = sl.evaluate(predictor, photos, split="val")
    assert float(rows[-1].split(",")[-1]) == pytest.approx(result.metrics.top1.value, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": (0.5, 2.0)}, "ratio: asked for, and without effect"),
        ({"momentum": 0.5, "opt": "adamw"}, "momentum: asked for, and without effect with opt adamw"),
        ({"model_ema": False, "model_ema_decay": 0.9}, "model_ema_decay: asked for"),
        ({"min_lr": 0.1, "sched": "constant"}, "min_lr: asked for"),
    ],
)
def test_a_setting_without_effect_is_refused(
    settings: dict[str, object], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        _train(photos, tmp_path / "run", settings=sl.Settings(**{**vars(QUICK), **settings}))
    assert not (tmp_path / "run").exists()


def test_an_output_inside_the_data_is_refused(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"lies in the data folder .*, where it would be taken for a class"):
        _train(photos, photos / "runs")
    assert not (photos / "runs").exists()


def test_a_skipped_picture_that_was_repaired_is_not_resumed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (photos / "red" / "003.png").read_bytes()
    (photos / "red" / "003.png").write_bytes(whole[:200])

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(run_module, "save", crash)
        _train(photos, tmp_path / "run", settings=sl.Settings(**{**vars(QUICK), "skip_bad": True}))
    (photos / "red" / "003.png").write_bytes(whole)
    with pytest.raises(DataError, match=r"red/003.png can be read again, or not any more"):
        _train(None, tmp_path / "run", settings=None, resume=True)


def test_a_signal_is_not_taken_for_a_bad_picture(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted("stopped", exit_code=130)

    monkeypatch.setattr("PIL.Image.open", stop)
    with pytest.raises(Interrupted):
        _train(photos, tmp_path / "run")


def test_a_signal_after_the_training_says_how_to_go_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted("interrupted by SIGTERM", exit_code=143)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(run_module, "evaluate", stop)
        _train(photos, tmp_path / "run")
    assert str(stopped.value).endswith(f"trained, not yet scored and reported. Go on with --resume {tmp_path / 'run'}.")
    assert stopped.value.exit_code == 143
    _train(None, tmp_path / "run", settings=None, resume=True)


def test_paths_with_brackets_are_printed_as_they_are(photos: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    sl.train(photos, settings=QUICK, output=tmp_path / "a [old]", console=console)
    assert f"report: {tmp_path}/a [old]/report.html" in console.export_text()
