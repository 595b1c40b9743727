"""A small network for each fold, trained for a few epochs on the others: what judges labels where nothing better is."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline import metrics
from sightline.data.catalog import SPLITS, Catalog
from sightline.data.loader import EvalLoader
from sightline.data.measure import Measures
from sightline.data.store import Store
from sightline.errors import Interrupted
from sightline.evaluation.out_of_fold import require_every_class
from sightline.models.base import Classifier
from sightline.predict.precision import full_float32
from sightline.progress import Count
from sightline.recipes.beginning import first_network
from sightline.recipes.data import initialise_from_pictures
from sightline.recipes.facts import AIRBENCH_PX
from sightline.recipes.fitting import train_loader
from sightline.recipes.plan import Plan, make_plan
from sightline.recipes.settings import Settings
from sightline.recipes.suspect_folds import Judged
from sightline.runtime import Runtime
from sightline.training.distributed import SINGLE
from sightline.training.events import EpochDone, StepDone
from sightline.training.loop import fit
from sightline.training.state import Checkpoints

PICTURES = 25_000  # that a network sees, about: enough to know the classes, too few to learn wrong labels by heart
LEAST_EPOCHS, MOST_EPOCHS = 2, 30
BATCH = 250
MOST_PX = 48  # photographs are shrunk to it
_AT_ONCE = 256
_NO_CHECKPOINT_S = 1e9
_TRIAL_STEPS = 2
_SLOWER = 1.2  # than the trial: shuffling, augmenting, judging

Indices = npt.NDArray[np.int64]


def quick_plan(judged: Judged, measures: Measures, runtime: Runtime, *, folds: int, seed: int) -> Plan:
    """The training of one fold's network: recipe "fast" for small pictures, and far fewer epochs.

    Args:
        judged: the pictures.
        measures: of the catalog, for the normalisation.
        runtime: the machine.
        folds: how many there will be.
        seed: of weights, order and augmentation.
    """
    catalog = judged.catalog
    side = max(min(MOST_PX, *catalog.typical_size), AIRBENCH_PX)
    mean, std = measures.statistics(judged.pool, catalog.channels) or (None, None)
    num_learned = len(judged) * (folds - 1) // folds
    epochs = max(LEAST_EPOCHS, min(MOST_EPOCHS, round(PICTURES / max(num_learned, 1))))
    settings = Settings(
        recipe="fast", epochs=epochs, batch_size=min(BATCH, max(8, num_learned // 8)), mean=mean, std=std, seed=seed
    )
    return make_plan(settings, replace(_training_on(catalog, judged.pool), typical_size=(side, side)), runtime)


def seconds_of_networks(judged: Judged, plan: Plan, runtime: Runtime, *, folds: int) -> float:
    """How long the networks of all folds will take, from a few steps of the training on noise.

    Args:
        judged: the pictures.
        plan: of `quick_plan`.
        runtime: the machine.
        folds: how many networks.
    """
    net = _fresh(plan, judged, runtime)
    noise = torch.randn(plan.options.batch_size, *plan.preprocess.input_size, device=runtime.device)
    labels = torch.arange(len(noise), device=runtime.device) % len(judged.classes)
    started = 0.0
    for step in range(1 + _TRIAL_STEPS):
        if step == 1:  # the first one warms up
            started = _now(runtime)
        _learn(net, noise, labels, runtime)
    each = (_now(runtime) - started) / _TRIAL_STEPS / len(noise)
    shown = len(judged) * (folds - 1) * plan.options.epochs
    return _SLOWER * each * (shown + len(judged))


def network_out_of_fold(
    judged: Judged, folds: Indices, plan: Plan, runtime: Runtime, *, progress: Count = lambda done, total: None
) -> npt.NDArray[np.float32]:
    """What a network says of each picture that was trained on the other folds.

    Args:
        judged: the pictures.
        folds: int64 (N,), of each, from 0.
        plan: of `quick_plan`.
        runtime: the machine.
        progress: told how many pictures the networks have been shown.

    Returns:
        float32 (N, K), rows summing to 1, over `judged.classes`.

    Raises:
        ConfigError: a class is in one fold alone.
        DataError: a picture cannot be read any more.
        Interrupted: a signal came.
    """
    store, _ = Store.build(
        judged.catalog,
        judged.pool,
        preprocess=plan.preprocess,
        keep_margin=None,
        threads=runtime.threads,
        skip_bad=False,
    )
    probabilities = np.zeros((len(judged), len(judged.classes)), np.float32)
    count = int(folds.max()) + 1
    bar = _Bar(progress, total=plan.options.epochs * len(judged) * (count - 1))
    for fold in range(count):
        learned, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        require_every_class(judged.labels[learned], len(judged.classes), fold)
        net = _trained(judged, _part(store, learned), plan, runtime, bar)
        probabilities[held] = _answers(net, judged, _part(store, held), plan, runtime)
    return probabilities


def _trained(judged: Judged, store: Store, plan: Plan, runtime: Runtime, bar: "_Bar") -> Classifier:
    """A network that has learned from the pictures of a store and from no others."""
    loader = train_loader(store, plan, runtime, SINGLE, num_classes=len(judged.catalog.classes))
    net = _fresh(plan, judged, runtime)
    initialise_from_pictures(net, loader)
    options = replace(plan.options, checkpoint_every_s=_NO_CHECKPOINT_S)
    with TemporaryDirectory(prefix="sightline-suspects-") as folder:
        checkpoints = Checkpoints(Path(folder), identity={}, every_s=_NO_CHECKPOINT_S, say=_tell_nobody)
        try:
            fit(net, loader, options, runtime=runtime, checkpoints=checkpoints, listener=bar)
        except Interrupted as stop:
            told = "stopped while suspicious labels were sought: nothing was written. Start again."
            raise Interrupted(told, exit_code=stop.exit_code) from stop
    return net.eval()


def _answers(net: Classifier, judged: Judged, store: Store, plan: Plan, runtime: Runtime) -> npt.NDArray[np.float32]:
    """Of the classes that take part alone: the network has an output for every class of the catalog."""
    batches = EvalLoader(store, plan.preprocess, batch_size=_AT_ONCE, device=runtime.device)
    with torch.inference_mode(), full_float32(runtime.device):
        logits = np.concatenate([net(batch.images).float().cpu().numpy() for batch in batches])
    return metrics.probabilities(logits[:, judged.classes])


def _fresh(plan: Plan, judged: Judged, runtime: Runtime) -> Classifier:
    net, _ = first_network(plan, None, num_classes=len(judged.catalog.classes))
    return net.to(runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload, no-any-return]


def _learn(net: Classifier, images: Tensor, labels: Tensor, runtime: Runtime) -> None:
    """What a step of the training costs, but for the update of the weights."""
    with runtime.autocast():
        logits = net(images)
    F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]


def _part(store: Store, rows: Indices) -> Store:
    """Some of a store's pictures, copied."""
    taken = torch.from_numpy(rows)
    return replace(store, pictures=store.take(taken), labels=store.labels[taken], sources=store.sources[rows])


def _training_on(catalog: Catalog, pool: Indices) -> Catalog:
    """The catalog as a training on some of its pictures sees it."""
    splits = np.full(len(catalog), SPLITS.index("unassigned"), np.uint8)
    splits[pool] = SPLITS.index("train")
    return replace(catalog, splits=splits)


def _now(runtime: Runtime) -> float:
    if runtime.device.type != "cpu":
        torch.accelerator.synchronize(runtime.device)
    return time.perf_counter()


def _tell_nobody(words: str) -> None:
    """The files of these trainings are gone with them."""


class _Bar:
    """Moves the bar by the pictures of every step, over all folds."""

    def __init__(self, progress: Count, *, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step_done(self, event: StepDone) -> None:
        """Counts the step's pictures."""
        self._done += event.num_pictures
        self._progress(self._done, self._total)

    def epoch_done(self, event: EpochDone) -> None:
        """Says nothing: the bar is enough."""
