"""Blocks compute what their formulas say."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.nn.conv import ConvNormAct
from sightline.nn.drop import stochastic_depth_
from sightline.nn.pool import GlobalAvgPool2d, GlobalMaxPool2d
from sightline.nn.preactivation import PreActBasicBlock, PreActBottleneck
from sightline.nn.residual import (
    BasicBlock,
    Block,
    Bottleneck,
    PaddedShortcut,
    PlainBlock,
    projection,
    residual_stage,
    zero_padding,
)

BLOCKS = [BasicBlock, Bottleneck, PlainBlock, PreActBasicBlock, PreActBottleneck]
RESIDUAL = [BasicBlock, Bottleneck, PreActBasicBlock, PreActBottleneck]


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
    block = BasicBlock(4, 8, 8, stride=2, shortcut=zero_padding)
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


def filled(unit: nn.Module) -> nn.Module:
    """In evaluation, in float64, with numbers in every place."""
    numbers = torch.Generator().manual_seed(1)
    for name, tensor in unit.double().eval().state_dict().items():
        if not name.endswith("num_batches_tracked"):
            spread = 0.3 * torch.randn(tensor.shape, generator=numbers, dtype=torch.float64)
            tensor.copy_(spread.exp() if name.endswith("running_var") else spread + (tensor.dim() == 1))
    return unit


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_unit_whose_last_norm_is_zero_passes_its_input_through(block: type[BasicBlock] | type[Bottleneck]) -> None:
    unit = block(32, 8, 32).eval()
    nn.init.zeros_((unit.bn2 if isinstance(unit, BasicBlock) else unit.bn3).weight)
    images = images_of(2, 32, 6, 6)
    assert torch.equal(unit(images), images.relu())


@pytest.mark.parametrize("block", [PreActBasicBlock, PreActBottleneck])
def test_a_pre_activation_unit_adds_to_its_input_and_nothing_comes_after(block: Block) -> None:
    unit = block(32, 8, 32).eval()
    *_, last = (module for module in unit.modules() if isinstance(module, nn.Conv2d))
    nn.init.zeros_(last.weight)
    images = images_of(2, 32, 6, 6)
    assert torch.equal(unit(images), images)  # negative numbers too


@torch.no_grad()
def test_a_plain_unit_is_a_basic_one_less_its_shortcut() -> None:
    plain, basic = filled(PlainBlock(8, 8, 8)), BasicBlock(8, 8, 8).double().eval()
    basic.load_state_dict(plain.state_dict())
    nn.init.zeros_(basic.bn2.weight)
    images = images_of(2, 8, 6, 6).double()
    bare = basic.bn2.bias[:, None, None]  # of the branch, with its last norm at zero
    assert torch.equal(basic(images), (bare + images).relu())
    assert not torch.equal(plain(images), plain(images + 1)) and list(plain.state_dict()) == list(basic.state_dict())
    basic.load_state_dict(plain.state_dict())
    branch = basic.bn2(basic.conv2(basic.relu(basic.bn1(basic.conv1(images)))))
    assert torch.equal(plain(images), branch.relu()) and torch.equal(basic(images), (branch + images).relu())


@torch.no_grad()
def test_groups_are_branches_side_by_side() -> None:
    """arXiv:1611.05431, Fig. 3: the 3x3 in 4 groups (c) is the sum of 4 bottlenecks of a quarter of the width (a)."""
    unit = filled(Bottleneck(16, 8, 16, groups=4))
    images, branches = images_of(2, 16, 6, 6).double(), []
    for part in range(4):
        mine = slice(2 * part, 2 * part + 2)
        branch = Bottleneck(16, 2, 16).double().eval()
        for name, tensor in branch.state_dict().items():
            whole = unit.state_dict()[name]
            if name == "conv3.weight":
                tensor.copy_(whole[:, mine])
            elif name.startswith(("conv", "bn1", "bn2")) and whole.dim():
                tensor.copy_(whole[mine])
        x = branch.bn1(branch.conv1(images)).relu()
        branches.append(branch.conv3(branch.bn2(branch.conv2(x)).relu()))
    expected = (unit.get_submodule("bn3")(sum(branches)) + images).relu()
    torch.testing.assert_close(unit(images), expected)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (9, 12)])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_run_that_dilates_instead_of_striding_has_the_strided_values_at_every_other_place(
    block: Block, size: tuple[int, int]
) -> None:
    strided = filled(residual_stage(block, 8, 4, 16, 3, stride=2))
    dilated = residual_stage(block, 8, 4, 16, 3, stride=1, dilation=(1, 2)).double().eval()
    dilated.load_state_dict(strided.state_dict())
    images = images_of(2, 8, *size).double()
    assert dilated(images).shape == (2, 16, *size)
    torch.testing.assert_close(dilated(images)[:, :, ::2, ::2], strided(images))


@pytest.mark.parametrize(("block", "shortcut"), [(Bottleneck, "downsample.0"), (PreActBottleneck, "downsample.conv")])
def test_the_bottleneck_strides_in_its_3x3(block: Block, shortcut: str) -> None:
    convolutions = {k: m for k, m in block(64, 32, 128, stride=2).named_modules() if isinstance(m, nn.Conv2d)}
    strides = {name: convolution.stride[0] for name, convolution in convolutions.items()}
    assert strides == {"conv1": 1, "conv2": 2, "conv3": 1, shortcut: 2}


@pytest.mark.parametrize("block", RESIDUAL)
@pytest.mark.parametrize(("before", "stride", "changes"), [(8, 1, False), (8, 2, True), (4, 1, True), (4, 2, True)])
def test_a_stage_has_a_shortcut_in_its_first_unit_and_only_where_shapes_change(
    before: int, stride: int, changes: bool, block: Block
) -> None:
    stage = residual_stage(block, before, 8, 8, 3, stride=stride)
    assert [unit.downsample is not None for unit in stage] == [changes, False, False]
    assert stage(images_of(2, before, 8, 8)).shape == (2, 8, 8 // stride, 8 // stride)
    for makes in (projection, zero_padding):
        assert (makes(before, 8, stride) is not None) == changes


@torch.no_grad()
def test_a_pre_activation_unit_that_changes_shapes_starts_both_paths_after_its_activation() -> None:
    unit = filled(PreActBasicBlock(4, 8, 8, stride=2))
    nn.init.zeros_(unit.get_submodule("conv2").weight)
    images = images_of(2, 4, 8, 8).double()
    activated = unit.get_submodule("norm1")(images).relu()
    expected = torch.einsum(
        "nchw,oc->nohw", activated[:, :, ::2, ::2], unit.get_submodule("downsample.conv").weight[:, :, 0, 0]
    )
    torch.testing.assert_close(unit(images), expected)


@torch.no_grad()
@pytest.mark.parametrize("block", RESIDUAL)
def test_stochastic_depth_leaves_branches_out_and_never_the_shortcut(block: Block) -> None:
    unit = filled(block(8, 4, 8))
    images = images_of(32, 8, 5, 5).double()
    is_last = block in (PreActBasicBlock, PreActBottleneck)  # nothing after the sum
    whole = unit(images)
    stochastic_depth_(unit, 0.25)
    assert torch.equal(unit(images), whole)  # in evaluation nothing is left out
    unit.get_submodule("drop_path").train()
    torch.manual_seed(0)
    dropped = unit(images)
    skipped = images if is_last else images.relu()
    is_skipped = (dropped == skipped).flatten(1).all(dim=1)
    assert 0 < is_skipped.sum() < 16
    if is_last:  # where it is kept, its weight keeps the mean
        torch.testing.assert_close(dropped[~is_skipped], (images + (whole - images) / 0.75)[~is_skipped])


def test_stochastic_depth_is_set_in_the_order_of_depth() -> None:
    net = nn.Sequential(residual_stage(BasicBlock, 8, 8, 8, 2), residual_stage(PreActBasicBlock, 8, 8, 8, 2))
    stochastic_depth_(net, 0.8)
    set_to = [unit.get_submodule("drop_path").p for stage in net for unit in stage]
    assert set_to == pytest.approx([0.2, 0.4, 0.6, 0.8])
