"""Pictures with several labels through the loader and the loop: what is counted, and that a resumed run is the same."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.data.augment import Augment
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.mix import Mix
from sightline.data.sources import open_data
from sightline.data.store import Store
from sightline.errors import ConfigError
from sightline.models.simple import SimpleCNN
from sightline.runtime import choose_runtime
from sightline.training.best import Best
from sightline.training.events import read_history, write_history
from sightline.training.loop import fit
from sightline.training.options import TrainOptions
from sightline.training.state import Checkpoints, TrainState
from sightline.training.task import MULTI_LABEL, SINGLE_LABEL, task_of
from tests.training.runs import OPTIONS, PREPROCESS, Recorder


def store(count: int = 40) -> Store:
    """Each channel that is bright is a label."""
    random = np.random.default_rng(0)
    labels = (random.random((count, 3)) < 0.4).astype(np.uint8)
    images = random.integers(0, 120, (count, 12, 12, 3)) + 100 * labels[:, None, None, :]
    catalog = open_data((images.astype(np.uint8), labels))
    rows = np.arange(count)
    return Store.build(catalog, rows, preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=False)[0]


def loader(**changes: Any) -> TrainLoader:
    return TrainLoader(store(), PREPROCESS, Augment(hflip=0.5), **{"batch_size": 8, "seed": 3, **changes})


def run(folder: Path, *, resume: bool = False, recorder: Recorder | None = None, **changes: Any) -> TrainState:
    options = TrainOptions(**{**OPTIONS, "loss": "bce", "class_weights": (1.0, 2.0, 3.0), **changes})
    torch.manual_seed(0)
    return fit(
        SimpleCNN(num_classes=3, channels=(4, 8, 8)),
        loader(mix=Mix(mixup=0.2, cutmix=1.0), num_classes=3),
        options,
        runtime=choose_runtime(device="cpu", amp=False, threads=1),
        checkpoints=Checkpoints(folder, identity={}, every_s=0.0, say=lambda words: None),
        listener=recorder or Recorder(),
        validate=lambda net: (0.5, 0.75),
        resume=resume,
    )


def test_a_batch_has_a_yes_or_no_for_each_label() -> None:
    batch = next(loader().epoch(0))
    assert batch.labels.dtype == torch.uint8 and batch.targets.dtype == torch.float32
    torch.testing.assert_close(batch.targets, store().labels[batch.rows].float())
    assert [part.targets.shape for part in batch.parts(2)] == [(4, 3), (4, 3)]
    whole = next(iter(EvalLoader(store(), PREPROCESS, batch_size=16)))
    torch.testing.assert_close(whole.targets, store().labels[:16].float())


@pytest.mark.parametrize("mix", [Mix(mixup=0.5), Mix(cutmix=1.0)])
def test_a_mixed_picture_has_each_label_in_the_shares_of_those_that_have_it(mix: Mix) -> None:
    mixed = loader(mix=mix, num_classes=3)
    batch = next(mixed.epoch(0))
    pairing = mix.pairing(8, image_size=(12, 12), seed=3, epoch=0, step=0)
    own, partner = batch.labels.float(), batch.labels[pairing.partners].float()
    share = pairing.weight[:, None]
    torch.testing.assert_close(batch.targets, share * own + (1 - share) * partner)
    both = (own == 1) & (partner == 1)
    assert both.any() and (batch.targets[both] - 1).abs().max() < 1e-6
    with pytest.raises(ConfigError, match="mixing needs num_classes, the number of label columns, 3; got 4"):
        loader(mix=mix, num_classes=4)


def test_a_balanced_epoch_of_several_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sampler is balanced, .* Take --class-weights balanced"):
        loader(sampler="balanced")


def test_counts_add_up_over_processes_and_micro_batches() -> None:
    """The score of the whole is that of F1's definition, and the parts' counts sum to it exactly."""
    pictures = store(37)
    torch.manual_seed(1)
    logits = torch.randn(37, 3)
    whole = MULTI_LABEL.tally(logits, pictures.labels.float())
    said, there = logits.numpy() >= 0, pictures.labels.numpy() == 1
    hits = (said & there).sum()
    assert whole.tolist() == [2 * hits, 2 * hits + (said & ~there).sum() + (there & ~said).sum()]
    parts = [
        MULTI_LABEL.tally(logits[batch.rows], batch.targets)
        for rank in range(3)
        for batch in EvalLoader(pictures, PREPROCESS, batch_size=4, rank=rank, world_size=3)
    ]
    assert torch.stack(parts).sum(dim=0).tolist() == whole.tolist()
    losses = [
        MULTI_LABEL.plain_loss(logits[batch.rows], batch.labels).item()
        for rank in range(3)
        for batch in EvalLoader(pictures, PREPROCESS, batch_size=4, rank=rank, world_size=3)
    ]
    assert sum(losses) == pytest.approx(MULTI_LABEL.plain_loss(logits, pictures.labels).item(), rel=1e-6)
    assert task_of(pictures.labels) is MULTI_LABEL
    assert task_of(torch.tensor([0, 1])) is SINGLE_LABEL


def test_a_run_that_died_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    def die(step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", recorder=Recorder(die))
    resumed = run(tmp_path / "cut", resume=True)
    assert resumed.history == whole.history
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert 0 < whole.history[-1].train_score <= 1
    assert whole.history[-1].score == "micro_f1"


@pytest.mark.parametrize("more", [{"patience": 1, "model_ema_decay": None}, {"swa_epochs": 2, "model_ema_decay": None}])
def test_stopping_early_and_averages_work_as_with_one_class(tmp_path: Path, more: dict[str, Any]) -> None:
    state = run(tmp_path, **more)
    assert len(state.history) == (2 if "patience" in more else 3)
    assert isinstance(state.best, Best) == ("patience" in more)


def test_the_history_says_what_its_score_is(tmp_path: Path) -> None:
    rows = run(tmp_path / "run").history
    write_history(tmp_path / "history.csv", rows)
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,step,learning_rate,train_loss,train_micro_f1,val_loss,val_micro_f1"
    assert read_history(tmp_path / "history.csv") == rows
    single = [dataclasses.replace(row, score="accuracy", val_score=None) for row in rows]
    write_history(tmp_path / "history.csv", single)
    assert "train_accuracy" in (tmp_path / "history.csv").read_text()
    assert read_history(tmp_path / "history.csv") == single


def test_cross_entropy_is_refused_before_a_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Take --loss bce"):
        run(tmp_path, loss="cross_entropy")
