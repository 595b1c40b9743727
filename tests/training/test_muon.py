"""Muon against an SVD, the formulas in NumPy, torch's own class, and Euler's theorem."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.training.matrices import updates_of
from sightline.training.muon import AUXILIARY_RATE, COEFFICIENTS, Muon, orthogonalize
from sightline.training.optim import build_optimizer, set_learning_rate
from sightline.training.options import TrainOptions


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes with all digits, for comparisons with formulas."""
    monkeypatch.setattr("sightline.training.muon._fast_dtype", lambda device: torch.float64)


def _net() -> nn.Sequential:
    """First layer, a tall and a wide hidden layer, a convolution with its batch norm, classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        nn.Linear(6, 9),
        nn.Linear(9, 5),
        nn.Linear(5, 3),
    ).double()


def _options(**changes: object) -> TrainOptions:
    return TrainOptions(epochs=1, batch_size=2, lr=0.1, opt="muon", **changes)  # type: ignore[arg-type]


def _gradients(net: nn.Module, step: int) -> None:
    """Random gradients, a function of the step."""
    generator = torch.Generator().manual_seed(step)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


# --- the orthogonalisation ---


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 12, 12), (1, 1, 9)])
def test_the_singular_vectors_stay_and_the_values_come_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if shape[1] == shape[2]:  # a square random matrix has values near 0: lift them into what 5 rounds reach
        u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
        matrices = u @ torch.diag_embed(s.clamp_min(0.02 * float(s.norm()))) @ vh
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ orthogonalize(matrices) @ vh.mT
    values = turned.diagonal(dim1=1, dim2=2)
    assert (turned - torch.diag_embed(values)).abs().max() < 1e-9
    assert 0.68 < values.min() <= values.max() < 1.21


def test_bfloat16_is_enough() -> None:
    matrices = torch.randn((4, 16, 72), generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalize(matrices.bfloat16()).float())
    assert 0.6 < values.min() < values.max() < 1.25


def test_the_band_and_its_reach_are_as_documented() -> None:
    start = np.geomspace(1e-4, 1, 20_001)
    a, b, c = COEFFICIENTS
    for rounds, reach in ((5, 1 / 660), (3, 1 / 54)):
        x = start
        for _ in range(rounds):
            x = a * x + b * x**3 + c * x**5
        assert x[start < 1 / 1000 if rounds == 5 else start < 1 / 60].max() < 0.68
        assert 0.68 < x[start > reach].min() < x[start > reach].max() < 1.21


def test_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


# --- the steps, against formulas ---


def _quintic(matrix: np.ndarray) -> np.ndarray:
    """The polynomial on the singular values of an SVD: another way to the same update."""
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(matrix)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    return u * s @ vh


def _muon_by_hand(
    start: Tensor, gradients: list[Tensor], *, lr: float, momentum: float, weight_decay: float, is_normalized: bool
) -> np.ndarray:
    shape = start.shape
    weight = start.detach().numpy().reshape(shape[0], -1)
    m = np.zeros_like(weight)
    for each in gradients:
        g = each.numpy().reshape(shape[0], -1)
        m = momentum * m + g
        if is_normalized:
            weight = weight * math.sqrt(shape[0]) / np.linalg.norm(weight)
        else:
            weight = weight * (1 - lr * weight_decay)
        weight = weight - lr * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * _quintic(g + momentum * m)
    return weight.reshape(shape)


def _adamw_by_hand(start: Tensor, gradients: list[Tensor], *, lr: float, weight_decay: float) -> np.ndarray:
    weight = start.detach().numpy()
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for t, each in enumerate(gradients, start=1):
        g = each.numpy()
        weight = weight * (1 - lr * weight_decay)
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        weight = weight - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-10)
    return weight


@pytest.mark.usefixtures("float64")
def test_four_steps_and_a_resume_are_the_formula() -> None:
    net = _net()
    start = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    options = _options(momentum=0.8, weight_decay=0.3)
    optimizer = build_optimizer(net, options)
    gradients: dict[str, list[Tensor]] = {name: [] for name in start}
    for step in range(4):
        if step == 2:
            saved = optimizer.state_dict()["state"]
            assert all(isinstance(value, Tensor) for slots in saved.values() for value in slots.values())
            saved = copy.deepcopy(saved)
            optimizer = build_optimizer(net, options)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": saved})
        _gradients(net, step)
        for name, parameter in net.named_parameters():
            gradients[name].append(parameter.grad.clone())
        optimizer.step()

    matrices = {"2.weight": True, "6.weight": False, "7.weight": False}  # whether a batch norm follows
    for name, parameter in net.named_parameters():
        decay = 0.3 if parameter.ndim >= 2 else 0.0
        if name in matrices:
            expected = _muon_by_hand(
                start[name], gradients[name], lr=0.1, momentum=0.8, weight_decay=decay, is_normalized=matrices[name]
            )
        else:
            expected = _adamw_by_hand(start[name], gradients[name], lr=0.1 * AUXILIARY_RATE, weight_decay=decay)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-7, atol=1e-9, err_msg=name)


def test_on_matrices_it_is_torchs_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.training.muon._fast_dtype", lambda device: torch.bfloat16)  # as torch's has it
    torch.manual_seed(0)
    for shape in ((6, 10), (10, 6)):
        ours = nn.Parameter(torch.randn(shape))
        theirs = nn.Parameter(ours.detach().clone())
        start = ours.detach().clone()
        optimizers = [
            Muon([{"params": [ours], "update": "muon", "weight_decay": 0.1}], lr=0.02, momentum=0.95),
            torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="original"),
        ]
        for _ in range(3):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            for optimizer in optimizers:
                optimizer.step()
        difference = (ours - theirs).norm() / (theirs - start).norm()
        assert difference < 0.02  # three digits, which is what bfloat16 has


def test_the_rest_is_torchs_adamw() -> None:
    ours, theirs = _net(), _net()
    optimizer = build_optimizer(ours, _options(weight_decay=0.2, opt_betas=(0.7, 0.8), opt_eps=1e-3))
    auxiliary = [ours[0].weight, ours[0].bias, ours[4].weight, ours[8].weight]
    expected = [theirs[0].weight, theirs[0].bias, theirs[4].weight, theirs[8].weight]
    reference = torch.optim.AdamW(
        [{"params": [p], "weight_decay": 0.2 if p.ndim >= 2 else 0.0} for p in expected],
        lr=0.1 * AUXILIARY_RATE,
        betas=(0.7, 0.8),
        eps=1e-3,
    )
    for step in range(3):
        for net in (ours, theirs):
            _gradients(net, step)
        optimizer.step()
        reference.step()
    for mine, other in zip(auxiliary, expected, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12)


def test_a_step_changes_a_weight_before_a_batch_norm_by_lr_of_its_length() -> None:
    torch.manual_seed(0)
    for shape in ((8, 8, 3, 3), (32, 8, 1, 1)):
        weight = nn.Parameter(7 * torch.randn(shape))
        optimizer = Muon([{"params": [weight], "update": "muon_normalized", "weight_decay": 9.0}], lr=0.24)
        weight.grad = torch.randn(shape)
        before = weight.detach() * math.sqrt(shape[0]) / weight.detach().norm()
        optimizer.step()
        share = (weight.detach() - before).norm() / before.norm()
        assert 0.24 * 0.68 < share < 0.24 * 1.21


def test_a_weight_of_zeros_before_a_batch_norm_gets_its_first_step() -> None:
    weight = nn.Parameter(torch.zeros(3, 4))
    weight.grad = torch.ones(3, 4)
    Muon([{"params": [weight], "update": "muon_normalized"}], lr=0.1).step()
    assert weight.isfinite().all()
    assert (weight < 0).all()


def test_matrices_of_one_size_are_taken_together_and_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4, 2, 3, 1))]
    alone = [nn.Parameter(weight.detach().clone()) for weight in weights]
    for weight, other in zip(weights, alone, strict=True):
        weight.grad = torch.randn(weight.shape)
        other.grad = weight.grad.clone()
    Muon([{"params": weights, "update": "muon"}], lr=0.1).step()
    for weight, other in zip(weights, alone, strict=True):
        Muon([{"params": [other], "update": "muon"}], lr=0.1).step()
        assert torch.allclose(weight, other, atol=2e-3)


def test_memory_layout_changes_nothing() -> None:
    torch.manual_seed(0)
    plain = nn.Parameter(torch.randn(4, 3, 3, 3))
    last = nn.Parameter(plain.detach().clone().contiguous(memory_format=torch.channels_last))
    optimizers = [Muon([{"params": [weight], "update": "muon"}], lr=0.1) for weight in (plain, last)]
    for _ in range(2):
        plain.grad = torch.randn(plain.shape)
        last.grad = plain.grad.contiguous(memory_format=torch.channels_last)
        for optimizer in optimizers:
            optimizer.step()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)


# --- state ---


def _train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        set_learning_rate(optimizer, 0.1 / (step + 1))
        _gradients(net, step)
        optimizer.step()


def test_a_resumed_run_ends_in_the_same_weights_bit_for_bit() -> None:
    whole = _net().float()
    _train(whole, build_optimizer(whole, _options()), range(5))
    net = _net().float()
    optimizer = build_optimizer(net, _options())
    _train(net, optimizer, range(3))
    saved = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer = build_optimizer(net, _options())
    optimizer.load_state_dict({**optimizer.state_dict(), "state": saved})
    _train(net, optimizer, range(3, 5))
    for one, other in zip(whole.parameters(), net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_has_no_gradient_rests_and_joins_later() -> None:
    net = _net()
    optimizer = build_optimizer(net, _options(weight_decay=0.5))
    start = [parameter.detach().clone() for parameter in net.parameters()]
    net[8].weight.grad = torch.ones_like(net[8].weight)
    optimizer.step()
    moved = [not torch.equal(now, then) for now, then in zip(net.parameters(), start, strict=True)]
    assert [name for (name, _), each in zip(net.named_parameters(), moved, strict=True) if each] == ["8.weight"]
    assert len(optimizer.state_dict()["state"]) == 1
    _gradients(net, 0)
    optimizer.step()
    assert all(not torch.equal(now, then) for now, then in zip(net.parameters(), start, strict=True))


def test_a_closure_computes_the_gradients() -> None:
    net = _net()
    optimizer = build_optimizer(net, _options())
    before = net[6].weight.detach().clone()

    def closure() -> float:
        loss = net(torch.ones(2, 2, 2, 2, dtype=torch.float64)).square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) > 0
    assert not torch.equal(net[6].weight, before)


# --- which weights ---


def _names(net: nn.Module, update: str) -> set[str]:
    found = updates_of(net)
    return {name for name, parameter in net.named_parameters() if found.get(parameter) == update}


def test_airbench_all_convolutions_after_the_whitening_are_normalized_matrices() -> None:
    net = zoo.build("airbench_small", num_classes=5)
    convolutions = {f"group{group}.{layer}.weight" for group in (1, 2, 3) for layer in (0, 4)}
    assert _names(net, "muon_normalized") == convolutions
    assert _names(net, "muon") == set()


def test_a_residual_branch_that_ends_in_a_convolution_is_not_normalized() -> None:
    net = zoo.build("resnetv2_18", num_classes=5)
    normalized = _names(net, "muon_normalized")
    assert normalized == {name for name, _ in net.named_parameters() if name.endswith("conv1.weight")}
    assert all(name in _names(net, "muon") for name, _ in net.named_parameters() if name.endswith("conv2.weight"))


def test_first_layer_classifiers_and_depthwise_kernels_are_not_matrices() -> None:
    net = zoo.build("mobilenet_v1", num_classes=5)
    found = updates_of(net)
    assert all(weight.shape[1] > 3 for weight in found)  # 3 the first layer, 1 the depthwise ones
    assert len(found) == 13
    assert net.classifier_head.weight not in found

    net = zoo.build("googlenet", num_classes=5, aux_heads=True)
    assert not any("fc2" in name or name == "fc.weight" for name in _names(net, "muon"))
    assert {"aux1.fc1.weight", "aux2.fc1.weight"} <= _names(net, "muon")

    net = zoo.build("squeezenet1_0", num_classes=5)
    assert net.classifier_head.weight not in updates_of(net)


def test_of_any_module_the_last_linear_layer_is_the_classifier() -> None:
    net = _net()
    assert _names(net, "muon_normalized") == {"2.weight"}
    assert _names(net, "muon") == {"6.weight", "7.weight"}


def test_a_norm_of_other_channels_is_not_the_layers_own() -> None:
    """As where maps are put together before they are normalised."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    assert _names(net, "muon") == {"1.weight"}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("airbench_small", 16), ("simple_cnn", 16), ("resnet20", 16), ("resnet18", 32),
        ("resnetv2_18", 32), ("wrn40_1", 16), ("densenet100_k12_bc", 16), ("mobilenet_v1", 32),
        ("mobilenet_v2", 32), ("mobilenet_v3_small", 32), ("efficientnet_lite0", 32), ("googlenet", 32),
    ],
)  # fmt: skip
def test_the_length_of_a_normalized_weight_is_without_effect(name: str, size: int) -> None:
    """Euler: where f(s w) = f(w) for every s, the gradient of f has no part along w."""
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=3, image_size=(size, size)).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-30
    images = torch.randn(4, 3, size, size, dtype=torch.float64)
    nn.functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0])).backward()
    normalized = [parameter for parameter, update in updates_of(net).items() if update == "muon_normalized"]
    assert normalized
    for weight in normalized:
        along = (weight * weight.grad).sum().abs() / (weight.norm() * weight.grad.norm())
        assert along < 1e-6


def test_the_length_of_another_weight_has_an_effect() -> None:
    """So that the test above can fail: the last convolution of a branch that is added to others."""
    torch.manual_seed(0)
    net = zoo.build("resnetv2_18", num_classes=3).double()
    nn.functional.cross_entropy(net(torch.randn(4, 3, 64, 64).double()), torch.tensor([0, 1, 2, 0])).backward()
    weight = next(parameter for name, parameter in net.named_parameters() if name.endswith("conv2.weight"))
    assert (weight * weight.grad).sum().abs() / (weight.norm() * weight.grad.norm()) > 1e-4
