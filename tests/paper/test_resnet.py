"""ResNet against its paper's tables and against torchvision: names, shapes, costs, and the logits themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.arithmetic import ReceptiveField

from .costs import multiplications, parameters
from .rule import fill_network, make_images

DATA = Path(__file__).parent / "data"
STATE_DICTS = json.loads((DATA / "resnet_state_dicts.json").read_text())["networks"]
RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CIFAR_RESNETS = ["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]


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
    ("name", "expected", "table_6"),
    [  # exact: option A, akamaster/pytorch_resnet_cifar10; Table 6 in millions
        ("resnet20", 269_722, 0.27),
        ("resnet32", 464_154, 0.46),
        ("resnet44", 658_586, 0.66),
        ("resnet56", 853_018, 0.85),
        ("resnet110", 1_727_962, 1.7),
    ],
)
def test_parameters_of_table_6(name: str, expected: int, table_6: float) -> None:
    assert parameters(outline(name, num_classes=10)) == expected
    assert round(expected / 1e6, 1 if name == "resnet110" else 2) == table_6


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # option A, akamaster/pytorch_resnet_cifar10; convolutions and dense layers only
        ("resnet20", 40_551_040),
        ("resnet32", 68_862_592),
        ("resnet44", 97_174_144),
        ("resnet56", 125_485_696),
        ("resnet110", 252_887_680),
    ],
)
def test_multiplications_on_cifar(name: str, expected: int) -> None:
    assert multiplications(outline(name, num_classes=10), (3, 32, 32)) == expected


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 555_422_720), ("resnet50", 1_297_829_888)])
def test_multiplications_with_the_small_stem(name: str, expected: int) -> None:
    """As kuangliu/pytorch-cifar, which made this stem a custom."""
    assert multiplications(outline(name, num_classes=10, stem="small"), (3, 32, 32)) == expected


@pytest.mark.parametrize("name", RESNETS)
def test_state_dict_is_that_of_torchvision(name: str) -> None:
    if name == "resnet101":  # Table 1: resnet152 with 4 and 23 units for 8 and 36 in its second and third stage
        dropped = [f"layer2.{unit}." for unit in range(4, 8)] + [f"layer3.{unit}." for unit in range(23, 36)]
        expected = {key: s for key, s in STATE_DICTS["resnet152"].items() if not key.startswith(tuple(dropped))}
    else:
        expected = STATE_DICTS[name]
    state_dict = outline(name, num_classes=1000).state_dict()
    assert [(key, list(tensor.shape)) for key, tensor in state_dict.items()] == list(expected.items())


@torch.no_grad()
@pytest.mark.parametrize(("name", "gain"), [("resnet18", 0.8), ("resnet50", 0.75)])
def test_logits_are_those_of_torchvision(name: str, gain: float) -> None:
    expected = np.load(DATA / "resnet_logits_64px.npz")[name]
    net = zoo.build(name, num_classes=1000).eval()
    fill_network(net, gain)
    images = make_images(2, 3, 64, 64)
    for precision, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        logits = net.to(precision)(images.to(precision)).double().numpy()
        assert np.abs(logits - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", RESNETS)
def test_shapes_of_table_1(name: str) -> None:
    shapes = {
        stage: tuple(output.shape)
        for stage, output in outline(name, num_classes=1000)
        .endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
        .items()
    }
    channels = (64, 128, 256, 512) if name in ("resnet18", "resnet34") else (256, 512, 1024, 2048)
    assert shapes == {
        "stem": (1, 64, 56, 56),  # conv1 to 112x112 and the max pool of conv2_x
        "layer1": (1, channels[0], 56, 56),
        "layer2": (1, channels[1], 28, 28),
        "layer3": (1, channels[2], 14, 14),
        "layer4": (1, channels[3], 7, 7),
        "head": (1, 1000),
    }


@pytest.mark.parametrize("name", CIFAR_RESNETS)
def test_shapes_of_section_4_2(name: str) -> None:
    endpoints = outline(name, num_classes=10).endpoints(torch.zeros(1, 3, 32, 32, device="meta"))
    shapes = {stage: tuple(output.shape) for stage, output in endpoints.items()}
    maps = {"stem": (1, 16, 32, 32), "layer1": (1, 16, 32, 32), "layer2": (1, 32, 16, 16), "layer3": (1, 64, 8, 8)}
    assert shapes == {**maps, "head": (1, 10)}


@pytest.mark.parametrize("name", [*RESNETS, *CIFAR_RESNETS])
def test_as_many_layers_with_weights_as_the_name_says(name: str) -> None:
    layers = [
        key
        for key, module in outline(name, num_classes=10).named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and "downsample" not in key
    ]
    assert len(layers) == int(name.removeprefix("resnet"))


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
