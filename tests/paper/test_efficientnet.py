"""EfficientNet and EfficientNet-Lite against the paper, the authors' announcement, torchvision and timm."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.drop import StochasticDepth
from sightline.nn.squeeze import SqueezeExcite

from .costs import multiplications, parameters
from .rule import fill_network, make_images

EFFICIENTNETS = [f"efficientnet_b{number}" for number in range(8)]
LITES = [f"efficientnet_lite{number}" for number in range(5)]


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def shapes(net: Classifier, size: int) -> dict[str, tuple[int, ...]]:
    endpoints = net.endpoints(torch.zeros(1, 3, size, size, device="meta"))
    return {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}


@pytest.mark.parametrize(
    ("name", "size", "params", "macs", "table_2"),
    [  # torchvision and Keras, exact; Table 2's millions of parameters and 1e9 FLOPs
        ("efficientnet_b0", 224, 5_288_548, 385_814_752, (5.3, 0.39)),
        ("efficientnet_b1", 240, 7_794_184, 686_802_832, (7.8, 0.70)),
        ("efficientnet_b2", 260, 9_109_994, 993_561_872, (9.2, 1.0)),
        ("efficientnet_b3", 300, 12_233_232, 1_827_141_392, (12, 1.8)),
        ("efficientnet_b4", 380, 19_341_616, 4_393_771_024, (19, 4.2)),
        ("efficientnet_b5", 456, 30_389_784, 10_266_384_752, (30, 9.9)),
        ("efficientnet_b6", 528, 43_040_704, 19_067_593_536, (43, 19)),
        ("efficientnet_b7", 600, 66_347_960, 37_745_884_192, (66, 37)),
    ],
)
def test_costs_of_table_2(name: str, size: int, params: int, macs: int, table_2: tuple[float, float]) -> None:
    net = outline(name)
    assert zoo.ZOO[name].input_size == (3, size, size)
    assert (parameters(net), multiplications(net, (3, size, size))) == (params, macs)
    assert (params / 1e6, macs / 1e9) == pytest.approx(table_2, rel=0.05)


@pytest.mark.parametrize(
    ("name", "size", "params", "macs", "announced"),
    [  # timm by torch's flop counter, exact; the announcement's millions of parameters and of multiply-adds
        ("efficientnet_lite0", 224, 4_652_008, 385_187_552, (4.7, 407)),
        ("efficientnet_lite1", 240, 5_416_680, 600_185_232, (5.4, 631)),
        ("efficientnet_lite2", 260, 6_092_072, 859_736_272, (6.1, 899)),
        ("efficientnet_lite3", 280, 8_197_096, 1_383_321_872, (8.2, 1440)),
        ("efficientnet_lite4", 300, 13_006_568, 2_553_034_336, (13.0, 2640)),
    ],
)
def test_costs_of_the_lite_networks(name: str, size: int, params: int, macs: int, announced: tuple[float, int]) -> None:
    """The announced sums are 3 to 6 percent larger: they count more than convolutions and dense layers."""
    net = outline(name)
    assert zoo.ZOO[name].input_size == (3, size, size)
    assert (parameters(net), multiplications(net, (3, size, size))) == (params, macs)
    assert round(params / 1e6, 1) == announced[0]
    assert 1.03 < announced[1] * 1e6 / macs < 1.06


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
def test_shapes_of_table_1(name: str) -> None:
    assert shapes(outline(name), 224) == {
        "stem": (32, 112, 112),
        "stage1": (16, 112, 112),
        "stage2": (24, 56, 56),
        "stage3": (40, 28, 28),
        "stage4": (80, 14, 14),
        "stage5": (112, 14, 14),
        "stage6": (192, 7, 7),
        "stage7": (320, 7, 7),
        "conv_head": (1280, 7, 7),
        "head": (1000,),
    }


@pytest.mark.parametrize(
    ("name", "channels", "units"),
    [  # torchvision and timm
        ("efficientnet_b0", [32, 16, 24, 40, 80, 112, 192, 320, 1280], [1, 2, 2, 3, 3, 4, 1]),
        ("efficientnet_b1", [32, 16, 24, 40, 80, 112, 192, 320, 1280], [2, 3, 3, 4, 4, 5, 2]),
        ("efficientnet_b2", [32, 16, 24, 48, 88, 120, 208, 352, 1408], [2, 3, 3, 4, 4, 5, 2]),
        ("efficientnet_b4", [48, 24, 32, 56, 112, 160, 272, 448, 1792], [2, 4, 4, 6, 6, 8, 2]),
        ("efficientnet_b7", [64, 32, 48, 80, 160, 224, 384, 640, 2560], [4, 7, 7, 10, 10, 13, 4]),
        ("efficientnet_lite1", [32, 16, 24, 40, 80, 112, 192, 320, 1280], [1, 3, 3, 4, 4, 5, 1]),
        ("efficientnet_lite4", [32, 24, 32, 56, 112, 160, 272, 448, 1280], [1, 4, 4, 6, 6, 8, 1]),
    ],
)
def test_width_and_depth_scale_as_published(name: str, channels: list[int], units: list[int]) -> None:
    """Channels to the next multiple of 8, units rounded up; Lite leaves stem, head and the outer stages' depth."""
    net = outline(name)
    *found, _ = shapes(net, 64).values()
    assert [shape[0] for shape in found] == channels
    stages = [stage for key, stage in net.named_stages().items() if key.startswith("stage")]
    assert [len(stage) for stage in stages] == units  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b3"])
def test_each_unit_squeezes_to_a_quarter_of_what_comes_in(name: str) -> None:
    """Not of the wide channels, as MobileNet v3 does."""
    net = outline(name)
    found = [
        (unit.block[0][0].in_channels, module.fc1.in_channels, module.fc1.out_channels)
        for stage in net.features[1:8]  # type: ignore[index, union-attr]
        for unit in stage
        for module in unit.block
        if isinstance(module, SqueezeExcite)
    ]
    assert len(found) == {"efficientnet_b0": 16, "efficientnet_b3": 26}[name]
    for number, (before, wide, narrow) in enumerate(found):
        is_first_stage = number < {"efficientnet_b0": 1, "efficientnet_b3": 2}[name]
        assert wide == before * (1 if is_first_stage else 6)
        assert narrow == before // 4


@pytest.mark.parametrize("name", LITES)
def test_lite_has_neither_squeeze_and_excitation_nor_silu(name: str) -> None:
    kinds = {type(module) for module in outline(name).modules()}
    assert nn.ReLU6 in kinds and not kinds & {SqueezeExcite, nn.SiLU, nn.Sigmoid}


@pytest.mark.parametrize("name", [*EFFICIENTNETS, *LITES])
def test_norms_have_the_numbers_of_the_published_weights(name: str) -> None:
    norms = [module for module in outline(name).modules() if isinstance(module, nn.BatchNorm2d)]
    expected = (1e-3, 0.1) if name in LITES else (1e-5, 0.1) if name < "efficientnet_b5" else (1e-3, 0.01)
    assert {(norm.eps, norm.momentum) for norm in norms} == {expected}


@pytest.mark.parametrize("name", [*EFFICIENTNETS, *LITES])
def test_dropout_is_the_published_one_and_can_be_asked_for(name: str) -> None:
    published = {"b0": 0.2, "b1": 0.2, "b2": 0.3, "b3": 0.3, "b4": 0.4, "b5": 0.4, "b6": 0.5, "b7": 0.5}
    published |= {"lite0": 0.2, "lite1": 0.2, "lite2": 0.3, "lite3": 0.3, "lite4": 0.3}
    for options, expected in (({}, published[name.split("_")[1]]), ({"dropout": 0.05}, 0.05)):
        dropouts = [module.p for module in outline(name, **options).modules() if isinstance(module, nn.Dropout)]
        assert dropouts == [expected]


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
@pytest.mark.parametrize(("options", "last"), [({}, 0.2), ({"drop_path": 0.5}, 0.5), ({"drop_path": 0.0}, 0.0)])
def test_units_are_left_out_more_often_the_deeper_they_are(name: str, options: dict[str, float], last: float) -> None:
    """Only those whose input is added, 9 of 16: without the input nothing would be left."""
    found = [module.p for module in outline(name, **options).modules() if isinstance(module, StochasticDepth)]
    assert found == pytest.approx([last * unit / 9 for unit in range(1, 10)])


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b3", "efficientnet_lite0"])
def test_the_small_stem_sees_a_quarter_of_the_size_with_the_same_weights(name: str) -> None:
    """From the second reduction on, maps of 56 px pictures are those of 224 px under the paper's stem."""
    plain, small = outline(name), outline(name, stem="small")
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    found = shapes(small, 56)
    for stage, shape in shapes(plain, 224).items():
        if len(shape) == 1 or shape[1] <= 56:
            assert found[stage] == shape


@pytest.mark.parametrize(
    ("name", "digest"),
    [  # SHA-256 of the names and shapes, a line each, recorded from torchvision 0.28 and timm 1.0.31
        ("efficientnet_b1", "9aaba0741e04badfffdedd828c2f1c6107d909788d7b69bd62574824cd100d36"),
        ("efficientnet_b2", "a6d3677e95ef315b9658fec20afd7ba37a7887b3efea6ae35c8d9a506b64b70e"),
        ("efficientnet_b3", "495111442d67e56d2b3ead909356d56e29949b02e9de21a9e47bf5fdacbe19b8"),
        ("efficientnet_b4", "2974b9d3c05560364abb62db6e9915bcff7f869236181abdfcb95f4570976184"),
        ("efficientnet_b5", "281af15aa41414bf2d7cb921fe9feb7ecab25eda80c7acc472204f5f270072fa"),
        ("efficientnet_b6", "c32e05b40510b08de1a4c76a74f637d7188b40f9fa2b29a804f7bd560a3d23ac"),
        ("efficientnet_b7", "3d2a7737a3d81e53520846285c2c94e2e52070e2c5c696be5fead436e9506f21"),
        ("efficientnet_lite0", "ca9c76dafa191af4bc552f2e71832dd89f61fefa36b1bc35a9971cacd4039477"),
        ("efficientnet_lite1", "84264def30bb1b7922267c704749459bdc39233c12ef13244847c96817a8daad"),
        ("efficientnet_lite2", "ecd4f93a794b9e0e9448330dd0545f3fe395e1546d9cf2b0bf9d8e477542c401"),
        ("efficientnet_lite3", "f10a8f39b21d1094cdce1ffe6868e2d47b45784f4bb76726e95c36ce26b07a0f"),
        ("efficientnet_lite4", "8b1180d1a079a916bc8bacc80707a44cf10a244a3137b3558b35afd6ca212c50"),
    ],
)
def test_state_dicts_are_those_of_torchvision_and_timm(name: str, digest: str) -> None:
    lines = "\n".join(f"{key} {tuple(value.shape)}" for key, value in outline(name).state_dict().items())
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


@torch.no_grad()
def test_logits_of_lite0_are_those_of_timm() -> None:
    """The first three of each of two pictures, float64, recorded from tf_efficientnet_lite0 of timm 1.0.31, gain 1."""
    expected = [
        [-2.4313731209095892, 2.646918815823799, -2.6407769105625776],
        [-2.7033626962263964, 0.25209505051164877, -4.208753726629208],
    ]
    net = zoo.build("efficientnet_lite0", num_classes=1000).eval()
    fill_network(net, 1.0)
    logits = net.double()(make_images(2, 3, 64, 64).double())
    np.testing.assert_allclose(logits[:, :3].numpy(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
def test_first_weights_are_torchvisions_or_of_lite_timms(name: str) -> None:
    """Standard deviations: √(2 / (out k²)), of Lite √(2 groups / (out k²))."""
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=1000)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            expected = np.sqrt(2 * (module.groups if name == "efficientnet_lite0" else 1) / fan_out)
            count = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / np.sqrt(2 * count))  # five errors
            assert module.bias is None or not module.bias.any()


@torch.no_grad()
@pytest.mark.parametrize("num_classes", [2, 1000])
@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0", "mobilenet_v1"])
def test_the_first_logits_are_small_whatever_the_number_of_classes(name: str, num_classes: int) -> None:
    """Features of the size that trained networks have, about 1: a new head then begins near chance."""
    torch.manual_seed(0)
    head = zoo.build(name, num_classes=num_classes).classifier_head
    features = torch.rand(64, head.in_features, generator=torch.Generator().manual_seed(0)) * 2
    assert head(features).abs().max() < 5 * 2 / 3  # weights U(±1/√n), E[x²] = 4/3: five standard deviations
