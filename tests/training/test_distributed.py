"""Several processes add up, agree, and make the same step as one."""

import copy
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from sightline.errors import TrainingError
from sightline.training.distributed import SINGLE, World, is_restart, join_world
from tests.training.ranks import agent_store, in_all, on_ranks

PICTURES = 9


def _pictures(count: int = PICTURES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 8, dtype=torch.float64, generator=generator), torch.arange(count) % 4


def _net() -> nn.Sequential:
    """Two convolutions, no batch norm, and a frozen scale, as whitening filters are."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.GELU(), nn.Conv2d(5, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    )  # fmt: skip
    net[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    return net.double()


def _losses(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(net(images), labels, reduction="none").sum()


def _gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}


def _assert_close(ours: dict[str, Tensor], reference: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == reference.keys()
    for name, value in reference.items():
        assert (ours[name] - value).abs().max() <= tolerance, name


# Adding up and agreeing


def _agree(world: World) -> dict[str, Any]:
    world.barrier()
    main = torch.full((2, 3), float(world.rank))
    world.copy_from_main([main])
    return {
        "total": world.total(torch.tensor([0.1, world.rank], dtype=torch.float64)),
        "gather": world.gather(torch.tensor([world.rank, 7])),
        "highest": world.highest([2, 15, 0][world.rank]),
        "text": world.from_main(f"runs/Bäume-{world.rank}"),
        "main": main,
        "is_main": world.is_main,
    }


def test_three_processes_add_up_and_agree(tmp_path: Path) -> None:
    for rank, result in enumerate(in_all(3, _agree, tmp_path)):
        assert result["total"].tolist() == [0.1 + 0.1 + 0.1, 3.0]
        assert result["gather"].tolist() == [[0, 7], [1, 7], [2, 7]]
        assert result["highest"] == 15
        assert result["text"] == "runs/Bäume-0"
        assert result["main"].tolist() == [[0.0] * 3] * 2
        assert result["is_main"] == (rank == 0)


def _wait(world: World, file: Path) -> bool:
    world.total(torch.ones(1))  # both are there
    if world.rank == 1:
        time.sleep(3)
        file.touch()
    world.barrier()
    return file.exists()


def test_a_barrier_waits_longer_than_a_step(tmp_path: Path) -> None:
    longest = timedelta(seconds=2.5)
    assert in_all(2, _wait, tmp_path, file=tmp_path / "file", longest=longest) == [True, True]


def test_alone_every_method_gives_back_what_it_got() -> None:
    values, net = torch.tensor([1.0, 2.0]), _net()
    assert SINGLE.total(values).tolist() == [1.0, 2.0]
    assert SINGLE.gather(values).tolist() == [[1.0, 2.0]]
    assert (SINGLE.highest(-4), SINGLE.from_main("runs/a"), SINGLE.is_main) == (-4, "runs/a", True)
    SINGLE.barrier()
    SINGLE.copy_from_main([values])
    assert values.tolist() == [1.0, 2.0]
    assert SINGLE.wrap(net) is net
    with SINGLE.no_sync(net):
        assert net(_pictures(2)[0]).shape == (2, 4)


def test_started_alone_it_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_world(torch.device("cpu")) as world:
        assert world == SINGLE


# One step


def _share_step(world: World, batches: list[int], parts: int) -> dict[str, Any]:
    """The gradients of steps of so many pictures, every `size`-th of them this process's, in micro-batches."""
    net = _net()
    wrapped = world.wrap(net)
    steps = []
    for size in batches:
        net.zero_grad()
        images, labels = (each[:size][world.rank :: world.size] for each in _pictures())
        pieces = list(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True))
        for some, theirs in pieces[:-1]:
            with world.no_sync(wrapped):
                (_losses(wrapped, some, theirs) * world.size / size).backward()
        (_losses(wrapped, *pieces[-1]) * world.size / size).backward()
        steps.append(_gradients(net))
    return {"steps": steps, "is_wrapped": isinstance(wrapped, DistributedDataParallel)}


@pytest.mark.parametrize(("size", "parts"), [(2, 1), (2, 2), (4, 1)])
def test_shares_of_any_size_make_the_gradient_of_the_whole_batch(tmp_path: Path, size: int, parts: int) -> None:
    batches = [8, 9, 5, 3, 1]  # of one picture, all processes but the first have an empty share
    reference = []
    for count in batches:
        net = _net()
        images, labels = _pictures()
        F.cross_entropy(net(images[:count]), labels[:count]).backward()
        reference.append(_gradients(net))
    for result in in_all(size, _share_step, tmp_path, batches=batches, parts=parts):
        assert result["is_wrapped"]
        for ours, whole in zip(result["steps"], reference, strict=True):
            _assert_close(ours, whole, 1e-12)


def _half_a_step(world: World) -> list[Tensor]:
    """The gradient after a micro-batch that is not the last, and after the last."""
    net, (images, labels) = _net(), (each[world.rank :: world.size] for each in _pictures(8))
    wrapped = world.wrap(net)
    with world.no_sync(wrapped):
        _losses(wrapped, images[:2], labels[:2]).backward()
    seen = [net[6].weight.grad.clone()]  # type: ignore[union-attr]
    _losses(wrapped, images[2:], labels[2:]).backward()
    return [*seen, net[6].weight.grad.clone()]  # type: ignore[union-attr]


def test_only_the_last_micro_batch_exchanges(tmp_path: Path) -> None:
    (own, end), (theirs, their_end) = in_all(2, _half_a_step, tmp_path)
    assert not torch.equal(own, theirs)
    assert torch.equal(end, their_end)


def _in_phases(world: World) -> dict[str, Tensor]:
    """Head alone, then everything, wrapped anew in between."""
    net, (images, labels) = _net(), (each[world.rank :: world.size] for each in _pictures())
    net[:4].requires_grad_(False)
    wrapped: nn.Module | None = world.wrap(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(4):
        if step == 2:
            net[0].weight.requires_grad_(True)  # type: ignore[union-attr]
            net[2].requires_grad_(True)
            wrapped = None
            wrapped = world.wrap(net)
        (_losses(wrapped, images, labels) * world.size / PICTURES).backward()  # type: ignore[arg-type]
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


def test_a_network_that_thaws_is_wrapped_again(tmp_path: Path) -> None:
    alone = _in_phases(SINGLE)
    assert not torch.equal(alone["2.weight"], _net().state_dict()["2.weight"])
    for result in in_all(2, _in_phases, tmp_path):
        _assert_close(result, alone, 1e-12)


def _wrap_frozen(world: World) -> bool:
    net = _net().requires_grad_(False)
    return world.wrap(net) is net


def test_a_frozen_network_has_nothing_to_exchange(tmp_path: Path) -> None:
    assert in_all(2, _wrap_frozen, tmp_path) == [True, True]


def _norm_statistics(world: World) -> list[Tensor]:
    """The running mean before, at the start of and after the second step of a plain batch norm."""
    norm = nn.BatchNorm2d(3).double()
    wrapped = world.wrap(norm)
    images = _pictures(8)[0][world.rank :: world.size]
    wrapped(images).sum().backward()
    seen = [norm.running_mean.clone()]
    norm.momentum = 0.0  # the second step leaves what it began with
    wrapped(images).sum().backward()
    seen.append(norm.running_mean.clone())
    norm.running_mean += world.rank
    world.copy_from_main(norm.buffers())
    return [*seen, norm.running_mean.clone()]


def test_every_step_begins_with_the_main_process_statistics(tmp_path: Path) -> None:
    (own, begun, _), (theirs, their_begun, their_copied) = in_all(2, _norm_statistics, tmp_path)
    assert not torch.equal(own, theirs)
    assert torch.equal(begun, own)
    assert torch.equal(their_begun, own)
    assert torch.equal(their_copied, own)


# Ends


def _fail(world: World) -> None:
    if world.rank == 1:
        raise TrainingError("the loss is nan at step 7")
    world.total(torch.ones(1))


def test_a_process_that_fails_ends_the_others_in_words(tmp_path: Path) -> None:
    lost, failed = on_ranks(2, _fail, tmp_path)
    assert failed.startswith("Traceback")  # and not with the news that the group is still there
    assert failed.rstrip().endswith("TrainingError: the loss is nan at step 7")
    assert "TrainingError: process 0 of 2 lost another one" in lost


def _die(world: World) -> None:
    if world.rank == 1:
        os._exit(9)
    world.barrier()


def test_a_process_that_dies_does_not_leave_the_others_waiting(tmp_path: Path) -> None:
    lost, dead = on_ranks(2, _die, tmp_path)
    assert dead is None
    assert "TrainingError: process 0 of 2 lost another one" in lost


def _hang(world: World) -> None:
    world.total(torch.ones(1))  # both are there
    if world.rank == 1:
        time.sleep(4)
    else:
        world.total(torch.ones(1))


def test_a_process_that_hangs_is_given_up(tmp_path: Path) -> None:
    waited, _ = on_ranks(2, _hang, tmp_path, longest=timedelta(seconds=2.5))
    assert (
        "TrainingError: process 0 of 2 lost another one, or waited too long for it (Timed out waiting 2500ms" in waited
    )


def _place(monkeypatch: pytest.MonkeyPatch, rank: int, port: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_that_finds_nobody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("localhost", 0))
        port = taken.getsockname()[1]
        _place(monkeypatch, 1, port)
        message = (
            f"process 1 of 2 did not meet the others at localhost:{port} within 1 s .*Start all of them with the same"
        )
        with (
            pytest.raises(TrainingError, match=message),
            join_world(torch.device("cpu"), timeout=timedelta(seconds=1)),
        ):
            raise AssertionError


def test_the_main_process_names_those_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    store = agent_store()
    _place(monkeypatch, 0, store.port)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with (
        pytest.raises(TrainingError, match=r"process 0 of 2 did not meet .* within 1 s \(no word of process 1\)"),
        join_world(torch.device("cpu"), timeout=timedelta(seconds=1)),
    ):
        raise AssertionError


def _number(world: World) -> int:
    return world.highest(world.rank)


def test_a_second_attempt_does_not_call_at_the_addresses_of_the_first(tmp_path: Path) -> None:
    store = agent_store()  # torchrun keeps it when it starts the processes again
    assert in_all(2, _number, tmp_path / "first", store=store) == [1, 1]
    assert in_all(2, _number, tmp_path / "second", store=store, late_s=1.0) == [1, 1]


def test_a_restart_is_told_from_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    assert not is_restart()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not is_restart()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert is_restart()


def test_the_copy_of_a_network_is_in_the_same_world() -> None:
    world = World(1, 2, patient=object())
    assert copy.deepcopy(world) is world
