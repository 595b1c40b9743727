"""The best epoch's weights: which epoch that is, and when a run is over."""

import json
import math

import pytest
import torch
from torch import nn

from sightline.training.best import Best

NAN = math.nan


def run(losses: list[float]) -> tuple[Best, list[bool]]:
    """Offers a network whose weight is the number of the epoch, after each epoch."""
    net = nn.BatchNorm1d(1).train()
    nn.init.constant_(net.weight, -1.0)
    best = Best(net)
    taken = []
    for epoch, loss in enumerate(losses):
        nn.init.constant_(net.weight, float(epoch))
        net.running_mean.fill_(epoch)  # type: ignore[union-attr]
        net.num_batches_tracked.fill_(epoch)  # type: ignore[union-attr]
        taken.append(best.offer(net, epoch=epoch, val_loss=loss))
    return best, taken


@pytest.mark.parametrize(
    ("losses", "taken", "epoch"),
    [
        ([0.9, 0.8, 0.7], [True, True, True], 2),
        ([0.9, 0.7, 0.8], [True, True, False], 1),
        ([0.7, 0.7, 0.7], [True, False, False], 0),  # of equals the first
        ([NAN, 0.7, NAN], [True, True, False], 1),
        ([NAN, NAN], [True, False], 0),  # the first whatever it is
        ([0.7, NAN, 0.6], [True, False, True], 2),
        ([math.inf, 3.0], [True, True], 1),
        ([math.inf, NAN], [True, False], 0),
    ],
)
def test_the_lowest_loss_is_kept(losses: list[float], taken: list[bool], epoch: int) -> None:
    best, answers = run(losses)
    assert answers == taken
    assert best.epoch == epoch
    assert best.val_loss == (math.inf if math.isnan(losses[epoch]) else losses[epoch])
    state = best.net.state_dict()
    assert (state["weight"], state["running_mean"], state["num_batches_tracked"]) == (epoch, epoch, epoch)


def test_before_the_first_epoch_there_is_no_best() -> None:
    best, _ = run([])
    assert best.epoch is None and best.val_loss == math.inf and best.numbers() == {}
    assert best.net.state_dict()["weight"] == -1  # the network as it came


@pytest.mark.parametrize("losses", [[], [0.1 + 0.2, 0.5], [NAN]])
def test_numbers_restore_it_exactly(losses: list[float]) -> None:
    best, _ = run(losses)
    restored, _ = run([0.01])
    restored.load_numbers(json.loads(json.dumps(best.numbers())))
    assert (restored.epoch, restored.val_loss) == (best.epoch, best.val_loss)
    assert restored.numbers() == best.numbers()


def test_the_weights_are_a_copy_in_evaluation_mode() -> None:
    net = nn.Linear(1, 1)
    best = Best(net)
    best.offer(net, epoch=0, val_loss=1.0)
    kept = best.net.state_dict()["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1.0)
    assert torch.equal(best.net.state_dict()["weight"], kept)
    assert not best.net.training and not any(value.requires_grad for value in best.net.parameters())
    assert net.training and net.weight.requires_grad
