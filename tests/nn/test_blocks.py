"""Blocks compute what their formulas say."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.nn.conv import ConvNormAct
from sightline.nn.pool import GlobalAvgPool2d, GlobalMaxPool2d
from sightline.nn.residual import BasicBlock, Bottleneck, PaddedShortcut, projection, residual_stage


def images_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@pytest.mark.parametrize(("before", "after", "stride"), [(16, 32, 2), (32, 64, 2), (4, 7, 1), (3, 3, 3)])
def test_a_padded_shortcut_takes_every_other_value_and_adds_channels_of_zeros(
    before: int, after: int, stride: int, size: tuple[int, int]
) -> None:
    images = images_of(2, before, *size)
    height, width = -(-size[0] // stride), -(-size[1] // stride)
    expected = np.zeros((2, after, height, width), np.float32)
    first = (after - before) // 2
    for y in range(height):
        for x in range(width):
            expected[:, first : first + before, y, x] = images.numpy()[:, :, y * stride, x * stride]
    shortcut = PaddedShortcut(before, after, stride)
    np.testing.assert_array_equal(shortcut(images).numpy(), expected)
    assert not list(shortcut.parameters())


def test_a_padded_shortcut_fits_the_block_at_odd_sizes() -> None:
    block = BasicBlock(4, 8, stride=2, downsample=PaddedShortcut(4, 8, 2))
    assert block(images_of(2, 4, 9, 7)).shape == (2, 8, 5, 4)


@pytest.mark.parametrize(("kernel_size", "padding"), [(1, 0), (3, 1), (5, 2), (7, 3)])
def test_conv_norm_act_keeps_the_size_unless_told_otherwise(kernel_size: int, padding: int) -> None:
    block = ConvNormAct(3, 4, kernel_size)
    assert block.conv.padding == (padding, padding)
    assert block(images_of(2, 3, 9, 12)).shape == (2, 4, 9, 12)
    assert ConvNormAct(3, 4, kernel_size, stride=2)(images_of(2, 3, 9, 12)).shape == (2, 4, 5, 6)
    if kernel_size > 1:
        bare = ConvNormAct(3, 4, kernel_size, padding=0)
        assert bare(images_of(2, 3, 9, 12)).shape == (2, 4, 10 - kernel_size, 13 - kernel_size)


def test_conv_norm_act_is_the_three_in_this_order() -> None:
    block = ConvNormAct(3, 4, 3, norm=nn.InstanceNorm2d, act=nn.Tanh)
    images = images_of(2, 3, 8, 8)
    maps = nn.functional.conv2d(images, block.conv.weight, padding=1).detach().double().numpy()
    mean, variance = maps.mean(axis=(2, 3), keepdims=True), maps.var(axis=(2, 3), keepdims=True)
    expected = np.tanh((maps - mean) / np.sqrt(variance + 1e-5))
    np.testing.assert_allclose(block(images).detach().numpy(), expected, atol=1e-5)
    assert block.conv.bias is None and ConvNormAct(3, 4, 3, bias=True).conv.bias is not None


def test_global_pools_reduce_each_channel() -> None:
    images = images_of(2, 3, 5, 7)
    np.testing.assert_allclose(GlobalAvgPool2d()(images), images.numpy().mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_array_equal(GlobalMaxPool2d()(images), images.numpy().max(axis=(2, 3)))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_unit_whose_last_norm_is_zero_passes_its_input_through(block: type[BasicBlock] | type[Bottleneck]) -> None:
    unit = block(8 * block.expansion, 8).eval()
    last = unit.bn2 if isinstance(unit, BasicBlock) else unit.bn3
    nn.init.zeros_(last.weight)
    images = images_of(2, 8 * block.expansion, 6, 6)
    assert torch.equal(unit(images), images.relu())


def test_the_bottleneck_strides_in_its_3x3() -> None:
    strides = {
        name: module.stride[0]
        for name, module in Bottleneck(64, 32, stride=2, downsample=projection(64, 128, 2)).named_modules()
        if isinstance(module, nn.Conv2d)
    }
    assert strides == {"conv1": 1, "conv2": 2, "conv3": 1, "downsample.0": 2}


@pytest.mark.parametrize(("before", "stride", "projected"), [(8, 1, False), (8, 2, True), (4, 1, True), (4, 2, True)])
def test_a_stage_projects_in_its_first_unit_and_only_where_shapes_change(
    before: int, stride: int, projected: bool
) -> None:
    stage = residual_stage(BasicBlock, before, 8, 3, stride=stride)
    assert [unit.downsample is not None for unit in stage] == [projected, False, False]
    assert stage(images_of(2, before, 8, 8)).shape == (2, 8, 8 // stride, 8 // stride)
