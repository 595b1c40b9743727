"""The learning rate, a pure function of the step: so it can be plotted, tested and resumed."""

import math

from sightline.training.options import TrainOptions

ONECYCLE_START = 25.0  # the cycle begins at lr / 25: torch's and fastai's div_factor
HEAD_RISE = 0.1  # of the head phase


def learning_rate(options: TrainOptions, step: int, *, steps_per_epoch: int) -> float:
    """The learning rate of one step.

    With `head_epochs`, the steps of these epochs have `head_lr`, after a linear rise over the first tenth of them. The
    schedule then begins anew, with its own warm-up, and counts its epochs from there.

    All but one-cycle warm up linearly, from `lr` / (warm-up steps) to `lr`, over `warmup_epochs`. Then

    - cosine falls along half a cosine to `min_lr`, which the step after the last would have (Loshchilov and Hutter
      2016, arXiv:1608.03983, Eq. 5, one period);
    - linear falls in a straight line to `min_lr` on the last step;
    - step multiplies by `decay_rate` every `decay_epochs`, multistep at each of `decay_milestones`; neither goes below
      `min_lr`;
    - constant stays.

    One-cycle rises linearly from `lr` / 25 to `lr` over `warmup_epochs` and falls linearly to `min_lr` on the last step
    (Smith 2018, arXiv:1803.09820).

    Args:
        options: the schedule's name and its numbers.
        step: 0 for the first step of the run.
        steps_per_epoch: steps in an epoch; with `options.epochs` it gives the length of the run.

    Example:
        >>> options = TrainOptions(epochs=2, batch_size=1, lr=1.0, sched="cosine")
        >>> [round(learning_rate(options, step, steps_per_epoch=2), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    head_steps = options.head_epochs * steps_per_epoch
    if step < head_steps and options.head_lr is not None:
        return options.head_lr * min(1.0, (step + 1) / max(round(HEAD_RISE * head_steps), 1))
    step -= head_steps
    total = (options.epochs - options.head_epochs) * steps_per_epoch
    warmup = round(options.warmup_epochs * steps_per_epoch)

    if options.sched == "onecycle":
        return _onecycle(options, step, warmup=warmup, total=total)
    if step < warmup:
        return options.lr * (step + 1) / warmup
    match options.sched:
        case "cosine":
            return _between(options, 0.5 * (1 - math.cos(math.pi * (step - warmup) / max(total - warmup, 1))))
        case "linear":
            return _between(options, (step - warmup) / max(total - 1 - warmup, 1))
        case "step":  # the n-th fall is on the step nearest to n * decay_epochs
            falls = math.ceil((step + 0.5) / (options.decay_epochs * steps_per_epoch)) - 1
        case "multistep":
            falls = sum(step >= round(epoch * steps_per_epoch) for epoch in options.decay_milestones)
        case "constant":
            return options.lr
    return max(options.min_lr, options.lr * options.decay_rate**falls)


def _onecycle(options: TrainOptions, step: int, *, warmup: int, total: int) -> float:
    """Two straight lines that meet at `lr` on the last step of the warm-up; the last step of all has `min_lr`."""
    top = max(warmup - 1, 0)
    if step < top:
        start = options.lr / ONECYCLE_START
        return start + (options.lr - start) * step / top
    return _between(options, (step - top) / max(total - 1 - top, 1))


def _between(options: TrainOptions, fraction: float) -> float:
    """`lr` at 0, `min_lr` at 1."""
    return options.lr + (options.min_lr - options.lr) * fraction
