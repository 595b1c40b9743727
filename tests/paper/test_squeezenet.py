"""SqueezeNet against Table 1 of its paper."""

import pytest
import torch
from torch import nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.models.squeezenet import Fire

from .costs import multiplications, parameters

BOTH = ["squeezenet1_0", "squeezenet1_1"]


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def shapes(name: str, size: int, **options: object) -> dict[str, tuple[int, ...]]:
    endpoints = outline(name, **options).endpoints(torch.zeros(1, 3, size, size, device="meta"))
    return {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}


def test_parameters_of_table_1() -> None:
    """The column "# parameter before pruning"."""
    net = outline("squeezenet1_0")
    fires = [parameters(module) for module in net.modules() if isinstance(module, Fire)]
    assert fires == [11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184]
    assert parameters(net.get_submodule("features.0")) == 14_208
    assert parameters(net.get_submodule("classifier")) == 513_000
    assert parameters(net) == 1_248_424


def test_parameters_of_the_later_release() -> None:
    """Same fire modules; 64 filters of 3x3 in the first convolution for 96 of 7x7, and fire2 sees 32 channels fewer."""
    old, new = outline("squeezenet1_0"), outline("squeezenet1_1")
    difference = 14_208 - 64 * (3 * 9 + 1) + (96 - 64) * 16
    assert parameters(new) == parameters(old) - difference == 1_235_496


def test_shapes_of_table_1() -> None:
    """Table 1 says 224 px, but its first map of 111x111 is that of 227 px."""
    assert shapes("squeezenet1_0", 227) == {
        "conv1": (96, 111, 111),
        **{"fire2": (128, 55, 55), "fire3": (128, 55, 55), "fire4": (256, 55, 55)},
        **{"fire5": (256, 27, 27), "fire6": (384, 27, 27), "fire7": (384, 27, 27), "fire8": (512, 27, 27)},
        **{"fire9": (512, 13, 13), "head": (1000,)},
    }
    head = outline("squeezenet1_0").get_submodule("classifier")
    assert head[:-1](torch.zeros(1, 512, 13, 13, device="meta")).shape == (1, 1000, 13, 13)


def test_shapes_of_the_later_release() -> None:
    """It pools before fire2, fire4 and fire6."""
    assert shapes("squeezenet1_1", 224) == {
        "conv1": (64, 111, 111),
        **{"fire2": (128, 55, 55), "fire3": (128, 55, 55)},
        **{"fire4": (256, 27, 27), "fire5": (256, 27, 27)},
        **{"fire6": (384, 13, 13), "fire7": (384, 13, 13), "fire8": (512, 13, 13), "fire9": (512, 13, 13)},
        "head": (1000,),
    }


@pytest.mark.parametrize(
    ("name", "size", "pooled"), [("squeezenet1_0", 227, (2, 5, 9)), ("squeezenet1_1", 224, (2, 4, 6))]
)
def test_multiplications_by_hand(name: str, size: int, pooled: tuple[int, ...]) -> None:
    fires = {
        2: (16, 64),
        3: (16, 64),
        4: (32, 128),
        5: (32, 128),
        6: (48, 192),
        7: (48, 192),
        8: (64, 256),
        9: (64, 256),
    }
    before, kernel = (96, 7) if name == "squeezenet1_0" else (64, 3)
    maps = iter((55, 27, 13))
    side, macs = 111, 111**2 * before * 3 * kernel**2
    for number, (squeezed, expanded) in fires.items():
        side = next(maps) if number in pooled else side
        macs += side**2 * (before * squeezed + squeezed * expanded + 9 * squeezed * expanded)
        before = 2 * expanded
    macs += side**2 * 512 * 1000
    assert multiplications(outline(name), (3, size, size)) == macs


@pytest.mark.parametrize("name", BOTH)
def test_18_layers_with_weights(name: str) -> None:
    """Two convolutions and eight modules of two layers each, in one of which two convolutions stand side by side."""
    layers = [module for module in outline(name).modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 2 + 8 * 3


@torch.no_grad()
def test_a_fire_module_expands_what_it_squeezed() -> None:
    fire = Fire(6, 2, 3)
    images = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    squeezed = nn.functional.conv2d(images, fire.squeeze.weight, fire.squeeze.bias).relu()
    small = nn.functional.conv2d(squeezed, fire.expand1x1.weight, fire.expand1x1.bias).relu()
    large = nn.functional.conv2d(squeezed, fire.expand3x3.weight, fire.expand3x3.bias, padding=1).relu()
    torch.testing.assert_close(fire(images), torch.cat((small, large), dim=1))


@pytest.mark.parametrize("name", BOTH)
def test_dropout_is_before_the_last_convolution_and_relu_after_it(name: str) -> None:
    kinds = [type(layer).__name__ for layer in outline(name).get_submodule("classifier")]
    assert kinds == ["Dropout", "Conv2d", "ReLU", "GlobalAvgPool2d"]
    assert outline(name).get_submodule("classifier.0").p == 0.5  # Sec. 3.3: after fire9
    assert outline(name, dropout=0.1).get_submodule("classifier.0").p == 0.1


@pytest.mark.parametrize("name", BOTH)
def test_the_small_stem_keeps_an_eighth(name: str) -> None:
    small = shapes(name, 64, stem="small")
    assert small["conv1"][1:] == (64, 64) and small["fire9"][1:] == (8, 8)
    assert outline(name, stem="small").get_submodule("features.0").kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("name", "stem", "least"),
    [
        ("squeezenet1_0", "imagenet", 21),
        ("squeezenet1_1", "imagenet", 17),
        ("squeezenet1_0", "small", 8),
        ("squeezenet1_1", "small", 8),
    ],
)
def test_the_minimum_is_torchvisions_and_no_larger_than_it_has_to_be(name: str, stem: str, least: int) -> None:
    net = outline(name, stem=stem)
    assert net.min_size == (least, least)
    x = torch.zeros(1, 3, least - 1, least - 1, device="meta")
    with pytest.raises(RuntimeError, match="Output size is too small"):
        for stage in net.named_stages().values():
            x = stage(x)


def test_first_weights_are_torchvisions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build("squeezenet1_0", num_classes=100)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight
            expected = 0.01 if layer is net.classifier_head else (2 / weight[0].numel()) ** 0.5
            assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5)
            if layer is not net.classifier_head:
                assert weight.abs().max() <= 3**0.5 * expected  # uniform
            assert not layer.bias.any()
