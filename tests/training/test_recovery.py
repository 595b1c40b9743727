"""A run goes back to its last checkpoint where memory ran out or a loss is not finite, and ends as it should."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import Interrupted, TrainingError
from sightline.training.recovery import is_out_of_memory
from sightline.training.state import TrainState
from tests.training.runs import OPTIONS, Recorder, new_net, run


class BadAt(nn.Module):
    """Answers NaN at some steps of the run, whenever they are done."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.net, self.steps = new_net(), steps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        step = torch.initial_seed() - OPTIONS["seed"] * 1_000_003
        return out * float("nan") if self.training and step in self.steps else out


class Stop(Exception):
    """Stands for a crash at a step."""


def _stop_at(step: int) -> Recorder:
    def stop(now: int) -> None:
        if now == step:
            raise Stop

    return Recorder(stop)


def _assert_same(a: TrainState, b: TrainState) -> None:
    for name, value in a.net.state_dict().items():
        assert torch.equal(value, b.net.state_dict()[name]), name
    assert a.history == b.history


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_a_step_whose_loss_is_not_finite_is_left_out_wherever_the_last_checkpoint_lies(
    tmp_path: Path, every_s: float
) -> None:
    said: list[str] = []
    state = run(tmp_path / "a", net=BadAt(8), max_rollbacks=1, checkpoint_every_s=every_s, say=said.append)
    assert state.left_out == [8]
    assert state.step == 18
    assert state.history[1].train_score == state.history[1].train_score  # not NaN
    assert said == [
        "the loss or its gradient is not finite at step 9: going back to the last checkpoint, and leaving that step out"
    ]
    reference = run(tmp_path / "b", net=BadAt(8), max_rollbacks=1, checkpoint_every_s=0.05)
    _assert_same(state, reference)


@pytest.mark.parametrize("step", [3, 8, 11])
def test_a_run_that_went_back_and_died_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole = run(tmp_path / "whole", net=BadAt(4), max_rollbacks=1)
    with pytest.raises(Stop):
        run(tmp_path / "killed", net=BadAt(4), max_rollbacks=1, recorder=_stop_at(step))
    _assert_same(whole, run(tmp_path / "killed", net=BadAt(4), max_rollbacks=1, resume=True))


def test_no_more_rollbacks_than_allowed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 10 \(epoch 2\).*--max-rollbacks"):
        run(tmp_path, net=BadAt(4, 9), max_rollbacks=1)


class SpoiledGradient(nn.Module):
    """A loss that is fine, and a gradient that is not, at one step."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.net, self.steps = new_net(), steps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        if self.training and torch.initial_seed() - OPTIONS["seed"] * 1_000_003 in self.steps:
            out.register_hook(lambda gradient: gradient * float("nan"))
        return out


def test_a_gradient_that_is_not_finite_leaves_out_its_own_step_and_no_other(tmp_path: Path) -> None:
    assert run(tmp_path, net=SpoiledGradient(8), max_rollbacks=5).left_out == [8]


def test_a_gradient_that_is_not_finite_in_the_last_step_of_all_is_not_shipped(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^the gradient's norm is nan at step 18 \(epoch 3\).* The batch: "):
        run(tmp_path, net=SpoiledGradient(17))


def test_a_run_that_reads_its_figures_seldom_finds_the_step_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", net=BadAt(8), max_rollbacks=1)
    monkeypatch.setattr("sightline.training.figures.READ_EVERY", {})  # as on a GPU
    seldom = run(tmp_path / "seldom", net=BadAt(8), max_rollbacks=1, checkpoint_every_s=1e9)
    assert seldom.left_out == [8]
    _assert_same(whole, seldom)


def test_a_run_that_reads_its_figures_seldom_saves_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.training.figures.READ_EVERY", {})
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(9), checkpoint_every_s=0.0)
    assert max(path.name for path in tmp_path.iterdir()) == "step-00000008.safetensors"


def test_a_checkpoint_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    def clean(step: int) -> None:
        for path in tmp_path.iterdir():
            path.unlink()

    with pytest.raises(TrainingError, match=r"^there is no checkpoint to go back to in "):
        run(tmp_path, net=BadAt(8), max_rollbacks=1, recorder=Recorder(clean), checkpoint_every_s=1e9)


class Narrow(nn.Module):
    """Has memory for so many pictures at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.net, self.most = new_net(), most

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you ..."
            )
        out: Tensor = self.net(x)
        return out


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(tmp_path: Path) -> None:
    said: list[str] = []
    state = run(tmp_path / "narrow", net=Narrow(2), say=said.append)
    _assert_same(state, run(tmp_path / "asked", net=Narrow(2), grad_accum_steps=4))
    assert state.memory_factor == 4
    assert said == [
        "memory ran out with 8 pictures at a time: going on from the last checkpoint with half as many; "
        "a step still takes 8 (batch norm sees a part)",
        "memory ran out with 4 pictures at a time: going on from the last checkpoint with half as many; "
        "a step still takes 8 (batch norm sees a part)",
    ]


def test_what_was_halved_stays_so_after_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, net=Narrow(4), recorder=_stop_at(7))
    said: list[str] = []
    assert run(tmp_path, net=Narrow(4), resume=True, say=said.append).memory_factor == 2
    assert said == ["going on after epoch 1, step 0 of the next"]  # and no second halving


def test_out_of_memory_in_the_optimiser_goes_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tmp_path / "asked", opt="adamw", grad_accum_steps=2)
    step, calls = torch.optim.AdamW.step, []

    def first_fails(self: torch.optim.AdamW, *args: object) -> object:
        calls.append(self)
        if len(calls) == 1:  # where it makes room for its averages
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", first_fails)
    state = run(tmp_path / "narrow", opt="adamw")
    assert state.memory_factor == 2
    _assert_same(state, expected)


def test_a_signal_ends_a_run_that_goes_back_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.training.loop._wanted", lambda stop, checkpoints: 2 * signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 0"):
        run(tmp_path, net=Narrow(4))


def test_memory_for_no_picture_at_all_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^memory ran out with 2 pictures at a time, the fewest .* --img-size"):
        run(tmp_path, net=Narrow(0))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("not enough memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_an_error_of_the_network_is_no_lack_of_memory(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = new_net()

        def forward(self, x: Tensor) -> Any:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(tmp_path, net=Broken())
