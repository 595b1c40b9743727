"""The range test: rates, stopping, what it reads off, and that it leaves everything as it was."""

import copy
import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from sightline.data.loader import Batch, TrainLoader
from sightline.errors import ConfigError, TrainingError
from sightline.runtime import Runtime, choose_runtime
from sightline.training.options import TrainOptions
from sightline.training.range_test import RangeTest, evaluate, range_test, smooth
from tests.training.runs import loader, new_net


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return choose_runtime(device="cpu", amp=False, threads=1)


def _options(**changes: Any) -> TrainOptions:
    return TrainOptions(**{"epochs": 1, "batch_size": 8, "lr": 0.1, "opt": "sgd", **changes})


def _test(runtime: Runtime, net: nn.Module | None = None, **changes: Any) -> RangeTest:
    options = _options(**changes)
    return range_test(net or new_net(), loader(options=options), options, runtime)


class _OneBatch:
    """The same regression-like batch in every step: what gradient descent does on it is known."""

    steps_per_epoch = 50

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for _ in range(self.steps_per_epoch):
            yield self._batch


class _Bowl(nn.Module):
    """Two logits (w, 0) for every picture, so the loss is ln(1 + exp(-w)), and of class 1 ln(1 + exp(w))."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.w.expand(len(images)), torch.zeros(len(images))], dim=1)


def _batch(labels: list[int]) -> TrainLoader:
    targets = torch.tensor(labels)
    images, rows = torch.zeros(len(labels), 3, 2, 2), torch.arange(len(labels))
    batch = Batch(images, targets, rows, cast(Any, None), targets, len(labels))
    return cast(TrainLoader, _OneBatch(batch))


# --- the run ---


def test_the_rates_rise_in_equal_ratios_from_1e_7_to_10(runtime: Runtime) -> None:
    found = _test(runtime)
    assert found.rates[0] == pytest.approx(1e-7)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 30  # 4 epochs of 6 steps, or 30
    ratios = np.array(found.rates[1:]) / np.array(found.rates[:-1])
    assert ratios == pytest.approx(np.full(len(ratios), 1e8 ** (1 / 29)))


@pytest.mark.parametrize(("steps_per_epoch", "expected"), [(1, 30), (7, 30), (10, 40), (50, 200), (5000, 200)])
def test_it_takes_four_epochs_30_steps_at_least_and_200_at_most(
    steps_per_epoch: int, expected: int, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_OneBatch, "steps_per_epoch", steps_per_epoch)
    counted: list[tuple[int, int | None]] = []
    range_test(_Bowl(0.0), _batch([0, 0, 0, 1]), _options(), runtime, progress=lambda *each: counted.append(each))
    assert counted == [(done, expected) for done in range(1, len(counted) + 1)]


def test_each_loss_is_that_before_the_step_at_its_rate(runtime: Runtime) -> None:
    found = range_test(_Bowl(0.3), _batch([0, 0, 0, 1]), _options(momentum=0.0), runtime, num_steps=40)
    w = 0.3
    for rate, loss in zip(found.rates, found.losses, strict=True):
        assert loss == pytest.approx(0.75 * math.log1p(math.exp(-w)) + 0.25 * math.log1p(math.exp(w)), rel=1e-5)
        w -= rate * (1 / (1 + math.exp(-w)) - 0.75)


def test_it_stops_where_the_smoothed_loss_is_4_times_its_lowest(runtime: Runtime) -> None:
    found = range_test(_Bowl(0.0), _batch([0, 0, 0, 1]), _options(momentum=0.99), runtime, num_steps=60)
    assert len(found.rates) < 60
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert all(value <= 4 * min(found.smoothed[: index + 1]) for index, value in enumerate(found.smoothed[:-1]))


class _Burst(nn.Module):
    """Answers that overflow from a certain step on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)
        self.left = after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        logits: torch.Tensor = self.head(images.flatten(1))
        return logits * (math.inf if self.left < 0 else 1.0)


def test_it_stops_where_a_loss_is_not_finite(runtime: Runtime) -> None:
    found = range_test(_Burst(after=12), _batch([0, 1]), _options(), runtime)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == 12
    assert all(math.isfinite(loss) for loss in found.losses)


def test_a_first_loss_that_is_not_finite_is_no_matter_of_the_rate(runtime: Runtime) -> None:
    with pytest.raises(TrainingError) as caught:
        range_test(_Burst(after=0), _batch([0, 1]), _options(), runtime)
    assert str(caught.value) == (
        "the first loss of the range test is not finite, at a rate of 1e-07: the rate is not to blame. "
        "Use --no-amp, and look at the pictures and the weights to begin with."
    )


class _TooLarge(_Bowl):
    """Asks for more memory than there is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.empty(2**60, dtype=torch.uint8))


def test_too_little_memory_is_said_with_what_helps(runtime: Runtime) -> None:
    with pytest.raises(TrainingError) as caught:
        range_test(_TooLarge(0.0), _batch([0, 0, 0, 1]), _options(grad_accum_steps=2), runtime)
    assert str(caught.value) == (
        "memory ran out with 2 pictures at a time. Raise --grad-accum-steps, now 2: the step stays the same and takes "
        "less."
    )


def test_another_error_of_the_network_is_its_own(runtime: Runtime) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        range_test(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), _batch([0, 1]), _options(), runtime)


def test_too_few_steps_are_refused(runtime: Runtime) -> None:
    with pytest.raises(ConfigError) as caught:
        range_test(_Bowl(0.0), _batch([0, 1]), _options(), runtime, num_steps=29)
    assert str(caught.value) == "num_steps is 29; a range test needs 30 or more."


def test_the_network_is_left_as_it_was(runtime: Runtime) -> None:
    net = new_net().eval()
    before = copy.deepcopy(net.state_dict())
    _test(runtime, net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.training


def test_the_same_again_is_the_same_whatever_random_numbers_were_drawn_before(runtime: Runtime) -> None:
    first, second = (new_net(), new_net())  # with dropout
    torch.manual_seed(11)
    found = _test(runtime, first)
    torch.manual_seed(12)
    assert _test(runtime, second) == found


def test_it_trains_as_the_options_say(runtime: Runtime) -> None:
    plain = _test(runtime)
    for change in ({"opt": "adamw"}, {"opt": "muon"}, {"smoothing": 0.2}, {"clip_grad": 0.01}, {"seed": 1}):
        assert _test(runtime, **change).losses != plain.losses


def test_micro_batches_add_up_to_the_batch(runtime: Runtime) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 2))  # without a batch norm, which sees its micro-batch
    whole = _test(runtime, net, batch_size=7)
    for count in (2, 3):
        parts = _test(runtime, net, batch_size=7, grad_accum_steps=count)
        assert parts.losses == pytest.approx(whole.losses, rel=1e-3)


class _WithAuxiliary(_Bowl):
    """A bowl whose two auxiliary heads answer with half and twice its logits."""

    auxiliary_weight = 0.3

    def forward_with_auxiliary(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = self(images)
        return logits, [logits / 2, logits * 2]


def test_auxiliary_heads_count(runtime: Runtime) -> None:
    found = range_test(_WithAuxiliary(0.8), _batch([0, 0]), _options(), runtime)
    assert found.losses[0] == pytest.approx(
        math.log1p(math.exp(-0.8)) + 0.3 * (math.log1p(math.exp(-0.4)) + math.log1p(math.exp(-1.6))), rel=1e-5
    )


# --- what is read off ---


def test_smoothing_is_the_moving_average_without_its_start() -> None:
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    kept = 0.75  # over 4
    for count, smoothed in enumerate(smooth(losses, over=4), start=1):
        weights = [kept ** (count - 1 - index) for index in range(count)]
        expected = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert smoothed == pytest.approx(expected)
    assert smooth(losses, over=1) == losses
    assert smooth([2.0] * 9, over=7) == pytest.approx([2.0] * 9)


def _curve(at: float) -> tuple[list[float], list[float]]:
    """Falls around 10**at along a logistic curve and rises a power and a half later."""
    powers = np.linspace(-7, 1, 161)
    losses = 2.5 - 2.0 / (1 + np.exp(-4 * (powers - at))) + np.exp(3 * (powers - at - 2))
    return (10**powers).tolist(), losses.tolist()


@pytest.mark.parametrize("at", [-4.0, -3.0, -1.5])
def test_steepest_and_lowest_are_those_of_the_curve(at: float) -> None:
    rates, losses = _curve(at)
    found = evaluate(rates, losses, losses, reach=20)
    assert found.steepest == pytest.approx(10**at, rel=0.3)
    assert found.lowest == rates[int(np.argmin(losses))]
    assert found.suggestion == found.lowest / 10


def test_where_the_loss_falls_to_the_end_the_steepest_is_suggested() -> None:
    powers = np.linspace(-7, 1, 161)
    losses = (2.5 - 2.0 / (1 + np.exp(-4 * (powers + 1)))).tolist()
    found = evaluate((10**powers).tolist(), losses, losses, reach=20)
    assert found.lowest == pytest.approx(10.0)
    assert found.suggestion == found.steepest == pytest.approx(0.1, rel=0.3)


def test_where_the_loss_never_falls_nothing_is_suggested() -> None:
    rates = np.geomspace(1e-7, 10, 161).tolist()
    noise = (2.3 + 0.05 * np.random.default_rng(0).normal(size=161)).tolist()
    for losses in (noise, np.linspace(2.3, 9.0, 161).tolist(), [2.3] * 161):
        found = evaluate(rates, losses, smooth(losses, over=8), reach=20)
        assert (found.lowest, found.steepest, found.suggestion) == (None, None, None)


def test_batch_norms_are_held_where_the_training_holds_them(runtime: Runtime) -> None:
    seen: list[bool] = []

    class Watched(nn.BatchNorm2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(self.training)
            return super().forward(images)

    def net() -> nn.Module:
        return nn.Sequential(Watched(3), nn.Flatten(), nn.Linear(12, 2))

    range_test(net(), _batch([0, 0, 0, 1]), _options(freeze_bn=True, head_epochs=1, head_lr=0.1), runtime)
    assert not any(seen)
    seen.clear()
    range_test(net(), _batch([0, 0, 0, 1]), _options(), runtime)
    assert all(seen)
