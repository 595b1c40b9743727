"""What trained weights are worth before the training, on the pictures as a prediction sees them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sightline.data.loader import EvalLoader
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.data.targets import is_multilabel
from sightline.evaluation.baselines import Baseline, baselines
from sightline.metrics import Interval
from sightline.models.base import Classifier
from sightline.pretrained import Source
from sightline.pretrained.normalisation import MOST_PICTURES, check_normalisation
from sightline.progress import say
from sightline.recipes.folder import RunFile, write_run
from sightline.runtime import Runtime
from sightline.training.state import TrainState

MOST = 2000  # training pictures behind the baselines, so that they stay a matter of seconds


def look_at_weights(
    folder: Path,
    run: RunFile,
    net: Classifier,
    weights: Source,
    train_store: Store,
    val_store: Store | None,
    runtime: Runtime,
    console: Console,
) -> RunFile:
    """Says what the weights are worth as they are, and whether they fit the pictures; notes it in `run.json`.

    Args:
        folder: of the run.
        run: what it is.
        net: with the weights.
        weights: where they are from.
        train_store: the training pictures.
        val_store: the validation pictures; None where there are none.
        runtime: where to compute.
        console: where it is said.

    Returns:
        The run, with the baselines.
    """
    preprocess = run.plan.preprocess
    if weights.preprocess is None or run.settings.mean is not None or run.settings.std is not None:
        _say_if_normalised_wrongly(net, train_store, preprocess, console)
    if val_store is None:
        return run
    if is_multilabel(train_store.labels):
        say(console, "  no baselines: nearest neighbours and the linear probe name one class a picture, not several")
        return run
    run = dataclasses.replace(run, baselines=frozen_baselines(net, train_store, val_store, preprocess, runtime))
    write_run(folder, run)
    say_baselines(console, run)
    return run


def say_baselines(console: Console, run: RunFile, state: TrainState | None = None) -> None:
    """Says what simple classifiers on the frozen features reach, beside the trained network where there is one.

    Args:
        console: where it is said.
        run: with the baselines, or without any.
        state: at the end of the training; None before it.
    """
    if run.baselines is None:
        return
    lines = [
        f"{each['method']} ({each['setting']}) on {each['num_train']:,} pictures' features: "
        + str(Interval(each["accuracy"], each["low"], each["high"]))
        for each in run.baselines
    ]
    if state is None:
        lines.insert(0, f"the weights as they are, on {run.baselines[0]['num_val']:,} validation pictures:")
    else:
        accuracy = state.final_row.val_score
        lines.insert(0, f"on the validation pictures the network has {accuracy:.1%}; its weights before the training:")
        best = max(each["accuracy"] for each in run.baselines)
        if accuracy is not None and accuracy < best:
            lines.append(
                "the training has not paid: a simpler classifier on the weights as they were is right more often. "
                "Train longer (--epochs), or the head alone (--head-epochs as many as --epochs)"
            )
    say(console, "\n  ".join(lines))


def _say_if_normalised_wrongly(net: Classifier, store: Store, preprocess: Preprocess, console: Console) -> None:
    """Warns where the statistics in the weights do not fit the normalisation.

    Args:
        net: with trained weights.
        store: the training pictures.
        preprocess: with the normalisation in question.
        console: where the warning goes.
    """
    pictures = as_predicted(store, preprocess, most=MOST_PICTURES)
    finding = check_normalisation(net, pictures.take(torch.arange(len(pictures))), preprocess)
    if finding is not None:
        say(console, f"  warning: {finding}")


def frozen_baselines(
    net: Classifier, train: Store, val: Store, preprocess: Preprocess, runtime: Runtime
) -> list[dict[str, Any]]:
    """Nearest neighbours and a linear probe on the weights' features, scored on the validation pictures.

    Args:
        net: with trained weights.
        train: the training pictures; at most 2,000 of them are looked at, evenly spaced.
        val: the validation pictures.
        preprocess: of the network.
        runtime: where to compute.

    Returns:
        A row each: method, setting, training pictures, accuracy and its interval; as JSON knows them.
    """
    net.to(runtime.device)
    learned = as_predicted(train, preprocess, most=MOST)
    loaders = [EvalLoader(store, preprocess, batch_size=64, device=runtime.device) for store in (learned, val)]
    return [_row(each) for each in baselines(net, loaders[0], {"val": loaders[1]})]


def as_predicted(store: Store, preprocess: Preprocess, *, most: int) -> Store:
    """Some pictures of a store at the network's size, as a prediction makes them.

    Those that are kept larger, for random crops, are shrunk from what is kept.

    Args:
        store: the pictures.
        preprocess: of the network.
        most: how many at most, evenly spaced.
    """
    rows = torch.arange(len(store))[:: max(1, -(-len(store) // most))]
    if store.is_ragged:
        pictures = torch.from_numpy(np.stack([preprocess.picture(store.picture(row).numpy()) for row in rows.tolist()]))
    else:
        pictures = store.take(rows)
    return dataclasses.replace(store, pictures=pictures, labels=store.labels[rows], sources=store.sources[rows.numpy()])


def _row(baseline: Baseline) -> dict[str, Any]:
    score = baseline.scores["val"]
    return {
        "method": baseline.method,
        "setting": baseline.setting,
        "num_train": baseline.num_train,
        "num_val": len(baseline.answers["val"]),
        "accuracy": score.value,
        "low": score.low,
        "high": score.high,
    }
