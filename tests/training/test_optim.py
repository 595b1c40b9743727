"""Decay where it belongs, and the arithmetic of the optimisers against the formulas."""

import pytest
import torch
from torch import nn

from sightline.training.ema import Ema
from sightline.training.optim import build_optimizer, parameter_groups
from sightline.training.options import TrainOptions


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def test_norms_and_biases_do_not_decay() -> None:
    net = _net()
    decayed, kept = parameter_groups(net, weight_decay=0.1)
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[3].weight)}
    assert decayed["weight_decay"] == 0.1
    assert {id(p) for p in kept["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)}
    assert kept["weight_decay"] == 0.0


def test_frozen_parameters_are_left_out() -> None:
    net = _net()
    net[0].weight.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(net, weight_decay=0.1)) == 5


def _two_steps(opt: str) -> torch.Tensor:
    """Two steps on w^2 / 2, whose gradient is w itself."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    options = TrainOptions(epochs=1, batch_size=1, lr=0.1, opt=opt, momentum=0.9, weight_decay=0.01)  # type: ignore[arg-type]
    optimizer = build_optimizer(module, options)
    for _ in range(2):
        module.weight.grad = module.weight.detach().clone()
        optimizer.step()
    return module.weight.detach()


def test_sgd_is_nesterov_and_momentum_is_plain() -> None:
    def by_hand(nesterov: bool) -> float:
        w, v = 1.0, 0.0
        for _ in range(2):
            g = w + 0.01 * w
            v = 0.9 * v + g
            w -= 0.1 * (g + 0.9 * v if nesterov else v)
        return w

    assert _two_steps("sgd").item() == pytest.approx(by_hand(True), rel=1e-6)
    assert _two_steps("momentum").item() == pytest.approx(by_hand(False), rel=1e-6)


def test_adamw_decays_the_weight_and_adam_the_gradient() -> None:
    def by_hand(decoupled: bool) -> float:
        w, m, s = 1.0, 0.0, 0.0
        for t in (1, 2):
            g = w if decoupled else w + 0.01 * w
            if decoupled:
                w -= 0.1 * 0.01 * w
            m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
            w -= 0.1 * (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)) ** 0.5 + 1e-8)
        return w

    assert _two_steps("adamw").item() == pytest.approx(by_hand(True), rel=1e-5)
    assert _two_steps("adam").item() == pytest.approx(by_hand(False), rel=1e-5)


def test_ema_follows_the_formula_and_copies_counters() -> None:
    net = _net()
    ema = Ema(net, decay=0.5)
    start = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1.0)
        net[1].running_mean.add_(2.0)
        net[1].num_batches_tracked.add_(3)
    ema.update(net, step=0)  # warm-up: decay is min(0.5, 1 / 10)
    assert torch.allclose(ema.net[0].weight, start + 0.9)
    assert torch.allclose(ema.net[1].running_mean, torch.full((2,), 1.8))
    assert ema.net[1].num_batches_tracked == 3
    ema.update(net, step=1000)  # decay is min(0.5, 1001 / 1010)
    assert torch.allclose(ema.net[0].weight, start + 0.95)
