"""MobileNet v1, v2 and v3 against their papers' tables, and against torchvision and timm where those differ."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.models.mobilenet_v1 import MobileNetV1
from sightline.models.mobilenet_v2 import MobileNetV2
from sightline.nn.squeeze import SqueezeExcite

from .costs import multiplications, parameters
from .rule import fill_network, make_images

MOBILENETS = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"]


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def shapes(net: Classifier, size: int) -> dict[str, tuple[int, ...]]:
    endpoints = net.endpoints(torch.zeros(1, 3, size, size, device="meta"))
    return {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}


def test_v1_has_the_parameters_of_table_1_counted_by_hand() -> None:
    pairs = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 5]
    pairs += [(512, 1024), (1024, 1024)]
    convolutions = 3 * 32 * 9 + sum(before * 9 + before * after for before, after in pairs)
    norms = 2 * 32 + sum(2 * before + 2 * after for before, after in pairs)
    dense = 1024 * 1000 + 1000
    assert parameters(outline("mobilenet_v1")) == convolutions + norms + dense == 4_231_976


@pytest.mark.parametrize(
    ("width", "macs", "millions", "params", "million_parameters"),
    [  # timm, exact; Table 6 in millions
        (1.0, 568_740_352, 569, 4_231_976, 4.2),
        (0.75, 325_400_448, 325, 2_585_560, 2.6),
        (0.5, 149_497_088, 149, 1_331_592, 1.3),
        (0.25, 41_030_272, 41, 470_072, 0.5),
    ],
)
def test_v1_costs_what_table_6_says_at_each_width(
    width: float, macs: int, millions: int, params: int, million_parameters: float
) -> None:
    with torch.device("meta"):
        net = MobileNetV1(num_classes=1000, width=width).eval()
    assert multiplications(net, (3, 224, 224)) == macs and round(macs / 1e6) == millions
    assert parameters(net) == params and round(params / 1e6, 1) == million_parameters


@pytest.mark.parametrize(
    ("width", "macs", "params"),
    [  # torchvision, exact
        (1.4, 582_195_824, 6_108_776),
        (1.3, 509_374_560, 5_386_792),
        (1.0, 300_774_272, 3_504_872),
        (0.75, 209_069_792, 2_636_424),
        (0.5, 97_131_840, 1_968_680),
        (0.35, 59_285_808, 1_677_128),
    ],
)
def test_v2_costs_what_torchvision_says_at_each_width(width: float, macs: int, params: int) -> None:
    """Every channel is rounded to a multiple of 8, and 1280 only grows: one wrong rounding and no number fits."""
    with torch.device("meta"):
        net = MobileNetV2(num_classes=1000, width=width).eval()
    assert (multiplications(net, (3, 224, 224)), parameters(net)) == (macs, params)


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [("mobilenet_v3_small", 56_510_400, 2_542_856), ("mobilenet_v3_large", 216_589_760, 5_483_032)],
)
def test_v3_costs_what_torchvision_timm_and_keras_say(name: str, macs: int, params: int) -> None:
    """The paper says 219 and 5.4 million of the large network, but 66 and 2.9 of the small one: see its Deviation."""
    net = outline(name)
    assert (multiplications(net, (3, 224, 224)), parameters(net)) == (macs, params)


def test_shapes_are_those_of_the_tables() -> None:
    """For 224 px. v1: Table 1; v2: Table 2; v3: Tables 1 and 2, whose columns give the input of each row."""
    v1 = {"stem": (32, 112, 112), "stage1": (64, 112, 112), "stage2": (128, 56, 56), "stage3": (256, 28, 28)}
    v1 |= {"stage4": (512, 14, 14), "stage5": (1024, 7, 7)}
    v2 = {"stem": (32, 112, 112), "stage1": (16, 112, 112), "stage2": (24, 56, 56), "stage3": (32, 28, 28)}
    v2 |= {"stage4": (64, 14, 14), "stage5": (96, 14, 14), "stage6": (160, 7, 7), "stage7": (320, 7, 7)}
    v2 |= {"conv_head": (1280, 7, 7)}
    small = {"stem": (16, 112, 112), "stage1": (16, 56, 56), "stage2": (24, 28, 28), "stage3": (40, 14, 14)}
    small |= {"stage4": (48, 14, 14), "stage5": (96, 7, 7), "conv_head": (576, 7, 7)}
    large = {"stem": (16, 112, 112), "stage1": (16, 112, 112), "stage2": (24, 56, 56), "stage3": (40, 28, 28)}
    large |= {"stage4": (80, 14, 14), "stage5": (112, 14, 14), "stage6": (160, 7, 7), "conv_head": (960, 7, 7)}
    for name, expected in zip(MOBILENETS, (v1, v2, small, large), strict=True):
        assert shapes(outline(name), 224) == {**expected, "head": (1000,)}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mobilenet_v1", [1, 2, 2, 6, 2]),
        ("mobilenet_v2", [1, 2, 3, 4, 3, 3, 1]),
        ("mobilenet_v3_small", [1, 2, 3, 2, 3]),
        ("mobilenet_v3_large", [1, 2, 3, 4, 2, 3]),
    ],
)
def test_each_stage_has_as_many_units_as_the_tables_have_rows(name: str, counts: list[int]) -> None:
    """Each unit has one depthwise convolution, and the first of each strides where the map shrinks."""
    net = outline(name)
    depthwise = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert all(conv.groups == conv.in_channels == conv.out_channels for conv in depthwise)
    assert len(depthwise) == sum(counts)
    found = shapes(net, 224)
    stages = [stage for stage in found if stage.startswith("stage")]
    expected = []
    for before, after, count in zip(["stem", *stages], stages, counts, strict=False):
        expected += [found[before][1] // found[after][1], *[1] * (count - 1)]
    assert [conv.stride[0] for conv in depthwise] == expected


def test_v3_squeezes_to_a_quarter_of_the_wide_channels_rounded_to_8() -> None:
    """torchvision's squeeze channels; the widths are the exp size of the rows that the tables tick."""
    small, large = (
        [(m.fc1.in_channels, m.fc1.out_channels) for m in outline(name).modules() if isinstance(m, SqueezeExcite)]
        for name in ("mobilenet_v3_small", "mobilenet_v3_large")
    )
    assert small == [(16, 8), (96, 24), (240, 64), (240, 64), (120, 32), (144, 40), (288, 72), (576, 144), (576, 144)]
    assert large == [(72, 24), (120, 32), (120, 32), (480, 120), (672, 168), (672, 168), (960, 240), (960, 240)]


@pytest.mark.parametrize(("name", "cheap", "smooth"), [("mobilenet_v3_small", 3, 8), ("mobilenet_v3_large", 6, 9)])
def test_v3_changes_from_relu_to_hard_swish_where_the_tables_do(name: str, cheap: int, smooth: int) -> None:
    acts = [
        type(module)
        for key, module in outline(name).features.named_modules()  # type: ignore[operator, union-attr]
        if isinstance(module, nn.ReLU | nn.Hardswish) and not key.endswith(".act")  # those in squeeze-and-excitation
    ]
    per_unit = [act for act, _ in itertools.groupby(acts)]
    assert per_unit == [nn.Hardswish, nn.ReLU, nn.Hardswish]  # the stem, the first units, the rest and the head
    # The first unit has no expansion, hence one activation; the stem and the last convolution have one each.
    assert len(acts) == 1 + 1 + 2 * (cheap - 1) + 2 * smooth + 1
    assert acts.count(nn.ReLU) == 1 + 2 * (cheap - 1)


@pytest.mark.parametrize(
    ("name", "eps", "momentum"),
    [
        ("mobilenet_v1", 1e-5, 0.1),  # timm
        ("mobilenet_v2", 1e-5, 0.1),  # torchvision
        ("mobilenet_v3_small", 1e-3, 0.01),
        ("mobilenet_v3_large", 1e-3, 0.01),
    ],
)
def test_norms_have_the_numbers_of_the_published_weights(name: str, eps: float, momentum: float) -> None:
    norms = [module for module in outline(name).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, momentum)}


@pytest.mark.parametrize("name", MOBILENETS)
def test_the_small_stem_sees_a_quarter_of_the_size_with_the_same_weights(name: str) -> None:
    """From the second reduction on, maps of 56 px pictures are those of 224 px under the paper's stem."""
    plain, small = outline(name), outline(name, stem="small")
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    found = shapes(small, 56)
    for stage, shape in shapes(plain, 224).items():
        if len(shape) == 1 or shape[1] <= 56:
            assert found[stage] == shape
    shortcuts = [[getattr(m, "adds_input", None) for m in net.modules()] for net in (plain, small)]
    assert shortcuts[0] == shortcuts[1]  # the published weights were not trained with others


def test_state_dict_of_v3_small_is_that_of_torchvision() -> None:
    """SHA-256 of the names and shapes, a line each, recorded from torchvision 0.28."""
    lines = "\n".join(
        f"{key} {tuple(value.shape)}" for key, value in outline("mobilenet_v3_small").state_dict().items()
    )
    expected = "5f0efaf3ff4ac979485c311e28eca4adf197652c72ce1fc09348dea8557bac96"
    assert hashlib.sha256(lines.encode()).hexdigest() == expected


@torch.no_grad()
def test_logits_of_v3_small_are_those_of_torchvision() -> None:
    """The first three of each of two pictures, float64, recorded from torchvision 0.28; weights by the rule, gain 1."""
    expected = [
        [0.10747925041072838, 0.04650030754242521, 0.08707188056334644],
        [0.19876719910670643, 0.1130207046001801, 0.022762350036037146],
    ]
    net = zoo.build("mobilenet_v3_small", num_classes=1000).eval()
    fill_network(net, 1.0)
    logits = net.double()(make_images(2, 3, 64, 64).double())
    np.testing.assert_allclose(logits[:, :3].numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", MOBILENETS)
def test_first_weights_are_torchvisions_or_of_v1_timms(name: str) -> None:
    """Standard deviations: √(2 / (out k²)), of v1 √(2 groups / (out k²)); dense layers 0.01, but of v1."""
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=1000)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            expected = np.sqrt(2 * (module.groups if name == "mobilenet_v1" else 1) / fan_out)
            count = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / np.sqrt(2 * count))  # five errors
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
        elif isinstance(module, nn.Linear) and name != "mobilenet_v1":
            assert not module.bias.any()
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.01)
