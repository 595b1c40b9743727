"""Averages of the weights: the formulas of their papers, exact restarts, batch norms computed anew."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from sightline.errors import TrainingError
from sightline.training.average import Average, Ema, Swa, build_average
from sightline.training.options import TrainOptions


def new_net() -> nn.Module:
    """With a batch norm, a dropout, and a weight that two layers share."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    )
    net[5].weight = net[4].weight
    return net.double()


@torch.no_grad()
def train_a_little(net: nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Other weights and statistics; returns them."""
    generator = torch.Generator().manual_seed(seed)
    for value in net.parameters():
        value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype))
    net.train()(torch.randn(6, 3, 5, 5, generator=generator, dtype=torch.float64))
    return state_of(net)


def state_of(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def batches(*sizes: int, seed: int = 9) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 + torch.randn(size, 3, 5, 5, generator=generator, dtype=torch.float64) for size in sizes]


def assert_close(net: nn.Module, expected: dict[str, Any], rtol: float = 1e-12) -> None:
    for name, value in state_of(net).items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, err_msg=name)


def follow(average: Average, net: nn.Module, epochs: range, steps: int = 3) -> list[dict[str, np.ndarray]]:
    """A run of random weights; returns those after each step."""
    seen = []
    for epoch in epochs:
        for step in range(epoch * steps, (epoch + 1) * steps):
            seen.append(train_a_little(net, step))
            average.step_done(net, step=step)
        average.epoch_done(net, epoch=epoch)
    return seen


def test_ema_is_the_recursion_with_its_warm_up() -> None:
    net = new_net()
    ema = Ema(net, decay=0.9)
    expected = state_of(net)
    for step, current in enumerate(follow(ema, net, range(4), steps=30)):
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in current.items():
            if value.dtype.kind == "f":
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value
        if step == 0:
            assert decay == 0.1
    assert decay == 0.9
    assert_close(ema.net, expected, rtol=1e-9)


def test_a_weight_that_two_layers_share_moves_once() -> None:
    net = new_net()
    ema = Ema(net, decay=0.5)
    assert ema.net[5].weight is ema.net[4].weight  # type: ignore[index]
    before = ema.net[4].weight.clone()  # type: ignore[index]
    train_a_little(net, 1)
    ema.step_done(net, step=1000)
    torch.testing.assert_close(ema.net[4].weight, (before + net[4].weight) / 2)  # type: ignore[index]


def test_swa_is_the_equal_average_of_the_last_epochs() -> None:
    net = new_net()
    swa = Swa(net, first_epoch=2)
    seen = follow(swa, net, range(6))[2::3]  # at the end of each epoch
    averaged = seen[2:]
    expected = {name: np.mean([each[name] for each in averaged], axis=0) for name in seen[0]}
    expected["1.num_batches_tracked"] = averaged[-1]["1.num_batches_tracked"]
    assert swa.num_averaged == 4
    assert_close(swa.net, expected)


def test_swa_is_that_of_torch() -> None:
    """torch's AveragedModel with its own update_bn, whose dropout is off here."""
    net = new_net()
    net[3].p = 0.0
    theirs = swa_utils.AveragedModel(net)
    ours = Swa(net, first_epoch=0)
    for epoch in range(5):
        train_a_little(net, epoch)
        theirs.update_parameters(net)
        ours.epoch_done(net, epoch=epoch)
    ours.finish(batches(4, 4, 4))
    swa_utils.update_bn(batches(4, 4, 4), theirs)
    assert_close(ours.net, state_of(theirs.module), rtol=1e-10)


def test_before_its_first_epoch_swa_shows_the_network() -> None:
    net = new_net()
    swa = Swa(net, first_epoch=2)
    for epoch in range(3):
        follow(swa, net, range(epoch, epoch + 1))
        assert_close(swa.net, state_of(net), rtol=0)
        assert swa.num_averaged == (epoch == 2)
    follow(swa, net, range(3, 4))
    assert not torch.equal(swa.net[0].weight, net[0].weight)  # type: ignore[index]


def test_an_epoch_that_is_repeated_counts_once() -> None:
    net = new_net()
    swa = Swa(net, first_epoch=1)
    follow(swa, net, range(3))
    once = state_of(swa.net)
    swa.epoch_done(net, epoch=2)
    assert swa.num_averaged == 2
    assert_close(swa.net, once, rtol=0)


@pytest.mark.parametrize("make", [lambda net: Ema(net, decay=0.9), lambda net: Swa(net, first_epoch=1)])
def test_a_restart_is_exact(make: Any) -> None:
    net = new_net()
    whole = make(net)
    follow(whole, net, range(3))
    restored = make(new_net())
    restored.net.load_state_dict(whole.net.state_dict())
    restored.load_numbers(json.loads(json.dumps(whole.numbers())))
    assert restored.numbers() == whole.numbers()
    resumed = copy.deepcopy(net)
    follow(whole, net, range(3, 5))
    follow(restored, resumed, range(3, 5))
    assert_close(restored.net, state_of(whole.net), rtol=0)
    assert restored.numbers() == whole.numbers()


def test_numbers_are_what_the_tensors_do_not_say() -> None:
    net = new_net()
    ema, swa = Ema(net, decay=0.9), Swa(net, first_epoch=1)
    for average in (ema, swa):
        follow(average, net, range(3))
    assert ema.numbers() == {} and swa.numbers() == {"num_averaged": 2}


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 4, 3), (5, 0, 2)])
def test_finish_computes_the_statistics_of_the_averaged_weights(sizes: tuple[int, ...]) -> None:
    net = new_net()
    swa = Swa(net, first_epoch=0)
    follow(swa, net, range(3))
    before = state_of(swa.net)
    swa.finish(batches(*sizes))

    conv, norm = swa.net[0], swa.net[1]  # type: ignore[index]
    maps = [conv(images).detach().transpose(0, 1).flatten(1) for images in batches(*sizes) if len(images)]
    mean, var = (np.array([getattr(each, name)(dim=1).numpy() for each in maps]) for name in ("mean", "var"))
    shares = [size for size in sizes if size]
    np.testing.assert_allclose(norm.running_mean, np.average(mean, axis=0, weights=shares), rtol=1e-10)
    np.testing.assert_allclose(norm.running_var, np.average(var, axis=0, weights=shares), rtol=1e-10)
    whole = torch.cat(batches(*sizes))
    np.testing.assert_allclose(norm.running_mean, conv(whole).detach().mean(dim=(0, 2, 3)), rtol=1e-10)

    assert norm.momentum == 0.1 and not any(layer.training for layer in swa.net.modules())
    weights = {name: value for name, value in state_of(swa.net).items() if not name.startswith("1.")}
    assert all(np.array_equal(value, before[name]) for name, value in weights.items())


def test_finish_leaves_nothing_to_chance() -> None:
    """Dropout before a batch norm, and a generator in another place each time."""
    finished = []
    for seed in (1, 2):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).double()
        swa = Swa(net, first_epoch=0)
        swa.epoch_done(net, epoch=0)
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        swa.finish(batches(4, 4))
        assert torch.equal(torch.get_rng_state(), state)
        finished.append(state_of(swa.net))
    assert all(np.array_equal(value, finished[1][name]) for name, value in finished[0].items())


def test_a_network_without_batch_norms_looks_at_no_picture() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError("a batch was asked for")
        yield

    for net in (nn.Linear(2, 2), nn.BatchNorm2d(3, track_running_stats=False)):
        Swa(net, first_epoch=0).finish(never())
    Ema(new_net(), decay=0.9).finish(never())


def test_batch_norms_without_pictures_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"new statistics for 1 batch norms, .* no training picture .* Give finish"):
        Swa(new_net(), first_epoch=0).finish(batches(0))


def test_the_average_is_a_copy_that_needs_no_gradient() -> None:
    net = new_net().train()
    for average in (Ema(net, decay=0.9), Swa(net, first_epoch=0)):
        follow(average, net, range(2))
        assert not any(value.requires_grad for value in average.net.parameters())
        assert not any(layer.training for layer in average.net.modules())
        addresses = {value.data_ptr() for value in net.state_dict().values()}
        assert addresses.isdisjoint(value.data_ptr() for value in average.net.state_dict().values())
    assert all(value.requires_grad for value in net.parameters())


def test_buffers_outside_of_the_state_dict_are_averaged_too() -> None:
    net = nn.Linear(1, 1)
    net.register_buffer("centre", torch.zeros(1), persistent=False)
    swa = Swa(net, first_epoch=0)
    for epoch, value in enumerate((1.0, 2.0)):
        net.centre.fill_(value)
        swa.epoch_done(net, epoch=epoch)
    assert float(swa.net.centre) == 1.5  # type: ignore[arg-type]


def test_options_choose_the_average() -> None:
    def build(**changes: Any) -> Average | None:
        return build_average(copy.deepcopy(nn.Linear(1, 1)), TrainOptions(epochs=10, batch_size=1, lr=0.1, **changes))

    assert build() is None
    ema, swa = build(model_ema_decay=0.99), build(swa_epochs=3)
    assert isinstance(ema, Ema) and ema.decay == 0.99
    assert isinstance(swa, Swa) and swa.first_epoch == 7
