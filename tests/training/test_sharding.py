"""A sharded network learns what one of DistributedDataParallel learns, and its files are the same."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ConfigError
from sightline.training import sharding
from sightline.training.distributed import SINGLE, World
from sightline.training.full_state import (
    full_optimizer_state,
    full_state_dict,
    is_sharded,
    load_full_optimizer_state,
    load_full_state_dict,
)
from sightline.training.optim import build_optimizer
from sightline.training.options import TrainOptions
from sightline.training.sharding import avoid_fused_kernels, require_shardable, shard
from sightline.training.sync_norm import synchronise_batch_norm
from tests.training.ranks import in_all, on_ranks


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + F.relu(self.norm(self.conv(x)))
        return out


class _Net(nn.Module):
    """Layers of a list that are called one by one, as VGG's; a part that is not sharded apart; auxiliary heads."""

    auxiliary_weight = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 7, 3), _Block(7), _Block(7))
        self.aux, self.fc = nn.Linear(7, 3), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_auxiliary(x)[0]

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        for layer in self.layers[:2]:  # type: ignore[index]
            x = layer(x)
        middle = x.mean(dim=(2, 3))
        logits: Tensor = self.fc(self.layers[2](x).mean(dim=(2, 3)))
        return logits, [self.aux(middle)]


class _Runner(nn.Module):
    def __init__(self, net: _Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.net.forward_with_auxiliary(x)


def _net(world: World) -> _Net:
    torch.manual_seed(world.rank)  # the main process's weights count
    net = _Net().double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    synchronise_batch_norm(net, world)
    return net


def _optimizer(net: nn.Module, name: Any) -> torch.optim.Optimizer:
    options = TrainOptions(epochs=1, batch_size=8, lr=0.01, opt=name, weight_decay=0.1, opt_eps=1e-3)
    optimizer = build_optimizer(net, options)
    avoid_fused_kernels(optimizer)
    return optimizer


def _train(net: _Net, optimizer: torch.optim.Optimizer, world: World, batches: list[int]) -> None:
    wrapped = world.wrap(_Runner(net))
    generator = torch.Generator().manual_seed(1)
    for size in batches:
        images = torch.randn(size, 3, 6, 6, dtype=torch.float64, generator=generator)[world.rank :: world.size]
        labels = (torch.arange(size) % 3)[world.rank :: world.size]
        at_once = 4 // world.size  # batch norm sees four pictures, however many processes there are
        for number, (some, theirs) in enumerate(zip(images.split(at_once), labels.split(at_once), strict=True), 1):
            with world.no_sync(wrapped) if number * at_once < len(images) else nullcontext():
                logits, (others,) = wrapped(some)
                losses = F.cross_entropy(logits, theirs, reduction="none")
                losses = losses + 0.5 * F.cross_entropy(others, theirs, reduction="none")
                (losses.sum() * world.size / size).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()


def _both_ways(world: World, name: str) -> dict[str, Any]:
    """Trains sharded and not, then goes on from the other's files."""
    sharding.SMALLEST_UNIT = 100
    plain, split = _net(world), _net(world)
    assert shard(split, world) is split
    states = {}
    ends = []
    for net in (plain, split):
        optimizer = _optimizer(net, name)
        _train(net, optimizer, world, [7, 8, 1])
        states[is_sharded(net)] = (full_state_dict(net), full_optimizer_state(optimizer))
    for net, from_sharded in ((_net(world), True), (shard(_net(world), world), False)):
        weights, slots = states[from_sharded]
        optimizer = _optimizer(net, name)
        load_full_state_dict(net, weights)
        load_full_optimizer_state(optimizer, slots)
        _train(net, optimizer, world, [8, 8])  # type: ignore[arg-type]
        with torch.inference_mode():
            answer = net.eval()(torch.ones(1 - world.rank, 3, 6, 6, dtype=torch.float64))
        ends.append((full_state_dict(net), answer))
    num_units = sum(type(module).__name__.startswith("FSDP") for module in split.modules())
    own = sum(parameter.to_local().numel() for parameter in split.parameters())  # type: ignore[operator]
    return {"states": states, "ends": ends, "num_units": num_units, "own": own}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_sharded_and_wrapped_end_in_the_same_weights_and_files(tmp_path: Path, name: str) -> None:
    results = in_all(2, _both_ways, tmp_path, name=name)
    total = sum(parameter.numel() for parameter in _Net().parameters())
    assert sum(result["own"] for result in results) == total
    for result in results:
        assert result["num_units"] == 4  # the first convolution, two blocks, and the rest with the network
        (wrapped, wrapped_slots), (sharded, sharded_slots) = result["states"][False], result["states"][True]
        assert list(sharded) == list(_Net().state_dict())
        torch.testing.assert_close(sharded, wrapped, rtol=0, atol=1e-10)
        assert len(sharded_slots) == len(list(_Net().parameters()))
        torch.testing.assert_close(sharded_slots, wrapped_slots, rtol=0, atol=1e-10)
        (end_of_plain, answer), (end_of_sharded, their_answer) = result["ends"]
        torch.testing.assert_close(end_of_sharded, end_of_plain, rtol=0, atol=1e-10)
        torch.testing.assert_close(their_answer, answer, rtol=0, atol=1e-10)


def _thaw(world: World) -> dict[str, Tensor]:
    """Head alone, then everything."""
    sharding.SMALLEST_UNIT = 100
    net = _net(world)
    shard(net, world)
    optimizer = _optimizer(net, "sgd")
    net.layers.requires_grad_(False).eval()
    _train(net, optimizer, world, [8])
    held = {f"held.{name}": value.clone() for name, value in full_state_dict(net).items()}
    net.requires_grad_(True).train()
    _train(net, optimizer, world, [8])
    return held | full_state_dict(net)


def test_a_sharded_network_thaws(tmp_path: Path) -> None:
    alone = _thaw(SINGLE)
    torch.manual_seed(0)
    start = _Net().state_dict()["layers.0.weight"].double()
    assert torch.equal(alone["held.layers.0.weight"], start)
    assert not torch.equal(alone["layers.0.weight"], start)
    for result in in_all(2, _thaw, tmp_path):
        torch.testing.assert_close(result, alone, rtol=0, atol=1e-10)


def _shard_plain_norms(world: World) -> None:
    shard(_Net(), world)


def test_statistics_of_each_process_its_own_are_refused(tmp_path: Path) -> None:
    message = (
        "fsdp needs the same batch norm statistics in every process, and this network's are each process's own. "
        "Add --sync-bn."
    )
    assert all(message in result for result in on_ranks(2, _shard_plain_norms, tmp_path))


def test_alone_nothing_is_sharded() -> None:
    net = _Net()
    assert shard(net, SINGLE) is net
    assert not is_sharded(net)
    optimizer = _optimizer(net, "sgd")
    assert optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("option", [("model_ema_decay", 0.9), ("swa_epochs", 2), ("patience", 3)])
def test_a_second_copy_of_the_weights_is_refused(option: tuple[str, Any]) -> None:
    said = "{} {}".format(*option)
    require_shardable(TrainOptions(epochs=5, batch_size=8, lr=0.1))
    message = f"fsdp splits the weights over the processes, and {said} needs a whole copy of them in each. Leave it out"
    with pytest.raises(ConfigError, match=re.escape(message)):
        require_shardable(TrainOptions(epochs=5, batch_size=8, lr=0.1, **dict([option])))


def test_the_state_of_an_unsharded_network_comes_back_in_its_layout() -> None:
    net = _net(SINGLE)
    optimizer = _optimizer(net, "sgd")
    _train(net, optimizer, SINGLE, [4, 4])
    weights, slots = full_state_dict(net), full_optimizer_state(optimizer)
    again = _net(SINGLE)
    load_full_state_dict(again, weights)
    theirs = _optimizer(again, "sgd")
    load_full_optimizer_state(theirs, {number: {slot: value.contiguous() for slot, value in kept.items()}
                                       for number, kept in slots.items()})  # fmt: skip
    buffer = theirs.state[again.layers[1].conv.weight]["momentum_buffer"]  # type: ignore[union-attr, index]
    assert buffer.is_contiguous(memory_format=torch.channels_last)
    _train(net, optimizer, SINGLE, [4])
    _train(again, theirs, SINGLE, [4])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())


def test_a_state_of_other_names_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*aux\.weight"):
        load_full_state_dict(_Net(), {"other": torch.zeros(1)})
