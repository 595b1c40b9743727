"""Scoring a bundle on labelled pictures: every picture once, nothing padded, each look at the test split counted."""

import contextlib
import csv
import datetime
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sightline.atomic import write_text
from sightline.data.catalog import SPLITS, Catalog, Problem
from sightline.data.loader import EvalLoader
from sightline.data.sources import Arrays, open_data
from sightline.data.split import assign_splits
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError, nearest
from sightline.metrics import Metrics, score
from sightline.predict import Predictor, load
from sightline.progress import Count

LOOKS = "test_looks.csv"


@dataclass(frozen=True)
class Scored:
    """One picture's answer beside its truth."""

    source: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    is_correct: bool


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        metrics: the scores.
        rows: every picture's answer, in the order of the data.
        skipped: pictures left out, with reasons.
        notes: sentences about what was scored, and why that.
        temperature: by which the logits were divided.
        test_looks: how often this bundle was scored on its own test split, this time included; 0 for another split.
    """

    metrics: Metrics
    rows: tuple[Scored, ...]
    skipped: tuple[Problem, ...]
    notes: tuple[str, ...]
    temperature: float
    test_looks: int

    def __str__(self) -> str:
        looks = [f"  looks at the test split so far: {self.test_looks}"] if self.test_looks else []
        skipped = [f"  left out: {problem}" for problem in self.skipped]
        return "\n".join([str(self.metrics), *looks, *skipped, *(f"  {note}" for note in self.notes)])


def evaluate(
    bundle: str | Path | Predictor,
    data: str | Path | Catalog | Arrays,
    *,
    split: str | None = None,
    batch_size: int = 256,
    skip_bad: bool = False,
    progress: Count | None = None,
) -> Evaluation:
    """Scores a bundle on labelled pictures.

    A folder that was split by the training is split in the same way again, so that training pictures are not taken for
    test pictures.

    Args:
        bundle: a bundle's folder, or one that is loaded.
        data: a folder, the name of a known set, a catalog, or (images, labels) arrays. Its classes are matched by name.
        split: "train", "val", "test" or "all"; None takes test, else val, else all.
        batch_size: pictures at a time; changes no score.
        skip_bad: leave out pictures that cannot be read, listed, instead of raising.
        progress: told how many pictures are decoded.

    Raises:
        DataError: the data has a class that the bundle does not know, the split is empty, or pictures cannot be read.
        ConfigError: there is no such split.
        BundleError: there is no bundle, or it is damaged.
    """
    predictor = bundle if isinstance(bundle, Predictor) else load(bundle)
    channels = predictor.bundle.preprocess.channels
    catalog = data if isinstance(data, Catalog) else _as_trained(open_data(data, channels=channels), predictor)
    to_ours = _class_numbers(catalog, predictor)
    name, indices, why = _select(catalog, split)
    store, skipped = Store.build(
        catalog,
        indices,
        preprocess=predictor.bundle.preprocess,
        keep_margin=None,
        threads=torch.get_num_threads(),
        skip_bad=skip_bad,
        progress=progress,
    )
    loader = EvalLoader(store, predictor.bundle.preprocess, batch_size=batch_size, device=predictor.device)
    with torch.inference_mode():
        probabilities = np.concatenate([_probabilities(predictor, batch.images) for batch in loader])
    labels = to_ours[store.labels.numpy()]
    own_test = name == "test" and _is_own_data(catalog, predictor)
    return Evaluation(
        metrics=score(probabilities, labels, classes=predictor.classes, split=name),
        rows=_rows(catalog, store, labels, probabilities, predictor.classes),
        skipped=tuple(skipped),
        notes=(why, *_missing_classes(catalog, indices, predictor)),
        temperature=predictor.bundle.temperature,
        test_looks=_count_look(predictor.path) if own_test else 0,
    )


def write_results(folder: str | Path, result: Evaluation) -> None:
    """Writes metrics.json, per_class.csv, predictions.csv and calibration.json, each whole or not at all.

    Args:
        folder: must exist.
        result: what `evaluate` found.
    """
    folder = Path(folder)
    metrics = result.metrics
    summary = {**metrics.to_dict(), "test_looks": result.test_looks, "skipped": [vars(p) for p in result.skipped]}
    write_text(folder / "metrics.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "per_class.csv", _per_class_csv(metrics))
    columns = ["source", "true", "predicted", "probability", "true_probability", "is_correct"]
    table = [[getattr(row, column) for column in columns] for row in result.rows]
    write_text(folder / "predictions.csv", _csv(columns, table))
    calibration = {
        "split": metrics.split,
        "temperature": result.temperature,
        "ece": metrics.ece,
        "bins": [{**vars(each), "accuracy": each.accuracy and vars(each.accuracy)} for each in metrics.bins],
    }
    write_text(folder / "calibration.json", json.dumps(calibration, indent=1) + "\n")


def _probabilities(predictor: Predictor, images: torch.Tensor) -> npt.NDArray[np.float32]:
    logits = predictor.net(images)
    answer: npt.NDArray[np.float32] = torch.softmax(logits / predictor.bundle.temperature, dim=1).cpu().numpy()
    return answer


def _as_trained(catalog: Catalog, predictor: Predictor) -> Catalog:
    """The run's own data with the run's own splits; other data as it is."""
    if not _is_own_data(catalog, predictor):
        return catalog
    record = predictor.bundle.provenance["data"]
    fractions = {name: record[name] for name in ("val_fraction", "test_fraction")}
    return assign_splits(catalog, **fractions, seed=record["seed"])[0]


def _is_own_data(catalog: Catalog, predictor: Predictor) -> bool:
    """Whether this is the data that the bundle was trained on: the same known set, or the same folder."""
    record: dict[str, Any] = dict(predictor.bundle.provenance.get("data", {}))
    if record.get("name") != catalog.name:
        return False
    source = record.get("source")
    if source is None or catalog.root is None:
        return source is None and catalog.root is None
    return source == catalog.name or Path(source).resolve() == catalog.root.resolve()


def _class_numbers(catalog: Catalog, predictor: Predictor) -> npt.NDArray[np.int64]:
    """The bundle's number for each class of the data; classes are matched by name."""
    ours = {name: number for number, name in enumerate(predictor.classes)}
    unknown = [name for name in catalog.classes if name not in ours]
    if unknown:
        raise DataError(
            f"the data has classes that the bundle {predictor.path} does not know: {', '.join(unknown[:10])}. "
            f"The bundle's classes: {', '.join(predictor.classes[:20])}. Rename the folders, or train on this data."
        )
    return np.array([ours[name] for name in catalog.classes], dtype=np.int64)


def _select(catalog: Catalog, split: str | None) -> tuple[str, npt.NDArray[np.int64], str]:
    """The split's name, its pictures, and the reason for it."""
    everything = np.arange(len(catalog), dtype=np.int64)
    if split is None:
        for name in ("test", "val"):
            if len(found := catalog.select(name)):
                return (
                    name,
                    found,
                    f"scored on {name}: " + ("the data has it" if name == "test" else "there is no test split"),
                )
        return "all", everything, "scored on all pictures: the data has no splits"
    if split == "all":
        return "all", everything, "scored on all pictures: as asked"
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}.{nearest(split, [*SPLITS[:3], 'all'])}")
    if not len(found := catalog.select(split)):
        raise DataError(f"{catalog.name} has no pictures in the split {split}. Choose another --split.")
    return split, found, f"scored on {split}: as asked"


def _missing_classes(catalog: Catalog, indices: npt.NDArray[np.int64], predictor: Predictor) -> list[str]:
    present = {catalog.classes[label] for label in np.unique(catalog.labels[indices])}
    missing = [name for name in predictor.classes if name not in present]
    return [f"no pictures of: {', '.join(missing)}"] if missing else []


def _rows(
    catalog: Catalog,
    store: Store,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    classes: Sequence[str],
) -> tuple[Scored, ...]:
    predicted = probabilities.argmax(axis=1)
    return tuple(
        Scored(
            source=catalog.images.name(int(store.sources[row])),
            true=classes[true],
            predicted=classes[answer],
            probability=float(probabilities[row, answer]),
            true_probability=float(probabilities[row, true]),
            is_correct=bool(true == answer),
        )
        for row, (true, answer) in enumerate(zip(labels, predicted, strict=True))
    )


def _count_look(folder: Path) -> int:
    """Adds a line to the bundle's log of looks at its test split; a read-only bundle keeps its count."""
    path = folder / LOOKS
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(f"{now}\n")
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 1


def _per_class_csv(metrics: Metrics) -> str:
    columns = ["class", "support", "predicted", "precision", "precision_low", "precision_high"]
    columns += ["recall", "recall_low", "recall_high", "f1"]
    table = []
    for row in metrics.per_class:
        shares = [[s.value, s.low, s.high] if s is not None else ["", "", ""] for s in (row.precision, row.recall)]
        table.append([row.name, row.support, row.predicted, *shares[0], *shares[1], "" if row.f1 is None else row.f1])
    return _csv(columns, table)


def _csv(columns: Sequence[str], table: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(table)
    return text.getvalue()
