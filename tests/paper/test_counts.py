"""Every published count of parameters and multiply-accumulates of the zoo's networks, met exactly.

counts.json holds one row a source: libraries' own metadata, independent implementations, formulae of the papers. Where
a source gives millions, ours are less than one away. Sources that count otherwise are not in it: Keras' ResNets have
biases in their convolutions, Caffe's ResNet-50 has one; ResNets with the stride in the first 1x1 have fewer
multiplications; Caffe's DenseNet counts the norms' scales twice; onnx's AlexNet and Inception v1 run at other map sizes
than the papers (54 for 55, 27 for 28), so that of those only the parameters are here.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.models import zoo

from .costs import multiplications, parameters

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "counts.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['name']}-{row['source'].split(',')[0]}")
def test_counts(row: dict[str, Any]) -> None:
    with torch.device("meta"):
        net = zoo.build(
            row["name"], num_classes=row["classes"], in_channels=row["size"][0], **row.get("options", {})
        ).eval()
    if "parameters" in row:
        assert parameters(net) == row["parameters"]
    if "macs" in row:
        macs = multiplications(net, tuple(row["size"]))
        if row["source"].endswith("millions"):  # the source cuts or rounds, and does not say which
            assert abs(row["macs"] - macs / 1e6) < 1
        else:
            assert row["macs"] == macs


# Held to their paper's tables or formulae in the file of their family.
ELSEWHERE = {
    *("resnetv2_18", "resnetv2_34", "resnetv2_101", "resnetv2_152", "densenet264", "airbench94", "airbench_small"),
    *("plain18", "plain34", "plain20", "plain32", "plain44", "plain56", "plain110"),
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4"),
}


def test_every_network_has_a_row_or_a_test_in_the_file_of_its_family() -> None:
    assert set(zoo.names()) - {row["name"] for row in ROWS} == ELSEWHERE
