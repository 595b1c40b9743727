"""A wrong normalisation is noticed, a right one is not, whatever the pictures are like.

What it says on real photographs is measured by benchmarks/transfer.py.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.data.preprocess import Preprocess
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.pretrained import load_pretrained
from sightline.pretrained.normalisation import USUAL, Normalisation, check_normalisation, fitting_normalisation

SIZE = 64
RIGHT = Preprocess((3, SIZE, SIZE), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The covariance of ImageNet's colours, whose eigenvalues and eigenvectors AlexNet's authors published.
COVARIANCE = [[0.0805, 0.0702, 0.0634], [0.0702, 0.0764, 0.0722], [0.0634, 0.0722, 0.0839]]


def photographs(count: int = 24, *, seed: int = 0) -> Tensor:
    """Noise with the spectrum of photographs, 1 / f, and their mean and colours: uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    frequency[0, 0] = 0.6 / SIZE  # pictures differ in their brightness, too
    fields = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, 3, SIZE, SIZE))) / frequency).real
    fields /= fields.std()
    colours = np.einsum("kl,nlhw->nhwk", np.linalg.cholesky(COVARIANCE), fields)
    values = np.clip(np.array(RIGHT.mean) + colours, 0, 1)
    return torch.from_numpy((255 * values).round().astype(np.uint8))


def night() -> Tensor:
    """Nearly black, with a few stars."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 30, (12, SIZE, SIZE, 3))
    pixels[rng.random((12, SIZE, SIZE)) < 0.01] = 250
    return torch.from_numpy(pixels.astype(np.uint8))


def fog() -> Tensor:
    """Photographs with little contrast."""
    return (photographs() // 5 + 150).to(torch.uint8)


def blurred() -> Tensor:
    """Photographs of a quarter of the size, enlarged."""
    small = photographs().permute(0, 3, 1, 2)[:, :, ::4, ::4].float()
    large = nn.functional.interpolate(small, (SIZE, SIZE), mode="bicubic").clamp(0, 255)
    return large.to(torch.uint8).permute(0, 2, 3, 1)


PICTURES = {"photographs": photographs, "night": night, "fog": fog, "blurred": blurred}


@torch.no_grad()
def trained_on(pictures: Tensor, preprocess: Preprocess, name: str = "resnet18") -> Classifier:
    """A network whose batch norms have the statistics of these pictures."""
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=2, in_channels=preprocess.channels)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(preprocess.tensor(pictures))
    return net


def with_normalisation(preprocess: Preprocess, other: Normalisation) -> Preprocess:
    return replace(preprocess, mean=other.mean, std=other.std)


# -------------------------------------------------------------------------------------------------------- real weights


@pytest.fixture(scope="module")
def lite0() -> tuple[Classifier, Preprocess]:
    loaded = load_pretrained("efficientnet_lite0")
    assert loaded.preprocess is not None
    return loaded.net, replace(loaded.preprocess, input_size=(3, SIZE, SIZE))


@pytest.mark.parametrize("kind", PICTURES)
def test_the_right_normalisation_raises_no_alarm(lite0: tuple[Classifier, Preprocess], kind: str) -> None:
    net, preprocess = lite0
    assert check_normalisation(net, PICTURES[kind](), preprocess) is None


WRONG = [USUAL[0], *USUAL[2:], Normalisation("", (0.25,) * 3, (0.25,) * 3), Normalisation("", (0.5,) * 3, (0.25,) * 3)]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_one_is_found_and_the_right_one_named(
    lite0: tuple[Classifier, Preprocess], wrong: Normalisation, kind: str
) -> None:
    net, preprocess = lite0
    found = check_normalisation(net, PICTURES[kind](), with_normalisation(preprocess, wrong))
    assert found is not None and found.drift > 1 and not found.has_blue_first
    assert (found.given.mean, found.given.std) == (wrong.mean, wrong.std)
    assert found.fitting == USUAL[1]  # (value - 127) / 128 is that to -1 ... 1, but for rounding


def test_real_weights_say_themselves_what_they_were_trained_with(lite0: tuple[Classifier, Preprocess]) -> None:
    assert fitting_normalisation(*lite0) == USUAL[1]


@pytest.mark.parametrize("kind", PICTURES)
def test_blue_first_is_noticed(kind: str) -> None:
    loaded = load_pretrained("efficientnet_lite0")
    assert loaded.preprocess is not None
    preprocess = replace(loaded.preprocess, input_size=(3, SIZE, SIZE))
    with torch.no_grad():
        loaded.net.conv_stem.weight.copy_(loaded.net.conv_stem.weight.flip(1))
    found = check_normalisation(loaded.net, PICTURES[kind](), preprocess)
    assert found is not None and found.has_blue_first
    assert str(found) == (
        "by the statistics in their first batch norm, these weights were trained on pictures with blue as the first "
        "channel; here red is the first. Turn the input channels of their first convolution round: weight.flip(1)."
    )


def test_the_same_weights_for_grey_pictures() -> None:
    loaded = load_pretrained("efficientnet_lite0", num_classes=2, in_channels=1)
    assert loaded.preprocess is not None
    preprocess = replace(loaded.preprocess, input_size=(1, SIZE, SIZE))
    pictures = photographs().float().mean(dim=3, keepdim=True).to(torch.uint8)
    assert check_normalisation(loaded.net, pictures, preprocess) is None
    for wrong in (USUAL[0], *USUAL[2:]):
        grey = replace(preprocess, mean=(sum(wrong.mean) / 3,), std=(sum(wrong.std) / 3,))
        found = check_normalisation(loaded.net, pictures, grey)
        assert found is not None and (found.fitting.mean, found.fitting.std) == ((0.5,), (0.5,))


# ------------------------------------------------------------------------------------------- weights of our own making


@pytest.mark.parametrize("usual", USUAL, ids=str)
@pytest.mark.parametrize(
    "name", ["resnet18", "simple_cnn", "densenet121", "mobilenet_v2", "xception", "efficientnet_b0", "resnet20"]
)
def test_any_first_layer_tells_the_normalisation_of_photographs(name: str, usual: Normalisation) -> None:
    """With 3x3 to 7x7 kernels, strides, padding of one side, biases: other filters, the same answer."""
    preprocess = with_normalisation(RIGHT, usual)
    net = trained_on(photographs(), preprocess, name)
    assert fitting_normalisation(net, RIGHT) == usual
    assert check_normalisation(net, photographs(seed=1), preprocess) is None


@torch.no_grad()
def test_the_biases_of_the_first_convolution_are_no_part_of_the_pictures() -> None:
    net = trained_on(photographs(), RIGHT, "simple_cnn")
    conv, norm = net.block1[0].conv, net.block1[0].norm
    shift = torch.linspace(-3, 5, len(conv.bias))
    conv.bias += shift
    norm.running_mean += shift
    assert fitting_normalisation(net, RIGHT) == USUAL[0]


def test_an_unusual_normalisation_is_estimated() -> None:
    odd = Normalisation("", (0.1, 0.2, 0.3), (0.05, 0.05, 0.05))
    found = fitting_normalisation(trained_on(photographs(), with_normalisation(RIGHT, odd)), RIGHT)
    assert found is not None and found.name == ""
    assert found.mean == pytest.approx(odd.mean, abs=0.08)
    assert found.std == pytest.approx(odd.std, rel=0.25)


def test_weights_that_were_trained_on_dark_pictures_are_right_for_dark_pictures() -> None:
    net = trained_on(night(), RIGHT)
    assert check_normalisation(net, night(), RIGHT) is None
    assert check_normalisation(net, night(), with_normalisation(RIGHT, USUAL[3])) is not None


def test_one_flat_colour_says_nothing_and_raises_no_alarm() -> None:
    flat = torch.full((4, SIZE, SIZE, 3), 7, dtype=torch.uint8)
    net = trained_on(photographs(), RIGHT)
    assert check_normalisation(net, flat, RIGHT) is None
    found = check_normalisation(net, flat, with_normalisation(RIGHT, USUAL[3]))
    assert found is not None and math.isfinite(found.drift)


# --------------------------------------------------------------------------------------------------- nothing to be seen


class _Turning(nn.Module):
    """Does something to the pictures before the convolution, so that it does not take them as they are."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * 2)  # type: ignore[no-any-return]


def _fresh() -> nn.Module:
    return zoo.build("resnet18", num_classes=2)


def _without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


@pytest.mark.parametrize(
    "new_net",
    [
        lambda: zoo.build("convnext_tiny", num_classes=2),
        lambda: zoo.build("squeezenet1_1", num_classes=2),
        lambda: trained_on(photographs(4), RIGHT, "resnetv2_18"),  # a pool stands before the first norm
        lambda: _Turning(trained_on(photographs(4), RIGHT)),
        _fresh,
        _without_statistics,
    ],
)
def test_where_nothing_can_be_seen_nothing_is_said(new_net: object) -> None:
    net = new_net()  # type: ignore[operator]
    assert check_normalisation(net, photographs(4), with_normalisation(RIGHT, USUAL[3])) is None
    assert fitting_normalisation(net, RIGHT) is None


def test_the_network_is_left_as_it_was() -> None:
    net = trained_on(photographs(4), RIGHT)
    net.layer1.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    check_normalisation(net, photographs(4), RIGHT)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_words() -> None:
    net = trained_on(photographs(), RIGHT)
    found = check_normalisation(net, photographs(), with_normalisation(RIGHT, USUAL[2]))
    assert found is not None
    assert str(replace(found, drift=3.61)) == (
        "the normalisation mean 0 0 0, std 1 1 1 does not suit these weights: by the statistics in their first batch "
        "norm they were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225, ImageNet's (drift 3.6, of which 1 "
        "would be tolerable). Give --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225, or leave both out where the "
        "weights bring their own."
    )
    unnamed = replace(found, fitting=Normalisation("", (0.1, 0.2, 0.3), (0.05,) * 3))
    assert "they were trained with mean 0.1 0.2 0.3, std 0.05 0.05 0.05 (drift" in str(unnamed)
