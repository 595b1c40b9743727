"""The receptive field of every layer of 19 networks, against an independent way to compute it; and published ones.

receptive_fields.json was made by interval propagation over torch.fx graphs of torchvision's and timm's own networks.
"""

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.inspection import receptive_field
from sightline.models import zoo
from sightline.nn.arithmetic import ReceptiveField

NETWORKS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "receptive_fields.json").read_text())[
    "networks"
]


def fields_of(name: str, **options: object) -> dict[str, ReceptiveField]:
    with torch.device("meta"):
        net = zoo.build(name, **options)  # type: ignore[arg-type]
    return receptive_field(net, zoo.ZOO[name].input_size)


@pytest.mark.parametrize("name", NETWORKS)
def test_node_by_node(name: str) -> None:
    """A sum or a concatenation, which has no name of its own, is the output of a block around the layer before it."""
    fields = fields_of(name)
    layer, compared = "", 0
    for node, *expected in NETWORKS[name]["trace"]:
        if node in fields:
            layer = node
            assert list(astuple(fields[node])) == expected, node
        else:
            assert node.startswith(("add", "cat")), node
            parts = layer.split(".")
            around = [".".join(parts[:count]) for count in range(1, len(parts))]
            assert expected in [list(astuple(fields[block])) for block in around if block in fields], node
        compared += 1
    assert compared == len(NETWORKS[name]["trace"]) > 7
    assert list(astuple(list(fields.values())[-1])) == NETWORKS[name]["final"]


@pytest.mark.parametrize(
    ("name", "size_px", "stride_px", "padding_px"),
    [  # Araujo et al., Distill 2019, the table; TF-Slim's networks, where they are built as the papers' are
        ("alexnet_2012", 195, 32, 64),  # alexnet_v2: no padding in front of the first convolution
        ("vgg11", 150, 32, 59),  # vgg_a
        ("vgg16", 212, 32, 90),
    ],
)
def test_published_fields(name: str, size_px: int, stride_px: int, padding_px: int) -> None:
    assert list(fields_of(name).values())[-1] == ReceptiveField(size_px, stride_px, padding_px)


def test_published_sizes_where_tensorflow_pads_by_the_pictures_size() -> None:
    """Size and stride of the same table; TF's "same" padding puts less in front of an even picture."""
    assert astuple(list(fields_of("mobilenet_v1").values())[-1])[:2] == (315, 32)


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("resnet18", 435), ("resnet34", 899), ("resnet50", 427), ("resnet101", 971), ("resnet152", 1451)],
)
def test_resnets_with_the_stride_in_the_3x3(name: str, size_px: int) -> None:
    """Where the stride is in the first 1x1, as in the paper, the bottlenecks see 483, 1027 and 1507 px."""
    fields = fields_of(name)
    assert fields["layer4"] == ReceptiveField(size_px, 32, size_px // 2)
    assert list(fields)[-1] == "layer4" and "head" not in fields


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "resnet110"])
def test_cifar_resnets_by_the_sum_over_their_layers(name: str) -> None:
    """Sec. 4.2: a 3x3, then 2n of them at steps of 1, 2 and 4 px; the strided one still steps as before it."""
    n = (int(name.removeprefix("resnet")) - 2) // 6
    size = 1 + 2 + 2 * (2 * n) + 2 * (1 + 2 * (2 * n - 1)) + 2 * (2 + 4 * (2 * n - 1))
    assert fields_of(name)["layer3"].size_px == size


def test_dilation_for_stride_sees_as_much() -> None:
    """DeepLab's output stride keeps the map larger, and dilated kernels make up for it: but for the strided layer."""
    plain, dilated = fields_of("resnet50")["layer4"], fields_of("resnet50", output_stride=8)["layer4"]
    assert (plain.stride_px, dilated.stride_px) == (32, 8)
    assert dilated.size_px <= plain.size_px and dilated.size_px > 0.9 * plain.size_px
