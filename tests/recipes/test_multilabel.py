"""Pictures with several labels from a table to a bundle that answers, by way of the command line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import sightline as sl
from sightline.bundle import open_bundle
from sightline.cli.main import app
from sightline.data.mix import Mix
from sightline.errors import ConfigError, DataError
from sightline.exporting.onnx import PicturesToProbabilities, metadata
from sightline.exporting.parity import closest_call, compare
from sightline.predict import MultilabelPrediction
from sightline.recipes.data import open_split
from sightline.recipes.prepare import prepare
from tests.report.page import Page

NAMES = ("blue", "green", "red")
FLAGS = ("--model", "simple_cnn", "--threads", "1", "--no-amp", "--device", "cpu")
QUICK = sl.Settings(threads=1, device="cpu", amp=False)


def table(folder: Path, count: int = 90, *, name: str = "labels.csv") -> Path:
    """Noise whose bright channels are its labels; a seventh of the pictures or so has none."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,label,burst"]
    for number in range(count):
        labels = random.random(3) < 0.5
        picture = random.integers(0, 60, (12, 12, 3)) + 140 * labels[::-1]
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:03d}.png")
        rows.append(f"{number:03d}.png,{';'.join(np.array(NAMES)[labels])},{number // 2}")
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle from the command line, with Mixup, class weights and a mirrored second look."""
    folder = tmp_path_factory.mktemp("runs") / "several"
    flags = [*FLAGS, "--epochs", "3", "--batch-size", "16", "--tta", "flip", "--seed", "2", "--lr", "0.02"]
    flags += ["--mixup", "0.2", "--class-weights", "balanced", "--val-fraction", "0.4", "--test-fraction", "0.2"]
    call("train", data, *flags, "--output", folder)
    return folder


def test_the_bundle_says_how_it_answers(run: Path) -> None:
    section = json.loads((run / "config.json").read_text())["sightline"]
    assert (section["format"], section["answer"]["kind"]) == (2, "multilabel")
    bundle = open_bundle(run)
    assert bundle.thresholds is not None and len(bundle.thresholds.values) == 3
    assert any(value != 0.5 for value in bundle.thresholds.values)  # 36 validation pictures are enough for some
    choices = {each["name"]: each for each in bundle.provenance["choices"]}
    assert choices["loss"]["value"] == "bce" and "several labels" in choices["loss"]["reason"]
    assert choices["smoothing"]["value"] == 0
    assert (run / "history.csv").read_text().splitlines()[0].endswith("train_micro_f1,val_loss,val_micro_f1")
    lock = json.loads((run / "data.lock.json").read_text())
    assert {row["label"].count(";") for row in lock["files"]} == {0, 1, 2}


def test_its_results_say_every_label(run: Path, data: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["kind"] == "multilabel" and metrics["mean_average_precision"]["value"] > 0.9
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with data.open(newline="") as file:
        truth = {row["path"]: row["label"] for row in csv.DictReader(file)}
    thresholds = open_bundle(run).thresholds
    assert thresholds is not None and len(rows) == metrics["num_samples"]
    for row in rows:
        assert row["true"] == truth[row["source"]]
        said = [name for name, least in zip(NAMES, thresholds.values, strict=True) if float(row[f"p:{name}"]) >= least]
        assert row["predicted"] == ";".join(said)
        assert row["is_correct"] == str(row["true"] == row["predicted"])
    per_class = list(csv.DictReader(io.StringIO((run / "per_class.csv").read_text())))
    assert [float(row["threshold"]) for row in per_class] == pytest.approx(thresholds.values, abs=1e-6)
    again = json.loads(call("evaluate", run, data, "--json"))
    assert {**again, "test_looks": 1} == metrics


def test_a_prediction_is_the_same_by_every_door(run: Path, data: Path) -> None:
    paths = [data.parent / f"{number:03d}.png" for number in range(6)]
    predictor = sl.load(run, device="cpu")
    answers = predictor.predict(paths)
    told = json.loads(call("predict", run, *paths, "--json", "--device", "cpu"))["predictions"]
    rows = list(csv.DictReader(io.StringIO(call("predict", run, *paths, "--csv", "--device", "cpu"))))
    for path, answer, spoken, row in zip(paths, answers, told, rows, strict=True):
        assert isinstance(answer, MultilabelPrediction)
        by_array = predictor.predict(np.asarray(Image.open(path)))
        assert isinstance(by_array, MultilabelPrediction)
        assert by_array.labels == answer.labels
        assert [(each["label"], each["probability"]) for each in spoken["labels"]] == list(answer.labels)
        assert row["labels"] == ";".join(label for label, _ in answer.labels)
        np.testing.assert_allclose(
            [float(each) for each in row["probabilities"].split(";") if each],
            [each for _, each in answer.labels],
            atol=1e-6,
        )
        assert len(answer.top) == 3
        assert [each for _, each in answer.top] == sorted(answer.probabilities.tolist(), reverse=True)
    shorter = predictor.predict(paths, top_k=1)  # what is said does not depend on how many are shown
    said = [each.labels for each in answers if isinstance(each, MultilabelPrediction)]
    assert [each.labels for each in shorter if isinstance(each, MultilabelPrediction)] == said
    assert max(map(len, said)) > 1


def test_a_picture_without_a_label_says_so(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (12, 12), (20, 30, 25)).save(tmp_path / "dark.png")
    assert "no label  (not: " in call("predict", run, tmp_path / "dark.png")


def test_a_table_with_one_label_in_each_row_is_scored_too(run: Path, data: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in data.read_text().splitlines()[1:]]
    singles = [f"{data.parent / path},{label}" for path, label, _ in rows if label and ";" not in label]
    (tmp_path / "one.csv").write_text("path,label\n" + "\n".join(singles) + "\n")
    result = sl.evaluate(run, tmp_path / "one.csv", split="all")
    assert [len(row.true) for row in result.rows] == [1] * len(singles)
    pixels = np.stack([np.asarray(Image.open(data.parent / path)) for path, *_ in rows])
    columns = np.array([[name in label.split(";") for name in NAMES] for _, label, _ in rows])
    by_array = sl.evaluate(run, (pixels, columns))
    assert by_array.metrics.num_samples == len(rows)


def test_a_bundle_of_one_class_refuses_several(data: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 12, 12, 3)).astype(np.uint8)
    catalog = sl.open_data((pixels, np.array(NAMES)[np.arange(30) % 3]))
    sl.train(
        catalog, model="simple_cnn", epochs=1, settings=QUICK, output=tmp_path / "one", console=Console(quiet=True)
    )
    assert open_bundle(tmp_path / "one").thresholds is None
    with pytest.raises(DataError, match=r"has several labels a picture, and the bundle .* names one class a picture"):
        sl.evaluate(tmp_path / "one", data)


def test_the_page_shows_labels_curves_and_counts(run: Path, data: Path) -> None:
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert not page.broken
    heading, *rows = page.rows("classes")
    assert heading[:4] == ["Label", "Pictures", "AP", "Threshold"]
    assert {row[0] for row in rows} == set(NAMES)
    assert "mean average precision" in page.text("headline")
    assert page.named("img")  # curves
    assert "Pictures have" in page.text("company")
    assert page.rows("data")[-1][0] == "Pictures"
    assert sum(int(cell) for cell in page.rows("data")[-1][1:4]) == 90
    labels = [line.split(",")[1].split(";") for line in data.read_text().splitlines()[1:]]
    for row in page.rows("data")[1:-1]:
        assert sum(int(cell) for cell in row[1:4]) == sum(row[0] in each for each in labels)


def test_the_onnx_graph_answers_with_the_same_labels(run: Path) -> None:
    import torch

    bundle = open_bundle(run)
    graph = PicturesToProbabilities(
        bundle.build_model(), bundle.preprocess, temperature=bundle.temperature, is_multilabel=True
    )
    pixels = np.random.default_rng(0).integers(0, 255, (4, 12, 12, 3)).astype(np.uint8)
    with torch.inference_mode():
        answers = graph(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(answers, sl.load(run, device="cpu").probabilities(pixels), atol=1e-6)
    assert bundle.thresholds is not None
    assert json.loads(metadata(bundle)["thresholds"]) == list(bundle.thresholds.values)


def test_a_label_that_crosses_its_threshold_is_a_flip() -> None:
    expected = np.array([[0.6, 0.1], [0.4, 0.9]], np.float32)
    answers = np.array([[0.4, 0.1], [0.4, 0.9]], np.float32)
    assert compare(answers, expected, "ab", "ab", thresholds=(0.5, 0.5)).flips == 1
    assert (
        compare(answers, expected, "ab", "ab", thresholds=(0.3, 0.5)).flips == 0
    )  # the most probable one plays no part
    assert compare(expected, expected, "ba", "ab", thresholds=(0.5, 0.5)).flips == 2
    assert closest_call(expected, (0.5, 0.85)) == pytest.approx(0.05)


def test_a_smoke_run_and_a_preview_take_several_labels(data: Path, tmp_path: Path) -> None:
    call("train", data, "--smoke", "--threads", "1", "--model", "simple_cnn", "--output", tmp_path / "smoke")
    assert open_bundle(tmp_path / "smoke").thresholds is not None
    assert "loss" in call("train", data, "--dry-run", "--threads", "1")
    call("data", "preview", data, "--output", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"loss": "cross_entropy"}, r"loss is cross_entropy, .* Take --loss bce"),
        ({"sampler": "balanced"}, r"sampler is balanced, .* Take --class-weights balanced"),
    ],
)
def test_what_has_no_meaning_for_several_labels_is_refused(data: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(data, sl.Settings(threads=1, device="cpu", **asked), Console(quiet=True))


def test_every_other_way_of_weighing_and_mixing_is_planned(data: Path) -> None:
    settings = sl.Settings(
        threads=1, device="cpu", loss="focal", class_weights="effective", cutmix=1.0, smoothing=0.1, tta="flip"
    )
    plan = prepare(data, settings, Console(quiet=True)).plan
    assert (plan.options.loss, plan.options.smoothing, plan.tta) == ("focal", 0.1, "flip")
    assert plan.mix == Mix(cutmix=1.0)
    assert plan.options.class_weights is not None and len(plan.options.class_weights) == 3


def test_a_bad_picture_is_left_out_and_listed(tmp_path: Path) -> None:
    path = table(tmp_path / "broken")
    (tmp_path / "broken" / "007.png").write_bytes(b"no picture")
    call("train", path, *FLAGS, "--epochs", "1", "--skip-bad", "--output", tmp_path / "run")
    lock = json.loads((tmp_path / "run" / "data.lock.json").read_text())
    assert [row["path"] for row in lock["skipped"]] == ["007.png"]
    assert "007.png" not in {row["path"] for row in lock["files"]}


def test_groups_and_folds_hold_with_several_labels(data: Path) -> None:
    tested: list[str] = []
    for fold in range(3):
        settings = sl.Settings(threads=1, folds=3, fold=fold, group_by="burst")
        catalog, notes = open_split(data, settings, Console(quiet=True))
        tested += [catalog.images.name(index) for index in catalog.select("test")]
        assert catalog.groups is not None
        for group in np.unique(catalog.groups):
            assert len(np.unique(catalog.splits[catalog.groups == group])) == 1
        assert any("A picture may have several labels" in note for note in notes)
    assert sorted(tested) == [f"{number:03d}.png" for number in range(90)]


def test_without_validation_pictures_every_threshold_is_one_half_and_that_is_said(data: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    sl.train(
        data,
        model="simple_cnn",
        epochs=1,
        settings=sl.Settings(threads=1, device="cpu", amp=False, val_fraction=0.0),
        output=tmp_path / "run",
        console=Console(file=text, width=400),
    )
    thresholds = open_bundle(tmp_path / "run").thresholds
    assert thresholds is not None and thresholds.values == (0.5,) * 3
    assert "Every threshold is 0.5: there are no validation pictures" in text.getvalue()
