"""Depthwise-separable units and squeeze-and-excitation against their formulas, written out in NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.nn.drop import stochastic_depth_
from sightline.nn.separable import (
    InvertedResidual,
    Names,
    keep_size_,
    relu6,
    round_channels,
    timm_names,
    torchvision_names,
    torchvision_v2_names,
)
from sightline.nn.squeeze import SqueezeExcite


def images_of(count: int, channels: int, size: int) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, 8), (8.8, 8), (11, 16), (17.6, 16), (18, 24), (24, 24), (26.4, 24), (27, 32), (44.8, 48), (1280 * 0.35, 448)],
)
def test_channels_are_rounded_to_8_but_never_to_less_than_nine_tenths(channels: float, expected: int) -> None:
    """11, 18 and 27 are nearest to 8, 16 and 24, which would be 11 percent less or worse. 17.6 and 26.4 lose 9."""
    assert round_channels(channels) == expected


@torch.no_grad()
@pytest.mark.parametrize(
    ("act", "gate", "squash"),
    [
        (nn.ReLU, nn.Hardsigmoid, (lambda v: np.maximum(v, 0), lambda v: np.clip(v / 6 + 0.5, 0, 1))),
        (nn.SiLU, nn.Sigmoid, (lambda v: v / (1 + np.exp(-v)), lambda v: 1 / (1 + np.exp(-v)))),
    ],
)
def test_squeeze_and_excitation_is_two_dense_layers_on_the_means(act: type, gate: type, squash: tuple) -> None:
    unit = SqueezeExcite(6, 2, act=act, gate=gate).double()
    images = images_of(3, 6, 5).double()
    w1, b1, w2, b2 = (parameter.numpy().reshape(len(parameter), -1) for parameter in unit.parameters())
    means = images.numpy().mean(axis=(2, 3))
    factors = squash[1](squash[0](means @ w1.T + b1.ravel()) @ w2.T + b2.ravel())
    np.testing.assert_allclose(unit(images).numpy(), images.numpy() * factors[:, :, None, None], rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("out_channels", "stride", "is_added"), [(4, 1, True), (4, 2, False), (6, 1, False)])
def test_an_inverted_residual_is_expand_depthwise_project_and_adds_its_input(
    out_channels: int, stride: int, is_added: bool
) -> None:
    """With norms of mean 0 and variance 1, so that only the convolutions and the two activations are left."""
    unit = InvertedResidual(4, out_channels, expanded_channels=12, stride=stride, act=relu6, names=timm_names).eval()
    for module in unit.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    unit = unit.double()
    images = 5 * images_of(2, 4, 6).double()
    expand, depthwise, project = (getattr(unit, name).weight.numpy() for name in ("conv_pw", "conv_dw", "conv_pwl"))
    wide = np.clip(np.einsum("oc,nchw->nohw", expand[:, :, 0, 0], images.numpy()), 0, 6)
    padded = np.pad(wide, ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = 6 // stride
    seen = np.zeros((2, 12, size, size))
    for m, n in np.ndindex(3, 3):
        place = padded[:, :, m : m + 6 : stride, n : n + 6 : stride]
        seen += place * depthwise[None, :, 0, m, n, None, None]
    expected = np.einsum("oc,nchw->nohw", project[:, :, 0, 0], np.clip(seen, 0, 6))  # no activation at the end
    if is_added:
        expected = expected + images.numpy()
    given = images.clone()
    np.testing.assert_allclose(unit(images).numpy(), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(images, given)


@torch.no_grad()
@pytest.mark.parametrize("names", [torchvision_names, torchvision_v2_names])
@pytest.mark.parametrize("expanded_channels", [8, 32])
def test_the_same_unit_under_other_names_gives_the_same(names: Names, expanded_channels: int) -> None:
    ours = InvertedResidual(8, 8, expanded_channels=expanded_channels, act=relu6, names=timm_names).eval()
    theirs = InvertedResidual(8, 8, expanded_channels=expanded_channels, act=relu6, names=names).eval()
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert not set(ours_state) & set(theirs_state)
    theirs.load_state_dict(dict(zip(theirs_state, ours_state.values(), strict=True)))
    images = images_of(2, 8, 6)
    assert torch.equal(ours(images), theirs(images))


def test_a_unit_is_left_out_of_training_steps_only_where_its_input_goes_on() -> None:
    torch.manual_seed(0)
    unit = InvertedResidual(8, 8, expanded_channels=16, act=relu6)
    stochastic_depth_(unit, 0.5)
    images = images_of(64, 8, 4)
    is_left_out = (unit(images) == images).flatten(1).all(dim=1)
    assert 16 < is_left_out.sum() < 48
    assert not (unit.eval()(images) == images).flatten(1).all(dim=1).any()
    strided = InvertedResidual(8, 8, expanded_channels=16, stride=2, act=relu6)
    assert strided(images).flatten(1).any(dim=1).all()
    with pytest.raises(ConfigError, match=r"^drop_path is 0\.5, but InvertedResidual has no residual branch"):
        stochastic_depth_(strided, 0.5)


def test_only_the_first_two_strided_convolutions_keep_the_size() -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=stride, padding=1) for stride in (1, 2, 1, 2, 2)))
    keep_size_(net)
    assert [conv.stride[0] for conv in net] == [1, 1, 1, 1, 2]
    assert net(images_of(1, 1, 16)).shape == (1, 1, 8, 8)
