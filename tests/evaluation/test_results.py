"""The files of an evaluation, read back by the standard library."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.data.catalog import Problem
from sightline.errors import BundleError
from sightline.evaluation import Evaluation, Scored, evaluate, write_results
from sightline.metrics import measure
from tests.bundles import CLASSES

ODD = os.fsdecode(b"caf\xe9.png")  # a name of other bytes than UTF-8


@pytest.fixture
def result(photos: Path, train_on: Callable[..., Path]) -> Evaluation:
    bundle = train_on(photos)
    return evaluate(bundle, photos)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files_hold_what_was_found(result: Evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet" / "there"
    write_results(folder, result)
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json",
        "metrics.json",
        "per_class.csv",
        "predictions.csv",
    ]
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert told == json.loads(json.dumps(result.to_dict()))
    assert told["split"] == "test"
    assert told["test_looks"] == 1
    assert told["top1"]["value"] == result.metrics.top1.value
    assert told["notes"] == list(result.notes)

    predictions = rows_of(folder / "predictions.csv")
    assert [row["source"] for row in predictions] == [row.source for row in result.rows]
    for written, row in zip(predictions, result.rows, strict=True):
        assert (written["true"], written["predicted"], written["is_correct"]) == (
            row.true,
            row.predicted,
            str(row.is_correct),
        )
        assert float(written["probability"]) == pytest.approx(row.probability, abs=1e-7)
        assert float(written["true_probability"]) == pytest.approx(row.true_probability, abs=1e-7)

    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert calibration["temperature"] == 1.4
    assert calibration["ece"] == pytest.approx(
        sum(each["count"] * abs(each["accuracy"]["value"] - each["confidence"]) for each in calibration["bins"])
        / sum(each["count"] for each in calibration["bins"])
    )


def scored(labels: list[int], answers: list[int]) -> Evaluation:
    """Scores of two classes out of seven."""
    metrics = measure(np.eye(7)[answers] * 3, np.array(labels), CLASSES, split="all")
    rows = tuple(
        Scored("a,\n.png", CLASSES[true], CLASSES[answer], 0.75, 0.25, true == answer)
        for true, answer in zip(labels, answers, strict=True)
    )
    return Evaluation(metrics, rows, (Problem("x.png", "the file is empty"),), ("A note.",), 0)


def test_per_class_csv_has_empty_cells_where_a_figure_is_not_defined(tmp_path: Path) -> None:
    write_results(tmp_path, scored([0, 0, 1, 1], [0, 2, 1, 1]))
    ant, bee, cat, dog, *_ = rows_of(tmp_path / "per_class.csv")
    assert list(ant) == [
        *("class", "support", "predicted", "precision", "precision_low", "precision_high"),
        *("recall", "recall_low", "recall_high", "f1", "f1_low", "f1_high"),
    ]
    assert (ant["class"], ant["support"], ant["predicted"], ant["precision"], ant["recall"]) == (
        *("ant", "2", "1", "1.000000", "0.500000"),
    )
    assert float(ant["f1"]) == pytest.approx(2 / 3, abs=1e-6)
    assert (bee["f1"], bee["f1_high"]) == ("1.000000", "1.000000")
    assert (cat["precision"], cat["recall"], cat["f1"]) == ("0.000000", "", "0.000000")
    assert (dog["precision"], dog["recall"], dog["f1"], dog["f1_low"]) == ("", "", "", "")


def test_names_of_any_kind_survive_the_files(tmp_path: Path) -> None:
    result = scored([0], [0])
    odd = replace(result.rows[0], source=ODD)
    write_results(tmp_path, replace(result, rows=(*result.rows, odd), skipped=(Problem(ODD, "is odd"),)))
    assert [row["source"] for row in rows_of(tmp_path / "predictions.csv")] == ["a,\n.png", "caf\\udce9.png"]
    told = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert told["skipped"] == [{"path": ODD, "reason": "is odd"}]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        BundleError, match=r"cannot write the results into .*file.*: .+\. Free space or choose another --output"
    ):
        write_results(tmp_path / "file" / "folder", scored([0], [0]))


def test_text_says_what_must_be_known_beside_the_scores() -> None:
    lines = str(replace(scored([0, 1], [0, 0]), test_looks=3)).splitlines()
    assert lines[0] == "2 pictures (all)"
    assert lines[-3:] == ["A note.", "This was look number 3 at the test split.", "left out: x.png: the file is empty"]
