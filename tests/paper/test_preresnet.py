"""Pre-activation and wide ResNets against their papers' equations and tables, and against timm."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models import zoo
from sightline.models.base import Classifier

from .costs import multiplications, parameters
from .rule import fill_network, make_images

DATA = Path(__file__).parent / "data"
TIMM = json.loads((DATA / "resnetv2_state_dicts.json").read_text())["networks"]
LOGITS = np.load(DATA / "residual_logits_64px.npz")  # timm 1.0.31; by their output stride

WRN = {  # arXiv:1605.07146, Table 4, in millions as printed; exact parameters and multiplications by its Table 1
    "wrn40_1": ("0.6", 563_930, 83_280_512),
    "wrn40_2": ("2.2", 2_243_546, 327_599_360),
    "wrn40_4": ("8.9", 8_949_210, 1_298_582_016),
    "wrn40_8": ("35.7", 35_748_314, 5_172_024_320),
    "wrn28_10": ("36.5", 36_479_194, 5_243_328_768),
    "wrn28_12": ("52.5", 52_517_850, 7_543_905_792),
    "wrn22_8": ("17.2", 17_158_106, 2_454_115_328),
    "wrn22_10": ("26.8", 26_797_914, 3_827_751_168),
    "wrn16_8": ("11.0", 10_961_370, 1_548_145_664),
    "wrn16_10": ("17.1", 17_116_634, 2_412_173_568),
}


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def norm(x: Tensor, s: dict[str, Tensor], key: str) -> Tensor:
    """Batch norm in evaluation, by its formula."""
    mean, variance, weight, bias = (
        s[f"{key}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


@pytest.mark.parametrize("name", WRN)
def test_wide_networks_cost_what_table_4_says(name: str) -> None:
    printed, count, macs = WRN[name]
    net = outline(name)
    assert parameters(net) == count and f"{count / 1e6:.1f}" == printed
    assert multiplications(net, (3, 32, 32)) == macs
    assert parameters(outline(name, num_classes=100)) == count + 90 * (net.num_features + 1)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    depth, width = map(int, name.removeprefix("wrn").split("_"))
    assert len(convolutions) == depth - (width == 1)  # the name counts a projection in each of the three stages
    assert net.num_features == 64 * width


@pytest.mark.parametrize(
    ("name", "count", "macs", "printed"),
    [  # Table 4 of arXiv:1603.05027; pytorchcv: 1,703,258 and 247,646,720; 10,327,706 and 1,490,995,712
        ("preresnet110", 1_727_962, 252_887_680, "1.7"),  # as resnet110: the same layers in another order
        ("preresnet164", 1_703_258, 247_646_720, "1.7"),
        ("preresnet1001", 10_327_706, 1_490_995_712, "10.3"),  # the paper prints 10.2
    ],
)
def test_costs_of_the_thin_networks(name: str, count: int, macs: int, printed: str) -> None:
    net = outline(name)
    assert parameters(net) == count and f"{count / 1e6:.1f}" == printed
    assert multiplications(net, (3, 32, 32)) == macs
    layers = [
        key
        for key, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in key
    ]
    assert len(layers) == int(name.removeprefix("preresnet"))


@pytest.mark.parametrize(
    ("name", "size", "stem", "classes", "count", "macs"),
    [
        ("resnetv2_18", 224, "imagenet", 1000, 11_687_848 - 128, 1_814_073_344),  # pytorchcv's preresnet18, which has
        ("resnetv2_50", 224, "imagenet", 1000, 25_549_480 - 128, 4_089_184_256),  # a norm of 64 channels in its stem
        ("resnetv2_50", 224, "imagenet", 1000, 25_549_352, 4_089_184_256),  # timm
        # kuangliu/pytorch-cifar, PreActResNet18, which leaves out the last norm, of 512 channels
        ("resnetv2_18", 32, "small", 10, 11_171_146 + 2 * 512, 555_422_720),
    ],
)
def test_costs_of_the_networks_for_photographs(
    name: str, size: int, stem: str, classes: int, count: int, macs: int
) -> None:
    net = outline(name, stem=stem, num_classes=classes)
    assert parameters(net) == count and multiplications(net, (3, size, size)) == macs


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152"])
def test_pre_activation_only_moves_the_norms(name: str) -> None:
    """Convolutions and dense layer are those of its twin, and so are all multiplications."""
    net, twin = outline(name), outline(name.replace("v2_", ""))
    assert multiplications(net, (3, 224, 224)) == multiplications(twin, (3, 224, 224))
    assert _convolutions(net) == sorted([*_convolutions(twin), (1000, net.num_features, 1, 1)])


def _convolutions(net: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(module.weight.shape) for module in net.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_50"])
def test_state_dict_is_that_of_timm(name: str) -> None:
    net = outline(name)
    assert [(key, list(tensor.shape)) for key, tensor in net.state_dict().items()] == list(TIMM[name].items())
    wrapped = nn.ModuleDict({"inner": zoo.build("resnetv2_18", num_classes=2)})  # as a part of another module, too
    names = list(wrapped.state_dict())
    assert names == [f"inner.{key}" for key in TIMM["resnetv2_18"]]
    wrapped.load_state_dict({key: torch.full_like(tensor, 2) for key, tensor in wrapped.state_dict().items()})
    assert all((parameter == 2).all() for parameter in wrapped.parameters())


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_50"])
def test_logits_are_those_of_timm(name: str, output_stride: int) -> None:
    expected = LOGITS[f"{name}/{output_stride}"]
    net = zoo.build(name, output_stride=output_stride).eval()  # type: ignore[arg-type]
    fill_network(net, 0.75)
    for precision, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        logits = net.to(precision)(make_images(1, 3, 64, 64).to(precision)).double().numpy()
        assert np.abs(logits - expected).max() < tolerance * np.abs(expected).max()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "units", "gain"),
    [("preresnet110", 18, 0.5), ("preresnet164", 18, 0.5), ("wrn40_1", 6, 0.7), ("wrn40_2", 6, 0.7)],
)
def test_a_thin_network_is_what_its_equations_say(name: str, units: int, gain: float) -> None:
    """x' = x + F(x), F of norm, ReLU, convolution; in the first unit and where shapes change, both of ReLU(norm(x)).

    Wide networks of width 1 change no shape in their first unit, and their authors' code treats it as any other.
    """
    net = zoo.build(name).double().eval()
    fill_network(net, gain)
    s, images = net.state_dict(), make_images(2, 3, 16, 16).double()
    x = F.conv2d(images, s["conv1.weight"], padding=1)
    for layer in (1, 2, 3):
        for unit in range(units):
            key, stride = f"layer{layer}.{unit}", 2 if layer > 1 and unit == 0 else 1
            activated = F.relu(norm(x, s, f"{key}.norm1"))
            shortcut = activated if (layer, unit, name) == (1, 0, "preresnet110") else x
            if f"{key}.downsample.conv.weight" in s:
                shortcut = F.conv2d(activated, s[f"{key}.downsample.conv.weight"], stride=stride)
            elif stride == 2:  # option A
                half = activated[:, :, ::2, ::2]
                nothing = torch.zeros_like(half[:, : half.shape[1] // 2])
                shortcut = torch.cat((nothing, half, nothing), dim=1)
            if f"{key}.conv3.weight" in s:
                x = F.conv2d(activated, s[f"{key}.conv1.weight"])
                x = F.conv2d(F.relu(norm(x, s, f"{key}.norm2")), s[f"{key}.conv2.weight"], stride=stride, padding=1)
                x = shortcut + F.conv2d(F.relu(norm(x, s, f"{key}.norm3")), s[f"{key}.conv3.weight"])
            else:
                x = F.conv2d(activated, s[f"{key}.conv1.weight"], stride=stride, padding=1)
                x = shortcut + F.conv2d(F.relu(norm(x, s, f"{key}.norm2")), s[f"{key}.conv2.weight"], padding=1)
    expected = F.relu(norm(x, s, "norm")).mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]
    torch.testing.assert_close(net(images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@torch.no_grad()
def test_wide_networks_drop_between_the_convolutions_of_each_unit() -> None:
    """arXiv:1605.07146, Fig. 1 (d): what the second convolution of every unit is given."""
    net = zoo.build("wrn40_1", dropout=0.3).eval()
    units = [unit for layer in ("layer1", "layer2", "layer3") for unit in net.get_submodule(layer).children()]
    assert len(units) == 18 and sum(isinstance(module, nn.Dropout) for module in net.modules()) == 18
    given: list[Tensor] = []
    for unit in units:
        channels = unit.get_submodule("norm1").num_features
        unit.get_submodule("conv2").register_forward_pre_hook(lambda _, args: given.append(args[0]))
        maps = torch.randn(4, channels, 16, 16)
        unit(maps)
        unit.get_submodule("dropout").train()
        unit(maps)
        whole, dropped = given[-2:]
        is_kept = dropped != 0
        torch.testing.assert_close(dropped[is_kept], whole[is_kept] / 0.7)
        assert is_kept.sum() / (whole != 0).sum() == pytest.approx(0.7, abs=0.05)


def test_the_dense_layer_of_timms_head_starts_as_a_dense_layer_does() -> None:
    """Written as a 1x1 convolution, it must not begin with the spread of a convolution before ReLU."""
    head = zoo.build("resnetv2_18", num_classes=10).classifier_head
    assert isinstance(head, nn.Conv2d) and head.bias is not None
    bound = 512**-0.5  # torch's default for n inputs: U(-1 / sqrt(n), 1 / sqrt(n))
    assert 0.9 * bound < head.weight.abs().max() <= bound and 0 < head.bias.abs().max() <= bound
