"""One test for each bug that training loops are known for; each fails when the bug is put back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import BundleError, ConfigError
from sightline.training.options import TrainOptions
from sightline.training.schedule import learning_rate
from sightline.training.state import TrainState
from tests.training.runs import OPTIONS, Recorder, new_net, run

PLAIN: dict[str, Any] = {"smoothing": 0.0, "model_ema_decay": None, "weight_decay": 0.0}


class Stop(Exception):
    """Stands for a crash at a step."""


def _stop_at(step: int) -> Recorder:
    def stop(now: int) -> None:
        if now == step:
            raise Stop

    return Recorder(stop)


def linear() -> nn.Module:
    """No batch norm, no dropout: nothing that depends on how a batch is cut."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(432, 8), nn.Tanh(), nn.Linear(8, 2)).double()


class Doubled(nn.Module):
    """Takes the float32 pictures in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.net = linear()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.double())
        return out


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_mean_of_batch_means(tmp_path: Path, steps: int) -> None:
    """Micro-batches of unequal sizes (48 pictures in batches of 10, cut in 3) count by their pictures."""
    whole = run(tmp_path / "a", net=Doubled(), batch_size=10, opt="momentum", **PLAIN)
    parts = run(tmp_path / "b", net=Doubled(), batch_size=10, opt="momentum", grad_accum_steps=steps, **PLAIN)
    for a, b in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert [row.train_loss for row in whole.history] == pytest.approx([row.train_loss for row in parts.history])


def test_schedule_off_by_one_after_resume(tmp_path: Path) -> None:
    rates: list[float] = []

    class Rates(Recorder):
        def step_done(self, event: Any) -> None:
            rates.append(event.lr)
            super().step_done(event)

    with pytest.raises(Stop):
        run(tmp_path, recorder=_stop_at(7))
    state = run(tmp_path, recorder=Rates(), resume=True)
    options = TrainOptions(**OPTIONS)
    # the seventh step was not saved
    assert rates == [learning_rate(options, step, steps_per_epoch=6) for step in range(6, 18)]
    assert state.step == 18


def test_average_state_lost(tmp_path: Path) -> None:
    """The average of a resumed run is that of the whole run, not one that began anew."""
    for changes in ({"model_ema_decay": 0.9}, {"model_ema_decay": None, "swa_epochs": 2}):
        folder = tmp_path / str(len(changes))
        whole = run(folder / "whole", **changes)
        with pytest.raises(Stop):
            run(folder / "killed", recorder=_stop_at(14), **changes)
        resumed = run(folder / "killed", resume=True, **changes)
        _same(whole.final_net, resumed.final_net)
        assert any(
            not torch.equal(a, b) for a, b in zip(whole.final_net.parameters(), whole.net.parameters(), strict=True)
        )


def test_optimizer_state_lost(tmp_path: Path) -> None:
    for opt in ("sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon"):
        whole = run(tmp_path / opt / "whole", opt=opt, lr=0.003)
        with pytest.raises(Stop):
            run(tmp_path / opt / "killed", opt=opt, lr=0.003, recorder=_stop_at(9))
        _same(whole.net, run(tmp_path / opt / "killed", opt=opt, lr=0.003, resume=True).net)


class Frozen(nn.Module):
    """A body with batch norm and dropout under a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(4, 2)

    @property
    def classifier_head(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def frozen() -> Frozen:
    torch.manual_seed(0)
    return Frozen()


def test_frozen_bn_moving(tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in frozen().state_dict().items()}
    states: list[dict[str, Tensor]] = []
    net = frozen()
    recorder = Recorder(lambda step: states.append({k: v.clone() for k, v in net.state_dict().items()}))
    run(tmp_path, net=net, recorder=recorder, head_epochs=1, head_lr=0.01)
    in_head_phase, after = states[5], states[17]
    moved = {name for name, value in in_head_phase.items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    assert all(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_run_with_a_head_phase_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    asked: dict[str, Any] = {"head_epochs": 1, "head_lr": 0.01, "layer_decay": 0.5}
    whole = run(tmp_path / "whole", net=frozen(), **asked)
    with pytest.raises(Stop):
        run(tmp_path / "killed", net=frozen(), recorder=_stop_at(step), **asked)
    _same(whole.net, run(tmp_path / "killed", net=frozen(), resume=True, **asked).net)


def test_patience_ends_the_run_and_keeps_the_best_weights(tmp_path: Path) -> None:
    losses = iter([0.9, 0.5, 0.7, 0.6, 0.8, 0.4])
    kept: list[Tensor] = []

    def validate(net: nn.Module) -> tuple[float, float]:
        kept.append(next(net.parameters()).detach().clone())
        return next(losses), 0.5

    state = run(tmp_path, epochs=6, patience=2, validate=validate)
    assert len(state.history) == 4  # the second epoch was the best; two without a better one ended the run
    assert torch.equal(next(state.final_net.parameters()), kept[1])


def test_patience_does_not_count_the_epochs_of_the_head_alone(tmp_path: Path) -> None:
    losses = iter([0.5, 0.9, 0.9, 0.9, 0.9, 0.9])
    asked: dict[str, Any] = {"head_epochs": 3, "head_lr": 0.01, "patience": 2, "epochs": 6}
    state = run(tmp_path, net=frozen(), validate=lambda net: (next(losses), 0.5), **asked)
    assert len(state.history) == 5  # two epochs of the whole network, and neither was better


def test_patience_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^patience is 2 and there are no validation pictures"):
        run(tmp_path, patience=2, validate=None)


class Shared(nn.Module):
    """Two layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(432, 432), nn.Linear(432, 432), nn.Linear(432, 2)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.b(self.a(x.flatten(1))))
        return out


def test_a_weight_that_two_layers_share_is_saved_and_resumed(tmp_path: Path) -> None:
    def shared() -> Shared:
        torch.manual_seed(0)
        return Shared()

    whole = run(tmp_path / "whole", net=shared())
    with pytest.raises(Stop):
        run(tmp_path / "killed", net=shared(), recorder=_stop_at(9))
    _same(whole.net, run(tmp_path / "killed", net=shared(), resume=True).net)


def _freeze_first(net: nn.Module, _: Any) -> None:
    net.first.weight.requires_grad_(False)  # type: ignore[union-attr, operator]


class FreezesWhenLoaded(nn.Module):
    """Weights that are loaded freeze its first layer, as Airbench's whitened filters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(432, 8), nn.Linear(8, 2)
        self.register_load_state_dict_post_hook(_freeze_first)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x.flatten(1)))
        return out


def test_what_loaded_weights_froze_is_frozen_after_a_resume(tmp_path: Path) -> None:
    def loaded() -> FreezesWhenLoaded:
        torch.manual_seed(0)
        net = FreezesWhenLoaded()
        net.load_state_dict(net.state_dict())
        return net

    def fresh() -> FreezesWhenLoaded:
        torch.manual_seed(0)
        return FreezesWhenLoaded()

    whole = run(tmp_path / "whole", net=loaded())
    with pytest.raises(Stop):
        run(tmp_path / "killed", net=loaded(), recorder=_stop_at(9))
    _same(whole.net, run(tmp_path / "killed", net=fresh(), resume=True).net)


def test_a_checkpoint_of_other_trained_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, net=new_net(), recorder=_stop_at(9))
    net = new_net()
    net.fc.bias.requires_grad_(False)
    with pytest.raises(BundleError, match=r"trained 14 parameters, and this one trains 13: fc\.bias differ"):
        run(tmp_path, net=net, resume=True)


def test_a_run_with_patience_resumes_with_its_best_weights(tmp_path: Path) -> None:
    def validate_of(first: int) -> Any:
        losses = iter([0.9, 0.5, 0.7, 0.6][first:])
        return lambda net: (next(losses), 0.5)

    whole = run(tmp_path / "whole", epochs=6, patience=2, validate=validate_of(0))
    with pytest.raises(Stop):
        run(tmp_path / "killed", epochs=6, patience=2, validate=validate_of(0), recorder=_stop_at(15))
    resumed = run(tmp_path / "killed", epochs=6, patience=2, validate=validate_of(2), resume=True)
    assert resumed.history == whole.history
    _same(whole.final_net, resumed.final_net)


def test_the_average_of_the_last_epochs_is_what_is_kept(tmp_path: Path) -> None:
    ends: list[dict[str, Tensor]] = []
    net = linear_32()
    recorder = Recorder(lambda step: ends.append({k: v.clone() for k, v in net.state_dict().items()}))
    state = run(
        tmp_path, net=net, recorder=recorder, swa_epochs=2, **{**PLAIN, "sched": "constant", "warmup_epochs": 0.0}
    )
    for name, value in state.final_net.state_dict().items():
        torch.testing.assert_close(value, (ends[11][name] + ends[17][name]) / 2)


def linear_32() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(432, 2))


def _same(a: nn.Module, b: nn.Module) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_a_run_ends_in_the_state_that_it_returns(tmp_path: Path) -> None:
    state: TrainState = run(tmp_path, net=new_net())
    assert state.final_net is state.current_net
    assert state.epoch == 3
