"""Schedules against torch's own and against closed formulas, step by step."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.training.options import TrainOptions
from sightline.training.schedule import learning_rate
from tests.training.runs import Recorder, run

SCHEDULES = ("cosine", "onecycle", "linear", "step", "multistep", "constant")


def _options(**changes: Any) -> TrainOptions:
    return TrainOptions(**{"epochs": 1, "batch_size": 1, "lr": 1.0, **changes})


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


# --- torch's ---


def test_cosine_is_torchs_cosine() -> None:
    options = _options(epochs=3, lr=0.4, min_lr=0.01, sched="cosine")
    theirs = _torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30, eta_min=0.01), 30, 0.4)
    assert _ours(options, steps_per_epoch=10) == pytest.approx(theirs, abs=1e-12)


def test_onecycle_is_torchs_linear_onecycle() -> None:
    options = _options(epochs=2, lr=0.5, min_lr=0.5 / 25e4, sched="onecycle", warmup_epochs=0.6)
    theirs = _torchs(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.5, total_steps=20, pct_start=0.3, anneal_strategy="linear", div_factor=25, final_div_factor=1e4
        ),
        20,
        0.5,
    )
    assert _ours(options, steps_per_epoch=10) == pytest.approx(theirs, abs=1e-12)


def test_linear_is_torchs_linear_and_ends_at_min_lr_on_the_last_step() -> None:
    options = _options(epochs=2, lr=0.5, min_lr=0.05, sched="linear")
    theirs = _torchs(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=19), 20, 0.5)
    ours = _ours(options, steps_per_epoch=10)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert ours[-1] == pytest.approx(0.05)


def test_step_is_torchs_step() -> None:
    options = _options(epochs=7, lr=0.5, sched="step", decay_epochs=2, decay_rate=0.3)
    theirs = _torchs(lambda o: torch.optim.lr_scheduler.StepLR(o, 2 * 5, gamma=0.3), 35, 0.5)
    assert _ours(options, steps_per_epoch=5) == pytest.approx(theirs, rel=1e-12)


def test_multistep_is_torchs_multistep() -> None:
    options = _options(epochs=6, lr=0.5, sched="multistep", decay_milestones=(2.0, 3.5, 5.0), decay_rate=0.2)
    theirs = _torchs(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [8, 14, 20], gamma=0.2), 24, 0.5)
    assert _ours(options, steps_per_epoch=4) == pytest.approx(theirs, rel=1e-12)


# --- by hand ---


def test_warmup_rises_linearly_to_the_peak_and_then_cosine_begins() -> None:
    rates = _ours(_options(epochs=2, sched="cosine", warmup_epochs=0.5), steps_per_epoch=8)
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[5] < 1.0


def test_linear_after_its_warmup() -> None:
    rates = _ours(_options(epochs=2, sched="linear", warmup_epochs=0.75, min_lr=0.2), steps_per_epoch=4)
    assert rates == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_step_and_multistep_fall_at_their_epochs_warmup_included() -> None:
    changes = {"epochs": 4, "warmup_epochs": 1, "decay_rate": 0.1}
    rates = _ours(_options(sched="step", decay_epochs=1.5, **changes), steps_per_epoch=2)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01])
    rates = _ours(_options(sched="multistep", decay_milestones=(2.0, 3.0), **changes), steps_per_epoch=2)
    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_step_and_multistep_stop_falling_at_min_lr() -> None:
    for sched in ("step", "multistep"):
        options = _options(epochs=5, sched=sched, decay_epochs=1, decay_milestones=(1.0, 2.0, 3.0), min_lr=0.05)
        assert _ours(options, steps_per_epoch=1) == pytest.approx([1.0, 0.1, 0.05, 0.05, 0.05])


def test_constant_stays_after_its_warmup() -> None:
    rates = _ours(_options(epochs=2, lr=0.1, sched="constant", warmup_epochs=1), steps_per_epoch=2)
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("sched", SCHEDULES)
def test_a_run_of_one_step_has_a_rate(sched: str) -> None:
    options = _options(lr=0.1, sched=sched, decay_milestones=(9.0,))
    assert _ours(options, steps_per_epoch=1) == [0.1]


@pytest.mark.parametrize("sched", SCHEDULES)
def test_the_head_phase_rises_and_stays_and_then_the_schedule_begins_anew(sched: str) -> None:
    changes = {"sched": sched, "warmup_epochs": 0.5, "min_lr": 0.01, "decay_epochs": 1, "decay_milestones": (2.0,)}
    rates = _ours(_options(epochs=6, head_epochs=2, head_lr=5.0, **changes), steps_per_epoch=10)
    assert rates[:20] == pytest.approx([2.5, 5.0] + [5.0] * 18)  # a tenth of 20 steps is 2
    assert rates[20:] == pytest.approx(_ours(_options(epochs=4, **changes), steps_per_epoch=10))


def test_a_head_phase_of_few_steps_has_no_rise() -> None:
    assert _ours(_options(head_epochs=1, head_lr=5.0), steps_per_epoch=4) == [5.0] * 4


# --- properties ---


@st.composite
def _runs(draw: st.DrawFn, schedules: tuple[str, ...] = SCHEDULES) -> tuple[TrainOptions, int]:
    """Any schedule of any length, and the steps of an epoch."""
    epochs = draw(st.integers(1, 20))
    head_epochs = draw(st.integers(0, epochs))
    lr = draw(st.floats(1e-6, 10))
    milestones = draw(st.lists(st.floats(0.01, 25), min_size=1, max_size=4, unique=True).map(sorted))
    options = _options(
        epochs=epochs,
        lr=lr,
        sched=draw(st.sampled_from(schedules)),
        warmup_epochs=draw(st.floats(0, epochs - head_epochs)),
        min_lr=lr * draw(st.floats(0, 1)),
        decay_epochs=draw(st.floats(0.5, 30)),
        decay_milestones=tuple(milestones),
        decay_rate=draw(st.floats(0.05, 1)),
        head_epochs=head_epochs,
        head_lr=0.5,
    )
    return options, draw(st.integers(1, 12))


@given(_runs())
def test_every_rate_is_at_most_lr_and_only_the_last_may_be_zero(case: tuple[TrainOptions, int]) -> None:
    options, steps_per_epoch = case
    rates = _ours(options, steps_per_epoch=steps_per_epoch)
    head_steps = options.head_epochs * steps_per_epoch
    assert all(0 < rate <= 0.5 for rate in rates[:head_steps])
    assert all(rate <= options.lr * (1 + 1e-12) for rate in rates[head_steps:])
    assert all(rate > 0 for rate in rates[head_steps:-1])
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)


@given(_runs(("linear", "onecycle", "cosine")))
def test_what_falls_to_min_lr_gets_there(case: tuple[TrainOptions, int]) -> None:
    options, steps_per_epoch = case
    total = options.epochs * steps_per_epoch
    own = (options.epochs - options.head_epochs) * steps_per_epoch
    warmup = round(options.warmup_epochs * steps_per_epoch)
    if own - warmup < 2:
        return  # no room to fall
    last = total if options.sched == "cosine" else total - 1
    assert learning_rate(options, last, steps_per_epoch=steps_per_epoch) == pytest.approx(options.min_lr, abs=1e-12)


@given(_runs(("cosine", "linear", "onecycle", "constant")))
def test_the_rate_makes_no_jumps(case: tuple[TrainOptions, int]) -> None:
    """Within the schedule, and where the warm-up meets it, no step changes the rate by more than the steepest part."""
    options, steps_per_epoch = case
    rates = _ours(options, steps_per_epoch=steps_per_epoch)[options.head_epochs * steps_per_epoch :]
    warmup = round(options.warmup_epochs * steps_per_epoch)
    rise = options.lr / max(warmup - 1, 1)
    fall = (options.lr - options.min_lr) * math.pi / 2 / max(len(rates) - 1 - warmup, 1)
    for before, after in pairwise(rates):
        assert -fall * (1 + 1e-9) - 1e-12 <= after - before <= rise * (1 + 1e-9)


@given(_runs(("step", "multistep")))
def test_falls_go_down_only_and_by_the_rate(case: tuple[TrainOptions, int]) -> None:
    options, steps_per_epoch = case
    start = options.head_epochs * steps_per_epoch + round(options.warmup_epochs * steps_per_epoch)
    rates = _ours(options, steps_per_epoch=steps_per_epoch)[start:]
    for before, after in pairwise(rates):
        assert after <= before
    for rate in rates:
        falls = 0 if options.decay_rate == 1 else math.log(rate / options.lr) / math.log(options.decay_rate)
        is_floor = rate == pytest.approx(options.min_lr, rel=1e-9)
        assert is_floor or falls == pytest.approx(round(falls), abs=1e-6)


# --- bugs of the field ---


class _Rates(Recorder):
    """Keeps the rate of every step that was done."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rates: dict[int, float] = {}
        self._stop_after = stop_after

    def step_done(self, event: Any) -> None:
        self.rates[event.state.step - 1] = event.lr
        if event.state.step == self._stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("sched", ["cosine", "onecycle", "step"])
def test_schedule_off_by_one_after_resume(sched: str, tmp_path: Path) -> None:
    """A scheduler object that counts its own calls is easily restored one step early or late."""
    changes: dict[str, Any] = {"sched": sched, "epochs": 2, "decay_epochs": 0.5, "warmup_epochs": 0.5}
    for stop_after in (1, 5, 6, 7):
        folder = tmp_path / f"{stop_after}"
        before, after = _Rates(stop_after), _Rates()
        with pytest.raises(KeyboardInterrupt):
            run(folder, recorder=before, **changes)
        run(folder, resume=True, recorder=after, **changes)
        steps_per_epoch = 6  # of 48 pictures in batches of 8
        options = _options(lr=0.01, **changes)
        found = {**before.rates, **after.rates}
        assert found == {
            step: learning_rate(options, step, steps_per_epoch=steps_per_epoch) for step in range(2 * steps_per_epoch)
        }
