"""Synchronised batch norm does to a shared batch what batch norm does to the whole one."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ShapeError
from sightline.training.distributed import SINGLE, World
from sightline.training.sync_norm import (
    SyncBatchNorm,
    has_batch_norm,
    is_synchronised,
    synchronise_batch_norm,
)
from tests.training.ranks import in_all, on_ranks

KINDS: dict[str, Any] = {
    "usual": lambda: nn.BatchNorm2d(4),
    "momentum of the average": lambda: nn.BatchNorm2d(4, momentum=None),
    "no scale, no shift": lambda: nn.BatchNorm2d(4, affine=False),
    "no statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "vectors": lambda: nn.BatchNorm1d(4, eps=1e-3, momentum=0.01),
}


def _input(kind: str, count: int) -> Tensor:
    """Values around 30: sums of squares would lose digits."""
    generator = torch.Generator().manual_seed(2)
    shape = (count, 4) if kind == "vectors" else (count, 4, 3, 5)
    return (
        torch.randn(shape, dtype=torch.float64, generator=generator)
        * torch.arange(1.0, count + 1).view(-1, *[1] * (len(shape) - 1))
        + 30
    )


def _norm(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    norm = KINDS[kind]().to(dtype)
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
            norm.bias.copy_(torch.tensor([0.0, 1.0, 2.0, -1.0]))
    return norm


def _two_passes(norm: Any, whole: Tensor, world: World, layout: torch.memory_format) -> dict[str, Tensor]:
    """Outputs, gradients and statistics of two forward and backward passes, and an evaluation, of this share."""
    x = whole[world.rank :: world.size].clone()
    x = (x.contiguous(memory_format=layout) if x.dim() == 4 else x).requires_grad_()
    upstream = torch.arange(whole.numel(), dtype=whole.dtype).sin().view(whole.shape)[world.rank :: world.size]
    for _ in range(2):
        out = norm(x)
        out.backward(upstream)
    gradients = {f"gradient.{name}": parameter.grad for name, parameter in norm.named_parameters()}
    seen = {"out": out.detach(), "gradient": x.grad, **gradients, **norm.state_dict()}
    norm.eval()  # without statistics of its own it would take the share's
    return {**seen, "evaluated": norm(x).detach()} if norm.track_running_stats else seen


def _in_shares(world: World, kind: str, count: int, layout: torch.memory_format) -> dict[str, Tensor]:
    norm = synchronise_batch_norm(_norm(kind), world)
    assert isinstance(norm, SyncBatchNorm)
    seen = _two_passes(norm, _input(kind, count), world, layout)
    return {name: world.total(value) if name.startswith("gradient.") else value for name, value in seen.items()}


@pytest.mark.parametrize(
    ("kind", "size", "count", "layout"),
    [
        ("usual", 2, 6, torch.contiguous_format),
        ("usual", 2, 5, torch.channels_last),
        ("usual", 3, 2, torch.contiguous_format),  # the third process has no picture
        ("momentum of the average", 2, 3, torch.contiguous_format),
        ("no scale, no shift", 2, 3, torch.contiguous_format),
        ("no statistics", 2, 3, torch.contiguous_format),
        ("vectors", 4, 3, torch.contiguous_format),
    ],
)
def test_shares_are_normalised_like_the_whole_batch(
    tmp_path: Path, kind: str, size: int, count: int, layout: torch.memory_format
) -> None:
    reference = _two_passes(_norm(kind), _input(kind, count), SINGLE, layout)
    for rank, result in enumerate(in_all(size, _in_shares, tmp_path, kind=kind, count=count, layout=layout)):
        assert result.keys() == reference.keys()
        for name, whole in reference.items():
            expected = whole[rank::size] if name in ("out", "gradient", "evaluated") else whole
            torch.testing.assert_close(result[name], expected, rtol=1e-11, atol=1e-11, msg=name)


def _far_from_zero(world: World) -> Tensor:
    norm = synchronise_batch_norm(nn.BatchNorm2d(1), world)
    whole = torch.tensor([10_000.0, 10_001.0, 10_002.0, 10_003.0]).view(4, 1, 1, 1)
    out: Tensor = norm(whole[world.rank :: world.size])
    return out.detach().flatten()


def test_a_mean_far_above_the_deviation_costs_no_digits(tmp_path: Path) -> None:
    even, odd = in_all(2, _far_from_zero, tmp_path)
    deviation = (1.25 + 1e-5) ** 0.5  # of 0, 1, 2, 3; in float32 the squares of these means are whole hundreds apart
    torch.testing.assert_close(even, torch.tensor([-1.5, 0.5]) / deviation, rtol=1e-3, atol=0)
    torch.testing.assert_close(odd, torch.tensor([-0.5, 1.5]) / deviation, rtol=1e-3, atol=0)


def _in_bfloat16(world: World) -> tuple[Tensor, torch.dtype]:
    norm = synchronise_batch_norm(_norm("usual", torch.float32), world)
    x = _input("usual", 6)[world.rank :: world.size].float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x.bfloat16())
    out.float().square().sum().backward()
    return out.detach(), norm.weight.grad.dtype  # type: ignore[union-attr, return-value]


def test_bfloat16_stays_bfloat16_and_weights_stay_float32(tmp_path: Path) -> None:
    x = _input("usual", 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        reference = _norm("usual", torch.float32)(x)
    for rank, (out, dtype) in enumerate(in_all(2, _in_bfloat16, tmp_path)):
        assert (out.dtype, dtype) == (torch.bfloat16, torch.float32)
        torch.testing.assert_close(out, reference[rank::2].detach(), rtol=1e-2, atol=1e-2)


# A network


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(
        first, nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).double()


def _train(world: World, batches: list[int]) -> dict[str, Tensor]:
    net = synchronise_batch_norm(_net(), world)
    wrapped = world.wrap(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for size in batches:
        images = torch.randn(size, 3, 8, 8, dtype=torch.float64, generator=generator)[world.rank :: world.size]
        labels = (torch.arange(size) % 3)[world.rank :: world.size]
        loss = F.cross_entropy(wrapped(images), labels, reduction="none").sum() * world.size / size
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


def test_several_steps_on_two_processes_end_in_the_weights_of_one(tmp_path: Path) -> None:
    batches = [8, 7, 8, 1, 5, 8]
    alone = _train(SINGLE, batches)
    for result in in_all(2, _train, tmp_path, batches=batches):
        assert list(result) == list(alone)
        for name, value in alone.items():
            torch.testing.assert_close(result[name], value, rtol=0, atol=1e-11, msg=name)


def test_the_layers_keep_their_names_weights_and_mode() -> None:
    net = _net()
    net[2].eval()
    reference, parameters = copy.deepcopy(net.state_dict()), list(net.parameters())
    assert has_batch_norm(net)
    assert not is_synchronised(net)
    same = synchronise_batch_norm(net, World(0, 2))
    assert same is net
    assert is_synchronised(net)
    assert list(net.state_dict()) == list(reference)
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert [each.training for each in (net, net[0][1], net[2])] == [True, True, False]  # type: ignore[index]
    _net().load_state_dict(net.state_dict())  # a bundle's network is a plain one


def test_alone_the_network_stays_as_it_is() -> None:
    net = _net()
    assert not is_synchronised(synchronise_batch_norm(net, SINGLE))
    without = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    assert is_synchronised(without)
    assert not has_batch_norm(without)


def test_on_gpus_the_layers_are_torchs_own() -> None:
    net = synchronise_batch_norm(_net(), World(0, 2, torch.device("cuda", 0)))
    assert sum(type(module) is nn.SyncBatchNorm for module in net.modules()) == 2
    assert is_synchronised(net)


def _one_value(world: World) -> None:
    synchronise_batch_norm(nn.BatchNorm2d(3), world)(torch.zeros(1 - world.rank, 3, 1, 1))


def test_a_single_value_has_no_deviation(tmp_path: Path) -> None:
    message = "batch norm needs more than one value a channel in training, got 1 in all processes together"
    assert all(message in result for result in on_ranks(2, _one_value, tmp_path))


def test_a_shape_without_channels_is_refused() -> None:
    norm = synchronise_batch_norm(nn.BatchNorm2d(3), World(0, 2))
    with pytest.raises(ShapeError, match=re.escape("batch norm needs inputs of shape (N, C, ...), got (3,).")):
        norm(torch.zeros(3))
