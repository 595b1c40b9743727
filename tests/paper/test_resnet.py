"""ResNets for ImageNet against their papers' tables, torchvision and timm: names, shapes, costs, and the logits."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.models import resnet, resnetv2, zoo
from sightline.models.base import Classifier
from sightline.models.resnet import ResNet
from sightline.models.resnetv2 import ResNetV2
from sightline.nn.arithmetic import ReceptiveField
from sightline.nn.drop import StochasticDepth

from .costs import multiplications, parameters
from .rule import fill_network, make_images

DATA = Path(__file__).parent / "data"
RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
WIDER = ["wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
PLAIN = ["plain18", "plain34"]
RESIDUAL_LOGITS = np.load(DATA / "residual_logits_64px.npz")  # torchvision 0.28.0, timm 1.0.31; by their output stride


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # num_params in the metadata of torchvision's weights
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_parameters_of_torchvision(name: str, expected: int) -> None:
    assert parameters(outline(name, num_classes=1000)) == expected


@pytest.mark.parametrize(
    ("name", "expected", "table_1"),
    [  # torchvision, exact, and the paper's FLOPs in 1e9, for which torchvision's stride in the 3x3 costs 0.2 more
        ("resnet18", 1_814_073_344, 1.8),
        ("resnet34", 3_663_761_408, 3.6),
        ("resnet50", 4_089_184_256, 3.8),
        ("resnet101", 7_801_405_440, 7.6),
        ("resnet152", 11_513_626_624, 11.3),
    ],
)
def test_multiplications_of_table_1(name: str, expected: int, table_1: float) -> None:
    macs = multiplications(outline(name, num_classes=1000), (3, 224, 224))
    assert macs == expected
    assert macs / 1e9 == pytest.approx(table_1, abs=0.3)


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 555_422_720), ("resnet50", 1_297_829_888)])
def test_multiplications_with_the_small_stem(name: str, expected: int) -> None:
    """As kuangliu/pytorch-cifar, which made this stem a custom."""
    assert multiplications(outline(name, num_classes=10, stem="small"), (3, 32, 32)) == expected


def test_the_state_dict_of_resnet101_is_that_of_resnet152_with_fewer_units() -> None:
    """Table 1: 4 and 23 units for 8 and 36 in the second and third stage. The others: tests/paper/test_reference.py."""
    reference = json.loads((DATA / "structure.json").read_text())["networks"]["torchvision/resnet152"]["state_dict"]
    dropped = [f"layer2.{unit}." for unit in range(4, 8)] + [f"layer3.{unit}." for unit in range(23, 36)]
    expected = [(key, shape) for key, shape in reference.items() if not key.startswith(tuple(dropped))]
    state_dict = outline("resnet101").state_dict()
    assert [(key, list(tensor.shape)) for key, tensor in state_dict.items()] == expected


@pytest.mark.parametrize("name", [*RESNETS, *WIDER, *PLAIN])
def test_shapes_of_table_1(name: str) -> None:
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
    channels = (64, 128, 256, 512) if name.endswith(("18", "34")) else (256, 512, 1024, 2048)
    assert {stage: tuple(output.shape) for stage, output in endpoints.items()} == {
        "stem": (1, 64, 56, 56),  # conv1 to 112x112 and the max pool of conv2_x
        "layer1": (1, channels[0], 56, 56),
        "layer2": (1, channels[1], 28, 28),
        "layer3": (1, channels[2], 14, 14),
        "layer4": (1, channels[3], 7, 7),
        "head": (1, 1000),
    }


@pytest.mark.parametrize("name", [*RESNETS, *WIDER, *PLAIN])
def test_as_many_layers_with_weights_as_the_name_says(name: str) -> None:
    layers = [
        key
        for key, module in outline(name).named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and "downsample" not in key
    ]
    depth = re.match(r"\D*(\d+)", name)
    assert depth is not None and len(layers) == int(depth[1])


@pytest.mark.parametrize(
    ("name", "table"),
    [  # the middle convolution of a unit in each stage: channels, groups
        ("wide_resnet50_2", [(128, 1), (256, 1), (512, 1), (1024, 1)]),  # twice those of resnet50
        ("resnext50_32x4d", [(128, 32), (256, 32), (512, 32), (1024, 32)]),  # arXiv:1611.05431, Table 1
        ("resnext101_32x8d", [(256, 32), (512, 32), (1024, 32), (2048, 32)]),
        ("resnext101_64x4d", [(256, 64), (512, 64), (1024, 64), (2048, 64)]),
    ],
)
def test_every_units_width_and_cardinality(name: str, table: list[tuple[int, int]]) -> None:
    net = outline(name)
    for number, (channels, groups) in enumerate(table, start=1):
        stage = net.get_submodule(f"layer{number}")
        convolutions = [unit.get_submodule("conv2") for unit in stage.children()]
        assert {(conv.in_channels, conv.out_channels, conv.groups) for conv in convolutions} == {
            (channels, channels, groups)
        }


@pytest.mark.parametrize(
    ("name", "expected", "published"),
    [("plain18", 11_689_512, 1.8), ("plain34", 21_797_672, 3.6)],
)
def test_plain_networks_are_their_twins_without_shortcuts(name: str, expected: int, published: float) -> None:
    """Fig. 3: 3.6e9 FLOPs for 34 layers, plain and residual; Table 1: 1.8e9 for 18."""
    plain, residual = outline(name), outline(name.replace("plain", "resnet"))
    shapes = {key: tensor.shape for key, tensor in residual.state_dict().items() if "downsample" not in key}
    assert {key: tensor.shape for key, tensor in plain.state_dict().items()} == shapes
    # 1x1 convolutions and their norms at the three changes of size
    changes = [(64, 128, 28), (128, 256, 14), (256, 512, 7)]
    assert parameters(residual) == expected
    assert parameters(plain) == expected - sum(before * after + 2 * after for before, after, _ in changes)
    macs = multiplications(plain, (3, 224, 224))
    assert macs == multiplications(residual, (3, 224, 224)) - sum(b * a * size**2 for b, a, size in changes)
    assert round(macs / 1e9, 1) == published


@torch.no_grad()
def test_a_plain_network_is_its_convolutions_in_a_row() -> None:
    net = zoo.build("plain18", num_classes=10).eval()
    fill_network(net, 0.8)
    s, x = net.state_dict(), make_images(2, 3, 64, 64)
    x = F.max_pool2d(F.relu(norm(F.conv2d(x, s["conv1.weight"], stride=2, padding=3), s, "bn1")), 3, 2, 1)
    for key, tensor in s.items():
        if key.startswith("layer") and "conv" in key:
            stride = 2 if tensor.shape[0] == 2 * tensor.shape[1] else 1
            before = F.conv2d(x, tensor, stride=stride, padding=1)
            x = F.relu(norm(before, s, key.removesuffix(".weight").replace("conv", "bn")))
    expected = x.mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]
    torch.testing.assert_close(net(make_images(2, 3, 64, 64)), expected, rtol=1e-5, atol=1e-5)


def norm(x: Tensor, s: dict[str, Tensor], key: str) -> Tensor:
    """Batch norm in evaluation, by its formula."""
    mean, variance, weight, bias = (
        s[f"{key}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


@pytest.mark.parametrize(
    ("name", "size_px", "padding_px"),
    [("resnet18", 435, 217), ("resnet34", 899, 449), ("resnet50", 427, 213), ("resnet152", 1451, 725)],
)
def test_receptive_field_with_the_stride_in_the_3x3(name: str, size_px: int, padding_px: int) -> None:
    """By interval propagation over torchvision's networks; the paper's place of the stride would give 483 for 50."""
    field = ReceptiveField()
    net = outline(name, num_classes=10)
    for key, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.MaxPool2d) and "downsample" not in key:
            kernel_size, stride, padding = (_height(v) for v in (module.kernel_size, module.stride, module.padding))
            field = field.after(kernel_size, stride=stride, padding=padding)
    assert field == ReceptiveField(size_px, 32, padding_px)


def _height(value: object) -> int:
    return value[0] if isinstance(value, tuple) else int(value)  # type: ignore[call-overload]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "output_stride", "gain"),
    [("resnet18", 16, 0.8), ("resnet18", 8, 0.8), ("resnet50", 16, 0.75), ("resnet50", 8, 0.75)],
)
def test_dilated_logits_are_the_libraries(name: str, output_stride: int, gain: float) -> None:
    """resnet50: torchvision's replace_stride_with_dilation of the last stage, or of the last two; resnet18: timm."""
    expected = RESIDUAL_LOGITS[f"{name}/{output_stride}"]
    net = zoo.build(name, output_stride=output_stride).eval()  # type: ignore[arg-type]
    fill_network(net, gain)
    for precision, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        logits = net.to(precision)(make_images(1, 3, 64, 64).to(precision)).double().numpy()
        assert np.abs(logits - expected).max() < tolerance * np.abs(expected).max()


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (81, 70)])
@pytest.mark.parametrize(("stride", "every"), [(16, {"layer4": 2}), (8, {"layer3": 2, "layer4": 4})])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "plain18", "resnetv2_18", "resnetv2_50"])
def test_weights_fit_at_every_output_stride(
    name: str, stride: int, every: dict[str, int], size: tuple[int, int]
) -> None:
    """What the strided network computes stands in the dilated one's maps at every other (or fourth) place."""
    strided = zoo.build(name, num_classes=3).eval()
    dilated = zoo.build(name, num_classes=3, output_stride=stride).eval()  # type: ignore[arg-type]
    fill_network(strided, 0.75)
    dilated.load_state_dict(strided.state_dict())
    images = make_images(1, 3, *size)
    coarse, fine = strided.endpoints(images), dilated.endpoints(images)
    for stage, output in coarse.items():
        if stage != "head":
            step = every.get(stage, every["layer4"] if stage == "norm" else 1)
            largest = float(output.abs().max())
            torch.testing.assert_close(fine[stage][:, :, ::step, ::step], output, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("variant", "build"), [(resnet.VARIANTS["resnet18"], ResNet), (resnetv2.VARIANTS["resnetv2_18"], ResNetV2)]
)
def test_the_smallest_picture_at_each_output_stride(
    variant: Any, build: type[ResNet] | type[ResNetV2], output_stride: Any, stem: Any
) -> None:
    with torch.device("meta"):
        net = build(num_classes=3, stem=stem, output_stride=output_stride, **variant._asdict()).eval()
    smallest = output_stride // (4 if stem == "small" else 1)
    assert net.min_size == (smallest, smallest)
    *_, last, _ = net.endpoints(torch.zeros(1, 3, smallest, 3 * smallest, device="meta")).values()
    assert last.shape[2:] == (1, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "resnetv2_34"])
def test_stochastic_depth_grows_with_depth(name: str) -> None:
    """arXiv:1603.09382, Eq. 4: the l-th of L units survives with probability 1 - l / L (1 - p_L)."""
    dropped = [module.p for module in outline(name, drop_path=0.2).modules() if isinstance(module, StochasticDepth)]
    count = {"resnet18": 8, "resnext50_32x4d": 16, "resnetv2_34": 16}[name]
    assert [1 - p for p in dropped] == pytest.approx([1 - unit / count * (1 - 0.8) for unit in range(1, count + 1)])
    assert not any(module.p for module in outline(name).modules() if isinstance(module, StochasticDepth))
