"""L2 pooling: its formula, its gradient at zero, and torch's own where that has one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.nn.pool import L2Pool2d


def images_of(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(2, None, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (4, 3, 2)]
)
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_it_is_the_root_of_the_sum_of_squares(
    kernel_size: int, stride: int | None, padding: int, size: tuple[int, int]
) -> None:
    images = images_of(2, 3, *size)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    step = stride or kernel_size
    height, width = ((side + 2 * padding - kernel_size) // step + 1 for side in size)
    expected = np.zeros((2, 3, height, width))
    for y in range(height):
        for x in range(width):
            window = padded[:, :, y * step : y * step + kernel_size, x * step : x * step + kernel_size]
            expected[:, :, y, x] = np.sqrt((window**2).sum(axis=(2, 3)))
    np.testing.assert_allclose(L2Pool2d(kernel_size, stride=stride, padding=padding)(images).numpy(), expected)


@pytest.mark.parametrize(("kernel_size", "stride"), [(2, 2), (3, 2), (3, 3)])
def test_it_is_torchs_where_no_padding_is_asked_for(kernel_size: int, stride: int) -> None:
    images = images_of(2, 3, 9, 12)
    torch.testing.assert_close(
        L2Pool2d(kernel_size, stride=stride)(images), nn.LPPool2d(2, kernel_size, stride=stride)(images)
    )


def test_the_gradient_is_the_window_over_its_norm() -> None:
    images = images_of(2, 2, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(L2Pool2d(3, stride=2, padding=1), (images,))
    one = torch.tensor([[[[3.0, 0.0], [0.0, -4.0]]]], requires_grad=True)
    L2Pool2d(2)(one).sum().backward()
    assert one.grad is not None and one.grad.flatten().tolist() == pytest.approx([0.6, 0.0, 0.0, -0.8])


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-10])
def test_the_gradient_is_finite_where_all_is_zero_or_nearly(scale: float) -> None:
    images = (scale * images_of(1, 2, 6, 6)).float().requires_grad_()
    pooled = L2Pool2d(3, stride=2, padding=1)(images)
    pooled.sum().backward()
    assert pooled.isfinite().all() and images.grad is not None
    assert images.grad.isfinite().all() and images.grad.abs().max() <= 4  # at most one for each window of four
    if scale == 0:
        assert not images.grad.any()


def test_a_zero_window_leaves_its_neighbours_gradient_alone() -> None:
    images = torch.zeros(1, 1, 2, 4)
    images[..., 2:] = 1.0
    images.requires_grad_()
    L2Pool2d(2)(images).sum().backward()
    assert images.grad is not None
    np.testing.assert_allclose(images.grad.numpy()[0, 0], [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])


def test_it_shows_its_numbers() -> None:
    assert repr(L2Pool2d(3, stride=2, padding=1)) == "L2Pool2d(kernel_size=3, stride=2, padding=1)"
    assert L2Pool2d(2).stride == 2


def test_l2_pool_keeps_the_range_of_half_precision() -> None:
    halves = torch.tensor([[[[300.0, 300.0], [300.0, 300.0]]]], dtype=torch.float16)
    assert L2Pool2d(2)(halves).item() == 600  # each square alone is beyond the largest half
    assert L2Pool2d(2)(halves / 3_000_000).item() == pytest.approx(2e-4, rel=1e-2)
    assert L2Pool2d(2)(halves).dtype == torch.float16
