"""AlexNet against its papers: parameters, multiplications, maps, towers, normalisation, first weights."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.alexnet import AlexNet, AlexNet2012
from sightline.models.base import Classifier
from sightline.nn.arithmetic import conv_macs

from .costs import multiplications, parameters

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def shapes(net: Classifier, size: int) -> dict[str, tuple[int, ...]]:
    endpoints = net.endpoints(torch.zeros(1, 3, size, size, device="meta"))
    return {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}


@pytest.fixture(scope="module")
def net() -> AlexNet2012:
    """For the smallest pictures: its first dense layer is a 36th of the paper's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build("alexnet_2012", num_classes=10, image_size=(67, 67))
    assert isinstance(net, AlexNet2012)
    return net


def test_parameters_of_each_layer() -> None:
    net = outline("alexnet_2012")
    convolutions = [96 * (3 * 121 + 1), 256 * (48 * 25 + 1), 384 * (256 * 9 + 1), 384 * (192 * 9 + 1)]
    convolutions.append(256 * (192 * 9 + 1))
    dense = [4096 * (256 * 6 * 6 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1)]
    assert [parameters(net.get_submodule(layer)) for layer in LAYERS] == convolutions + dense
    assert convolutions == [34_944, 307_456, 885_120, 663_936, 442_624]  # as in Caffe's bvlc_alexnet
    assert parameters(net) == 60_965_224  # the paper: 60 million


def test_parameters_of_each_layer_of_the_one_tower() -> None:
    counts = [parameters(m) for m in outline("alexnet").modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert counts == [23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000]


def test_multiplications_of_the_papers_maps() -> None:
    maps = [(3, 96, 11, 55, 1), (96, 256, 5, 27, 2), (256, 384, 3, 13, 1), (384, 384, 3, 13, 2), (384, 256, 3, 13, 2)]
    convolutions = sum(
        conv_macs(before, after, (kernel, kernel), (size, size), groups=groups)
        for before, after, kernel, size, groups in maps
    )
    dense = 256 * 6 * 6 * 4096 + 4096 * 4096 + 4096 * 1000
    assert multiplications(outline("alexnet_2012"), (3, 227, 227)) == convolutions + dense == 724_406_816


def test_multiplications_of_caffes_graph() -> None:
    """onnx's light_bvlc_alexnet takes 224 px: maps of 54, 26 and 12, and 6 by a padded last pool."""
    dense = 256 * 6 * 6 * 4096 + 4096 * 4096 + 4096 * 1000
    net = outline("alexnet_2012", image_size=(224, 224))
    assert [shape[1] for shape in shapes(net, 224).values() if len(shape) == 3] == [26, 12, 12, 12, 5]
    own_dense = 256 * 5 * 5 * 4096 + 4096 * 4096 + 4096 * 1000
    assert multiplications(net, (3, 224, 224)) - own_dense + dense == 654_560_384


def test_maps_of_figure_2() -> None:
    net = outline("alexnet_2012")
    assert net.conv1(torch.zeros(1, 3, 227, 227, device="meta")).shape == (1, 96, 55, 55)
    assert shapes(net, 227) == {
        **{"conv1": (96, 27, 27), "conv2": (256, 13, 13), "conv3": (384, 13, 13), "conv4": (384, 13, 13)},
        **{"conv5": (256, 6, 6), "fc6": (4096,), "fc7": (4096,), "head": (1000,)},
    }


def test_maps_of_the_one_tower() -> None:
    assert shapes(outline("alexnet"), 224) == {
        **{"conv1": (64, 27, 27), "conv2": (192, 13, 13), "conv3": (384, 13, 13), "conv4": (256, 13, 13)},
        **{"conv5": (256, 6, 6), "fc6": (4096,), "fc7": (4096,), "head": (1000,)},
    }


@pytest.mark.parametrize(("layer", "has_towers"), [("conv2", True), ("conv3", False), ("conv4", True), ("conv5", True)])
def test_a_unit_sees_its_own_tower_except_in_the_third_layer(net: AlexNet2012, layer: str, has_towers: bool) -> None:
    conv = net.get_submodule(layer)
    channels = conv.in_channels
    maps = torch.randn(1, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    changed = maps.clone()
    changed[:, : channels // 2] += 1
    differs = (conv(maps) != conv(changed)).flatten(2).any(dim=2)[0]
    first, second = differs.chunk(2)
    assert first.all() and bool(second.any()) is not has_towers


@torch.no_grad()
def test_the_first_stage_is_convolution_relu_normalisation_pool(net: AlexNet2012) -> None:
    loud = copy.deepcopy(net)
    loud.conv1.weight.mul_(300)  # so that the normalisation matters
    images = torch.randn(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    maps = loud.conv1(images).relu()[0].double().numpy()
    squares = np.pad(maps**2, ((2, 2), (0, 0), (0, 0)))
    total = sum(squares[shift : shift + 96] for shift in range(5))
    normalised = maps / (2 + 1e-4 * total) ** 0.75  # Sec. 3.3
    windows = [normalised[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] for y in range(7) for x in range(7)]
    expected = np.stack([window.max(axis=(1, 2)) for window in windows], axis=1).reshape(96, 7, 7)
    np.testing.assert_allclose(loud.named_stages()["conv1"](images)[0].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert np.median((maps / 2**0.75)[maps > 0] / normalised[maps > 0]) > 1.2


def test_normalisation_and_pools_are_where_the_paper_has_them(net: AlexNet2012) -> None:
    """After the first and second layer (Sec. 3.5); pools after those and the fifth, 3x3 at a stride of 2 (Sec. 3.4)."""
    calls: list[str] = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name)) for name, part in net.named_children()
    ]
    net.eval()(torch.zeros(1, 3, *net.min_size))
    for hook in hooks:
        hook.remove()
    assert calls == [
        *("conv1", "relu", "norm", "pool"),
        *("conv2", "relu", "norm", "pool"),
        *("conv3", "relu"),
        *("conv4", "relu"),
        *("conv5", "relu", "pool"),
        *("fc6", "relu", "dropout"),
        *("fc7", "relu", "dropout"),
        "fc8",
    ]
    assert (net.pool.kernel_size, net.pool.stride, net.dropout.p) == (3, 2, 0.5)


def test_first_weights_are_those_of_section_5(net: AlexNet2012) -> None:
    for layer in LAYERS:
        weight = net.get_submodule(layer).weight
        assert weight.std().item() == pytest.approx(0.01, rel=5 / (2 * weight.numel()) ** 0.5)
        assert weight.mean().item() == pytest.approx(0, abs=5 * 0.01 / weight.numel() ** 0.5)
    biases = {layer: set(net.get_submodule(layer).bias.tolist()) for layer in LAYERS}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert biases == {layer: {1.0 if layer in ones else 0.0} for layer in LAYERS}


def test_the_one_tower_drops_before_its_hidden_dense_layers() -> None:
    net = outline("alexnet")
    assert isinstance(net, AlexNet)
    kinds = [type(layer).__name__ for layer in net.classifier]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert [net.classifier[index].p for index in (0, 3)] == [0.5, 0.5]
    assert [outline("alexnet", dropout=0.1).get_submodule(f"classifier.{index}").p for index in (0, 3)] == [0.1, 0.1]


def test_a_size_at_which_nothing_would_be_left_is_refused() -> None:
    message = "AlexNet2012 needs images of at least 67x67 px, got 227x66 px. Enlarge --img-size."
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        zoo.build("alexnet_2012", image_size=(227, 66))
    net = outline("alexnet_2012", image_size=(67, 67))
    x = torch.zeros(1, 3, 66, 66, device="meta")
    with pytest.raises(RuntimeError, match="Output size is too small"):  # 67 is no larger than it has to be
        for stage in net.named_stages().values():
            x = stage(x)
