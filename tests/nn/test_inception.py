"""The inception unit takes its convolutions from outside."""

from functools import partial

import pytest
import torch
from torch import nn

from sightline.nn.conv import ConvNormAct
from sightline.nn.inception import Inception, InceptionWidths

WIDTHS = InceptionWidths(4, 3, 5, 2, 6, 7)


def test_widths_add_up_to_the_outputs() -> None:
    assert WIDTHS.out_channels == 4 + 5 + 6 + 7


@pytest.mark.parametrize("large_kernel_size", [3, 5])
def test_every_convolution_is_made_by_the_unit(large_kernel_size: int) -> None:
    made: list[tuple[int, int, int]] = []

    def unit(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        made.append((in_channels, out_channels, kernel_size))
        return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    inception = Inception(8, WIDTHS, unit=unit, large_kernel_size=large_kernel_size)
    assert made == [(8, 4, 1), (8, 3, 1), (3, 5, 3), (8, 2, 1), (2, 6, large_kernel_size), (8, 7, 1)]
    assert len([module for module in inception.modules() if isinstance(module, nn.Conv2d)]) == len(made)
    assert inception(torch.zeros(2, 8, 6, 9)).shape == (2, 22, 6, 9)


def test_units_of_the_house_fit() -> None:
    plain = Inception(8, WIDTHS, unit=ConvNormAct)
    other = Inception(8, WIDTHS, unit=partial(ConvNormAct, norm=nn.InstanceNorm2d, act=nn.Tanh))
    assert plain(torch.zeros(2, 8, 6, 9)).shape == other(torch.zeros(2, 8, 6, 9)).shape == (2, 22, 6, 9)
    assert not [module for module in other.modules() if isinstance(module, nn.BatchNorm2d | nn.ReLU)]
