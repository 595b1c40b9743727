"""The learning rate, a pure function of the step: so it can be plotted, tested and resumed."""

import math

from sightline.training.options import TrainOptions

ONECYCLE_START = 25.0  # the cycle begins at lr / 25: torch's and fastai's div_factor


def learning_rate(options: TrainOptions, step: int, *, steps_per_epoch: int) -> float:
    """The learning rate of one step.

    Cosine falls from `lr` to `min_lr` along half a cosine over the steps after the warm-up (Loshchilov and Hutter 2016,
    arXiv:1608.03983, Eq. 5, one period). One-cycle rises linearly from `lr` / 25 to `lr` over the warm-up and falls
    linearly to `min_lr` (Smith 2018, arXiv:1803.09820). Constant stays. Cosine and constant warm up linearly from
    `lr` / (warm-up steps).

    Args:
        options: peak, floor, warm-up and the schedule's name.
        step: 0 for the first step of the run.
        steps_per_epoch: steps in an epoch; with `options.epochs` it gives the length of the run.

    Example:
        >>> options = TrainOptions(epochs=2, batch_size=1, lr=1.0, sched="cosine")
        >>> [round(learning_rate(options, step, steps_per_epoch=2), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    total = options.epochs * steps_per_epoch
    warmup = round(options.warmup_epochs * steps_per_epoch)
    if options.sched == "onecycle":
        return _onecycle(options, step, warmup=warmup, total=total)
    if step < warmup:
        return options.lr * (step + 1) / warmup
    if options.sched == "constant":
        return options.lr
    progress = (step - warmup) / max(total - warmup, 1)
    return options.min_lr + 0.5 * (options.lr - options.min_lr) * (1 + math.cos(math.pi * progress))


def _onecycle(options: TrainOptions, step: int, *, warmup: int, total: int) -> float:
    """Two straight lines that meet at `lr` on the last step of the warm-up; the last step of all has `min_lr`."""
    top = max(warmup - 1, 0)
    if step < top:
        start = options.lr / ONECYCLE_START
        return start + (options.lr - start) * step / top
    fraction = (step - top) / max(total - 1 - top, 1)
    return options.lr + (options.min_lr - options.lr) * fraction
