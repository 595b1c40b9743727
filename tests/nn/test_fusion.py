"""Batch norms folded into convolutions: the answers stay what they were, and what cannot be folded is left alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.nn.conv import SameConv2d
from sightline.nn.fusion import FusedForEvaluation, fused_for_evaluation

SIZES = {"alexnet": (64, 64), "alexnet_2012": (67, 67), "zfnet": (47, 47)}  # need more than 32x32 px

# Of each kind of network with batch norms: how many there are, and how many follow a convolution and nothing else.
FOLDED = {
    "simple_cnn": (3, 3),
    "vgg11_bn": (8, 8),
    "vgg16_bn": (13, 13),
    "googlenet": (57, 57),
    "resnet18": (20, 20),  # stem, 8 units of 2, 3 shortcuts
    "resnet50": (53, 53),  # stem, 16 units of 3, 4 shortcuts
    "resnext50_32x4d": (53, 53),
    "plain18": (17, 17),
    "resnet20": (19, 19),
    "resnetv2_18": (17, 8),  # 8 units, in each the norm between the two convolutions
    "resnetv2_50": (49, 32),  # 16 units, in each the two norms between the three convolutions
    "preresnet110": (109, 55),  # 54 units, and the stem's, whose output only the first unit's norm takes
    "wrn16_8": (13, 7),  # likewise of 6 units
    "densenet121": (121, 59),  # 58 bottlenecks and the stem; all others take a concatenation
    "densenet40_k12": (39, 0),
    "xception": (40, 40),
    "mobilenet_v1": (27, 27),
    "mobilenet_v2": (52, 52),
    "mobilenet_v3_small": (34, 34),
    "efficientnet_b0": (49, 49),
    "efficientnet_lite0": (49, 49),
    "airbench_small": (6, 3),  # a pool is between the first convolution of each group and its norm
}
LARGE = ("vgg16_bn", "resnet50", "resnext50_32x4d", "resnetv2_50", "wrn16_8")  # smaller ones show what they would


def each(names: list[str]) -> list[Any]:
    """Networks as parameters of a test: those whose kind another one shows are among the proofs."""
    return [
        pytest.param(name, marks=() if name in FOLDED and name not in LARGE else pytest.mark.proof) for name in names
    ]


class FewInputs(nn.Module):
    """Stands for a dense layer of up to 100 million weights, which has nothing to do with batch norms."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(16, out_features)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(F.adaptive_avg_pool1d(x[:, None], 16)[:, 0])
        return out


def size_of(name: str) -> tuple[int, int, int]:
    return (3, *SIZES.get(name, (32, 32)))


def outline(name: str) -> nn.Module:
    """Without weights."""
    size = size_of(name)[1:]
    options: dict[str, Any] = {"image_size": size} if "image_size" in zoo.ZOO[name].options else {}
    with torch.device("meta"):
        net = zoo.build(name, num_classes=5, in_channels=3, **options)
        for path, layer in list(net.named_modules()):
            if isinstance(layer, nn.Linear) and layer.weight.numel() > 10_000_000:
                net.set_submodule(path, FewInputs(layer.out_features))
    return net


@torch.no_grad()
def shaken(net: nn.Module) -> nn.Module:
    """In float64, with random weights and statistics that keep the size of the values."""
    net = net.to_empty(device="cpu").double()
    torch.manual_seed(0)
    for layer in net.modules():
        for name, value in layer.named_parameters(recurse=False):
            if value.dim() > 1 and not isinstance(layer, nn.LayerNorm):
                nn.init.normal_(value, std=value[0].numel() ** -0.5)
            elif name == "weight":
                nn.init.uniform_(value, 0.5, 1.5)
            else:
                nn.init.normal_(value, std=0.3)
        for name, value in layer.named_buffers(recurse=False):
            if name == "running_var":
                nn.init.uniform_(value, 0.5, 1.5)
            elif name == "running_mean":
                nn.init.normal_(value, std=0.3)
            else:
                value.zero_()
    return net


def norms_of(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules())


@torch.no_grad()
def difference(net: nn.Module, fused: nn.Module, size: tuple[int, ...]) -> float:
    """The largest, as a part of the largest logit."""
    images = torch.randn(2, *size, dtype=next(net.parameters()).dtype)
    expected = net.eval()(images)
    assert expected.isfinite().all()
    return float((fused(images) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", each(zoo.names()))
def test_every_network_answers_as_before(name: str) -> None:
    net = shaken(outline(name))
    fused = FusedForEvaluation(net, size_of(name))
    assert difference(net, fused.net, size_of(name)) < 1e-9
    with torch.no_grad():
        for value in net.parameters():
            value.mul_(1.01)  # other weights, as after an epoch
    assert difference(net, fused.net, size_of(name)) > 1e-3
    assert fused.update(net) is fused.net
    assert difference(net, fused.net, size_of(name)) < 1e-9


@pytest.mark.parametrize("name", FOLDED)
def test_what_follows_a_convolution_is_folded_and_nothing_else(name: str) -> None:
    net = outline(name)
    fused = FusedForEvaluation(net, size_of(name))
    assert (norms_of(net), len(fused.pairs)) == FOLDED[name]
    assert norms_of(fused.net) == norms_of(net) - len(fused.pairs)


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    fused = fused_for_evaluation(net, (3, 5, 5))
    assert net.training and not fused.training and net[0].bias is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert list(net.state_dict()) == list(before)
    assert not net[0]._forward_hooks and torch.equal(torch.get_rng_state(), generator)
    with torch.no_grad():
        fused[0].weight.zero_()
    assert torch.equal(net[0].weight, before["0.weight"])


class Net(nn.Module):
    """A convolution and a batch norm, and what a test makes of them."""

    def __init__(self, forward: Callable[["Net", Tensor], Any], conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self._forward = conv, norm, forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


class Standardised(nn.Conv2d):
    """Weight standardisation: a scale folded into the weight would be taken out again."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.std(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class WithoutBias(nn.Conv2d):
    """Would not look at a bias that folding gives it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None)


class NormAndAct(nn.BatchNorm2d):
    """More than a batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def in_a_row(net: Net, x: Tensor) -> Any:
    return net.norm(net.conv(x))


def twice_added(net: Net, x: Tensor) -> Any:
    before = net.conv(x)
    return net.norm(before) + before


def also_returned(net: Net, x: Tensor) -> Any:
    before = net.conv(x)
    return {"maps": [before], "logits": net.norm(before)}


def changed_in_place(net: Net, x: Tensor) -> Any:
    before = net.conv(x)
    before.add_(1.0)
    return net.norm(before)


def conv_run_twice(net: Net, x: Tensor) -> Any:
    return net.norm(net.conv(net.conv(x)))


def norm_run_twice(net: Net, x: Tensor) -> Any:
    return net.norm(net.norm(net.conv(x)))


def weight_used_again(net: Net, x: Tensor) -> Any:
    return net.norm(net.conv(x)) * net.conv.weight.mean()


def hooked_norm() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    norm.register_forward_hook(lambda layer, images, output: output * 2)
    return norm


CONV, NORM = lambda: nn.Conv2d(3, 3, 1), lambda: nn.BatchNorm2d(3)
LEFT_ALONE = {
    "its input is added to its output": (twice_added, CONV, NORM),
    "its input is an output of the network": (also_returned, CONV, NORM),
    "its input is changed in place": (changed_in_place, CONV, NORM),
    "the convolution runs twice": (conv_run_twice, CONV, NORM),
    "the batch norm runs twice": (norm_run_twice, CONV, NORM),
    "the weight is used elsewhere": (weight_used_again, CONV, NORM),
    "the weight is computed": (in_a_row, lambda: Standardised(3, 3, 1), NORM),
    "the weight is a parametrisation": (
        in_a_row, lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), NORM,
    ),
    "the bias would be ignored": (in_a_row, lambda: WithoutBias(3, 3, 1, bias=False), NORM),
    "it is more than a batch norm": (in_a_row, CONV, lambda: NormAndAct(3)),
    "a hook changes what it puts out": (in_a_row, CONV, hooked_norm),
    "it has the statistics of the batch": (in_a_row, CONV, lambda: nn.BatchNorm2d(3, track_running_stats=False)),
    "it is no batch norm": (in_a_row, CONV, lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True)),
    "it is no convolution": (in_a_row, lambda: nn.ConvTranspose2d(3, 3, 1), NORM),
}  # fmt: skip


@pytest.mark.parametrize("why", LEFT_ALONE)
def test_a_batch_norm_stays_where(why: str) -> None:
    forward, conv, norm = LEFT_ALONE[why]
    net = Net(forward, conv(), norm()).double()
    _shake_norms(net)
    fused = FusedForEvaluation(net, (3, 4, 4))
    assert fused.pairs == ()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected, answer = net.eval()(images), fused.net(images)
    if isinstance(expected, dict):
        assert torch.equal(answer["maps"][0], expected["maps"][0])
        answer, expected = answer["logits"], expected["logits"]
    assert torch.equal(answer, expected)


FOLDABLE = {
    "without a bias": (in_a_row, lambda: nn.Conv2d(3, 3, 1, bias=False), NORM),
    "padded by its forward": (in_a_row, lambda: SameConv2d(3, 3, 3, stride=2), NORM),
    "padded by reflection": (in_a_row, lambda: nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), NORM),
    "of groups": (in_a_row, lambda: nn.Conv2d(3, 3, 3, groups=3), NORM),
    "without a scale": (in_a_row, CONV, lambda: nn.BatchNorm2d(3, affine=False)),
    "over processes": (in_a_row, CONV, lambda: nn.SyncBatchNorm(3)),
    "with a dropout between": (lambda net, x: net.norm(F.dropout(net.conv(x), 0.5, net.training)), CONV, NORM),
    "only its shape is read": (lambda net, x: net.norm(net.conv(x)) * net.conv.weight.shape[0], CONV, NORM),
}


@pytest.mark.parametrize("why", FOLDABLE)
def test_a_batch_norm_is_folded_after_a_convolution(why: str) -> None:
    forward, conv, norm = FOLDABLE[why]
    net = Net(forward, conv(), norm()).double()
    _shake_norms(net)
    fused = FusedForEvaluation(net, (3, 4, 4))
    assert fused.pairs == (("conv", "norm"),)
    assert difference(net, fused.net, (3, 4, 4)) < 1e-12
    _shake_norms(net)
    assert difference(net, fused.update(net), (3, 4, 4)) < 1e-12


def test_convolutions_that_share_a_weight_are_left_alone() -> None:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    both = nn.Sequential(first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3))
    assert FusedForEvaluation(both, (3, 4, 4)).pairs == ()
    one = Net(in_a_row, first, nn.BatchNorm2d(3))
    assert len(FusedForEvaluation(one, (3, 4, 4)).pairs) == 1
    one.idle = second  # holds the weight, and does not run
    assert FusedForEvaluation(one, (3, 4, 4)).pairs == ()


def test_a_layer_of_two_names_is_one_layer() -> None:
    net = Net(in_a_row, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double()
    net.again, net.listed = net.conv, [net.norm]  # a second name, and a plain list, which the forward reads
    net._forward = lambda net, x: net.listed[0](net.again(x))
    _shake_norms(net)
    fused = FusedForEvaluation(net, (3, 4, 4))
    assert fused.pairs == (("conv", "norm"),) and isinstance(fused.net.listed[0], nn.Identity)
    assert difference(net, fused.net, (3, 4, 4)) < 1e-12
    _shake_norms(net)
    assert difference(net, fused.update(net), (3, 4, 4)) < 1e-12


def test_batch_norms_that_share_their_scale_are_folded_one_by_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).double()
    net[3].weight = net[1].weight
    _shake_norms(net)
    fused = FusedForEvaluation(net, (3, 4, 4))
    _shake_norms(net)
    assert fused.pairs == (("0", "1"),)
    assert difference(net, fused.update(net), (3, 4, 4)) < 1e-12


def test_autocast_around_it_hides_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert FusedForEvaluation(net, (3, 4, 4)).pairs == (("0", "1"),)


def test_channels_last_stays() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    fused = FusedForEvaluation(net, (8, 4, 4))
    for weight in (fused.net.get_parameter("0.weight"), fused.update(net).get_parameter("0.weight")):
        assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_picture_that_does_not_fit_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(ShapeError, match=r"Sequential cannot take an input of \(1, 4, 8, 8\), .*Give the input_size"):
        fused_for_evaluation(net, (4, 8, 8))
    with pytest.raises(ShapeError, match="resnet18 needs images of at least"):
        fused_for_evaluation(outline("resnet18"), (3, 0, 0))


@torch.no_grad()
def _shake_norms(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            for value in (*layer.parameters(), layer.running_mean, layer.running_var):
                if value is not None:
                    value.uniform_(0.5, 1.5)
