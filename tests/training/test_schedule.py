"""Schedules against torch's own, step by step."""

import pytest
import torch

from sightline.training.options import TrainOptions
from sightline.training.schedule import learning_rate


def _ours(options: TrainOptions, *, steps_per_epoch: int) -> list[float]:
    steps = range(options.epochs * steps_per_epoch)
    return [learning_rate(options, step, steps_per_epoch=steps_per_epoch) for step in steps]


def _torchs(make: object, steps: int, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs_cosine() -> None:
    options = TrainOptions(epochs=3, batch_size=1, lr=0.4, min_lr=0.01, sched="cosine")
    theirs = _torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30, eta_min=0.01), 30, 0.4)
    assert _ours(options, steps_per_epoch=10) == pytest.approx(theirs, abs=1e-12)


def test_onecycle_is_torchs_linear_onecycle() -> None:
    options = TrainOptions(epochs=2, batch_size=1, lr=0.5, min_lr=0.5 / 25e4, sched="onecycle", warmup_epochs=0.6)
    theirs = _torchs(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.5, total_steps=20, pct_start=0.3, anneal_strategy="linear", div_factor=25, final_div_factor=1e4
        ),
        20,
        0.5,
    )
    assert _ours(options, steps_per_epoch=10) == pytest.approx(theirs, abs=1e-12)


def test_warmup_rises_linearly_to_the_peak_and_then_cosine_begins() -> None:
    options = TrainOptions(epochs=2, batch_size=1, lr=1.0, sched="cosine", warmup_epochs=0.5)
    rates = _ours(options, steps_per_epoch=8)
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[5] < 1.0


def test_constant_stays() -> None:
    options = TrainOptions(epochs=2, batch_size=1, lr=0.1, sched="constant")
    assert set(_ours(options, steps_per_epoch=3)) == {0.1}


@pytest.mark.parametrize("sched", ["cosine", "onecycle"])
def test_a_run_of_one_step_has_a_rate(sched: str) -> None:
    options = TrainOptions(epochs=1, batch_size=1, lr=0.1, sched=sched)  # type: ignore[arg-type]
    assert _ours(options, steps_per_epoch=1) == [0.1]
