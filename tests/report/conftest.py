"""Folders of bundles whose every answer is known."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.data.catalog import Problem
from sightline.evaluation import Evaluation, Scored, write_results
from sightline.metrics import measure
from sightline.training.events import write_history
from sightline.training.state import HistoryRow
from tests.bundles import tiny_bundle

Answer = tuple[str, str, float]  # true class, answer, stated probability
MakeRun = Callable[..., Path]

# 100 pictures, 90 of them right; the surest mistake is stated with 0.97
ANSWERS: list[Answer] = [
    *[("cat", "cat", 0.95)] * 45,
    *[("cat", "dog", 0.61 + 0.01 * number) for number in range(4)],
    ("cat", "bird", 0.97),
    *[("dog", "dog", 0.85)] * 27,
    *[("dog", "cat", 0.55)] * 3,
    *[("bird", "bird", 0.75)] * 18,
    *[("bird", "dog", 0.7)] * 2,
]
CLASSES = ("cat", "dog", "bird")


def history(count: int, *, val: bool = True) -> list[HistoryRow]:
    """Epochs in which everything gets better, training and validation alike."""
    return [
        HistoryRow(
            epoch=epoch,
            step=epoch * 10,
            learning_rate=0.1 / epoch,
            train_loss=1 / epoch,
            train_score=1 - 0.5 / epoch,
            val_loss=1.1 / epoch if val else None,
            val_score=1 - 0.52 / epoch if val else None,
        )
        for epoch in range(1, count + 1)
    ]


def lock_files(answers: Sequence[Answer]) -> list[dict[str, str]]:
    """Files of a data lock: those of the answers as the test split, and three times as many to train on."""
    return [
        {"path": f"{true}/{number:03d}-{copy}.png", "split": split, "label": true, "sha256": f"{number}-{copy}"}
        for number, (true, _, _) in enumerate(answers)
        for copy, split in enumerate(("test", "train", "train", "train"))
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(): the folder of a finished run with every file that the report reads."""

    def make(
        name: str = "photos-simple_cnn",
        *,
        answers: Sequence[Answer] = ANSWERS,
        classes: tuple[str, ...] = CLASSES,
        split: str = "test",
        rows: Sequence[HistoryRow] | None = None,
        refused: Sequence[Problem] = (),
        files: Sequence[Mapping[str, str]] | None = None,
        temperature: float = 1.25,
        test_looks: int = 1,
        provenance: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Path:
        folder = tiny_bundle(
            tmp_path / name,
            classes=classes,
            temperature=temperature,
            provenance=PROVENANCE if provenance is None else provenance,
        )
        write_history(folder / "history.csv", history(6) if rows is None else rows)
        timing = "epoch,images_per_s,data_s,forward_s,backward_s,step_s,saving_s,validation_s\n"
        lines = [f"{epoch},{100 * epoch}.0,1.0,2.0,3.0,0.5,0.5,3.0\n" for epoch in (1, 2, 3)]
        (folder / "timing.csv").write_text(timing + "".join(lines))
        write_results(folder, _evaluation(answers, classes, split, refused, temperature, test_looks, notes))
        lock = {"version": 1, "name": "photos", "classes": list(classes), "splits": {}}
        lock["files"] = list(lock_files(answers) if files is None else files)
        lock["skipped"] = [vars(problem) for problem in refused]
        (folder / "data.lock.json").write_text(json.dumps(lock))
        return folder

    return make


PROVENANCE: Mapping[str, Any] = {
    "created": "2026-11-21T14:11:03+00:00",
    "command": "sightline train photos/ --epochs 6",
    "seed": 17,
    "versions": {"sightline": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "processor": "Abacus 9000", "cores": "2"},
    "runtime": {
        "device": "cpu",
        "precision": "bfloat16",
        "threads": 2,
        "reasons": ["bfloat16 autocast: this CPU multiplies bfloat16 in hardware"],
    },
    "options": {"epochs": 6, "batch_size": 32, "lr": 0.001, "opt": "adamw", "weight_decay": 0.05},
    "choices": [
        {"name": "lr", "value": 0.001, "reason": "the usual rate of Adam"},
        {"name": "scale", "value": [0.35, 1.0], "reason": "as asked"},
    ],
    "data": {"name": "photos", "source": "my photos/", "counts": None},
    "training": {"epochs": 6, "steps": 60, "parameters": 94986},
}


def _evaluation(
    answers: Sequence[Answer],
    classes: tuple[str, ...],
    split: str,
    refused: Sequence[Problem],
    temperature: float,
    test_looks: int,
    notes: tuple[str, ...],
) -> Evaluation:
    labels = np.array([classes.index(true) for true, _, _ in answers])
    stated = np.empty((len(answers), len(classes)))
    for row, (_, predicted, probability) in zip(stated, answers, strict=True):
        row[:] = (1 - probability) / (len(classes) - 1)
        row[classes.index(predicted)] = probability
    metrics = measure(np.log(stated) * temperature, labels, classes, split=split, temperature=temperature)
    rows = tuple(
        Scored(f"{true}/{number:03d}-0.png", true, predicted, probability, 0.0, true == predicted)
        for number, (true, predicted, probability) in enumerate(answers)
    )
    return Evaluation(metrics=metrics, rows=rows, skipped=tuple(refused), notes=notes, test_looks=test_looks)
