"""The sums agree with the worked examples of papers and courses, and with torch itself."""

import itertools
from dataclasses import astuple

import pytest
import torch
from torch import nn

from sightline.errors import ShapeError
from sightline.nn.arithmetic import (
    ReceptiveField,
    conv_macs,
    conv_parameters,
    conv_size,
    kernel_extent,
    linear_macs,
    linear_parameters,
    pool_size,
    same_padding,
)

# DV16: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
CONV_SIZES = [  # size, kernel, stride, padding, dilation, output, source
    (4, 3, 1, 0, 1, 2, "DV16 no padding, no strides"),
    (5, 4, 1, 2, 1, 6, "DV16 arbitrary padding"),
    (5, 3, 1, 1, 1, 5, "DV16 half padding"),
    (5, 3, 1, 2, 1, 7, "DV16 full padding"),
    (5, 3, 2, 0, 1, 2, "DV16 no padding, strides"),
    (5, 3, 2, 1, 1, 3, "DV16 padding, strides"),
    (6, 3, 2, 1, 1, 3, "DV16 padding, strides, odd"),
    (7, 3, 1, 0, 2, 3, "DV16 dilation"),
    (32, 5, 1, 0, 1, 28, "LeNet C1"),
    (227, 11, 4, 0, 1, 55, "cs231n, AlexNet conv1"),
    (7, 3, 1, 0, 1, 5, "cs231n"),
    (7, 3, 2, 0, 1, 3, "cs231n"),
    (10, 3, 2, 0, 1, 4, "cs231n: 4.5 does not fit; frameworks round down"),
    (224, 11, 4, 2, 1, 55, "torchvision, AlexNet conv1"),
    (224, 7, 2, 3, 1, 112, "ResNet stem"),
    (112, 3, 2, 1, 1, 56, "ResNet max pool"),
    (224, 7, 2, 1, 1, 110, "ZFNet conv1"),
    (8, 3, 1, 1, 1, 8, "d2l.ai"),
    (8, 3, 2, 1, 1, 4, "d2l.ai"),
    (8, 5, 4, 1, 1, 2, "d2l.ai, width of its last example"),
    (224, 3, 1, 1, 1, 224, "VGG"),
    (299, 3, 2, 0, 1, 149, "Inception stem"),
    (224, 4, 4, 0, 1, 56, "ConvNeXt stem"),
    (100, 5, 1, 2, 1, 100, "torch, width of Conv2d's example"),
    (50, 3, 2, 4, 3, 26, "torch, height of Conv2d's example with dilation"),
]
POOL_SIZES = [  # size, kernel, stride, padding, ceil_mode, output, source
    (55, 3, 2, 0, False, 27, "AlexNet pool1"),
    (27, 3, 2, 0, False, 13, "AlexNet pool2"),
    (13, 3, 2, 0, False, 6, "AlexNet pool5"),
    (112, 3, 2, 0, True, 56, "GoogLeNet"),
    (112, 3, 2, 0, False, 55, "the same, rounded down"),
    (56, 3, 2, 0, True, 28, "GoogLeNet"),
    (28, 3, 2, 0, True, 14, "GoogLeNet"),
    (14, 2, 2, 0, True, 7, "GoogLeNet, torchvision"),
    (14, 3, 2, 0, True, 7, "GoogLeNet pool4"),
    (109, 3, 2, 1, False, 55, "rounded down"),
    (5, 2, 2, 0, True, 3, "rounded up"),
    (5, 2, 2, 0, False, 2, "rounded down"),
    (3, 2, 2, 1, True, 2, "torch: a window has to start inside the input"),
    (2, 3, 2, 0, True, 1, "torch: the only window hangs over"),
    (50, 3, 2, 0, False, 24, "torch, MaxPool2d's example"),
    (32, 2, 1, 0, False, 31, "torch, MaxPool2d's example"),
]


@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding", "dilation", "expected", "source"), CONV_SIZES)
def test_convolution_sizes_of_the_literature(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, expected: int, source: str
) -> None:
    assert conv_size(size, kernel_size, stride=stride, padding=padding, dilation=dilation) == expected


@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding", "ceil_mode", "expected", "source"), POOL_SIZES)
def test_pool_sizes_of_the_literature(
    size: int, kernel_size: int, stride: int, padding: int, ceil_mode: bool, expected: int, source: str
) -> None:
    assert pool_size(size, kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode) == expected


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"), list(itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3)))
)
def test_sizes_are_those_of_torch(kernel_size: int, stride: int, dilation: int) -> None:
    for size, padding in itertools.product(range(kernel_extent(kernel_size, dilation), 17), (0, 1, 2)):
        images = torch.zeros(1, 1, size, 40)
        conv = nn.Conv2d(1, 1, (kernel_size, 1), (stride, 1), (padding, 0), (dilation, 1))
        out = conv_size(size, kernel_size, stride=stride, padding=padding, dilation=dilation)
        assert conv(images).shape[2] == out
        if padding > kernel_size // 2:
            continue  # torch refuses such a pool
        for ceil_mode in (False, True):
            pool = nn.MaxPool2d((kernel_size, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode=ceil_mode)
            out = pool_size(size, kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
            assert pool(images).shape[2] == out


def test_a_window_that_would_begin_outside_is_refused_as_in_torch() -> None:
    with pytest.raises(ShapeError, match="does not fit into 1 px"):
        pool_size(1, 3, stride=2, ceil_mode=True)
    with pytest.raises(RuntimeError, match="too small"):
        nn.MaxPool2d(3, 2, ceil_mode=True)(torch.zeros(1, 1, 1))


def test_windows_of_a_pool_touch_where_no_stride_is_given() -> None:
    assert pool_size(9, 3) == nn.MaxPool2d(3)(torch.zeros(1, 9, 9)).shape[1] == 3


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "expected"),
    [
        (224, 3, 1, (1, 1)),
        (224, 3, 2, (0, 1)),  # TensorFlow's SAME puts nothing before an even input
        (225, 3, 2, (1, 1)),
        (224, 7, 2, (2, 3)),
        (28, 2, 1, (0, 1)),
        (224, 1, 4, (0, 0)),  # a stride larger than the kernel
    ],
)
def test_same_padding_of_tensorflow(size: int, kernel_size: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel_size, stride=stride) == expected


@pytest.mark.parametrize(("kernel_size", "dilation"), list(itertools.product((1, 3, 5), (1, 2, 3))) + [(2, 2), (4, 2)])
def test_same_padding_is_that_of_torch(kernel_size: int, dilation: int) -> None:
    before, after = same_padding(9, kernel_size, dilation=dilation)
    conv = nn.Conv1d(1, 1, kernel_size, padding="same", dilation=dilation, bias=False)
    images = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0))
    by_hand = nn.functional.conv1d(nn.functional.pad(images, (before, after)), conv.weight, dilation=dilation)
    torch.testing.assert_close(by_hand, conv(images))


def test_same_padding_keeps_the_size_divided_by_the_stride() -> None:
    for size, kernel_size, stride in itertools.product(range(8, 20), range(1, 6), range(1, 5)):
        padded = size + sum(same_padding(size, kernel_size, stride=stride))
        assert conv_size(padded, kernel_size, stride=stride) == -(-size // stride)


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "expected"), [(3, 1, 3), (3, 2, 5), (3, 4, 9), (3, 8, 17), (5, 2, 9), (7, 3, 19)]
)
def test_extent_of_a_dilated_kernel(kernel_size: int, dilation: int, expected: int) -> None:
    assert kernel_extent(kernel_size, dilation) == expected  # Distill 2019, appendix; DV16 relationship 13


def test_parameters_of_the_literature() -> None:
    assert conv_parameters(3, 1, (5, 5)) == 75 + 1  # cs231n, example 1
    assert conv_parameters(20, 1, (3, 3), bias=False) == 180  # cs231n, example 2
    assert conv_parameters(3, 96, (11, 11), bias=False) == 34_848  # cs231n, AlexNet conv1
    assert conv_parameters(3, 96, (11, 11)) == 34_944
    assert conv_parameters(3, 10, (3, 3)) == 280  # Ng's course
    assert 3 * conv_parameters(64, 64, (3, 3), bias=False) == 110_592  # VGG, Sec. 2.3: three 3x3 for one 7x7
    assert conv_parameters(64, 64, (7, 7), bias=False) == 200_704
    assert conv_parameters(16, 33, (3, 3)) == 4_785  # torch, Conv2d's examples
    assert conv_parameters(16, 33, (3, 5)) == 7_953
    depthwise = conv_parameters(16, 16, (3, 3), groups=16, bias=False)
    assert depthwise + conv_parameters(16, 32, (1, 1), bias=False) == 656  # fast.ai, for 4608
    assert conv_parameters(16, 32, (3, 3), bias=False) == 4_608
    vgg16 = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512), (512, 512)]
    weights = [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296]  # cs231n's table
    assert [conv_parameters(i, o, (3, 3), bias=False) for i, o in vgg16] == weights
    dense = [linear_parameters(7 * 7 * 512, 4096, bias=False), linear_parameters(4096, 4096, bias=False)]
    assert [*dense, linear_parameters(4096, 1000, bias=False)] == [102_760_448, 16_777_216, 4_096_000]
    assert [linear_parameters(400, 120), linear_parameters(120, 84)] == [48_120, 10_164]  # LeNet-5's C5 and F6


def test_multiplications_of_the_literature() -> None:
    assert conv_macs(192, 32, (5, 5), (28, 28)) == 120_422_400  # Ng's course, Inception
    assert conv_macs(192, 16, (1, 1), (28, 28)) == 2_408_448
    assert conv_macs(16, 32, (5, 5), (28, 28)) == 10_035_200
    assert conv_macs(3, 256, (5, 5), (8, 8)) == 1_228_800  # Wang, "A Basic Introduction to Separable Convolutions"
    assert conv_macs(3, 3, (5, 5), (8, 8), groups=3) == 4_800
    assert conv_macs(3, 256, (1, 1), (8, 8)) == 49_152
    assert conv_macs(3, 5, (3, 3), (4, 4)) == 2_160  # Ng's course
    assert conv_macs(3, 3, (3, 3), (4, 4), groups=3) == 432
    assert linear_macs(84, 10) == 840


def fields(*layers: tuple[int, int, int]) -> ReceptiveField:
    """The field after layers of (kernel, stride, padding)."""
    field = ReceptiveField()
    for kernel_size, stride, padding in layers:
        field = field.after(kernel_size, stride=stride, padding=padding)
    return field


# The first nine: google-research/receptive_field, its unit tests' networks; DI19 is Araujo et al., Distill 2019.
LEFT = fields((1, 4, 0))
RIGHT = fields((3, 2, 1), (1, 2, 0))


def test_joined_paths_of_the_reference_implementation() -> None:
    assert astuple(LEFT.joined(RIGHT)) == astuple(RIGHT.joined(LEFT)) == (3, 4, 1)  # networks 1, 2, 4, 6 and 7
    joint = LEFT.joined(RIGHT)
    left, right = joint.after(1, stride=2), joint.after(3, stride=2, padding=1)
    assert astuple(left.joined(right)) == (11, 8, 5)  # networks 8 and 9
    assert astuple(fields((5, 2, 0), (1, 2, 0))) == (5, 4, 0)  # network 5, x
    assert astuple(fields((3, 2, 0), (3, 2, 0))) == (7, 4, 0)  # network 5, y


@pytest.mark.parametrize(
    ("layers", "expected"),
    [  # size, stride, padding
        ([(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)], (195, 32, 64)),
        (  # vgg_16 up to pool5, DI19's table; the line above is its alexnet_v2
            [(3, 1, 1), (3, 1, 1), (2, 2, 0)] * 2 + [(3, 1, 1), (3, 1, 1), (3, 1, 1), (2, 2, 0)] * 3,
            (212, 32, 90),
        ),
        (  # torchvision's resnet18, by interval propagation: the path through every 3x3
            [(7, 2, 3), (3, 2, 1)] + [(3, 1, 1)] * 4 + [(3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1)] * 3,
            (435, 32, 217),
        ),
        (  # torchvision's resnet50: one 3x3 a unit, with the stride
            [(7, 2, 3), (3, 2, 1)]
            + [(3, 1, 1)] * 3
            + [(3, 2, 1)]
            + [(3, 1, 1)] * 3
            + [(3, 2, 1)]
            + [(3, 1, 1)] * 5
            + [(3, 2, 1), (3, 1, 1), (3, 1, 1)],
            (427, 32, 213),
        ),
        ([(7, 2, 3), (3, 2, 1), (3, 2, 1)], (19, 8, 9)),  # Fangyh09/pytorch-receptive-field: 7, 11, 19
        ([(7, 1, 0), (5, 1, 0), (2, 2, 0), (5, 1, 0)], (20, 2, 0)),  # shelfwise/receptivefield, by gradients
        ([(3, 1, 0), (3, 1, 0), (2, 2, 0)] * 2 + [(3, 1, 0), (3, 1, 0)], (32, 4, 0)),
        ([(9, 1, 0)] + [(3, 1, 0)] * 3 + [(9, 1, 0), (3, 1, 0), (3, 1, 0), (7, 1, 0), (3, 1, 0)], (35, 1, 0)),
    ],
)
def test_fields_of_published_networks(layers: list[tuple[int, int, int]], expected: tuple[int, int, int]) -> None:
    assert astuple(fields(*layers)) == expected


def test_regions_of_units() -> None:
    assert fields((3, 3, 1), (2, 1, 0)).region(0) == (-1, 4)  # the figure of DI19
    assert fields((3, 3, 1)).region(1) == (2, 4)
    stacked = [ReceptiveField().after(3).after(3, dilation=2), ReceptiveField().after(3).after(3, dilation=2)]
    assert stacked[0].size_px == 7  # Yu and Koltun 2016: 2^(i+2) - 1
    assert stacked[1].after(3, dilation=4).size_px == 15


@pytest.mark.parametrize("layers", [[(3, 2, 1), (3, 1, 1), (2, 2, 0)], [(5, 3, 2), (3, 2, 0)], [(4, 2, 1), (3, 1, 2)]])
def test_a_unit_depends_on_its_field_and_on_nothing_else(layers: list[tuple[int, int, int]]) -> None:
    images = torch.zeros(1, 1, 64, requires_grad=True)
    out = images
    for kernel_size, stride, padding in layers:
        out = nn.functional.conv1d(out, torch.ones(1, 1, kernel_size), stride=stride, padding=padding)
    for unit in range(out.shape[2]):
        (gradient,) = torch.autograd.grad(out[0, 0, unit], images, retain_graph=True)
        first, last = fields(*layers).region(unit)
        seen = [pixel for pixel in range(64) if first <= pixel <= last]
        assert gradient[0, 0].nonzero().flatten().tolist() == seen


def test_what_cannot_be_is_refused_with_a_reason() -> None:
    with pytest.raises(
        ShapeError, match=r"a kernel over 7 px does not fit into 4 px with 1 px of padding on each side"
    ):
        conv_size(4, 7, padding=1)
    with pytest.raises(ShapeError, match=r"a kernel over 5 px does not fit into 4 px .* Enlarge the image"):
        pool_size(4, 3, dilation=2)
    for name in ("kernel_size", "stride", "dilation"):
        with pytest.raises(ShapeError, match=rf"{name} is 0; it must be 1 or more\."):
            conv_size(**{"size": 4, "kernel_size": 1, name: 0})
    with pytest.raises(ShapeError, match=r"padding is -1; it must be 0 or more\."):
        ReceptiveField().after(3, padding=-1)
    with pytest.raises(ShapeError, match=r"stride is 0; it must be 1 or more\."):
        same_padding(4, 3, stride=0)
    for count in (conv_parameters, lambda *args, groups: conv_macs(*args, (1, 1), groups=groups)):
        for groups in (0, 2, 3):
            with pytest.raises(ShapeError, match=rf"3 channels in and 4 out cannot be split into {groups} groups\."):
                count(3, 4, (1, 1), groups=groups)
    with pytest.raises(ShapeError, match=r"strides of 2 and 1 px cannot be joined"):  # network 3
        fields((5, 2, 2)).joined(fields((3, 1, 0), (3, 1, 0)))
    with pytest.raises(ShapeError, match=r"look at pixels 0 and 1 cannot be joined: they are shifted"):  # 4, 8 px
        LEFT.joined(fields((3, 2, 0), (1, 2, 0)))
    with pytest.raises(ShapeError, match=r"look at pixels 0 and 0\.5 cannot be joined"):
        fields((1, 2, 0)).joined(fields((2, 2, 0)))
