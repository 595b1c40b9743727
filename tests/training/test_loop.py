"""The loop: it learns, resumes bit for bit, stops when asked, and never steps on a loss that is not finite."""

import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sightline.errors import BundleError, Interrupted, TrainingError
from sightline.training.state import TrainState
from tests.training.runs import Recorder, new_net, run


class Stop(Exception):
    """Stands for a crash at a step."""


def _stop_at(step: int) -> Recorder:
    def stop(now: int) -> None:
        if now == step:
            raise Stop

    return Recorder(stop)


def _assert_same(a: TrainState, b: TrainState) -> None:
    for left, right in ((a.net, b.net), (a.average.net, b.average.net)):  # type: ignore[union-attr]
        for name, value in left.state_dict().items():
            assert torch.equal(value, right.state_dict()[name]), name
    assert a.history == b.history
    assert a.step == b.step


def test_the_loss_falls_and_the_figures_add_up(tmp_path: Path) -> None:
    recorder = Recorder()
    state = run(tmp_path, recorder=recorder, epochs=6)
    assert state.history[-1].train_loss < state.history[0].train_loss * 0.7
    assert state.history[-1].train_score > 0.9
    assert [row.epoch for row in state.history] == [1, 2, 3, 4, 5, 6]
    assert len(recorder.losses) == state.step == 6 * 6  # 48 pictures in batches of 8
    assert sum(event.num_pictures for event in recorder.epochs) == 6 * 48
    assert (state.history[-1].val_loss, state.history[-1].val_score) == (0.5, 0.75)


@pytest.mark.parametrize("step", [1, 5, 6, 7, 13, 17])
def test_a_run_that_died_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "killed", recorder=_stop_at(step))
    _assert_same(whole, run(tmp_path / "killed", resume=True))


def test_a_second_death_does_not_matter(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", opt="sgd")
    for step in (4, 11):
        with pytest.raises(Stop):
            run(tmp_path / "killed", recorder=_stop_at(step), resume=True, opt="sgd")
    _assert_same(whole, run(tmp_path / "killed", resume=True, opt="sgd"))


def test_the_seed_is_not_idle(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", seed=3), run(tmp_path / "b", seed=4)
    assert not torch.equal(a.net.state_dict()["fc.weight"], b.net.state_dict()["fc.weight"])


def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    recorder = Recorder(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 8 else None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM after step 8; .* Go on with --resume") as caught:
        run(tmp_path / "stopped", recorder=recorder, checkpoint_every_s=1e9)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    _assert_same(whole, run(tmp_path / "stopped", resume=True))


def test_the_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from tests.training.runs import Recorder, run
        def twice(step):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            print("still here")
        run(Path({str(tmp_path)!r}), recorder=Recorder(twice))
    """
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=root, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert "still here" not in done.stdout


class Poisoned(nn.Module):
    """Answers NaN from the given call on."""

    def __init__(self, net: nn.Module, *, from_call: int) -> None:
        super().__init__()
        self.net, self.from_call, self.calls = net, from_call, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.net(x)
        return out * float("nan") if self.calls >= self.from_call else out


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_pictures(tmp_path: Path) -> None:
    net = Poisoned(new_net(), from_call=3)
    weights: list[Tensor] = []
    recorder = Recorder(lambda step: weights.append(net.net.fc.weight.detach().clone()))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, net=net, recorder=recorder)
    assert "the loss is nan at step 3 (epoch 1)" in str(caught.value)
    assert "Lower --lr" in str(caught.value)
    assert str(caught.value).count("train/") + str(caught.value).count("/0") >= 8
    assert len(weights) == 2
    assert torch.equal(net.net.fc.weight, weights[-1])  # type: ignore[union-attr, arg-type]


def test_gradients_are_clipped(tmp_path: Path) -> None:
    free = run(tmp_path / "a", opt="momentum", lr=1.0, weight_decay=0.0)
    clipped = run(tmp_path / "b", opt="momentum", lr=1.0, weight_decay=0.0, clip_grad=1e-6)
    start = new_net().state_dict()["fc.weight"]
    assert (clipped.net.state_dict()["fc.weight"] - start).abs().max() < 1e-4
    assert (free.net.state_dict()["fc.weight"] - start).abs().max() > 0.05


def test_a_damaged_newest_checkpoint_falls_back_and_is_said(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "killed", recorder=_stop_at(9))
    newest = sorted((tmp_path / "killed").glob("step-*"))[-1]
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1  # one bit of a tensor
    newest.write_bytes(content)
    said: list[str] = []
    _assert_same(whole, run(tmp_path / "killed", resume=True, say=said.append))
    damaged, going_on = said
    assert "is damaged (its content does not match its SHA-256); trying the one before it" in damaged
    assert going_on == "going on after epoch 1, step 1 of the next"


def test_a_truncated_checkpoint_falls_back(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(9))
    newest = sorted(tmp_path.glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    said: list[str] = []
    run(tmp_path, resume=True, say=said.append)
    assert newest.name in said[0]


def test_no_whole_checkpoint_is_an_error_not_a_silent_new_start(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(9))
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"")
    with pytest.raises(BundleError, match=r"none of the 2 checkpoints in .* is whole"):
        run(tmp_path, resume=True)


def test_two_generations_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000017.safetensors",
        "step-00000018.safetensors",
    ]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, identity={"lr": 0.1})
    with pytest.raises(BundleError, match=r"belongs to another run: lr was 0.1, now 0.2"):
        run(tmp_path, identity={"lr": 0.2}, resume=True)


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sightline.training.state.save_file", full)
    with pytest.raises(BundleError, match=r"cannot write the checkpoint .*No space left.*Free space.*--resume"):
        run(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_signal_during_the_last_validation_is_not_lost(tmp_path: Path) -> None:
    def validate(net: nn.Module) -> tuple[float, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.5, 0.75

    with pytest.raises(Interrupted) as caught:
        run(tmp_path, epochs=1, validate=validate)
    assert caught.value.exit_code == 143
    assert run(tmp_path, epochs=1, resume=True).step == 6


def test_a_run_can_be_resumed_before_its_first_step(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(1), checkpoint_every_s=1e9)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000000.safetensors"]


def test_a_disk_that_corrupts_what_it_writes_keeps_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def corrupt(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file({**tensors, "net.fc.bias": tensors["net.fc.bias"] + 1}, path, metadata)

    monkeypatch.setattr("sightline.training.state.save_file", corrupt)
    with pytest.raises(BundleError, match="its content does not match its SHA-256"):
        run(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class WithHeads(nn.Module):
    """A network with an auxiliary head that nothing but its own loss can move."""

    auxiliary_weight = 0.3

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = nn.Linear(432, 2), nn.Linear(432, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.main(x.flatten(1))
        return logits

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self(x), [self.aux(x.flatten(1))]


def test_auxiliary_heads_are_trained_with_their_weight(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = WithHeads()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    recorder = Recorder()
    plain: dict[str, Any] = {"opt": "momentum", "momentum": 0.0, "sched": "constant", "warmup_epochs": 0.0}
    plain |= {"weight_decay": 0.0, "model_ema_decay": None, "smoothing": 0.0}
    run(tmp_path, net=net, recorder=recorder, epochs=1, lr=1e-9, **plain)
    assert recorder.losses[0] == pytest.approx(1.3 * math.log(2))  # two classes, zero weights: log 2 each
    # So small a rate leaves every step the same network: the weights are the summed gradients, 0.3 to 1.
    assert net.main.weight.abs().max() > 0
    torch.testing.assert_close(net.aux.weight, 0.3 * net.main.weight, rtol=1e-4, atol=1e-15)
