"""Averages of the weights along a run, which are often better than the weights at its end."""

import copy
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sightline.errors import TrainingError
from sightline.training.options import TrainOptions


class Average(Protocol):
    """Follows a network through its run.

    Its state is the tensors of `net` and `numbers()`: a checkpoint that holds both restores it exactly.

    Attributes:
        net: the averaged network, a copy of its own in evaluation mode.
    """

    net: nn.Module

    def step_done(self, net: nn.Module, *, step: int) -> None:
        """Takes in the weights after an optimiser step.

        Args:
            net: the network that is trained.
            step: number of steps before this one.
        """

    def epoch_done(self, net: nn.Module, *, epoch: int) -> None:
        """Takes in the weights after an epoch, before its validation.

        Args:
            net: the network that is trained.
            epoch: number of epochs before this one.
        """

    def finish(self, batches: Iterable[Tensor]) -> None:
        """Makes `net` ready to be shipped, when the run is over.

        Args:
            batches: the training pictures as the network takes them, (N, C, H, W); looked at only where needed.
        """

    def numbers(self) -> dict[str, int]:
        """What a checkpoint needs besides the tensors of `net`."""

    def load_numbers(self, numbers: Mapping[str, int]) -> None:
        """Takes back what `numbers` gave."""


def build_average(net: nn.Module, options: TrainOptions) -> Average | None:
    """The average that the options ask for; None where they ask for none.

    Args:
        net: the network, on its device.
        options: `model_ema_decay`, or `swa_epochs` and `epochs`.
    """
    if options.model_ema_decay is not None:
        return Ema(net, decay=options.model_ema_decay)
    if options.swa_epochs:
        return Swa(net, first_epoch=options.epochs - options.swa_epochs)
    return None


class Ema:
    """An exponential moving average of a network's parameters and buffers.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)) after t updates, so that the average does not remember the
    random start of a short run. Integer buffers (batch norm's counters) are copied. The running statistics of batch
    norms are averaged like the weights that they belong to, so nothing is left to do at the end.

    Args:
        net: the network to follow; the average starts as its copy.
        decay: what each update keeps of the average, in [0, 1].

    Attributes:
        net: the averaged network, in evaluation mode.

    Reference:
        Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; the warm-up as in
        TensorFlow's ExponentialMovingAverage(num_updates).

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> ema = Ema(net, decay=0.999)
        >>> before, _ = ema.net.weight.item(), nn.init.constant_(net.weight, 1.0)
        >>> ema.step_done(net, step=0)
        >>> round(ema.net.weight.item() - 0.1 * before, 4)  # the first step keeps a tenth
        0.9
    """

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.net = _copy_of(net)

    def step_done(self, net: nn.Module, *, step: int) -> None:
        """Moves the average towards the network."""
        decay = min(self.decay, (1 + step) / (10 + step))
        _move(self.net, net, share=1 - decay)

    def epoch_done(self, net: nn.Module, *, epoch: int) -> None:
        """Does nothing: every step is in the average."""

    def finish(self, batches: Iterable[Tensor]) -> None:
        """Does nothing: batch norms' statistics were averaged along."""

    def numbers(self) -> dict[str, int]:
        """None: the loop tells the step."""
        return {}

    def load_numbers(self, numbers: Mapping[str, int]) -> None:
        """Takes back none."""


class Swa:
    """Stochastic weight averaging: the equal average of the weights at the end of each of the last epochs.

    The learning rate should stay up in these epochs, so that they end in different places around the minimum: a
    constant schedule or a `min_lr` well above 0. Of weights that hardly move, the average is one of them.

    Until the first of these epochs `net` holds the weights of the last epoch's end, so that its validation shows how
    the run goes. During them, batch norms have the average of their running statistics, which belong to other weights;
    `finish` computes them for the average itself.

    Args:
        net: the network to follow; `net` starts as its copy.
        first_epoch: number of epochs before the first one in the average.

    Attributes:
        net: the averaged network, in evaluation mode.
        num_averaged: epochs in the average.

    Reference:
        Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407,
        Algorithm 1 with a cycle of one epoch.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> swa = Swa(net, first_epoch=1)
        >>> for epoch, bias in enumerate([5.0, 1.0, 2.0]):
        ...     _ = nn.init.constant_(net.bias, bias)
        ...     swa.epoch_done(net, epoch=epoch)
        ...     print(swa.net.bias.item())
        5.0
        1.0
        1.5
    """

    def __init__(self, net: nn.Module, *, first_epoch: int) -> None:
        self.first_epoch = first_epoch
        self.num_averaged = 0
        self.net = _copy_of(net)

    def step_done(self, net: nn.Module, *, step: int) -> None:
        """Does nothing: an epoch's last weights count."""

    def epoch_done(self, net: nn.Module, *, epoch: int) -> None:
        """Adds the weights to the average; before the first of its epochs, takes them as they are.

        An epoch that is in the average already is left out: a run that was killed in the validation repeats it.
        """
        if epoch < self.first_epoch:
            copy_values(net, self.net)
        elif epoch >= self.first_epoch + self.num_averaged:
            if self.num_averaged == 0:
                copy_values(net, self.net)
            else:
                _move(self.net, net, share=1 / (self.num_averaged + 1))
            self.num_averaged += 1

    @torch.no_grad()
    def finish(self, batches: Iterable[Tensor]) -> None:
        """Computes the batch norms' statistics of the averaged weights over the training pictures.

        Each is the average over the batches, a batch counting by its pictures. All other layers are in evaluation mode,
        so that no dropout is in the statistics, as none is when they are used, and nothing is left to chance.

        Args:
            batches: the training pictures as the network takes them, (N, C, H, W), the same in every process; one pass
                over them. Left alone by a network without batch norms.

        Raises:
            TrainingError: there are batch norms and no pictures.

        Reference:
            Izmailov et al. 2018, arXiv:1803.05407, Sec. 3.2, "Batch normalization".

        Deviation:
            torch.optim.swa_utils.update_bn counts a small last batch like the others, and leaves dropout on.
        """
        norms = [each for each in self.net.modules() if isinstance(each, _BatchNorm) and each.running_mean is not None]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        num_seen = 0
        for images in batches:
            if len(images) == 0:  # a process may have no share in a last batch
                continue
            num_seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / num_seen
            self.net(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.net.eval()
        if num_seen == 0:
            raise TrainingError(
                f"averaged weights need new statistics for {len(norms)} batch norms, and there was no training picture "
                "to compute them from. Give finish() the training batches."
            )

    def numbers(self) -> dict[str, int]:
        """How many epochs are in the average."""
        return {"num_averaged": self.num_averaged}

    def load_numbers(self, numbers: Mapping[str, int]) -> None:
        """Takes back how many epochs are in the average."""
        self.num_averaged = numbers["num_averaged"]


@torch.no_grad()
def copy_values(source: nn.Module, target: nn.Module) -> None:
    """Copies every parameter and buffer of a network into its copy, in place.

    Args:
        source: is left alone.
        target: of the same structure.
    """
    current = _values(source)
    for name, value in _values(target).items():
        value.copy_(current[name])


@torch.no_grad()
def _move(average: nn.Module, net: nn.Module, *, share: float) -> None:
    """Moves the average by a share of its way to the network; integers have no middle and are copied."""
    averaged, current = _values(average), _values(net)
    moving = [name for name, value in averaged.items() if value.is_floating_point()]
    torch._foreach_lerp_([averaged[name] for name in moving], [current[name] for name in moving], share)
    for name in averaged.keys() - set(moving):
        averaged[name].copy_(current[name])


def _copy_of(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).eval().requires_grad_(False)


def _values(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once: a weight that two layers share must not be moved twice."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}
