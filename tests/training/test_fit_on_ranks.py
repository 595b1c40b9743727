"""`fit` on several processes: the same run as on one, saved, stopped and gone on with together."""

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import Interrupted
from sightline.runtime import choose_runtime
from sightline.training.distributed import SINGLE, World
from sightline.training.full_state import full_state_dict
from sightline.training.loop import fit
from sightline.training.options import TrainOptions
from sightline.training.sharding import shard
from sightline.training.state import Checkpoints
from sightline.training.sync_norm import synchronise_batch_norm
from tests.training.ranks import in_all
from tests.training.runs import OPTIONS, Recorder, loader


class _Net(nn.Module):
    """In float64, where the order of sums leaves no mark; nothing in it is left to chance."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.GELU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.GELU()
        )
        self.fc = nn.Linear(6, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.features(x.double()).mean(dim=(2, 3)))
        return out


def _run(
    world: World,
    folder: Path,
    *,
    at_step: Callable[[int], None] = lambda step: None,
    fsdp: bool = False,
    resume: bool = False,
    every_s: float = 0.0,
    **changes: Any,
) -> dict[str, Any]:
    options = TrainOptions(**{**OPTIONS, "model_ema_decay": None, "opt_eps": 1e-3, **changes})
    net = synchronise_batch_norm(_Net(), world)
    if fsdp:
        shard(net, world)
    recorder = Recorder(at_step)
    own = dataclasses.replace(loader(69, options=options), rank=world.rank, world_size=world.size)
    state = fit(
        net,
        own,  # 55 pictures: the last batch has 7, four for one process and three for the other
        options,
        runtime=choose_runtime(device="cpu", amp=False, threads=1),
        checkpoints=Checkpoints(folder, identity={}, every_s=every_s, world=world),
        listener=recorder,
        resume=resume,
        world=world,
    )
    return {"net": full_state_dict(state.net), "history": state.history, "losses": recorder.losses}


@pytest.mark.parametrize("changes", [{}, {"head_epochs": 1, "head_lr": 0.05}], ids=["everything", "head first"])
def test_two_processes_train_like_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    alone = _run(SINGLE, tmp_path / "alone", **changes)
    for result in in_all(2, _run, tmp_path / "results", folder=tmp_path / "run", **changes):
        torch.testing.assert_close(result["net"], alone["net"], rtol=0, atol=1e-10)
        assert result["losses"] == pytest.approx(alone["losses"], abs=1e-10)


def test_uneven_shares_have_as_many_micro_batches(tmp_path: Path) -> None:
    changes = {"grad_accum_steps": 2, "epochs": 1, "warmup_epochs": 0.0}
    alone = _run(SINGLE, tmp_path / "alone", **changes)
    for result in in_all(2, _run, tmp_path / "results", folder=tmp_path / "run", **changes):
        # the last batch, of seven, is one part here and two there, which batch norm sees
        assert result["losses"][:-1] == pytest.approx(alone["losses"][:-1], abs=1e-10)
        assert len(result["losses"]) == 7


def _save_by_own_clocks(world: World, folder: Path) -> list[str]:
    """The second process finds it time to save after every step, the main process never does."""
    _run(world, folder, fsdp=True, every_s=1e9 if world.is_main else 0.0)
    return sorted(path.name for path in folder.glob("step-*"))


def test_the_main_process_clock_decides_when_a_run_is_saved(tmp_path: Path) -> None:
    saved = in_all(2, _save_by_own_clocks, tmp_path / "results", folder=tmp_path / "run")[0]
    assert saved == ["step-00000000.safetensors", "step-00000021.safetensors"]


def _stop_late_in_one(world: World, folder: Path, fsdp: bool) -> tuple[str, int]:
    """SIGTERM reaches the second process alone, after its fourth step."""

    def at_step(step: int) -> None:
        if world.rank == 1 and step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        _run(world, folder, at_step=at_step, every_s=1e9, fsdp=fsdp)
    return str(caught.value), caught.value.exit_code


@pytest.mark.parametrize("fsdp", [False, True])
def test_a_signal_to_one_stops_all_after_the_same_step_and_the_run_goes_on(tmp_path: Path, fsdp: bool) -> None:
    whole = in_all(2, _run, tmp_path / "whole", folder=tmp_path / "unstopped", fsdp=fsdp, every_s=1e9)
    for said, exit_code in in_all(2, _stop_late_in_one, tmp_path / "stopped", folder=tmp_path / "run", fsdp=fsdp):
        assert said.startswith("stopped by SIGTERM after step 4; the state is saved in ")
        assert exit_code == 143
    resumed = in_all(2, _run, tmp_path / "resumed", folder=tmp_path / "run", resume=True, fsdp=fsdp, every_s=1e9)
    for ours, reference in zip(resumed, whole, strict=True):
        assert ours["history"] == reference["history"]
        assert all(torch.equal(value, reference["net"][name]) for name, value in ours["net"].items())
    alone = _run(SINGLE, tmp_path / "run", resume=True)  # the last checkpoint is one process's as well
    assert alone["history"] == whole[0]["history"]
    assert all(torch.equal(value, alone["net"][name]) for name, value in whole[0]["net"].items())
