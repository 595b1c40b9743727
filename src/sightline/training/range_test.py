"""The learning-rate range test: one short run in which the rate rises until the loss goes up."""

import copy
import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch import nn

from sightline.data.loader import Batch, TrainLoader
from sightline.errors import ConfigError, TrainingError
from sightline.progress import Count
from sightline.runtime import Runtime
from sightline.training.loop import Runner, losses_of_pictures
from sightline.training.loss import Loss
from sightline.training.optim import build_optimizer, set_learning_rate
from sightline.training.options import TrainOptions
from sightline.training.phase import enter_phase
from sightline.training.recovery import is_out_of_memory
from sightline.training.task import SINGLE_LABEL, Task

LOWEST, HIGHEST, POWERS = 1e-7, 10.0, 8  # fastai's
MOST_STEPS, LEAST_STEPS, EPOCHS = 200, 30, 4
TOO_HIGH = 4.0  # times the lowest loss: fastai's
SMOOTHED_OVER = 1 / 20  # of the range, 0.4 of a power of ten. Not from a paper: fastai's 0.98 lags by two whole powers
FALLEN = 0.95  # of the loss at the start: more is noise. Not from a paper


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw.

    Args:
        rates: the learning rate of each step, rising.
        losses: of each step's batch, in nats, before the step.
        smoothed: the losses' moving average.
        lowest: the rate at which the smoothed loss was lowest; None where it never fell.
        steepest: the middle of the two powers of ten over which it fell most; likewise.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    lowest: float | None
    steepest: float | None

    @property
    def suggestion(self) -> float | None:
        """What to take for the peak learning rate: a tenth of `lowest`; None where the loss never fell.

        At the lowest point the loss is about to rise; a tenth of that rate is still large and leaves the room that a
        run of many steps needs (Gugger 2018, "How Do You Find A Good Learning Rate"). Where the loss fell to the end,
        nothing says where it would have risen, and it is `steepest`.
        """
        if self.lowest is None or self.lowest == self.rates[-1]:
            return self.steepest
        return self.lowest / 10


def range_test(
    net: nn.Module,
    loader: TrainLoader,
    options: TrainOptions,
    runtime: Runtime,
    *,
    task: Task = SINGLE_LABEL,
    num_steps: int | None = None,
    progress: Count = lambda done, total: None,
) -> RangeTest:
    """Trains a copy of a network for a few steps, each with a higher rate, and watches the loss.

    The rate rises exponentially from 1e-7 to 10. The test ends early where the smoothed loss exceeds 4 times its lowest
    value, or a loss is not finite. Optimiser, loss, augmentation and precision are those of the training; the schedule
    and its head-only phase are not.

    Args:
        net: as the training begins with it; it stays as it is.
        loader: the training batches.
        options: of the training.
        runtime: device, precision and memory layout.
        task: what is asked of the pictures.
        num_steps: None for as many as four epochs have, 30 at least and 200 at most.
        progress: is told of every step.

    Raises:
        ConfigError: there are too few steps to see anything.
        TrainingError: the first loss is not finite, or memory ran out.

    Reference:
        Smith 2015, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, Sec. 3.3.

    Deviation:
        The paper's rate rises linearly, between bounds that the reader knows, and its criterion is the accuracy.
    """
    if num_steps is None:
        num_steps = max(LEAST_STEPS, min(MOST_STEPS, EPOCHS * loader.steps_per_epoch))
    if num_steps < LEAST_STEPS:
        raise ConfigError(f"num_steps is {num_steps}; a range test needs {LEAST_STEPS} or more.")
    rates = np.geomspace(LOWEST, HIGHEST, num_steps).tolist()
    losses: list[float] = []
    smoothed: list[float] = []

    net = copy.deepcopy(net).to(runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]
    enter_phase(net, replace(options, head_epochs=0, head_lr=None), epoch=0)  # batch norms held where the training does
    optimizer = build_optimizer(net, options)
    loss_of = task.build_loss(options)
    runner = Runner(net)
    with closing(_batches(loader)) as batches:
        for step, (rate, batch) in enumerate(zip(rates, batches, strict=False)):
            torch.manual_seed(options.seed * 1_000_003 + step)  # dropout's numbers, as in the training
            loss = _backward(runner, batch.parts(options.grad_accum_steps), loss_of, runtime)
            if not math.isfinite(loss):
                break
            losses.append(loss)
            smoothed = smooth(losses, over=num_steps * SMOOTHED_OVER)
            progress(len(losses), num_steps)
            if smoothed[-1] > TOO_HIGH * min(smoothed):
                break
            if options.clip_grad is not None:
                nn.utils.clip_grad_norm_(net.parameters(), options.clip_grad)
            set_learning_rate(optimizer, rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    if not losses:
        raise TrainingError(
            f"the first loss of the range test is not finite, at a rate of {LOWEST}: the rate is not to blame. "
            "Use --no-amp, and look at the pictures and the weights to begin with."
        )
    return evaluate(rates[: len(losses)], losses, smoothed, reach=round((num_steps - 1) / POWERS))


def smooth(losses: Sequence[float], *, over: float) -> list[float]:
    """The moving average of a curve, without the weight that a start at zero would have.

    Args:
        losses: the curve.
        over: how many values count, about: the average keeps 1 - 1 / over of itself.

    Example:
        >>> smooth([4.0, 1.0], over=2)
        [4.0, 2.0]
    """
    kept = max(0.0, 1 - 1 / over)
    average, averages = 0.0, []
    for number, loss in enumerate(losses, start=1):
        average = kept * average + (1 - kept) * loss
        averages.append(average / (1 - kept**number))
    return averages


def evaluate(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], *, reach: int) -> RangeTest:
    """Reads the two rates off the curve.

    Args:
        rates: of the steps, in equal ratios.
        losses: of the steps.
        smoothed: of the steps.
        reach: steps of a power of ten. Over less, the batches' noise would be the steepest.
    """
    curve = np.array(smoothed)
    lowest = int(curve.argmin())
    found: tuple[float | None, float | None] = (None, None)
    if lowest >= 2 * reach and curve[lowest] < FALLEN * curve[:reach].mean():
        falls = curve[: lowest + 1 - 2 * reach] - curve[2 * reach : lowest + 1]
        found = rates[lowest], rates[int(falls.argmax()) + reach]
    return RangeTest(tuple(rates), tuple(losses), tuple(smoothed), *found)


def _backward(runner: nn.Module, parts: Sequence[Batch], loss_of: Loss, runtime: Runtime) -> float:
    """The gradients of the batch's mean loss, micro-batch by micro-batch; returns the loss."""
    total = 0.0
    try:
        for part in parts:
            losses, _ = losses_of_pictures(runner, part, loss_of, runtime)
            loss = losses.sum() / part.global_size
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out with {len(parts[0])} pictures at a time. Raise --grad-accum-steps, now {len(parts)}: the "
            "step stays the same and takes less."
        ) from error
    return total


def _batches(loader: TrainLoader) -> Generator[Batch, None, None]:
    for epoch in count():
        yield from loader.epoch(epoch)
