"""A borrowed network comes back as it was, whatever happened to it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.inspection.borrow import borrowed, swap_in_twins, title, watch
from sightline.inspection.trace import record

from .nets import Staged


class Remembering(nn.Module):
    """Keeps things in every way a module can: counter, list, dict, attribute, buffer, cache of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.register_buffer("seen", torch.zeros(3))
        self.calls, self.log, self.cache, self.last = 0, ["start"], {"none": None}, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.log.append("forward")
        self.cache["x"], self.last, self.new = x, x, x
        self.seen = self.seen + x.mean(dim=(0, 2, 3))
        self.bn.num_batches_tracked.add_(1)
        return self.bn(x)


def snapshot(net: nn.Module) -> tuple[object, ...]:
    """All that could change: the tensors and their values, and every attribute of every module."""
    tensors = [(name, id(tensor), tensor.clone()) for name, tensor in [*net.named_parameters(), *net.named_buffers()]]
    attributes = [
        {key: copy.copy(value) if isinstance(value, dict | list) else value for key, value in vars(module).items()}
        for module in net.modules()
    ]
    return tensors, attributes


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_a_recorded_run_changes_nothing(training: bool, before: bool) -> None:
    net = Remembering().train(before)
    net.bn.train(not before)  # modules may be in different modes
    handle = net.register_forward_hook(lambda *_: None)
    tensors, attributes = snapshot(net)
    record(net, (3, 8, 8), batch_size=2, training=training)
    again, attributes_again = snapshot(net)
    assert attributes_again == attributes
    for (name, address, value), (other, address_again, value_again) in zip(tensors, again, strict=True):
        assert (name, address) == (other, address_again)
        assert torch.equal(value, value_again)
    handle.remove()
    assert len(net._forward_hooks) == 0  # the handle still knows its hook


def test_a_network_comes_back_after_an_error() -> None:
    net = Remembering()
    tensors, attributes = snapshot(net)
    with pytest.raises(ZeroDivisionError), borrowed(net):
        net.eval()
        swap_in_twins(net)
        net.extra = 1
        del net._modules["bn"]
        _ = 1 / 0
    assert snapshot(net)[1] == attributes
    assert [address for _, address, _ in tensors] == [id(each) for each in [*net.parameters(), *net.buffers()]]


def test_twins_have_no_values_and_share_what_was_shared() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    net[2].bias.requires_grad_(False)
    with borrowed(net):
        pairs = swap_in_twins(net)
        assert net[2].weight is net[0].weight
        assert all(tensor.is_meta for tensor in net.parameters())
        assert [p.requires_grad for p in net[2].parameters()] == [True, False]
        assert not net[1].num_batches_tracked.is_meta  # networks read it
        assert len(pairs) == 8 and all(twin.shape == tensor.shape for tensor, twin in pairs)
    assert not any(tensor.is_meta for tensor in net.parameters())


def test_a_lazy_module_is_refused() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ConfigError, match=r"^0 is a lazy module: its weight has no shape yet\. Run the network on one"):
        record(net, (4,))


def test_layers_and_stages_are_told_once_each_and_in_order() -> None:
    net, told = Staged(), []
    with borrowed(net):
        watch(
            net,
            lambda name, layer, stage: told.append(("enter", name, type(layer).__name__, stage)),
            lambda name, stage, output: told.append(("leave", name, tuple(output.shape), stage)),
        )
        net(torch.zeros(1, 3, 8, 8))
    assert told == [
        ("enter", "", "Staged", ""),
        ("enter", "stem", "NoneType", "stem"),
        ("enter", "conv", "Conv2d", ""),
        ("leave", "conv", (1, 4, 4, 4), ""),
        ("enter", "relu", "ReLU", ""),
        ("leave", "relu", (1, 4, 4, 4), ""),
        ("leave", "stem", (1, 4, 4, 4), "stem"),
        ("enter", "blocks", "Sequential", "body"),
        ("enter", "blocks.0", "Conv2d", ""),
        ("leave", "blocks.0", (1, 8, 4, 4), ""),
        ("enter", "blocks.1", "ReLU", ""),
        ("leave", "blocks.1", (1, 8, 4, 4), ""),
        ("leave", "blocks", (1, 8, 4, 4), "body"),
        ("enter", "head", "NoneType", "head"),
        ("enter", "fc", "Linear", ""),
        ("leave", "fc", (1, 2), ""),
        ("leave", "head", (1, 2), "head"),
        ("leave", "", (1, 2), ""),
    ]
    assert list(net.named_stages()) == ["stem", "body", "head"] and "named_stages" not in vars(net)


def test_a_method_of_that_name_that_means_something_else_is_left_alone() -> None:
    class Other(nn.Module):
        def stages(self, x: Tensor) -> list[Tensor]:
            return [x, x * 2]

        def forward(self, x: Tensor) -> Tensor:
            return self.stages(x)[1]

    assert [call.name for call in record(Other(), (3, 4, 4)).calls] == [""]


def test_networks_go_by_their_name_or_their_class() -> None:
    net = nn.Identity()
    assert title(net) == "Identity"
    net.name = "mine"
    assert title(net) == "mine"
    net.name = 7
    assert title(net) == "Identity"
