"""Each rule speaks of a network that breaks it and is silent of one that does not; and of the zoo only what is true."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sightline.inspection import Finding, inspect
from sightline.inspection.linter import RULES
from sightline.models import zoo

from .nets import Function, Gate, chain, conv


def classifier(*layers: nn.Module, channels: int) -> nn.Sequential:
    """Layers, and a pool and a dense layer behind them."""
    return chain(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


def block(in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return chain(
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def findings(net: nn.Module, size: tuple[int, ...], batch_size: int | None = None) -> dict[str, Finding]:
    found = inspect(net, size, batch_size=batch_size).findings
    assert len({finding.rule for finding in found}) == len(found)
    return {finding.rule: finding for finding in found}


PHOTO_STEM = (block(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1))
GOOD = classifier(block(3, 8), block(8, 8, stride=2), block(8, 8), block(8, 8, stride=2), block(8, 8), channels=8)


def test_a_good_network_gets_no_word() -> None:
    assert findings(GOOD, (3, 32, 32)) == findings(GOOD, (3, 32, 32), batch_size=2) == {}


def test_a_coarse_stem_on_small_pictures() -> None:
    net = classifier(*PHOTO_STEM, block(8, 8), block(8, 8), block(8, 8), channels=8)
    found = findings(net, (3, 64, 64))["coarse-stem"]
    assert found.where == "1"
    assert found.message == (
        "the map has one unit for 4x4 px after 1 convolution, for pictures of 64x64 px. Take the small stem where the "
        "network offers one (--stem small), smaller strides, or larger pictures."
    )
    assert "coarse-stem" not in findings(net, (3, 96, 96))
    patches = classifier(nn.Conv2d(3, 8, 8, 8), block(8, 8), block(8, 8), channels=8)
    assert "one unit for 8x8 px" in findings(patches, (3, 64, 64))["coarse-stem"].message
    slow = classifier(block(3, 8, stride=2), block(8, 8, stride=2), block(8, 8), channels=8)
    assert "coarse-stem" not in findings(slow, (3, 32, 32))  # two convolutions have looked by then
    assert "coarse-stem" in findings(chain(nn.MaxPool2d(4), conv(3, 1, 1)), (1, 32, 32))  # none has
    assert "coarse-stem" not in findings(chain(conv(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (1, 8, 8))


def test_a_map_that_has_vanished() -> None:
    net = classifier(*(block(3 if not i else 8, 8, stride=2) for i in range(5)), block(8, 8), channels=8)
    found = findings(net, (3, 16, 16), batch_size=2)["vanished-map"]
    assert found.where == "4.0"
    assert found.message == (
        "2 convolutions with kernels larger than 1 run over a map of 1 px: all of their weights but the middle ones "
        "see padding only. Take pictures of more than 16 px (here 16x16 px), fewer strides, or fewer stages."
    )
    assert "vanished-map" not in findings(net, (3, 64, 64))
    flat = chain(conv((1, 3), 1, (0, 1)), conv((3, 1), 1, (1, 0)))
    assert "vanished-map" in findings(flat, (1, 1, 9)) and "vanished-map" not in findings(flat, (1, 9, 9))
    head = classifier(block(3, 8), block(8, 8), Gate(8), channels=8)  # 1x1 behind the pool, with kernels of 1
    assert "vanished-map" not in findings(head, (3, 8, 8))


def test_a_narrow_view() -> None:
    net = classifier(block(3, 8), block(8, 8), channels=8)
    found = findings(net, (3, 32, 32))["narrow-view"]
    assert found.where == "1"
    assert found.message == (
        "a unit of the last map sees 5 of 32 px (height), and the pool behind it does not know what lies where. "
        "Add layers, strides or dilation, or take smaller pictures."
    )
    assert findings(net, (3, 10, 10)) == {}  # half of the side is enough
    assert "narrow-view" in findings(net, (3, 8, 11)) and "(width)" in findings(net, (3, 8, 11))["narrow-view"].message
    dense = chain(block(3, 8), block(8, 8), nn.Flatten(), nn.Linear(8 * 32 * 32, 2))
    assert findings(dense, (3, 32, 32)) == {}  # a weight for each place of the map
    assert findings(nn.Linear(5, 2), (5,)) == {}  # no map at all
    assert findings(chain(block(3, 8), block(8, 8)), (3, 32, 32)) == {}  # a map for an answer: nothing pools it
    assert "narrow-view" in findings(chain(block(3, 8), Function(lambda _, x: x.mean((2, 3)))), (3, 32, 32))


def test_layers_past_the_picture() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = block(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    plain = classifier(block(3, 8, stride=2), *(block(8, 8) for _ in range(8)), channels=8)
    found = findings(plain, (3, 12, 12))["past-the-picture"]
    assert found.where == "7.0"  # 3 px, and 4 more a block: 27 in front of number 7
    assert found.message == (
        "2 convolutions from here on see 2 times the picture's 12x12 px already and have nothing new to look at. "
        "Take larger pictures, fewer strides, or leave layers out."
    )
    assert findings(plain, (3, 18, 18)) == {}
    around = classifier(block(3, 8, stride=2), *(Residual() for _ in range(8)), channels=8)
    assert findings(around, (3, 12, 12)) == {}  # what passes the blocks by has seen little
    ones = classifier(*plain[:9], nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), channels=8)
    assert "2 convolutions" in findings(ones, (3, 12, 12))["past-the-picture"].message  # 1x1 never look wider


def test_shifted_paths() -> None:
    def total(net: Function, x: Tensor) -> Tensor:
        return net.a(x) + net.b(x)

    shifted = Function(total, a=block(3, 8, stride=2), b=nn.Conv2d(3, 8, 2, 2))
    found = findings(classifier(shifted, channels=8), (3, 6, 6))["shifted-paths"]
    assert found.where == "0"
    assert found.message.startswith("two paths whose first units look at pixels 0 and 0.5 cannot be joined")
    assert "shifted-paths" not in findings(Function(total, a=block(3, 8, stride=2), b=nn.Conv2d(3, 8, 1, 2)), (3, 6, 6))


def test_a_lonely_batch_norm() -> None:
    found = findings(GOOD, (3, 32, 32), batch_size=1)["lonely-batch-norm"]
    assert found.where == "0.1"
    assert found.message.startswith(
        "5 batch norms would train on one picture at a time: what they subtract is the pict"
    )
    vanished = classifier(*(block(3 if not i else 8, 8, stride=2) for i in range(5)), channels=8)
    found = findings(vanished, (3, 16, 16))["lonely-batch-norm"]
    assert found.where == "3.1" and "one value a channel" in found.message and "training fails" in found.message
    assert "lonely-batch-norm" not in findings(vanished, (3, 16, 16), batch_size=2)
    norm_free = chain(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))
    assert "lonely-batch-norm" not in findings(norm_free, (3, 4, 4), batch_size=1)


def test_a_network_that_cannot_be_trained() -> None:
    class Evaluated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("labels are missing")
            return x

    found = findings(Evaluated(), (3, 4, 4))["untrainable"]
    assert found.where == "Evaluated" and found.message.startswith("a training step fails. Evaluated cannot take")
    assert "labels are missing" in found.message
    assert "untrainable" not in findings(GOOD, (3, 32, 32))


@pytest.mark.parametrize(
    ("layers", "dead"),
    [
        ((nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 8),
        ((nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8)), 8),
        ((nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8)), 8),
        ((nn.Flatten(), nn.Linear(108, 5), nn.BatchNorm1d(5)), 5),
        ((nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)), 0),
        ((nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)), 0),
        ((nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(8)), 0),
        ((nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)), 0),
        ((nn.Conv2d(3, 8, 3), nn.Unflatten(1, (2, 4)), nn.Flatten(2), nn.BatchNorm1d(2)), 0),  # a norm of groups
        ((nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3)), 0),
    ],
)
def test_dead_biases(layers: tuple[nn.Module, ...], dead: int) -> None:
    found = findings(chain(*layers), (3, 6, 6), batch_size=2).get("dead-bias")
    if dead:
        assert found is not None and found.message.startswith(f"{dead} biases right before a batch norm, which takes")
    else:
        assert found is None


def test_a_bias_that_something_else_reads_too_lives() -> None:
    net = Function(lambda net, x: net.bn(y := net.a(x)) + y, a=nn.Conv2d(3, 8, 1), bn=nn.BatchNorm2d(8))
    assert "dead-bias" not in findings(net, (3, 4, 4), batch_size=2)


class Frozen(nn.BatchNorm2d):
    """Stays in evaluation, as detectors keep the norms of their backbone."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


def gradient_of_bias(net: nn.Module, conv: nn.Conv2d) -> float:
    net.double().train()(torch.randn(4, 3, 6, 6, dtype=torch.float64)).square().sum().backward()
    assert conv.bias is not None and conv.bias.grad is not None
    return float(conv.bias.grad.abs().max())


def test_a_bias_before_a_frozen_norm_lives() -> None:
    for norm, is_dead in ((Frozen(8), False), (nn.BatchNorm2d(8), True)):
        net = chain(conv := nn.Conv2d(3, 8, 3), norm)
        assert ("dead-bias" in findings(net, (3, 6, 6), batch_size=2)) == is_dead
        assert (gradient_of_bias(net, conv) < 1e-12) == is_dead


def test_a_bias_of_a_shared_layer_is_dead_where_all_its_uses_are() -> None:
    def net(forward: Callable[[Function, Tensor], Tensor]) -> Function:
        return Function(forward, a=nn.Conv2d(3, 8, 3), bn=nn.BatchNorm2d(8), more=nn.BatchNorm2d(8))

    raw_too = net(lambda net, x: net.bn(net.a(x)) + net.a(x))
    assert "dead-bias" not in findings(raw_too, (3, 6, 6), batch_size=2)
    assert gradient_of_bias(raw_too, raw_too.get_submodule("a")) > 1e-3  # type: ignore[arg-type]
    both = net(lambda net, x: net.bn(net.a(x)) + 2 * net.more(net.a(x)))
    assert findings(both, (3, 6, 6), batch_size=2)["dead-bias"].message.startswith("8 biases")
    assert gradient_of_bias(both, both.get_submodule("a")) < 1e-12  # type: ignore[arg-type]


def test_a_dead_bias_really_gets_no_gradient() -> None:
    net = zoo.build("simple_cnn", num_classes=3).double()
    found = findings(net, (3, 32, 32))["dead-bias"]
    assert found.where == "block1.0.conv, block2.0.conv, block3.0.conv"
    net(torch.randn(4, 3, 32, 32, dtype=torch.float64)).square().sum().backward()
    biases = [net.get_submodule(name).bias.grad for name in found.where.split(", ")]
    assert all(gradient.abs().max() < 1e-12 for gradient in biases)


def test_unused_parameters() -> None:
    net = classifier(block(3, 8), block(8, 8), channels=8)
    net.spare, net.more = nn.Conv2d(8, 8, 3), nn.Linear(4, 4)
    net.forward = lambda x: nn.Sequential(*net[:5])(x)  # type: ignore[method-assign]
    found = findings(net, (3, 8, 8))["unused-parameters"]
    assert found.where == "spare.weight, spare.bias, more.weight and 1 more"
    assert found.message.startswith("604 parameters never take part in forward. Remove them")
    assert "unused-parameters" not in findings(GOOD, (3, 32, 32))

    class Auxiliary(nn.Module):
        """A second head that training alone uses."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> object:
            return (self.a(x), self.b(x)) if self.training else self.a(x)

    assert "unused-parameters" not in findings(Auxiliary(), (3,))


def test_parts_that_a_network_lists_as_optional_have_a_use() -> None:
    net = nn.Sequential(nn.Linear(3, 3))
    net.forward = net[0].forward  # type: ignore[method-assign]
    net.aux, net.auxiliary = nn.Linear(3, 3), nn.Linear(3, 3)
    net.optional_parts = ("aux",)  # type: ignore[assignment]
    assert findings(net, (3,))["unused-parameters"].where == "auxiliary.weight, auxiliary.bias"


def test_every_rule_has_its_reason_and_its_name() -> None:
    assert [rule.__name__.replace("_", "-") for rule in RULES] == [
        "coarse-stem", "vanished-map", "narrow-view", "past-the-picture", "shifted-paths", "lonely-batch-norm",
        "untrainable", "dead-bias", "unused-parameters",
    ]  # fmt: skip
    assert all(len((rule.__doc__ or "").split()) > 12 for rule in RULES)


# What is true of networks of the zoo at their papers' sizes; nothing is said of the others.
TRUE = {
    "simple_cnn": {"dead-bias"},  # as in the tutorials
    **{f"vgg{depth}_bn": {"dead-bias"} for depth in (11, 13, 16, 19)},  # as in torchvision
    "plain34": {"past-the-picture"},  # He et al. 2015, Fig. 1 and 4: deeper plain networks are no better
    **{f"plain{depth}": {"past-the-picture"} for depth in (20, 32, 44, 56, 110)},
}
ONE_A_FAMILY = ["simple_cnn", "lenet5", "alexnet", "zfnet", "vgg11", "vgg11_bn", "googlenet", "resnet18", "resnet50"]
ONE_A_FAMILY += ["resnetv2_50", "resnet20", "plain20", "preresnet110", "wrn16_8", "densenet121", "densenet40_k12"]
ONE_A_FAMILY += ["squeezenet1_0", "xception", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"]
ONE_A_FAMILY += ["convnext_tiny", "airbench94", "airbench_small", "resnext50_32x4d", "plain34", "lenet5_1998"]


def rules_of(name: str) -> set[str]:
    entry = zoo.ZOO[name]
    with torch.device("meta"):
        net = zoo.build(name, image_size=entry.input_size[1:])
    return {finding.rule for finding in inspect(net, entry.input_size).findings}


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_of_the_zoo_only_what_is_true(name: str) -> None:
    assert rules_of(name) == TRUE.get(name, set())


@pytest.mark.proof
@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in ONE_A_FAMILY])
def test_of_the_rest_of_the_zoo_only_what_is_true(name: str) -> None:
    assert rules_of(name) == TRUE.get(name, set())
