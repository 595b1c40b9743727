"""The textbook agrees with worked examples, with torch, and its gradients with finite differences."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ConfigError, ShapeError
from sightline.nn import textbook
from sightline.nn.arithmetic import (
    ReceptiveField,
    conv_macs,
    conv_parameters,
    conv_size,
    kernel_extent,
    linear_parameters,
    pool_size,
)

Array = textbook.Array
Row = dict[str, Any]
EXAMPLES = json.loads((Path(__file__).parent / "data" / "worked_examples.json").read_text())


def rows(kind: str, *names: str) -> list[Any]:
    """The examples of a kind, each called by its first field of those names."""
    return [pytest.param(row, id=str(row[next(name for name in names if name in row)])) for row in EXAMPLES[kind]]


def test_no_example_is_left_out() -> None:
    counts = {kind: len(examples) for kind, examples in EXAMPLES.items() if kind != "note"}
    assert counts == {"numeric": 30, "output_sizes": 45, "pytorch_doc_shapes": 11, "d2l_shapes": 4, "counting": 26}


# Convolutions and pools with their answers.


def as_maps(values: Any) -> Array:
    """(H, W) or (C, H, W) as a batch of one."""
    array = np.asarray(values, float)
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def lengths(row: Row, name: str, default: Any) -> Any:
    value = row.get(name, default)
    return tuple(value) if isinstance(value, list) else value


def convolve(row: Row) -> Array:
    x = as_maps(row["X"])
    if "pad_tblr" in row:
        top, bottom, left, right = row["pad_tblr"]
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    places = {
        "stride": lengths(row, "stride", 1),
        "padding": lengths(row, "pad", 0),
        "dilation": row.get("dilation", 1),
    }
    return textbook.conv2d(x, as_maps(row["K"]), **places)


def convolve_flipped(row: Row) -> Array:
    """The convolution of mathematics that keeps the size."""
    return textbook.conv2d(as_maps(row["X"]), as_maps(row["K"])[:, :, ::-1, ::-1], padding=1)


def kernel_gradient(row: Row) -> Array:
    x, delta = as_maps(row["X"]), as_maps(row["dY"])
    extents = [size - places + 1 for size, places in zip(x.shape[2:], delta.shape[2:], strict=True)]
    return textbook.conv2d_backward(delta, x, np.zeros((1, 1, *extents)), stride=row["stride"], padding=row["pad"])[1]


def convolve_transposed(row: Row) -> Array:
    """The gradient of a convolution's input, Dumoulin and Visin Sec. 4."""
    delta, weight = as_maps(row["X"]), as_maps(row["K"])
    sizes = [
        row["stride"] * (places - 1) + k - 2 * row["pad"]
        for places, k in zip(delta.shape[2:], weight.shape[2:], strict=True)
    ]
    x = np.zeros((1, 1, *sizes))
    return textbook.conv2d_backward(delta, x, weight, stride=row["stride"], padding=row["pad"])[0]


def pool(row: Row) -> Array:
    kind, options = row["op"], {}
    if "count_include_pad" in row:
        options["count_include_pad"] = row["count_include_pad"]
    forward = {"maxpool2d": textbook.max_pool2d, "avgpool2d": textbook.avg_pool2d}[kind]
    return forward(
        as_maps(row["X"]),
        lengths(row, "k", None),
        stride=lengths(row, "stride", None),
        padding=lengths(row, "pad", 0),
        **options,
    )


def bins(size: int, places: int) -> list[tuple[int, int]]:
    """Adaptive pooling's windows: from floor(i size / places) to ceil((i + 1) size / places)."""
    return [(place * size // places, -(-(place + 1) * size // places)) for place in range(places)]


def adaptive_avg_pool2d(x: Array, places: Sequence[int]) -> Array:
    """A window of its own for every place."""
    return np.block(
        [
            [
                textbook.avg_pool2d(x[:, :, top:bottom, left:right], (bottom - top, right - left))
                for left, right in bins(x.shape[3], places[1])
            ]
            for top, bottom in bins(x.shape[2], places[0])
        ]
    )


def pool_bins(row: Row) -> Array:
    assert [list(ends) for ends in bins(len(row["X"]), row["out"])] == row["bins"]
    return adaptive_avg_pool2d(as_maps([row["X"]]), (1, row["out"]))


def normalise_across_channels(row: Row) -> Array:
    """`n` is the paper's formula, whose alpha is not divided; `size` is Caffe's and torch's."""
    alpha = row["alpha"] * row["n"] if "n" in row else row["alpha"]
    size = row.get("n", row.get("size"))
    x = np.reshape(row["x"], (1, -1, 1, 1))
    return textbook.local_response_norm(x, size, alpha=alpha, beta=row["beta"], k=row["k"])


OPERATIONS: dict[str, Callable[[Row], Array]] = {
    "conv2d": convolve,
    "conv2d(cross-correlation)": convolve,
    "conv2d_multi_channel": convolve,
    "conv2d(same, zero pad 1)": convolve,
    "true_convolution(same, rot180 kernel)": convolve_flipped,
    "conv2d_weight_gradient": kernel_gradient,
    "conv_transpose2d": convolve_transposed,
    "maxpool2d": pool,
    "avgpool2d": pool,
    "adaptive_avgpool1d_bins": pool_bins,
    "lrn_across_channels": normalise_across_channels,
}


@pytest.mark.parametrize("row", rows("numeric", "id"))
def test_answers_of_worked_examples(row: Row) -> None:
    answer, expected = OPERATIONS[row["op"]](row), np.asarray(row["expected"])
    assert answer.dtype == np.float64 and answer.size == expected.size
    np.testing.assert_allclose(answer.reshape(expected.shape), expected, rtol=1e-7)  # some answers are float32


def column(size: int) -> Array:
    """Maps of one column, to look at one axis."""
    return np.zeros((1, 1, size, 1))


def conv_places(row: Row) -> int:
    weight, places = column(row["k"]), {"stride": row["s"], "padding": row["p"], "dilation": row.get("d", 1)}
    axes = {name: (value, 1 - (name == "padding")) for name, value in places.items()}
    size = conv_size(row["i"], row["k"], **places)
    assert textbook.conv2d(column(row["i"]), weight, **axes).shape == (1, 1, size, 1)
    return size


def transposed_places(row: Row) -> int:
    """The size of the input whose convolution has `i` places, `output_padding` more than the smallest."""
    size = row["s"] * (row["i"] - 1) + row["k"] - 2 * row["p"] + row["output_padding"]
    assert conv_size(size, row["k"], stride=row["s"], padding=row["p"]) == row["i"]
    stride, padding = (row["s"], 1), (row["p"], 0)
    grads = textbook.conv2d_backward(column(row["i"]), column(size), column(row["k"]), stride=stride, padding=padding)
    assert grads[0].shape == (1, 1, size, 1)
    return size


def pool_places(row: Row) -> int:
    size = pool_size(row["i"], row["k"], stride=row["s"], padding=row["p"], ceil_mode=row["ceil"])
    window = ((row["k"], 1), (row["s"], 1), (row["p"], 0))
    for kind in (textbook.max_pool2d, textbook.avg_pool2d):
        assert kind(column(row["i"]), *window, ceil_mode=row["ceil"]).shape == (1, 1, size, 1)
    return size


PLACES: dict[str, Callable[[Row], int]] = {
    "conv": conv_places,
    "conv_invalid_if_strict": conv_places,
    "conv_transpose": transposed_places,
    "maxpool": pool_places,
}


@pytest.mark.parametrize("row", rows("output_sizes", "source"))
def test_output_sizes_of_the_literature(row: Row) -> None:
    assert PLACES[row["kind"]](row) == (row["o_floor"] if "o_floor" in row else row["o"])


# Layers as their documentation writes them.


def layer_of(text: str) -> nn.Module:
    """From "Conv2d(1, 1, 3, padding=1)"."""
    name = text[: text.index("(")]
    return eval(text, {name: getattr(nn, name)}).double()


def answer_of(layer: nn.Module, x: Array) -> Array:
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            places = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            if isinstance(layer, nn.Conv2d):
                return textbook.conv2d(x, weight, bias, **places)
            height, width = (
                layer.stride[axis] * (x.shape[axis + 2] - 1) + layer.kernel_size[axis] - 2 * layer.padding[axis]
                for axis in (0, 1)
            )
            sized = np.zeros((len(x), layer.out_channels, height, width))
            return textbook.conv2d_backward(x, sized, weight, **places)[0] + bias[:, None, None]
        case nn.MaxPool2d():
            window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
            return textbook.max_pool2d(x, *window, ceil_mode=layer.ceil_mode)
        case nn.AvgPool2d():
            return textbook.avg_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
    places = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
    return adaptive_avg_pool2d(x, [wanted or size for wanted, size in zip(places, x.shape[2:], strict=True)])


def parameters_of(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return conv_parameters(layer.in_channels, layer.out_channels, layer.kernel_size)
    return 0


@pytest.mark.parametrize("row", rows("pytorch_doc_shapes", "module") + rows("d2l_shapes", "module"))
def test_layers_of_documentations(row: Row) -> None:
    layer = layer_of(row["module"])
    given_shape, expected = row.get("input") or [1, 1, *row["i"]], row.get("output") or [1, 1, *row["o"]]
    x = np.random.default_rng(0).normal(size=(1, *given_shape[1:]))  # one picture tells as much as twenty
    answer = answer_of(layer, x)
    assert [given_shape[0], *answer.shape[1:]] == expected
    np.testing.assert_allclose(answer, layer(torch.from_numpy(x)).detach().numpy(), atol=1e-12)
    if "params" in row:
        assert parameters_of(layer) == row["params"]


# Counts.

VGG16 = [(224, (3, 64, 64)), (112, (64, 128, 128)), (56, (128, 256, 256, 256))]
VGG16 += [(28, (256, 512, 512, 512)), (14, (512, 512, 512, 512))]
VGG16_DENSE = [(7 * 7 * 512, 4096), (4096, 4096), (4096, 1000)]


def vgg16_convolutions() -> list[int]:
    return [
        conv_parameters(before, after, (3, 3), bias=False)
        for _, channels in VGG16
        for before, after in pairwise(channels)
    ]


def vgg16_values() -> int:
    """The picture, every convolution, every pool, every dense layer."""
    maps = sum(size**2 * sum(channels[1:]) + (size // 2) ** 2 * channels[-1] for size, channels in VGG16)
    return 224**2 * 3 + maps + sum(after for _, after in VGG16_DENSE)


def separable_parameters(before: int, after: int) -> int:
    depthwise = conv_parameters(before, before, (3, 3), groups=before, bias=False)
    return depthwise + conv_parameters(before, after, (1, 1), bias=False)


def separable_ratio(filters: int, kernel_size: int) -> float:
    """Depthwise and pointwise over the standard convolution, at 32 channels and one place."""
    depthwise = conv_macs(32, 32, (kernel_size,) * 2, (1, 1), groups=32)
    pointwise = conv_macs(32, filters, (1, 1), (1, 1))
    return (depthwise + pointwise) / conv_macs(32, filters, (kernel_size,) * 2, (1, 1))


def vgg16_size(size: int) -> int:
    for _ in VGG16:
        size = pool_size(size, 2)
    return size


def dilated_fields(*dilations: int) -> list[int]:
    field, sizes = ReceptiveField(), []
    for dilation in dilations:
        field = field.after(3, dilation=dilation)
        sizes.append(field.size_px)
    return sizes


CONV1 = conv_size(227, 11, stride=4)
CONV1_WEIGHTS = conv_parameters(3, 1, (11, 11), bias=False)
INCEPTION = [conv_macs(192, 16, (1, 1), (28, 28)), conv_macs(16, 32, (5, 5), (28, 28))]
BIRDS = [conv_macs(3, 3, (5, 5), (8, 8), groups=3), conv_macs(3, 256, (1, 1), (8, 8))]
SMALL = [conv_macs(3, 3, (3, 3), (4, 4), groups=3), conv_macs(3, 5, (1, 1), (4, 4))]
PROSE = {"what", "source", "formula", "rounded", "approx", "warning"}
COUNTS: dict[str, Row] = {
    "one 5x5x3 filter": {"weights": conv_parameters(3, 1, (5, 5), bias=False), "bias": 1},
    "one 3x3x20 filter connections": {"weights": conv_parameters(20, 1, (3, 3), bias=False)},
    "AlexNet conv1 227x227x3, 11x11/4, 96: output neurons": {"value": CONV1**2 * 96},
    "weights per neuron": {"value": CONV1_WEIGHTS},
    "without parameter sharing": {"value": CONV1**2 * 96 * (CONV1_WEIGHTS + 1)},
    "unique weights shared": {"value": conv_parameters(3, 96, (11, 11), bias=False)},
    "with biases": {"value": conv_parameters(3, 96, (11, 11))},
    "AlexNet conv1 im2col matrix": {"value": [CONV1_WEIGHTS, CONV1**2]},
    "VGG-16 conv weights by layer (no bias)": {
        "value": vgg16_convolutions(),
        "fc": [linear_parameters(before, after, bias=False) for before, after in VGG16_DENSE],
    },
    "VGG-16 forward activations at 224 (values, all layers incl. input & FC)": {
        "exact_values": vgg16_values(),
        "exact_MB_fp32": vgg16_values() * 4 / 1e6,
        "exact_MiB_fp32": vgg16_values() * 4 / 2**20,
    },
    "three 3x3xC->C layers vs one 7x7": {
        "value": "27 C^2 vs 49 C^2",
        "C64": [3 * conv_parameters(64, 64, (3, 3), bias=False), conv_parameters(64, 64, (7, 7), bias=False)],
    },
    "two 3x3 vs one 5x5": {
        "value": "18 C^2 vs 25 C^2",
        "C64": [2 * conv_parameters(64, 64, (3, 3), bias=False), conv_parameters(64, 64, (5, 5), bias=False)],
    },
    "conv 3x3, 10 filters on RGB": {"value": conv_parameters(3, 10, (3, 3))},
    "Inception 5x5x192->32 same at 28x28 multiplications": {"value": conv_macs(192, 32, (5, 5), (28, 28))},
    "with 1x1x16 bottleneck": {"value": sum(INCEPTION), "parts": INCEPTION},
    "12x12x3, 256 5x5 filters valid: normal conv multiplications": {
        "value": conv_macs(3, 256, (5, 5), (conv_size(12, 5),) * 2)
    },
    "depthwise part": {"value": BIRDS[0]},
    "pointwise part": {"value": BIRDS[1]},
    "separable total": {"value": sum(BIRDS)},
    "MobileNet cost ratio separable/standard": {
        "value": "1/N + 1/Dk^2",
        "examples": {"N=256,k=5": separable_ratio(256, 5), "N=512,k=3": separable_ratio(512, 3)},
    },
    "6x6x3, 5 filters 3x3: normal": {
        "value": conv_macs(3, 5, (3, 3), (conv_size(6, 3),) * 2),
        "dw": SMALL[0],
        "pw": SMALL[1],
        "total": sum(SMALL),
    },
    "16->32 channels 3x3 params: normal vs separable": {
        "value": [conv_parameters(16, 32, (3, 3), bias=False), separable_parameters(16, 32)]
    },
    "8->16 channels 3x3: basic vs separable": {
        "value": [conv_parameters(8, 16, (3, 3), bias=False), separable_parameters(8, 16)]
    },
    "FC->CONV: 384x384 image through VGG-like net": {
        "value": {
            "features": [vgg16_size(384), vgg16_size(384), 512],
            "scores": [conv_size(vgg16_size(384), 7), conv_size(vgg16_size(384), 7), 1000],
        }
    },
    "dilated kernel extent": {
        "table": {f"k{k}d{d}": kernel_extent(k, d) for k, d in [(3, 1), (3, 2), (3, 4), (3, 8), (5, 2), (7, 3)]}
    },
    "receptive field of stacked 3x3 dilated 1,2,4": {"value": dilated_fields(1, 2, 4)},
}


@pytest.mark.parametrize("row", rows("counting", "what"))
def test_counts_of_the_literature(row: Row) -> None:
    figures = {name: value for name, value in row.items() if name not in PROSE}
    assert COUNTS[row["what"]].keys() == figures.keys()
    for name, value in COUNTS[row["what"]].items():
        assert value == (pytest.approx(figures[name], rel=1e-12) if name == "examples" else figures[name])


# Torch, and differences of the values.


def check(
    name: str,
    call: Callable[..., Any],
    arrays: Sequence[Array],
    rng: np.random.Generator,
    reference: Callable[..., Tensor] | None = None,
) -> None:
    """Both directions against torch in float64, and the gradients against central differences.

    Args:
        name: of the function.
        call: from a function and the arrays that have gradients to the function's answer.
        arrays: to call it with.
        rng: draws δ and the directions in which differences are taken.
        reference: torch's function; None takes the namesake.
    """
    forward, backward = getattr(textbook, name), getattr(textbook, f"{name}_backward")
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = call(reference or getattr(F, name), *tensors)
    answer = np.asarray(call(forward, *arrays))
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer, expected.detach().numpy(), rtol=1e-10, atol=1e-12)

    delta = rng.normal(size=answer.shape)
    grads = call(partial(backward, delta), *arrays)
    grads = [grad for grad in grads if grad is not None] if isinstance(grads, tuple) else [grads]
    for grad, wanted in zip(grads, torch.autograd.grad(expected, tensors, torch.tensor(delta)), strict=True):
        assert grad.dtype == np.float64
        np.testing.assert_allclose(grad, wanted.numpy(), rtol=1e-9, atol=1e-10)

    for index, grad in enumerate(grads):
        direction = rng.normal(size=grad.shape)
        before, after = arrays[:index], arrays[index + 1 :]
        ends = [
            (delta * call(forward, *before, arrays[index] + step * direction, *after)).sum() for step in (STEP, -STEP)
        ]
        change = pytest.approx((grad * direction).sum(), abs=1e-7 + 1e-6 * np.abs(grad * direction).sum())
        assert (ends[0] - ends[1]) / (2 * STEP) == change


STEP = 1e-5
many = settings(max_examples=60, deadline=None)
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
flags = st.booleans()


def lengths_from(least: int, most: int) -> st.SearchStrategy[Any]:
    """An int or a pair."""
    one = st.integers(least, most)
    return st.one_of(one, st.tuples(one, one))


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def draw_maps(
    data: st.DataObject, channels: int, kernel_size: Any, padding: Any, dilation: Any, overhang: Any = 0
) -> tuple[int, ...]:
    """The shape of maps into which the kernel fits just so, or with up to five pixels to spare.

    Args:
        data: where sizes are drawn from.
        channels: of the maps.
        kernel_size: of the kernel.
        padding: of the maps.
        dilation: of the kernel.
        overhang: how far the kernel may hang over, px.
    """
    axes = zip(*map(pair, (kernel_size, padding, dilation, overhang)), strict=True)
    sizes = [max(kernel_extent(k, d) - 2 * p - o, 1) + data.draw(st.integers(0, 5)) for k, p, d, o in axes]
    return (data.draw(st.integers(1, 2)), channels, *sizes)


def overhang_of(kernel_size: Any, stride: Any, ceil_mode: bool) -> tuple[int, ...]:
    """In `ceil_mode` a pool counts a window of which less than a stride hangs over."""
    return tuple(step - 1 if ceil_mode else 0 for step in pair(stride or kernel_size))


def draw_padding(data: st.DataObject, kernel_size: Any) -> tuple[int, ...]:
    """No more than a pool may have."""
    return tuple(data.draw(st.integers(0, k // 2)) for k in pair(kernel_size))


@many
@given(data=st.data(), rng=rngs)
def test_convolution(data: st.DataObject, rng: np.random.Generator) -> None:
    few = st.integers(1, 2)
    groups, channels, filters = data.draw(st.integers(1, 3)), data.draw(few), data.draw(few)
    kernel_size = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, padding, dilation = (data.draw(lengths_from(*limits)) for limits in ((1, 3), (0, 3), (1, 3)))
    maps = draw_maps(data, groups * channels, kernel_size, padding, dilation)
    shapes = [maps, (groups * filters, channels, *kernel_size), (groups * filters,)]
    arrays = [rng.normal(size=shape) for shape in shapes[: data.draw(st.integers(2, 3))]]

    def call(function: Callable[..., Any], x: Any, weight: Any, bias: Any = None) -> Any:
        return function(x, weight, bias, stride, padding, dilation, groups)

    check("conv2d", call, arrays, rng)


@many
@given(data=st.data(), rng=rngs)
def test_maximum_pooling(data: st.DataObject, rng: np.random.Generator) -> None:
    kernel_size, stride = data.draw(lengths_from(1, 3)), data.draw(st.none() | lengths_from(1, 4))
    dilation, ceil_mode = data.draw(lengths_from(1, 3)), data.draw(flags)
    padding = draw_padding(data, kernel_size)
    window = kernel_size, stride, padding, dilation, ceil_mode
    shape = draw_maps(data, 2, kernel_size, padding, dilation, overhang_of(kernel_size, stride, ceil_mode))
    x = rng.permutation(np.prod(shape)).reshape(shape) / 10  # far enough apart for differences
    assume(np.isfinite(textbook.max_pool2d(x, *window)).all())  # else a window sees padding only, and torch fails
    check("max_pool2d", lambda function, x: function(x, *window), [x], rng)


@many
@given(data=st.data(), rng=rngs)
def test_the_first_of_equal_maxima_gets_the_gradient(data: st.DataObject, rng: np.random.Generator) -> None:
    kernel_size, stride, padding = (
        data.draw(st.integers(2, 3)),
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(0, 1)),
    )
    x = rng.integers(0, 2, size=draw_maps(data, 2, kernel_size, padding, 1)).astype(float)
    x[rng.random(x.shape) < data.draw(st.sampled_from([0, 0.3, 1]))] = -np.inf  # padding is no better than these
    tensor = torch.tensor(x, requires_grad=True)
    pooled = F.max_pool2d(tensor, kernel_size, stride, padding)
    delta = rng.normal(size=tuple(pooled.shape))
    (expected,) = torch.autograd.grad(pooled, tensor, torch.tensor(delta))
    grad = textbook.max_pool2d_backward(delta, x, kernel_size, stride, padding)
    np.testing.assert_allclose(grad, expected.numpy(), atol=1e-12)


def test_equal_maxima_by_hand() -> None:
    grad = textbook.max_pool2d_backward([[[[1, 2]]]], [[[[5, 5, 5], [5, 5, 5]]]], 2, stride=1)
    np.testing.assert_array_equal(grad, [[[[1, 2, 0], [0, 0, 0]]]])


@many
@given(data=st.data(), rng=rngs)
def test_average_pooling(data: st.DataObject, rng: np.random.Generator) -> None:
    kernel_size, stride = data.draw(lengths_from(1, 4)), data.draw(st.none() | lengths_from(1, 4))
    padding = draw_padding(data, kernel_size)
    ceil_mode, count_include_pad = data.draw(flags), data.draw(flags)
    window = kernel_size, stride, padding, ceil_mode, count_include_pad
    overhang = overhang_of(kernel_size, stride, ceil_mode)
    x = rng.normal(size=draw_maps(data, 2, kernel_size, padding, 1, overhang))
    check("avg_pool2d", lambda function, x: function(x, *window), [x], rng)


@many
@given(data=st.data(), rng=rngs)
def test_lp_pooling(data: st.DataObject, rng: np.random.Generator) -> None:
    norm_type, kernel_size = data.draw(st.sampled_from([1, 1.5, 2, 2.0, 3, 4])), data.draw(lengths_from(1, 3))
    stride, ceil_mode = data.draw(st.none() | lengths_from(1, 4)), data.draw(flags)
    overhang = overhang_of(kernel_size, stride, ceil_mode)
    x = rng.uniform(0.1, 2, size=draw_maps(data, 2, kernel_size, 0, 1, overhang))
    if norm_type in (2, 4):
        x *= rng.choice([-1, 1], size=x.shape)
    check("lp_pool2d", lambda function, x: function(x, norm_type, kernel_size, stride, ceil_mode), [x], rng)


@pytest.mark.parametrize("norm_type", [1, 2, 3])
def test_lp_pooling_where_the_norm_is_zero_or_has_no_root(norm_type: int) -> None:
    x = np.array([[[[0, 0, 1, -2], [0, 0, 0, 0], [1, -1, 3, 4]]]], float)
    tensor = torch.tensor(x, requires_grad=True)
    pooled = F.lp_pool2d(tensor, norm_type, (1, 2))
    np.testing.assert_allclose(textbook.lp_pool2d(x, norm_type, (1, 2)), pooled.detach().numpy(), rtol=1e-12)
    (expected,) = torch.autograd.grad(pooled.sum(), tensor)
    assert (expected[0, 0, 0, :2] == 0).all() and pooled.isnan().any() == (norm_type == 3)
    grad = textbook.lp_pool2d_backward(np.ones(pooled.shape), x, norm_type, (1, 2))
    np.testing.assert_allclose(grad, expected.numpy(), rtol=1e-12)


@many
@given(data=st.data(), rng=rngs, training=flags)
def test_batch_normalisation(data: st.DataObject, rng: np.random.Generator, training: bool) -> None:
    channels = data.draw(st.integers(1, 4))
    shape = data.draw(st.integers(2, 3)), channels, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    momentum, eps = data.draw(st.sampled_from([0.1, 0.3, 1.0])), data.draw(st.sampled_from([1e-5, 1e-3]))
    means, variances = rng.normal(size=channels), rng.uniform(0.5, 2, size=channels)
    has_running = not training or data.draw(flags)
    moved: dict[bool, list[Any]] = {}

    def call(function: Callable[..., Any], x: Any, weight: Any = None, bias: Any = None) -> Any:
        is_torch = isinstance(x, Tensor)
        running = [torch.tensor(start) if is_torch else start.copy() for start in (means, variances)]
        moved[is_torch] = running
        statistics = running if has_running else [None, None]
        return function(x, *statistics, weight, bias, training, momentum, eps)

    arrays = [rng.normal(size=shape), rng.normal(size=channels), rng.normal(size=channels)]
    assume(arrays[0].var(axis=(0, 2, 3)).min() > 0.1)  # differences cannot follow the root of a tiny variance
    arrays = arrays[: data.draw(st.integers(1, 3))]
    call(textbook.batch_norm, *arrays)
    call(F.batch_norm, *map(torch.tensor, arrays))
    for ours, theirs, start in zip(moved[False], moved[True], (means, variances), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
        assert np.array_equal(ours, start) == (not training or not has_running)
    check("batch_norm", call, arrays, rng)
    call(partial(textbook.batch_norm_backward, np.ones(shape)), *arrays)
    assert np.array_equal(moved[False], [means, variances])  # only the forward moves them


@many
@given(data=st.data(), rng=rngs)
def test_local_response_normalisation(data: st.DataObject, rng: np.random.Generator) -> None:
    settings_of_it = (
        data.draw(st.integers(1, 7)),
        *(data.draw(st.sampled_from(values)) for values in ([1e-4, 0.5, 2], [0.5, 0.75, 1], [1, 2])),
    )
    x = rng.normal(size=[data.draw(st.integers(1, most)) for most in (2, 8, 3, 3)])
    check("local_response_norm", lambda function, x: function(x, *settings_of_it), [x], rng)


@many
@given(data=st.data(), rng=rngs)
def test_dense_layer(data: st.DataObject, rng: np.random.Generator) -> None:
    num_rows, before, after = (data.draw(st.integers(1, 5)) for _ in range(3))
    arrays = [rng.normal(size=shape) for shape in ((num_rows, before), (after, before), (after,))]
    check("linear", lambda function, *arrays: function(*arrays), arrays[: data.draw(st.integers(2, 3))], rng)


@many
@given(data=st.data(), rng=rngs, label_smoothing=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_cross_entropy(data: st.DataObject, rng: np.random.Generator, label_smoothing: float) -> None:
    num_rows, num_classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    labels, scale = rng.integers(num_classes, size=num_rows), data.draw(st.sampled_from([1, 10]))

    def reference(logits: Tensor, labels: Any, label_smoothing: float) -> Tensor:
        return F.cross_entropy(logits, torch.tensor(labels), label_smoothing=label_smoothing)

    def call(function: Callable[..., Any], logits: Any) -> Any:
        return function(logits, labels, label_smoothing)

    check("softmax_cross_entropy", call, [scale * rng.normal(size=(num_rows, num_classes))], rng, reference)


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    assert textbook.softmax_cross_entropy([[1e4, 0.0]], [1]) == 1e4
    np.testing.assert_array_equal(textbook.softmax_cross_entropy_backward(1.0, [[1e4, 0.0]], [1]), [[1, -1]])


# What holds for all of them.

TWINS = [name for name in textbook.__all__ if not name.endswith("_backward")]


@pytest.mark.parametrize("name", TWINS)
def test_twins_take_the_same_arguments(name: str) -> None:
    forward, backward = (
        list(inspect.signature(getattr(textbook, f"{name}{suffix}")).parameters.values())
        for suffix in ("", "_backward")
    )
    assert backward[0].name == "grad_output" and backward[1:] == forward


def test_every_function_has_a_twin() -> None:
    assert sorted(textbook.__all__) == sorted([*TWINS, *(f"{name}_backward" for name in TWINS)])


def test_a_bias_that_is_not_there_has_no_gradient() -> None:
    x, weight = np.ones((2, 1, 3, 3)), np.ones((4, 1, 3, 3))
    assert textbook.conv2d_backward(np.ones((2, 4, 1, 1)), x, weight)[2] is None
    assert textbook.linear_backward(np.ones((2, 4)), np.ones((2, 3)), np.ones((4, 3)))[2] is None
    grads = textbook.batch_norm_backward(x, x, None, None, bias=np.zeros(1), training=True)
    assert grads[1] is None and grads[2] is not None


def test_the_oracle_does_not_know_torch() -> None:
    program = "import sys, sightline.nn.textbook; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_arguments_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    x, weight, delta = rng.normal(size=(1, 2, 5, 5)), rng.normal(size=(2, 2, 3, 3)), rng.normal(size=(1, 2, 3, 3))
    before = [array.copy() for array in (x, weight, delta)]
    textbook.conv2d(x, weight, x[0, :, 0, 0])
    textbook.conv2d_backward(delta, x, weight)
    for name in ("max_pool2d", "avg_pool2d"):
        getattr(textbook, name)(x, 3, 1)
        getattr(textbook, f"{name}_backward")(delta, x, 3, 1)
    textbook.lp_pool2d_backward(delta, x, 2, 3, 1)
    for array, copy in zip((x, weight, delta), before, strict=True):
        np.testing.assert_array_equal(array, copy)


ONES = np.ones((1, 2, 4, 4))
MEAN = np.zeros(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: textbook.conv2d(ONES[0], ONES),
            ShapeError,
            r"x needs the shape \(N, C, H, W\), got \(2, 4, 4\)\. Add",
        ),
        (lambda: textbook.conv2d(ONES, ONES[0]), ShapeError, r"weight needs the shape \(O, C / groups, kh, kw\), got"),
        (lambda: textbook.conv2d(ONES, np.ones((1, 3, 1, 1))), ShapeError, r"x has 2 channels and weight the shape"),
        (lambda: textbook.conv2d(ONES, np.ones((3, 1, 1, 1)), groups=2), ShapeError, r"groups has to divide O"),
        (lambda: textbook.conv2d(ONES, ONES, groups=0), ShapeError, r"with 0 groups"),
        (lambda: textbook.conv2d(ONES, ONES, [1, 2]), ShapeError, r"bias needs the shape \(1,\), .* got \(2,\)\."),
        (
            lambda: textbook.conv2d(ONES, np.ones((1, 2, 5, 5))),
            ShapeError,
            r"a kernel over 5 px does not fit into 4 px",
        ),
        (lambda: textbook.conv2d(ONES, ONES, stride=0), ShapeError, r"stride is 0; it must be 1 or more\."),
        (
            lambda: textbook.conv2d(ONES, ONES, padding="same"),
            ShapeError,
            r"padding is same; it must be an int or a pair",
        ),
        (
            lambda: textbook.conv2d(ONES, ONES, dilation=(1, 1, 1)),
            ShapeError,
            r"dilation is \(1, 1, 1\); it must be an int",
        ),
        (
            lambda: textbook.conv2d_backward(ONES, ONES, ONES),
            ShapeError,
            r"grad_output needs the shape of the output, \(1, 1, 1, 1\), got \(1, 2, 4, 4\)\. Give the backward",
        ),
        (lambda: textbook.max_pool2d(ONES, 5), ShapeError, r"a kernel over 5 px does not fit"),
        (lambda: textbook.max_pool2d_backward(ONES, ONES, 2), ShapeError, r"grad_output needs .* \(1, 2, 2, 2\), got"),
        (lambda: textbook.avg_pool2d_backward(ONES, ONES, 2), ShapeError, r"grad_output needs .* \(1, 2, 2, 2\), got"),
        (
            lambda: textbook.lp_pool2d_backward(ONES, ONES, 2, 2),
            ShapeError,
            r"grad_output needs .* \(1, 2, 2, 2\), got",
        ),
        (
            lambda: textbook.avg_pool2d(ONES, 2, padding=2),
            ShapeError,
            r"kernel_size of 2 got a padding of 2 on each side",
        ),
        (lambda: textbook.lp_pool2d(ONES, 0, 2), ConfigError, r"norm_type is 0; it must be a finite number above 0\."),
        (
            lambda: textbook.lp_pool2d(ONES, np.inf, 2),
            ConfigError,
            r"norm_type is inf; .* For the maximum take max_pool2d",
        ),
        (
            lambda: textbook.batch_norm(ONES, None, None),
            ShapeError,
            r"needs running_mean and running_var in evaluation",
        ),
        (
            lambda: textbook.batch_norm(ONES, MEAN, None),
            ShapeError,
            r"got one of running_mean and running_var\. Give both",
        ),
        (
            lambda: textbook.batch_norm(ONES, MEAN, np.ones(3)),
            ShapeError,
            r"running_var needs the shape \(2,\), .* \(3,\)",
        ),
        (
            lambda: textbook.batch_norm(ONES, MEAN, MEAN, np.ones(3)),
            ShapeError,
            r"weight needs the shape \(2,\), a number",
        ),
        (
            lambda: textbook.batch_norm(ONES[:, :, :1, :1], None, None, training=True),
            ShapeError,
            r"more than one value a channel in training, got x of shape \(1, 2, 1, 1\)\. Give it more pictures",
        ),
        (lambda: textbook.batch_norm_backward(MEAN, ONES, MEAN, MEAN), ShapeError, r"grad_output needs .*, got \(2,\)"),
        (lambda: textbook.local_response_norm(ONES, 0), ShapeError, r"size is 0; it must be 1 or more channels\."),
        (lambda: textbook.local_response_norm_backward(MEAN, ONES, 3), ShapeError, r"grad_output needs"),
        (
            lambda: textbook.linear(ONES, ONES[0, 0]),
            ShapeError,
            r"x needs two axes, .* Flatten it: x\.reshape\(len\(x\), -1\)",
        ),
        (
            lambda: textbook.linear(ONES[0, 0], np.ones((3, 5))),
            ShapeError,
            r"weight needs the shape \(O, 4\) .* \(3, 5\)\.",
        ),
        (
            lambda: textbook.linear_backward(ONES, ONES[0, 0], ONES[0, 0]),
            ShapeError,
            r"grad_output needs .* \(4, 4\), got",
        ),
        (
            lambda: textbook.softmax_cross_entropy([[0, 0]], [0, 1]),
            ShapeError,
            r"labels need the shape \(1,\), .* \(2,\) of",
        ),
        (
            lambda: textbook.softmax_cross_entropy([[0, 0]], [0.5]),
            ShapeError,
            r"a whole number a row of logits, .* float64",
        ),
        (lambda: textbook.softmax_cross_entropy([[0, 0]], [2]), ShapeError, r"labels go from 2 to 2; .* from 0 to 1\."),
        (
            lambda: textbook.softmax_cross_entropy([[0, 0]], [-1]),
            ShapeError,
            r"labels go from -1 to -1; .* from 0 to 1\.",
        ),
        (
            lambda: textbook.softmax_cross_entropy([[0, 0]], [1], 2),
            ConfigError,
            r"label_smoothing is 2; it must be from 0",
        ),
        (
            lambda: textbook.softmax_cross_entropy_backward([1], [[0, 0]], [1]),
            ShapeError,
            r"grad_output needs .* \(\), got",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
