"""Xception against its paper: Fig. 5, Table 3, and what a separable convolution is."""

import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.models.base import Classifier

from .costs import multiplications, parameters


def outline(**options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build("xception", **options).eval()  # type: ignore[arg-type]


def images_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_costs() -> None:
    net = outline()
    assert parameters(net) == 22_855_952  # Table 3
    assert multiplications(net, (3, 299, 299)) == 8_357_403_496  # Keras and timm


def test_shapes_of_figure_5() -> None:
    endpoints = outline().endpoints(torch.zeros(1, 3, 299, 299, device="meta"))
    shapes = {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}
    assert shapes == {  # 19x19x728 and the channels in the figure; other sizes by its strides
        "stem": (64, 147, 147),
        "block1": (128, 74, 74),
        "block2": (256, 37, 37),
        **{f"block{number}": (728, 19, 19) for number in range(3, 12)},
        "block12": (1024, 10, 10),
        "conv3": (1536, 10, 10),
        "conv4": (2048, 10, 10),
        "head": (1000,),
    }


def test_36_layers_in_14_modules_with_shortcuts_around_all_but_the_first_and_last() -> None:
    """Sec. 3, second paragraph; a separable convolution counts once."""
    net = outline()
    layers = [
        key
        for key, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and "skip" not in key
    ]
    assert len(layers) == 36
    assert sum(key.endswith("pointwise") for key in layers) == 34
    modules = {key.split(".")[0] for key in layers} - {"conv1", "conv2", "conv3", "conv4"}
    assert len(modules) + 2 == 14
    projected = [key for key, _ in net.named_parameters() if key.endswith("skip.weight")]
    assert projected == [f"block{number}.skip.weight" for number in (1, 2, 3, 12)]


@torch.no_grad()
def test_a_separable_convolution_is_one_convolution_of_rank_one_kernels() -> None:
    """Only so long as no activation stands between its two parts, which is the paper's point."""
    unit = zoo.build("xception").conv3
    maps = images_of(2, 1024, 5, 5)
    kernel = torch.einsum("oi,ihw->oihw", unit.pointwise.weight[:, :, 0, 0], unit.conv1.weight[:, 0])
    whole = nn.functional.conv2d(maps.double(), kernel.double(), padding=1)
    torch.testing.assert_close(unit(maps).double(), whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize(("block", "channels"), [("block1", 64), ("block2", 128), ("block4", 728), ("block12", 728)])
def test_a_unit_whose_last_norm_is_zero_leaves_its_shortcut(block: str, channels: int) -> None:
    unit = zoo.build("xception").get_submodule(block).eval()
    norms = [module for module in unit.rep if isinstance(module, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)
    maps = images_of(2, channels, 6, 6)
    kept = maps.clone()
    assert torch.equal(unit(maps), unit.skipbn(unit.skip(kept)))
    assert torch.equal(maps, kept)


def test_convolutions_of_a_unit_come_after_a_relu_but_for_the_very_first() -> None:
    net = outline()
    for number in range(1, 13):
        kinds = [type(module).__name__ for module in net.get_submodule(f"block{number}").rep]
        count = 3 if 4 <= number <= 11 else 2
        expected = ["ReLU", "_SeparableConv", "BatchNorm2d"] * count + ["MaxPool2d"] * (count == 2)
        assert kinds == expected[number == 1 :]


def test_the_small_stem_keeps_the_weights_and_divides_by_8() -> None:
    small, plain = outline(stem="small"), outline()
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    sizes = [o.shape[2] for o in small.endpoints(torch.zeros(1, 3, 32, 32, device="meta")).values() if o.dim() == 4]
    assert sizes == [32, 32, 16, *[8] * 9, 4, 4, 4]


def test_dropout_is_half_as_in_section_4_3() -> None:
    rates = [module.p for module in outline().modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.5]
    assert [module.p for module in outline(dropout=0.1).modules() if isinstance(module, nn.Dropout)] == [0.1]
