"""VGG against Table 1 and Table 2 of its paper."""

import pytest
import torch
from torch import nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.arithmetic import ReceptiveField

from .costs import multiplications, parameters

PLAIN = ["vgg11", "vgg13", "vgg16", "vgg19"]
EVERY = [*PLAIN, *(f"{name}_bn" for name in PLAIN)]
TABLE_1 = {  # the rows of configurations A, B, D and E
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg13": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EVERY)
def test_layers_are_those_of_table_1(name: str) -> None:
    kinds: list[object] = []
    for layer in outline(name).features:
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            kinds.append(layer.out_channels)
        elif isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.stride) == (2, 2)
            kinds.append("M")
    assert kinds == TABLE_1[name.removesuffix("_bn")]


@pytest.mark.parametrize("name", EVERY)
def test_every_convolution_is_followed_by_a_norm_where_there_are_norms_and_by_relu(name: str) -> None:
    kinds = [type(layer).__name__ for layer in outline(name).features]
    unit = ["Conv2d", "BatchNorm2d", "ReLU"] if name.endswith("_bn") else ["Conv2d", "ReLU"]
    expected: list[str] = []
    for row in TABLE_1[name.removesuffix("_bn")]:
        expected += ["MaxPool2d"] if row == "M" else unit
    assert kinds == expected


@pytest.mark.parametrize(("name", "table_2"), list(zip(PLAIN, [133, 133, 138, 144], strict=True)))  # millions
def test_parameters_by_hand_and_of_table_2(name: str, table_2: int) -> None:
    widths = [row for row in TABLE_1[name] if isinstance(row, int)]
    convolutions = sum(after * (9 * before + 1) for before, after in zip([3, *widths], widths, strict=False))
    dense = 4096 * (512 * 7 * 7 + 1) + 4096 * (4096 + 1) + 1000 * (4096 + 1)
    assert parameters(outline(name)) == convolutions + dense
    assert round((convolutions + dense) / 1e6) == table_2
    assert parameters(outline(f"{name}_bn")) == convolutions + dense + 2 * sum(widths)


@pytest.mark.parametrize("name", PLAIN)
def test_multiplications_by_hand(name: str) -> None:
    size, before, macs = 224, 3, 512 * 7 * 7 * 4096 + 4096 * 4096 + 4096 * 1000
    for row in TABLE_1[name]:
        if isinstance(row, int):
            macs += size**2 * 9 * before * row
            before = row
        else:
            size //= 2
    assert multiplications(outline(name), (3, 224, 224)) == macs
    assert multiplications(outline(f"{name}_bn"), (3, 224, 224)) == macs


@pytest.mark.parametrize("name", EVERY)
def test_shapes_after_each_block(name: str) -> None:
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
    assert {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()} == {
        **{"block1": (64, 112, 112), "block2": (128, 56, 56), "block3": (256, 28, 28), "block4": (512, 14, 14)},
        **{"block5": (512, 7, 7), "fc6": (4096,), "fc7": (4096,), "head": (1000,)},
    }


@pytest.mark.parametrize("name", EVERY)
def test_as_many_layers_with_weights_as_the_name_says(name: str) -> None:
    layers = [module for module in outline(name).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.removeprefix("vgg").removesuffix("_bn"))


def test_two_3x3_kernels_see_as_much_as_a_5x5_and_three_as_a_7x7() -> None:
    """Sec. 2.3; with more than one block before them the pools multiply it: 212 px at the end of vgg16."""
    field = ReceptiveField()
    for layer in outline("vgg16").features:
        if isinstance(layer, nn.Conv2d):
            field = field.after(3, padding=1)
        elif isinstance(layer, nn.MaxPool2d):
            field = field.after(2, stride=2)
    assert field == ReceptiveField(212, 32, 90)
    assert ReceptiveField().after(3).after(3).size_px == 5 and ReceptiveField().after(3).after(3).after(3).size_px == 7


def test_dropout_follows_the_hidden_dense_layers() -> None:
    classifier = outline("vgg11").get_submodule("classifier")
    kinds = [type(layer).__name__ for layer in classifier]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [classifier[index].p for index in (2, 5)] == [0.5, 0.5]  # Sec. 3.1
    fewer = outline("vgg11", dropout=0.25).get_submodule("classifier")
    assert [fewer[index].p for index in (2, 5)] == [0.25, 0.25]


def test_first_weights_are_torchvisions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build("vgg11_bn", num_classes=10)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            expected = (2 / (9 * layer.out_channels)) ** 0.5 if isinstance(layer, nn.Conv2d) else 0.01
            weight = layer.weight
            assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5)
            assert not layer.bias.any()
