"""Groups, and the arithmetic of every optimiser against its formula in NumPy, resume included."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.models import zoo
from sightline.training.depth import depth_of_parameters
from sightline.training.muon import AUXILIARY_RATE
from sightline.training.optim import build_optimizer, parameter_groups, set_learning_rate
from sightline.training.options import TrainOptions


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def _options(**changes: Any) -> TrainOptions:
    return TrainOptions(**{"epochs": 1, "batch_size": 1, "lr": 0.1, **changes})


# --- groups ---


def test_norms_and_biases_do_not_decay() -> None:
    net = _net()
    decayed, kept = parameter_groups(net, _options(weight_decay=0.1))
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[3].weight)}
    assert decayed["weight_decay"] == 0.1
    assert {id(p) for p in kept["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)}
    assert kept["weight_decay"] == 0.0


def test_the_scale_of_a_branch_does_not_decay_and_a_depthwise_kernel_does() -> None:
    net = zoo.build("convnext_tiny", num_classes=3)
    decay = {id(p): group["weight_decay"] for group in parameter_groups(net, _options(weight_decay=0.1))
             for p in group["params"]}  # fmt: skip
    names = dict(net.named_parameters())
    scales = [name for name in names if name.endswith("layer_scale")]
    assert scales
    assert {decay[id(names[name])] for name in scales} == {0.0}
    assert {decay[id(p)] for p in names.values() if p.ndim == 4} == {0.1}


def test_what_is_frozen_for_good_is_left_out() -> None:
    net = _net()
    net[0].weight.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(net, _options())) == 5


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        build_optimizer(_net().requires_grad_(False), _options())
    assert str(caught.value) == (
        "all 6 parameters of the network are frozen, so there is nothing to train. Set requires_grad of those to train."
    )


@pytest.mark.parametrize("opt", ["adamw", "muon"])
def test_layer_decay_lowers_the_rate_with_the_distance_from_the_head(opt: str) -> None:
    net = zoo.build("resnet20", num_classes=3)
    depths = depth_of_parameters(net)
    optimizer = build_optimizer(net, _options(opt=opt, layer_decay=0.5, weight_decay=0.1))
    set_learning_rate(optimizer, 0.2)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    updates = {id(p): group.get("update") for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(depths) == sum(1 for _ in net.parameters())
    for name, parameter in net.named_parameters():
        share = AUXILIARY_RATE if updates[id(parameter)] == "adamw" else 1.0
        expected = 0.2 * share * 0.5 ** (depths["fc.weight"] - depths[name])
        assert rates[id(parameter)] == pytest.approx(expected, rel=1e-12), name
    assert depths["conv1.weight"] == 0


def test_the_rate_of_a_step_reaches_every_group() -> None:
    optimizer = build_optimizer(_net(), _options(weight_decay=0.1, lr=0.7))
    assert {group["lr"] for group in optimizer.param_groups} == {0.7}
    set_learning_rate(optimizer, 0.3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


# --- arithmetic: each formula takes the weight, the gradients' list and the decay, in float64 ---

LR = 0.1


def _sgd(w: np.ndarray, gradients: list[np.ndarray], decay: float, *, is_nesterov: bool = True) -> np.ndarray:
    v = np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        v = 0.8 * v + g
        w = w - LR * (g + 0.8 * v if is_nesterov else v)
    return w


def _momentum(w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    return _sgd(w, gradients, decay, is_nesterov=False)


def _rmsprop(w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Hinton's lecture 6e with momentum; the rate outside the momentum and eps outside the root, as torch has them."""
    s, v = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        s = 0.9 * s + 0.1 * g * g
        v = 0.8 * v + g / (np.sqrt(s) + 1e-8)
        w = w - LR * v
    return w


def _adagrad(w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Duchi et al. 2011, Eq. 1, the diagonal version."""
    s = np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        s = s + g * g
        w = w - LR * g / (np.sqrt(s) + 1e-10)
    return w


def _adam(
    w: np.ndarray, gradients: list[np.ndarray], decay: float, *, is_decoupled: bool = False,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
) -> np.ndarray:  # fmt: skip
    """Kingma and Ba 2014, Algorithm 1; decoupled: Loshchilov and Hutter 2017, Algorithm 2."""
    m, s = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        if is_decoupled:
            w = w - LR * decay * w
        else:
            g = g + decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g * g
        w = w - LR * (m / (1 - betas[0] ** t)) / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return w


def _adamw(w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    return _adam(w, gradients, decay, is_decoupled=True)


def _lion(
    w: np.ndarray, gradients: list[np.ndarray], decay: float, *, betas: tuple[float, float] = (0.9, 0.99)
) -> np.ndarray:
    """Chen et al. 2023, Program 1."""
    m = np.zeros_like(w)
    for g in gradients:
        w = w - LR * (np.sign(betas[0] * m + (1 - betas[0]) * g) + decay * w)
        m = betas[1] * m + (1 - betas[1]) * g
    return w


Formula = Callable[[np.ndarray, list[np.ndarray], float], np.ndarray]

OWN: dict[str, tuple[dict[str, Any], Formula]] = {
    "sgd": ({"opt": "sgd"}, _sgd),
    "momentum": ({"opt": "momentum"}, _momentum),
    "rmsprop": ({"opt": "rmsprop"}, _rmsprop),
    "adagrad": ({"opt": "adagrad"}, _adagrad),
    "adam": ({"opt": "adam"}, _adam),
    "adamw": ({"opt": "adamw"}, _adamw),
    "lion": ({"opt": "lion"}, _lion),
    "adam, asked": (
        {"opt": "adam", "opt_betas": (0.5, 0.6), "opt_eps": 0.1},
        lambda w, g, d: _adam(w, g, d, betas=(0.5, 0.6), eps=0.1),
    ),
    "adamw, asked": (
        {"opt": "adamw", "opt_betas": (0.5, 0.6), "opt_eps": 0.1},
        lambda w, g, d: _adam(w, g, d, is_decoupled=True, betas=(0.5, 0.6), eps=0.1),
    ),
    "lion, asked": ({"opt": "lion", "opt_betas": (0.2, 0.5)}, lambda w, g, d: _lion(w, g, d, betas=(0.2, 0.5))),
}


def _resumed(optimizer: torch.optim.Optimizer, net: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """A new optimiser with the state of the old one, by way of what a checkpoint keeps."""
    saved = copy.deepcopy(optimizer.state_dict()["state"])
    assert all(isinstance(value, Tensor) for slots in saved.values() for value in slots.values() if value is not None)
    new = build_optimizer(net, options)
    new.load_state_dict({**new.state_dict(), "state": saved})
    return new


@pytest.mark.parametrize("case", OWN)
def test_six_steps_and_a_resume_are_the_formula(case: str) -> None:
    changes, formula = OWN[case]
    rng = np.random.default_rng(1)
    net = nn.Linear(3, 4).double()
    start = {name: parameter.detach().numpy().copy() for name, parameter in net.named_parameters()}
    gradients = {name: [rng.normal(size=value.shape) for _ in range(6)] for name, value in start.items()}
    options = _options(momentum=0.8, weight_decay=0.05, **changes)
    optimizer = build_optimizer(net, options)
    for step in range(6):
        if step == 3:
            optimizer = _resumed(optimizer, net, options)
        for name, parameter in net.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name][step].copy())
        optimizer.step()
    for name, decay in (("weight", 0.05), ("bias", 0.0)):
        expected = formula(start[name], gradients[name], decay)
        np.testing.assert_allclose(getattr(net, name).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("opt", ["sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon"])
def test_a_resumed_optimizer_goes_on_bit_for_bit(opt: str) -> None:
    """Also for channels_last weights, in float32, with the head alone at first."""

    def trained(resume_at: int | None) -> nn.Module:
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
        with torch.no_grad():
            for number, parameter in enumerate(net.parameters()):
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) + number)
        net.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(net, _options(opt=opt, weight_decay=0.1))
        for step in range(6):
            if step == resume_at:
                optimizer = _resumed(optimizer, net, _options(opt=opt, weight_decay=0.1))
            generator = torch.Generator().manual_seed(step)
            for name, parameter in net.named_parameters():
                gradient = torch.randn(parameter.shape, generator=generator)
                is_held = step < 2 and not name.startswith("4.")
                parameter.grad = None if is_held else torch.empty_like(parameter).copy_(gradient)
            set_learning_rate(optimizer, 0.01 * (step + 1))
            optimizer.step()
        return net

    whole = list(trained(None).parameters())
    for resume_at in (1, 2, 4):
        assert all(torch.equal(a, b) for a, b in zip(whole, trained(resume_at).parameters(), strict=True)), resume_at


@pytest.mark.parametrize("opt", ["sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon"])
def test_what_has_no_gradient_is_left_as_it_is(opt: str) -> None:
    net = _net()
    optimizer = build_optimizer(net, _options(opt=opt, weight_decay=0.5))
    before = net[0].weight.detach().clone()
    net[3].weight.grad = torch.ones_like(net[3].weight)
    optimizer.step()
    assert torch.equal(net[0].weight, before)


def test_sgd_without_momentum_is_plain() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    net.weight.grad = torch.tensor([[2.0]])
    build_optimizer(net, _options(opt="sgd", momentum=0.0)).step()
    assert net.weight.item() == pytest.approx(0.8)


def test_lion_takes_a_closure() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)

    def closure() -> float:
        loss = net.weight.square().sum()
        loss.backward()
        return loss.item()

    assert build_optimizer(net, _options(opt="lion")).step(closure) == 1.0
    assert net.weight.item() == pytest.approx(0.9)
