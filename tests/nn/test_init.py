"""First weights have the statistics that their papers give."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.nn.init import (
    WHITENING_EPS,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    partial_identity_,
    patch_whitening_filters,
    uniform_by_inputs_,
)


def smooth_images(count: int, channels: int) -> Tensor:
    """Pictures whose neighbours and channels are correlated, as a photograph's are; brighter than zero on average."""
    numbers = np.random.default_rng(0)
    noise = numbers.standard_normal((count, channels, 20, 20))
    smooth = sum(np.roll(noise, (dy, dx), (2, 3)) for dy in range(3) for dx in range(3)) / 3
    mixing = numbers.standard_normal((channels, channels)) + np.eye(channels)
    return torch.from_numpy(np.einsum("dc,nchw->ndhw", mixing, smooth) + 0.3).float()


def whitened(images: Tensor, filters: Tensor) -> np.ndarray:
    """float64 (places, filters)."""
    out = nn.functional.conv2d(images.double(), filters.double())
    return out.permute(0, 2, 3, 1).reshape(-1, len(filters)).numpy()


@pytest.mark.parametrize(("channels", "kernel_size"), [(3, 2), (1, 3), (2, 3)])
def test_whitened_patches_are_uncorrelated_and_of_equal_variance(channels: int, kernel_size: int) -> None:
    images = smooth_images(40, channels)  # more than are taken at once
    filters = patch_whitening_filters(images, kernel_size, eps=0.0)
    length = channels * kernel_size**2
    assert filters.shape == (2 * length, channels, kernel_size, kernel_size) and filters.dtype == torch.float32
    out = whitened(images, filters)[:, :length]
    np.testing.assert_allclose(out.T @ out / len(out), np.eye(length), atol=1e-4)


def test_each_filter_has_its_negative() -> None:
    filters = patch_whitening_filters(smooth_images(4, 3), 2)
    assert torch.equal(filters[:12], -filters[12:])


def test_filters_are_the_eigenvectors_of_the_patches_found_by_numpy() -> None:
    images = smooth_images(36, 3)
    pixels = images.double().numpy()
    patches = np.stack(
        [
            pixels[n, :, y : y + 2, x : x + 2].ravel()
            for n in range(len(pixels))
            for y in range(pixels.shape[2] - 1)
            for x in range(pixels.shape[3] - 1)
        ]
    )
    _, values, directions = np.linalg.svd(patches, full_matrices=False)  # strongest first
    variances = values**2 / len(patches)
    for filter_, variance, direction in zip(patch_whitening_filters(images, 2), variances, directions, strict=False):
        scaled = direction / np.sqrt(variance + WHITENING_EPS)
        scaled *= np.sign(scaled @ filter_.numpy().ravel())  # an eigenvector has no sign
        np.testing.assert_allclose(filter_.numpy().ravel(), scaled, rtol=1e-4, atol=1e-5)


def test_noise_is_not_blown_up() -> None:
    grey = smooth_images(8, 1).expand(-1, 3, -1, -1)  # three equal channels: most directions have no variance at all
    filters = patch_whitening_filters(grey, 2)
    assert filters.isfinite().all()
    assert filters.flatten(1).norm(dim=1).max() <= WHITENING_EPS**-0.5 * 1.001
    out = whitened(grey, filters)[:, :12]
    strongest = (out**2).mean(axis=0)[:4]
    np.testing.assert_allclose(strongest, 1, atol=0.05)


def test_kaiming_keeps_the_variance_at_two_over_fan_out() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(16, 256, 3), nn.BatchNorm2d(256), nn.Conv2d(256, 64, 5, bias=False), nn.Linear(64, 10)
    )
    linear = {name: tensor.clone() for name, tensor in net[3].state_dict().items()}
    for parameter in net[1].parameters():
        nn.init.constant_(parameter, 7.0)
    kaiming_normal_(net)
    for index, fan_out in ((0, 256 * 9), (2, 64 * 25)):
        weight = net[index].weight.detach().double().flatten()
        expected = np.sqrt(2 / fan_out)
        assert weight.mean().item() == pytest.approx(0, abs=5 * expected / np.sqrt(len(weight)))
        assert weight.std().item() == pytest.approx(expected, rel=5 / np.sqrt(2 * len(weight)))  # five standard errors
        within = (weight.abs() < expected).double().mean().item()
        assert within == pytest.approx(0.6827, abs=0.01)  # of a normal distribution, one sigma
    assert not net[0].bias.any()
    assert (net[1].weight == 1).all() and not net[1].bias.any()
    assert all(torch.equal(net[3].state_dict()[name], tensor) for name, tensor in linear.items())  # as torch made it


def test_normal_fills_the_layers_given_and_their_biases() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 100), nn.Linear(100, 50, bias=False))
    left = {name: tensor.clone() for name, tensor in net[2].state_dict().items()}
    normal_(nn.Sequential(net[0], net[1], net[3]), std=0.02, bias=0.5)
    for weight in (net[0].weight, net[3].weight):
        assert weight.mean().item() == pytest.approx(0, abs=5 * 0.02 / weight.numel() ** 0.5)
        assert weight.std().item() == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5)
    assert (weight.abs() < 0.02).double().mean().item() == pytest.approx(0.6827, abs=0.03)
    assert (net[0].bias == 0.5).all() and (net[1].weight == 1).all() and not net[1].bias.any()
    assert all(torch.equal(net[2].state_dict()[name], tensor) for name, tensor in left.items())


@pytest.mark.parametrize("gain", [2**0.5, 1.0])
def test_kaiming_uniform_keeps_the_variance_at_the_gain_over_fan_in(gain: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 3, groups=2), nn.Linear(144, 100, bias=False))
    kaiming_uniform_(net, gain=gain, bias=0.2)
    for layer in net:  # both have 144 inputs: half of the channels, nine places
        weight = layer.weight.detach().double()
        assert weight.abs().max() <= gain * (3 / 144) ** 0.5 * (1 + 1e-6)
        assert weight.square().mean().item() == pytest.approx(gain**2 / 144, rel=0.05)
    assert (net[0].bias - 0.2).abs().max() < 1e-6


def test_uniform_by_inputs_counts_the_inputs_of_a_unit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 64, 5, groups=2), nn.BatchNorm2d(64), nn.Linear(40, 500))
    uniform_by_inputs_(net)
    for layer, bound in ((net[0], 2.4 / 100), (net[2], 2.4 / 40)):
        for parameter in layer.parameters():
            assert 0.9 * bound < parameter.abs().max() <= bound
            assert parameter.abs().mean().item() == pytest.approx(bound / 2, rel=0.2)
    assert (net[1].weight == 1).all()


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (8, 8), (8, 3)])
def test_partial_identity_passes_each_channel_on_and_leaves_the_other_filters(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
    before = net[0].weight.detach().clone()
    partial_identity_(net)
    images = torch.randn(2, inputs, 5, 5)
    passed = min(inputs, outputs)
    torch.testing.assert_close(net[0](images)[:, :passed], images[:, :passed])
    assert torch.equal(net[0].weight[inputs:], before[inputs:])
