"""The ladder of depths: every parameter on it, in the order of use, without a missing rung."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.training.depth import depth_of_parameters
from sightline.training.phase import head_of
from tests.conformance.stages import SIZES

# One of each way of building; their numbered relatives differ in depth and width alone.
FAMILIES = (
    "simple_cnn", "lenet5", "lenet5_1998", "alexnet", "alexnet_2012", "zfnet", "vgg11_bn", "googlenet",
    "googlenet_2014", "resnet18", "resnet50", "resnetv2_18", "plain18", "resnet20", "preresnet110", "wrn16_8",
    "densenet40_k12", "densenet100_k12_bc", "squeezenet1_0", "xception", "mobilenet_v1", "mobilenet_v2",
    "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0", "convnext_tiny", "airbench94",
)  # fmt: skip


def outline(name: str, **options: object) -> Classifier:
    """A network without numbers, for three channels."""
    if "image_size" in zoo.ZOO[name].options:
        options["image_size"] = SIZES.get(name, (32, 32))
    with torch.device("meta"):
        return zoo.build(name, num_classes=5, in_channels=3, **options)  # type: ignore[arg-type]


def order_of_use(net: Classifier) -> list[str]:
    """The names of the parameters, as a forward pass comes to the modules that hold them."""
    names: dict[str, None] = {}

    def remember(prefix: str, module: nn.Module) -> None:
        own = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
        names.update(dict.fromkeys(own))

    for path, module in net.named_modules():
        prefix = f"{path}." if path else ""
        module.register_forward_pre_hook(lambda module, args, prefix=prefix: remember(prefix, module))
    net.eval()(torch.zeros(1, net.in_channels, *SIZES.get(net.name, (32, 32)), device="meta"))
    return list(names)


@pytest.mark.parametrize("name", zoo.names())
def test_every_parameter_has_a_depth_and_no_depth_is_left_out(name: str) -> None:
    net = outline(name)
    depths = depth_of_parameters(net)
    assert list(depths) == [key for key, _ in net.named_parameters()]
    assert set(depths.values()) == set(range(max(depths.values()) + 1))
    assert next(iter(depths.values())) == 0


@pytest.mark.parametrize("name", [name for name in zoo.names() if name != "lenet5_1998"])  # its head is fixed
def test_the_head_is_the_deepest(name: str) -> None:
    net = outline(name)
    depths = depth_of_parameters(net)
    deepest = max(depths.values())
    head = {id(parameter) for parameter in net.classifier_head.parameters()}
    assert {depths[key] for key, parameter in net.named_parameters() if id(parameter) in head} == {deepest}
    others = [key for key, parameter in net.named_parameters() if depths[key] == deepest and id(parameter) not in head]
    # ConvNeXt alone has a norm between the pool and the head
    assert others == (["classifier.0.weight", "classifier.0.bias"] if name.startswith("convnext") else [])


@pytest.mark.parametrize("name", FAMILIES)
def test_depths_rise_in_the_order_of_use(name: str) -> None:
    net = outline(name)
    depths = depth_of_parameters(net)
    used = order_of_use(net)
    assert sorted(used) == sorted(depths)
    along = [depths[key] for key in used]
    assert along == sorted(along)


# timm 1.0.31: 1 + the largest value of group_parameters(net, net.group_matcher(coarse=False), reverse=True)
OF_TIMM = {
    "resnet18": 10, "resnet50": 18, "resnet152": 52, "wide_resnet50_2": 18, "resnext50_32x4d": 18, "resnetv2_50": 18,
    "mobilenet_v1": 15,
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), OF_TIMM.items())
def test_residual_networks_have_timms_number_of_depths(name: str, count: int) -> None:
    assert max(depth_of_parameters(outline(name)).values()) + 1 == count


# Counted by hand from the papers' tables: what each depth is, and how many there are.
BY_HAND = {
    "lenet5": 5,  # C1, C3, C5, F6, output
    "lenet5_1998": 4,  # C1 with S2, C3 with S4, C5, F6; the output has nothing to learn
    "alexnet": 8,  # five convolutions, three dense layers
    "vgg16": 16,
    "vgg16_bn": 16,
    "googlenet": 3 + 9 + 1,  # convolutions, inception units, head
    "densenet121": 1 + (6 + 12 + 24 + 16) + 3 + 1,  # stem, dense layers, transitions, head
    "densenet40_k12": 40,
    "squeezenet1_0": 1 + 8 + 1,  # convolution, fire modules, head
    "xception": 2 + 12 + 2 + 1,  # convolutions, units, separable convolutions, head
    "mobilenet_v2": 1 + 17 + 1 + 1,  # stem, inverted residuals, last convolution, head
    "efficientnet_lite0": 1 + 16 + 1 + 1,  # likewise; timm has 18, with the last convolution on the unit before it
    "convnext_tiny": 1 + (3 + 3 + 9 + 3) + 3 + 1,  # patches, blocks, downsampling layers, head
    "airbench94": 1 + 6 + 1,  # whitening, convolutions, head
}


@pytest.mark.parametrize(("name", "count"), BY_HAND.items())
def test_the_number_of_depths_by_hand(name: str, count: int) -> None:
    assert max(depth_of_parameters(outline(name)).values()) + 1 == count


def test_what_shares_a_depth() -> None:
    depths = depth_of_parameters(outline("resnet18"))
    assert {depths[f"{key}.weight"] for key in ("conv1", "bn1")} == {0}
    of_block = {value for key, value in depths.items() if key.startswith("layer2.0.")}
    assert of_block == {3}  # the stem, two blocks of layer1; its downsampling is part of it
    depths = depth_of_parameters(outline("vgg11_bn"))
    assert [depths[f"features.{index}.bias"] for index in (0, 1, 4, 5)] == [0, 0, 1, 1]


def test_a_norm_goes_with_the_layer_before_it_or_at_the_start_with_the_one_after() -> None:
    depths = depth_of_parameters(outline("convnext_tiny"))
    assert depths["features.2.0.weight"] == depths["features.2.1.weight"] == depths["features.1.2.layer_scale"] + 1
    depths = depth_of_parameters(outline("preresnet110"))
    assert depths["norm.weight"] == depths["layer3.17.conv2.weight"] == max(depths.values()) - 1


def test_auxiliary_heads_lie_as_deep_as_the_last_layer_under_the_head() -> None:
    depths = depth_of_parameters(outline("googlenet", aux_heads=True))
    plain = depth_of_parameters(outline("googlenet"))
    of_heads = {value for key, value in depths.items() if key.startswith("aux")}
    assert of_heads == {depths["inception5b.branch1.conv.weight"]} == {max(plain.values()) - 1}
    assert {key: value for key, value in depths.items() if not key.startswith("aux")} == plain


class _Unit(nn.Module):
    """Two convolutions and a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)])
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x)
        return x * self.scale


class _Net(nn.Module):
    """A body of units, a head and a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_Unit(), nn.Sequential(_Unit(), _Unit()))
        self.temperature = nn.Parameter(torch.ones(()))
        self.fc = nn.Linear(2, 3)


class _Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Net()


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"net": _Wrapped()})
        self.out = nn.Linear(3, 4)


def test_a_network_of_anybodys() -> None:
    depths = depth_of_parameters(_Net())
    assert [depths[f"body.{unit}.convs.1.weight"] for unit in ("0", "1.0", "1.1")] == [0, 1, 2]
    assert depths["body.0.scale"] == 0 and depths["fc.bias"] == 3
    assert depths["temperature"] == 2


def test_a_wrapped_network_has_the_depths_of_what_it_wraps() -> None:
    wrapped = depth_of_parameters(_Wrapped())
    assert {key.removeprefix("inner."): value for key, value in wrapped.items()} == depth_of_parameters(_Net())
    depths = depth_of_parameters(_Backbone())
    assert depths["backbone.net.inner.body.1.1.scale"] == 2
    assert depths["backbone.net.inner.fc.weight"] == 3 and depths["out.weight"] == 4


def test_the_head_is_the_deepest_wherever_it_stands() -> None:
    net = nn.Sequential(OrderedDict(head=nn.Conv2d(2, 2, 1), a=nn.Conv2d(2, 2, 1), b=nn.Conv2d(2, 2, 1)))
    assert list(depth_of_parameters(net).values()) == [0, 0, 1, 1, 2, 2]  # without a linear layer: the last
    net.classifier_head = net.head
    assert head_of(net) is net.head
    assert {key: value for key, value in depth_of_parameters(net).items() if key.endswith("weight")} == {
        "head.weight": 2, "a.weight": 0, "b.weight": 1,
    }  # fmt: skip


def test_a_shared_parameter_lies_where_it_is_used_first() -> None:
    first = nn.Linear(3, 3, bias=False)
    again = nn.Linear(3, 3, bias=False)
    again.weight = first.weight
    net = nn.Sequential(first, nn.Linear(3, 3, bias=False), again, nn.Linear(3, 2, bias=False))
    assert depth_of_parameters(net) == {"0.weight": 0, "1.weight": 1, "3.weight": 3}


@pytest.mark.parametrize(("net", "expected"), [(nn.Linear(2, 3), {0}), (nn.ReLU(), set()), (nn.BatchNorm2d(2), {0})])
def test_the_smallest_networks(net: nn.Module, expected: set[int]) -> None:
    assert set(depth_of_parameters(net).values()) == expected
