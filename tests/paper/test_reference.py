"""Every network that torchvision or timm has, against what those libraries say of it: names, shapes, costs, logits.

structure.json and logits.npz were recorded from torchvision 0.29.2 and timm 1.0.31; weights and pictures are filled by
a rule that needs neither (rule.py).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.arithmetic import conv_macs, linear_macs

from .rule import fill_network, make_images

DATA = Path(__file__).parent / "data"
STRUCTURE: dict[str, dict[str, Any]] = json.loads((DATA / "structure.json").read_text())["networks"]
LOGITS = np.load(DATA / "logits.npz")

OUR_NAMES = {"legacy_xception": "xception", "mobilenetv1_100": "mobilenet_v1", "googlenet__no_aux": "googlenet"}
# timm names the same tensors otherwise, in the same order: ours are torchvision's
OTHER_NAMES = ("timm/efficientnet_b0", "timm/convnext_tiny")
SAME_NAMES = [reference for reference in STRUCTURE if reference not in OTHER_NAMES]
CASES = [key for key in LOGITS.files if not key.endswith("gain")]


def ours(reference: str) -> str:
    """The zoo's name of a library's network."""
    name = reference.split("/")[1]
    return OUR_NAMES.get(name, name)


def build(reference: str) -> Classifier:
    """With auxiliary heads where the reference was built with them."""
    name = ours(reference)
    heads = {"aux_heads": True} if reference == "torchvision/googlenet" else {}
    return zoo.build(name, num_classes=1000, **heads)  # type: ignore[typeddict-item]


def entries(net: nn.Module) -> list[tuple[str, list[int]]]:
    return [(key, list(tensor.shape)) for key, tensor in net.state_dict().items()]


@pytest.mark.parametrize("reference", SAME_NAMES)
def test_the_state_dict_has_the_librarys_names_shapes_and_order(reference: str) -> None:
    with torch.device("meta"):
        net = build(reference)
    assert entries(net) == list(STRUCTURE[reference]["state_dict"].items())


@pytest.mark.parametrize("reference", OTHER_NAMES)
def test_the_state_dict_has_the_librarys_shapes_in_its_order(reference: str) -> None:
    with torch.device("meta"):
        net = build(reference)
    expected = STRUCTURE[reference]["state_dict"].items()
    assert [_without_ones(shape) for _, shape in entries(net)] == [_without_ones(shape) for _, shape in expected]


def _without_ones(shape: list[int]) -> list[int]:
    """ConvNeXt's layer scale is (C, 1, 1) in torchvision and (C) in timm."""
    return shape[:1] if shape[1:] == [1, 1] else shape


@pytest.mark.parametrize("reference", [each for each in SAME_NAMES if STRUCTURE[each]["layers"]])
def test_every_layer_has_the_librarys_output_shape_parameters_and_multiplications(reference: str) -> None:
    with torch.device("meta"):
        net = build(reference).eval()
    found: dict[str, list[Any]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            if own:
                found[name] = [list(output.shape[1:]), own, _macs(module, output)]

        return hook

    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(note(name))
    net(torch.zeros(1, *STRUCTURE[reference]["input_size"], device="meta"))
    assert found == STRUCTURE[reference]["layers"]


def _macs(module: nn.Module, output: Tensor) -> int | None:
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        size = (output.shape[2], output.shape[3])
        return conv_macs(module.in_channels, module.out_channels, (height, width), size, groups=module.groups)
    if isinstance(module, nn.Linear):  # at every place of a map, in ConvNeXt
        return linear_macs(module.in_features, module.out_features) * output[0, ..., 0].numel()
    return None


@torch.no_grad()
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.proof if case.endswith("/224") else ()) for case in CASES]
)
def test_logits_are_the_librarys(case: str) -> None:
    """In float64 to rounding; in float32 to 1e-5 of the largest logit. At 224 px among the proofs."""
    reference, size = case.rsplit("/", 1)
    net = build(reference).eval()
    names = None
    if reference in OTHER_NAMES:
        names = dict(zip(net.state_dict(), STRUCTURE[reference]["state_dict"], strict=True))
    fill_network(net, float(LOGITS[f"{reference}/gain"]), names)
    images, expected = make_images(2, 3, int(size), int(size)), LOGITS[case]
    for precision, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        logits = net.to(precision)(images.to(precision)).double().numpy()
        assert np.abs(logits - expected).max() < tolerance * np.abs(expected).max()
