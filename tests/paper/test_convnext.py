"""ConvNeXt against its paper's Tables 5 and 9, and its unit against the formula."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.drop import StochasticDepth
from sightline.nn.norm import LayerNorm2d

from .costs import parameters

CONVNEXTS = {  # channels, blocks: Sec. 3; stochastic depth: Table 5; parameters in millions: Table 1
    "convnext_tiny": ((96, 192, 384, 768), (3, 3, 9, 3), 0.1, 29),
    "convnext_small": ((96, 192, 384, 768), (3, 3, 27, 3), 0.4, 50),
    "convnext_base": ((128, 256, 512, 1024), (3, 3, 27, 3), 0.5, 89),
    "convnext_large": ((192, 384, 768, 1536), (3, 3, 27, 3), 0.5, 198),
}


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def images_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CONVNEXTS)
def test_parameters_by_the_sums_of_table_9(name: str) -> None:
    channels, blocks, _, millions = CONVNEXTS[name]
    total = channels[0] * (4 * 4 * 3 + 1) + 2 * channels[0]
    for before, after in itertools.pairwise(channels):
        total += 2 * before + after * (2 * 2 * before + 1)
    for width, count in zip(channels, blocks, strict=True):
        depthwise, norm, scale = width * (49 + 1), 2 * width, width
        total += count * (depthwise + norm + 4 * width * (width + 1) + width * (4 * width + 1) + scale)
    total += 2 * channels[-1] + 1000 * (channels[-1] + 1)
    assert parameters(outline(name)) == total
    assert round(total / 1e6) == millions


@pytest.mark.parametrize("name", CONVNEXTS)
def test_shapes_of_table_9(name: str) -> None:
    one, two, three, four = CONVNEXTS[name][0]
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
    assert {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()} == {
        "stem": (one, 56, 56),
        "stage1": (one, 56, 56),
        "downsample2": (two, 28, 28),
        "stage2": (two, 28, 28),
        "downsample3": (three, 14, 14),
        "stage3": (three, 14, 14),
        "downsample4": (four, 7, 7),
        "stage4": (four, 7, 7),
        "head": (1000,),
    }


@pytest.mark.parametrize("name", CONVNEXTS)
def test_stochastic_depth_rises_to_that_of_table_5(name: str) -> None:
    _, blocks, last, _ = CONVNEXTS[name]
    for net, highest in ((outline(name), last), (outline(name, drop_path=0.3), 0.3)):
        found = [module.p for module in net.modules() if isinstance(module, StochasticDepth)]
        assert found == pytest.approx(np.linspace(0, highest, sum(blocks) + 1)[1:])


@torch.no_grad()
def test_a_unit_is_the_formula_of_figure_4() -> None:
    unit = zoo.build("convnext_tiny").named_stages()["stage1"][1].eval()
    unit.layer_scale.copy_(torch.linspace(0.5, 1.5, 96)[:, None, None])
    unit.block[2].weight.copy_(torch.linspace(1.5, 0.5, 96))
    weights = {key: value.double().numpy() for key, value in unit.state_dict().items()}
    maps = images_of(1, 96, 5, 6)
    padded = np.pad(maps.double().numpy()[0], ((0, 0), (3, 3), (3, 3)))
    places = np.zeros((5, 6, 96))
    for y in range(5):
        for x in range(6):
            window = padded[:, y : y + 7, x : x + 7]
            places[y, x] = (window * weights["block.0.weight"][:, 0]).sum(axis=(1, 2)) + weights["block.0.bias"]
    places -= places.mean(axis=-1, keepdims=True)
    places /= np.sqrt((places**2).mean(axis=-1, keepdims=True) + 1e-6)
    places = places * weights["block.2.weight"] + weights["block.2.bias"]
    inner = places @ weights["block.3.weight"].T + weights["block.3.bias"]
    inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    branch = inner @ weights["block.5.weight"].T + weights["block.5.bias"]
    expected = maps.double().numpy()[0] + weights["layer_scale"] * branch.transpose(2, 0, 1)
    np.testing.assert_allclose(unit(maps)[0].numpy(), expected, atol=1e-5)


@torch.no_grad()
def test_layer_norm_is_over_the_channels_of_a_place() -> None:
    norm = LayerNorm2d(6)
    norm.weight.copy_(torch.linspace(0.5, 2.0, 6))
    norm.bias.copy_(torch.linspace(-1.0, 1.0, 6))
    maps = images_of(2, 6, 3, 4) * 5 + 2
    pixels = maps.double().numpy()
    deviation = pixels - pixels.mean(axis=1, keepdims=True)
    expected = deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + 1e-6)
    expected = expected * norm.weight.numpy()[:, None, None] + norm.bias.numpy()[:, None, None]
    np.testing.assert_allclose(norm(maps).numpy(), expected, atol=1e-5)


def test_first_weights() -> None:
    """Table 5: weights from a truncated normal of 0.02, layer scale 1e-6; biases 0."""
    torch.manual_seed(0)
    net = zoo.build("convnext_tiny", num_classes=10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().double()
            assert weight.std().item() == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5)
            assert abs(weight.mean().item()) < 5 * 0.02 / weight.numel() ** 0.5
            assert not module.bias.any()
    scales = [tensor for key, tensor in net.named_parameters() if key.endswith("layer_scale")]
    assert len(scales) == 18 and all((scale == 1e-6).all() for scale in scales)
    images = images_of(2, 3, 64, 64)
    outputs = net.eval().endpoints(images)
    torch.testing.assert_close(outputs["stage1"], outputs["stem"], atol=1e-4, rtol=0)  # nearly the identity


def test_the_small_stem_divides_by_8() -> None:
    endpoints = outline("convnext_tiny", stem="small").endpoints(torch.zeros(1, 3, 32, 48, device="meta"))
    sizes = [tuple(output.shape[2:]) for output in endpoints.values() if output.dim() == 4]
    assert sizes == [(32, 48), (32, 48), (16, 24), (16, 24), (8, 12), (8, 12), (4, 6), (4, 6)]


def test_dropout_comes_right_before_the_dense_layer() -> None:
    net = outline("convnext_tiny", dropout=0.25).train()
    order: list[nn.Module] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, *_: order.append(m))
    net(torch.zeros(1, 3, 32, 32, device="meta"))
    *_, dropout, dense = order
    assert isinstance(dropout, nn.Dropout) and dropout.p == 0.25 and dense is net.classifier_head
