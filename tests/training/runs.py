"""A tiny run on synthetic pictures, for the tests of the training loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sightline.data.augment import Augment
from sightline.data.loader import TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.data.store import Store
from sightline.models.simple import SimpleCNN
from sightline.runtime import choose_runtime
from sightline.training.events import EpochDone, StepDone
from sightline.training.loop import Validate, fit
from sightline.training.options import TrainOptions
from sightline.training.state import Checkpoints, TrainState

PREPROCESS = Preprocess((3, 12, 12), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
OPTIONS: dict[str, Any] = {
    "epochs": 3, "batch_size": 8, "lr": 0.01, "opt": "adamw", "weight_decay": 0.1, "smoothing": 0.1,
    "model_ema_decay": 0.9, "sched": "onecycle", "warmup_epochs": 1.0, "seed": 3, "checkpoint_every_s": 0.0,
}  # fmt: skip


class Recorder:
    """A listener that keeps what it heard and may raise at a step."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.losses: list[float] = []
        self.epochs: list[EpochDone] = []
        self._at_step = at_step

    def step_done(self, event: StepDone) -> None:
        self.losses.append(event.loss)
        self._at_step(event.state.step)

    def epoch_done(self, event: EpochDone) -> None:
        self.epochs.append(event)


def pictures(count: int = 60, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright pictures of class 1 and dark ones of class 0, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(0, 120, (count, 12, 12, 3)) + labels[:, None, None, None] * 100
    return images.astype(np.uint8), labels


def loader(count: int = 60, *, options: TrainOptions) -> TrainLoader:
    """Training batches of all the pictures that the split leaves."""
    catalog, _ = assign_splits(open_data(pictures(count)), val_fraction=0.1, test_fraction=0.1, seed=0)
    store, _ = Store.build(
        catalog, catalog.select("train"), preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=False
    )
    augment = Augment(hflip=0.5, crop_padding=1)
    return TrainLoader(store, PREPROCESS, augment, batch_size=options.batch_size, seed=options.seed)


def new_net() -> SimpleCNN:
    """The same weights each time; its dropout makes a run depend on the random numbers of every step."""
    torch.manual_seed(0)
    return SimpleCNN(num_classes=2, channels=(4, 8, 8))


def run(
    folder: Path,
    *,
    resume: bool = False,
    recorder: Recorder | None = None,
    net: nn.Module | None = None,
    identity: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
    validate: Validate | None = lambda net: (0.5, 0.75),
    **changes: Any,
) -> TrainState:
    """Trains a small network, with checkpoints in a folder."""
    options = TrainOptions(**{**OPTIONS, **changes})
    return fit(
        net or new_net(),
        loader(options=options),
        options,
        runtime=choose_runtime(device="cpu", amp=False, threads=1),
        checkpoints=Checkpoints(folder, identity=identity or {}, every_s=options.checkpoint_every_s, say=say),
        listener=recorder or Recorder(),
        validate=validate,
        resume=resume,
    )
