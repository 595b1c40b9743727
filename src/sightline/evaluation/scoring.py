"""From a bundle and labelled pictures to scores."""

import contextlib
import csv
import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sightline import metrics
from sightline.bundle import Bundle
from sightline.data.catalog import SPLITS, ArrayImages, Catalog, listed
from sightline.data.loader import EvalLoader
from sightline.data.sources import Arrays, Data, open_data
from sightline.data.store import Store
from sightline.errors import DataError
from sightline.evaluation.results import Evaluation, Scored, ScoredLabels
from sightline.evaluation.selection import Selection, TrainingData, select
from sightline.predict import Predictor, load
from sightline.progress import Count

LOOKS = "test_looks.csv"
_SHOWN = 20  # class names that a message lists


def evaluate(
    bundle: str | Path | Predictor,
    data: Data,
    *,
    split: str | None = None,
    batch_size: int = 256,
    skip_bad: bool = False,
    threads: int | None = None,
    progress: Count | None = None,
    cache: bool | None = None,
) -> Evaluation:
    """Scores a bundle on labelled pictures.

    Where the data is that of the training - judged by content, with the bundle's `data.lock.json` - it has the
    training's splits again, so that no picture that was learned from is taken for a test picture.

    Args:
        bundle: a bundle's folder, or one that is loaded.
        data: a folder, the name of a known set, (images, labels) arrays, or a catalog, whose splits are taken as they
            are. Classes are matched by name; labels that are numbers are the bundle's class numbers.
        split: "train", "val", "test", "unassigned" or "all"; None takes test, else val, else all.
        batch_size: pictures at a time; changes no score.
        skip_bad: leave out pictures that cannot be read, listed, instead of raising.
        threads: how many decode at once; None for as many as torch computes with.
        progress: told how many pictures are decoded.
        cache: keep decoded pictures on disk for later, and take those that are there; None where it saves time.

    Returns:
        Scores, answers, and what was left out. Nothing is written but one line in the bundle's `test_looks.csv` when it
        was scored on its own test split; `write_results` writes the rest.

    Raises:
        DataError: the data has a class that the bundle does not know, the split is empty, or pictures cannot be read.
        ConfigError: there is no such split, or the batch size is below 1.
        BundleError: there is no bundle, or it is damaged.
    """
    predictor = bundle if isinstance(bundle, Predictor) else load(bundle)
    threads = threads or torch.get_num_threads()
    training = TrainingData(predictor.bundle)
    catalog = data if isinstance(data, Catalog) else _open(data, predictor)
    _require_readable(catalog, skip_bad=skip_bad)
    catalog = _with_classes_of(
        predictor, catalog
    )  # first, as the order of the classes has a part in the draw of splits
    is_own = training.is_of(catalog)
    if is_own and not isinstance(data, Catalog):
        catalog = replace(catalog, splits=training.splits_of(catalog))
    selection = select(catalog, split)
    store, skipped = Store.build(
        catalog,
        selection.indices,
        preprocess=predictor.bundle.preprocess,
        keep_margin=None,
        threads=threads,
        skip_bad=skip_bad,
        progress=progress,
        cache=cache,
        stream=None,
    )
    loader = EvalLoader(store, predictor.bundle.preprocess, batch_size=batch_size, device=predictor.device)
    logits = np.concatenate([predictor.logits(batch.images) for batch in loader])
    scores = _measured(predictor.bundle, logits, store, selection.split)
    if isinstance(catalog.images, ArrayImages):
        num_learned = int((catalog.splits[selection.indices] == SPLITS.index("train")).sum()) if is_own else 0
    else:
        num_learned = training.num_trained_on(catalog, selection.indices, threads=threads)
    return Evaluation(
        metrics=scores,
        rows=_rows(predictor.bundle, store, predictor.bundle.probabilities(logits)),
        skipped=(*catalog.problems, *skipped),
        notes=(
            *selection.notes,
            *_learned(selection, num_learned),
            *_absent(scores),
            *(predictor.bundle.thresholds.notes if predictor.bundle.thresholds else ()),
        ),
        test_looks=_count_look(predictor.path) if is_own and selection.split == "test" else 0,
    )


def _open(data: Data, predictor: Predictor) -> Catalog:
    if isinstance(data, tuple):
        data = _with_names(data, predictor.classes)
    catalog = open_data(data, channels=predictor.bundle.preprocess.channels)
    if isinstance(data, tuple) and catalog.is_multilabel and len(catalog.classes) == len(predictor.classes):
        return replace(catalog, classes=predictor.classes)  # the columns are the bundle's class numbers
    return catalog


def _with_names(arrays: Arrays, classes: tuple[str, ...]) -> Arrays:
    """Labels that are the bundle's class numbers, as its class names; anything else as it is."""
    images, labels = arrays
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.ndim != 1 or not labels.size:
        return arrays
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, and the bundle has {len(classes)} classes: they must "
            f"be 0 to {len(classes) - 1}, or names."
        )
    is_numbered = classes == tuple(str(number) for number in range(len(classes)))
    if is_numbered and len(np.unique(labels)) == len(classes):
        return arrays  # opened as for the training, whose order of the classes decides its splits
    return images, np.array(classes)[labels]


def _require_readable(catalog: Catalog, *, skip_bad: bool) -> None:
    if catalog.problems and not skip_bad:
        raise DataError(
            f"{len(catalog.problems)} parts of {catalog.name} cannot be used:\n{listed(catalog.problems)}\n"
            "Repair or remove them, or leave them out with --skip-bad (skip_bad=True), which lists them."
        )


def _with_classes_of(predictor: Predictor, catalog: Catalog) -> Catalog:
    """The same pictures, their labels numbered as the bundle's classes are; matched by name."""
    numbers = {name: number for number, name in enumerate(predictor.classes)}
    unknown = [name for name in catalog.classes if name not in numbers]
    if unknown:
        raise DataError(
            f"{catalog.name} has {'a class' if len(unknown) == 1 else 'classes'} that the bundle {predictor.path} does "
            f"not know: {_names(unknown)}. The bundle's classes: {_names(predictor.classes)}. Those of the data: "
            f"{_names(catalog.classes)}. Rename the folders, or train on this data."
        )
    lookup = np.array([numbers[name] for name in catalog.classes], np.int64)
    if not predictor.bundle.is_multilabel:
        _require_one_class(predictor, catalog)
        return replace(catalog, classes=predictor.classes, labels=lookup[catalog.class_numbers])
    labels = np.zeros((len(catalog), len(predictor.classes)), np.uint8)
    if catalog.is_multilabel:
        labels[:, lookup] = catalog.labels
    else:  # where each row of a table happens to have one, or a folder a class: those, and no others
        labels[np.arange(len(catalog)), lookup[catalog.class_numbers]] = 1
    return replace(catalog, classes=predictor.classes, labels=labels)


def _require_one_class(predictor: Predictor, catalog: Catalog) -> None:
    if catalog.is_multilabel:
        raise DataError(
            f"{catalog.name} has several labels a picture, and the bundle {predictor.path} names one class a picture. "
            "Score it on data with one label in each row, or train a bundle on this data."
        )


def _names(classes: Sequence[str]) -> str:
    more = f", ... ({len(classes)} in all)" if len(classes) > _SHOWN else ""
    return ", ".join(classes[:_SHOWN]) + more


def _measured(
    bundle: Bundle, logits: npt.NDArray[np.float32], store: Store, split: str
) -> metrics.Metrics | metrics.MultilabelMetrics:
    labels = store.labels.numpy()
    if bundle.thresholds is None:
        return metrics.measure(logits, labels, bundle.classes, split=split, temperature=bundle.temperature)
    return metrics.measure_multilabel(
        logits,
        labels,
        bundle.classes,
        split=split,
        thresholds=bundle.thresholds.values,
        temperature=bundle.temperature,
    )


def _rows(
    bundle: Bundle, store: Store, probabilities: npt.NDArray[np.float32]
) -> tuple[Scored, ...] | tuple[ScoredLabels, ...]:
    if bundle.is_multilabel:
        return _rows_of_labels(bundle, store, probabilities)
    return tuple(
        Scored(
            source=store.name(row),
            true=bundle.classes[true],
            predicted=bundle.classes[answer],
            probability=float(probabilities[row, answer]),
            true_probability=float(probabilities[row, true]),
            is_correct=true == answer,
        )
        for row, (true, answer) in enumerate(
            zip(store.labels.tolist(), probabilities.argmax(axis=1).tolist(), strict=True)
        )
    )


def _rows_of_labels(bundle: Bundle, store: Store, probabilities: npt.NDArray[np.float32]) -> tuple[ScoredLabels, ...]:
    said, truth = bundle.labels_of(probabilities), store.labels.numpy() > 0
    names = np.array(bundle.classes, object)
    return tuple(
        ScoredLabels(
            source=store.name(row),
            true=tuple(names[truth[row]]),
            predicted=tuple(names[said[row]]),
            probabilities=tuple(probabilities[row].tolist()),
            is_correct=bool((said[row] == truth[row]).all()),
        )
        for row in range(len(store))
    )


def _learned(selection: Selection, count: int) -> list[str]:
    """What is said where the network has seen the pictures before."""
    if not count:
        return []
    return [
        f"{count:,} of these {len(selection.indices):,} pictures are training pictures of this bundle, by their "
        "content: the score flatters."
    ]


def _absent(scores: metrics.Metrics | metrics.MultilabelMetrics) -> list[str]:
    absent = [each.name for each in scores.per_class if not each.support]
    return (
        [f"No pictures of {_names(absent)}: nothing is said about {'it' if len(absent) == 1 else 'them'}."]
        if absent
        else []
    )


def _count_look(folder: Path) -> int:
    """Adds a line to the bundle's log of looks at its test split; a bundle that cannot be written keeps its count."""
    path = folder / LOOKS
    looks = 0
    with contextlib.suppress(OSError):
        looks = max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1)
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8", newline="") as file:
        if file.tell() == 0:
            csv.writer(file, lineterminator="\n").writerow(["looked_at"])
        file.write(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds") + "\n")
    return looks + 1
