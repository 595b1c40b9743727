"""Who judges labels: a bundle, a probe on trained features, or quick networks; the cheapest that works."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sightline import metrics
from sightline.data.loader import Batch, EvalLoader
from sightline.data.measure import Measures
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.evaluation.features import features
from sightline.evaluation.out_of_fold import probe_out_of_fold
from sightline.evaluation.selection import TrainingData
from sightline.predict import Predictor, load
from sightline.predict.precision import full_float32
from sightline.progress import Count
from sightline.recipes.beginning import first_network, weights_to_begin_with
from sightline.recipes.plan import make_plan
from sightline.recipes.settings import Settings
from sightline.recipes.suspect_folds import Judged
from sightline.recipes.suspect_training import network_out_of_fold, quick_plan, seconds_of_networks
from sightline.runtime import Runtime

FEW, MANY = 5, 3  # folds: of few pictures each one counts, of many more networks only cost time
MANY_FROM = 5_000  # pictures
_CHUNK = 256  # pictures decoded at a time
_AT_ONCE = 64
_TRIAL = 8  # pictures
# Not from a paper: steps of L-BFGS of a probe and its seven penalties, in looks at all features; on 447 photographs
_PROBE_LOOKS = 500

Indices = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """One way to judge labels.

    Args:
        name: "predictions", "probe" or "networks".
        words: what judges, in words that fit "by ...".
        seconds: that it will take, estimated on this machine.
        folds: how many parts the pictures are divided into; 1 where nothing is trained.
        judge: from the fold of each picture, and a bar, to probabilities over `Judged.classes`, float32 (N, K).
    """

    name: str
    words: str
    seconds: float
    folds: int
    judge: Callable[[Indices, Count], Probabilities]


def choose_judge(
    judged: Judged,
    measures: Measures,
    settings: Settings,
    runtime: Runtime,
    *,
    bundle: Path | None,
    looking_s: float,
) -> Judge:
    """The bundle that was named; else trained weights that a training would begin with; else quick networks.

    Args:
        judged: the pictures.
        measures: of the catalog.
        settings: of a training, for its weights and its seed.
        runtime: the machine.
        bundle: to judge with; None for none.
        looking_s: seconds that one look at every picture took: it will be looked at once more.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        ConfigError: a setting is wrong, or the bundle's network has no features.
    """
    if bundle is not None:
        return _of_bundle(judged, runtime, bundle, looking_s)
    weights, _ = weights_to_begin_with(settings, judged.catalog)
    if weights is None:
        return _of_networks(judged, measures, settings, runtime, looking_s)
    plan = make_plan(settings, judged.catalog, runtime, weights)
    net, _ = first_network(plan, weights, num_classes=len(judged.catalog.classes))
    words = f"a linear probe on the features of {weights.words.split(';')[0]}"
    return _of_features(judged, net, plan.preprocess, runtime, looking_s, words)


def learned_words(learned: int | None, count: int) -> str:
    """What a bundle's network has seen of the pictures, for a reader who wants to know how far to trust it.

    Args:
        learned: how many it was trained on; None where nobody can know.
        count: of the pictures.

    Example:
        >>> learned_words(0, 10)
        'by its data.lock.json it was trained on none of them'
        >>> learned_words(7, 10)
        'by its data.lock.json it was trained on 7 of these 10 pictures with their labels: of these, a wrong label \
that it has learned may look right'
    """
    if learned is None:
        return (
            "whether it was trained on some of these pictures cannot be told from the bundle: a wrong label that it "
            "has learned may look right"
        )
    if not learned:
        return "by its data.lock.json it was trained on none of them"
    return (
        f"by its data.lock.json it was trained on {learned:,} of these {count:,} pictures with their labels: of these, "
        "a wrong label that it has learned may look right"
    )


def _of_bundle(judged: Judged, runtime: Runtime, path: Path, looking_s: float) -> Judge:
    predictor = load(path, device=str(runtime.device))
    data = TrainingData(predictor.bundle)
    learned = data.num_learned(judged.catalog, judged.pool, threads=runtime.threads)
    told = learned_words(learned, len(judged))
    numbers = {name: number for number, name in enumerate(predictor.classes)}
    wanted = [judged.class_name(place) for place in range(len(judged.classes))]
    if learned == 0 and not predictor.bundle.is_multilabel and set(wanted) <= set(numbers):
        seconds = looking_s + _seconds_of_looks(predictor.net, predictor.bundle.preprocess, runtime, len(judged))
        columns = [numbers[name] for name in wanted]
        judge = partial(_predictions, judged, predictor, columns)
        return Judge("predictions", f"the predictions of {path}; {told}", seconds, 1, judge)
    words = f"a linear probe on the features of {path}; {told}"
    return _of_features(judged, predictor.net, predictor.bundle.preprocess, runtime, looking_s, words)


def _of_features(
    judged: Judged, net: nn.Module, preprocess: Preprocess, runtime: Runtime, looking_s: float, words: str
) -> Judge:
    net.to(runtime.device)
    seconds = looking_s + _seconds_of_looks(net, preprocess, runtime, len(judged))
    seconds += FEW * _seconds_of_probe(net, len(judged), len(judged.classes))
    return Judge("probe", words, seconds, FEW, partial(_probed, judged, net, preprocess, runtime))


def _of_networks(judged: Judged, measures: Measures, settings: Settings, runtime: Runtime, looking_s: float) -> Judge:
    folds = FEW if len(judged) < MANY_FROM else MANY
    plan = quick_plan(judged, measures, runtime, folds=folds, seed=settings.seed or 0)
    seconds = looking_s + seconds_of_networks(judged, plan, runtime, folds=folds)
    epochs = f"{plan.options.epochs} epochs at {plan.preprocess.input_size[1]} px"
    words = f"quick networks ({plan.model}, {epochs}; no trained weights are at hand)"

    def judge(numbers: Indices, progress: Count) -> Probabilities:
        return network_out_of_fold(judged, numbers, plan, runtime, progress=progress)

    return Judge("networks", words, seconds, folds, judge)


def _predictions(
    judged: Judged, predictor: Predictor, columns: list[int], folds: Indices, progress: Count
) -> Probabilities:
    """Over the classes that take part alone; what the bundle would rather call something else, it must choose among."""
    logits = [
        predictor.logits(batch.images)
        for batch in _batches(judged, predictor.bundle.preprocess, predictor.device, torch.get_num_threads(), progress)
    ]
    return metrics.probabilities(np.concatenate(logits)[:, columns], predictor.bundle.temperature)


def _probed(
    judged: Judged, net: nn.Module, preprocess: Preprocess, runtime: Runtime, folds: Indices, progress: Count
) -> Probabilities:
    seen = features(net, _batches(judged, preprocess, runtime.device, runtime.threads, progress))
    return probe_out_of_fold(seen.values, judged.labels, folds)


def _batches(
    judged: Judged, preprocess: Preprocess, device: torch.device, threads: int, progress: Count
) -> Iterator[Batch]:
    """Every picture once, in order; no more than a few hundred are in memory."""
    for start in range(0, len(judged), _CHUNK):
        part = judged.pool[start : start + _CHUNK]
        store, _ = Store.build(
            judged.catalog, part, preprocess=preprocess, keep_margin=None, threads=threads, skip_bad=False, cache=False
        )
        for batch in EvalLoader(store, preprocess, batch_size=_AT_ONCE, device=device):
            yield batch
            progress(start + int(batch.rows[-1]) + 1, len(judged))


def _seconds_of_looks(net: nn.Module, preprocess: Preprocess, runtime: Runtime, count: int) -> float:
    """How long the network takes to look at so many pictures, from two looks at a few."""
    noise = torch.randn(_TRIAL, *preprocess.input_size, device=runtime.device)
    net.to(runtime.device)
    was_training = net.training
    net.eval()
    with torch.inference_mode(), full_float32(runtime.device):
        net(noise)  # warms up
        started = time.perf_counter()
        net(noise).sum().item()  # waits for the device
    seconds = time.perf_counter() - started
    net.train(was_training)
    return count * seconds / _TRIAL


def _seconds_of_probe(net: nn.Module, count: int, num_classes: int) -> float:
    """How long a probe takes: a few hundred looks at all features, each of three products."""
    width = getattr(net, "num_features", 1000)
    rows = torch.randn(min(count, 1000), width, dtype=torch.float64)
    weights = torch.randn(width, num_classes, dtype=torch.float64)
    started = time.perf_counter()
    rows.T @ (rows @ weights)
    return _PROBE_LOOKS * (time.perf_counter() - started) * count / len(rows)
