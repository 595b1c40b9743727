"""ZFNet against Fig. 3 of its paper."""

import re

import pytest
import torch

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.models.zfnet import ZFNet

from .costs import multiplications, parameters

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


def outline(**options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build("zfnet", **options).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def net() -> ZFNet:
    """For the smallest pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build("zfnet", num_classes=10, image_size=(47, 47))
    assert isinstance(net, ZFNet)
    return net


def test_parameters_of_each_layer() -> None:
    net = outline()
    convolutions = [96 * (3 * 49 + 1), 256 * (96 * 25 + 1), 384 * (256 * 9 + 1), 384 * (384 * 9 + 1)]
    convolutions.append(256 * (384 * 9 + 1))
    dense = [4096 * (256 * 6 * 6 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1)]
    assert [parameters(net.get_submodule(layer)) for layer in LAYERS] == convolutions + dense
    assert parameters(net) == 62_357_608  # pytorchcv's, too


def test_multiplications() -> None:
    convolutions = 110**2 * 96 * 3 * 49 + 26**2 * 256 * 96 * 25
    convolutions += 13**2 * 9 * (384 * 256 + 384 * 384 + 256 * 384)
    dense = 256 * 6 * 6 * 4096 + 4096 * 4096 + 4096 * 1000
    assert multiplications(outline(), (3, 224, 224)) == convolutions + dense == 1_168_032_896  # pytorchcv's, too


def test_maps_of_figure_3() -> None:
    """110, 55, 26, 13, 13, 13, 13 and 6 px."""
    net = outline()
    images = torch.zeros(1, 3, 224, 224, device="meta")
    first = net.conv1(images)
    second = net.conv2(net.pool(first))
    assert [first.shape[2], second.shape[2]] == [110, 26]
    shapes = {stage: tuple(output.shape[1:]) for stage, output in net.endpoints(images).items()}
    assert shapes == {
        **{"conv1": (96, 55, 55), "conv2": (256, 13, 13), "conv3": (384, 13, 13), "conv4": (384, 13, 13)},
        **{"conv5": (256, 6, 6), "fc6": (4096,), "fc7": (4096,), "head": (1000,)},
    }


def test_layers_come_in_the_order_of_figure_3(net: ZFNet) -> None:
    calls: list[str] = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name)) for name, part in net.named_children()
    ]
    net.eval()(torch.zeros(1, 3, *net.min_size))
    for hook in hooks:
        hook.remove()
    assert calls == [
        *("conv1", "relu", "pool", "norm"),
        *("conv2", "relu", "pool", "norm"),
        *("conv3", "relu"),
        *("conv4", "relu"),
        *("conv5", "relu", "pool"),
        *("fc6", "relu", "dropout"),
        *("fc7", "relu", "dropout"),
        "fc8",
    ]
    assert (net.norm.k, net.norm.size, net.norm.alpha, net.norm.beta) == (2, 5, 5e-4, 0.75)
    assert net.dropout.p == 0.5


def test_first_weights_are_those_of_section_3(net: ZFNet) -> None:
    for layer in LAYERS:
        weight = net.get_submodule(layer).weight
        assert weight.std().item() == pytest.approx(0.01, rel=5 / (2 * weight.numel()) ** 0.5)
        assert not net.get_submodule(layer).bias.any()


def test_a_size_at_which_nothing_would_be_left_is_refused() -> None:
    message = "ZFNet needs images of at least 47x47 px, got 46x100 px. Enlarge --img-size."
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        zoo.build("zfnet", image_size=(46, 100))
    net = outline(image_size=(47, 47))
    x = torch.zeros(1, 3, 46, 46, device="meta")
    with pytest.raises(RuntimeError, match="Output size is too small"):  # 47 is no larger than it has to be
        for stage in net.named_stages().values():
            x = stage(x)


@pytest.mark.parametrize("size", [(47, 47), (48, 63), (64, 95), (224, 225), (99, 256)])
def test_the_first_dense_layer_fits_any_size_that_it_is_made_for(size: tuple[int, int]) -> None:
    net = outline(image_size=size)
    assert net(torch.zeros(1, 3, *size, device="meta")).shape == (1, 1000)
