"""Every block is, forward and backward, the composition of textbook functions that its paper says.

A formula says what a block computes, by the names of its state dict and in its own numbers; it looks at no layer. The
gradients follow from the formula, each step back by the twin of the step forward.
"""

import inspect
import pkgutil
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial, reduce
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sightline.nn
from sightline.nn import conv, dense, drop, inception, norm, pool, preactivation, residual, separable, squeeze, textbook
from sightline.nn.conv import relu

Array = textbook.Array


class Value:
    """An array on its way through a formula, and how the gradient gets back from it.

    Args:
        array: the numbers.
        sources: what it was computed from.
        pull: from the gradient of this to the gradients of the sources.
    """

    def __init__(
        self,
        array: Array,
        sources: Sequence["Value"] = (),
        pull: Callable[[Array], Sequence[Array]] = lambda grad: (),
    ) -> None:
        self.array, self.sources, self.pull = array, sources, pull
        self.grad = np.zeros_like(array)

    def __add__(self, other: "Value") -> "Value":
        return Value(self.array + other.array, (self, other), lambda grad: (grad, grad))

    def __mul__(self, other: "Value") -> "Value":
        """Times a value of the same shape, or of one number in place of an axis."""

        def pull(grad: Array) -> tuple[Array, Array]:
            axes = tuple(axis for axis, length in enumerate(other.array.shape) if length == 1)
            return grad * other.array, (grad * self.array).sum(axis=axes, keepdims=True)

        return Value(self.array * other.array, (self, other), pull)

    def backward(self, grad: Array) -> None:
        """Gives `grad` to this, and to every value behind it what falls to it."""
        behind: list[Value] = []

        def visit(value: Value) -> None:
            if value not in behind:
                for source in value.sources:
                    visit(source)
                behind.append(value)

        visit(self)
        self.grad = grad
        for value in reversed(behind):
            for source, part in zip(value.sources, value.pull(value.grad), strict=True):
                source.grad = source.grad + part


def apply(name: str, *sources: Value, **options: Any) -> Value:
    """A textbook function, and its twin for the way back."""
    arrays = [source.array for source in sources]

    def pull(grad: Array) -> Sequence[Array]:
        grads = getattr(textbook, f"{name}_backward")(grad, *arrays, **options)
        return [part for part in grads if part is not None] if isinstance(grads, tuple) else [grads]

    return Value(getattr(textbook, name)(*arrays, **options), sources, pull)


def rearrange(x: Value, forward: Callable[[Array], Array], backward: Callable[[Array], Array]) -> Value:
    return Value(forward(x.array), (x,), lambda grad: (backward(grad),))


def flatten(x: Value) -> Value:
    return rearrange(x, lambda array: array.reshape(len(array), -1), lambda grad: grad.reshape(x.array.shape))


def crop(x: Value, rows: slice, columns: slice) -> Value:
    def backward(grad: Array) -> Array:
        spread = np.zeros_like(x.array)
        spread[:, :, rows, columns] = grad
        return spread

    return rearrange(x, lambda array: array[:, :, rows, columns], backward)


def pad(
    x: Value, *, channels: tuple[int, int] = (0, 0), rows: tuple[int, int] = (0, 0), columns: tuple[int, int] = (0, 0)
) -> Value:
    """With zeros before and after."""
    sides = ((0, 0), channels, rows, columns)
    inner = tuple(slice(before, before + length) for (before, _), length in zip(sides, x.array.shape, strict=True))
    return rearrange(x, lambda array: np.pad(array, sides), lambda grad: grad[inner])


def concatenate(*parts: Value) -> Value:
    ends = np.cumsum([part.array.shape[1] for part in parts])[:-1]
    joined = np.concatenate([part.array for part in parts], axis=1)
    return Value(joined, parts, lambda grad: np.split(grad, ends, axis=1))


Curve = Callable[[Value], Value]


def curve(function: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Curve:
    return lambda x: Value(function(x.array), (x,), lambda grad: (grad * slope(x.array),))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


SIXTH = float(np.float32(1 / 6))  # the slope of torch's hard sigmoid, in every precision
ACTIVATIONS: dict[Callable[[], nn.Module], Curve] = {
    relu: curve(lambda x: np.maximum(x, 0), lambda x: x > 0),
    separable.relu6: curve(lambda x: np.clip(x, 0, 6), lambda x: (x > 0) & (x < 6)),
    nn.Sigmoid: curve(sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    nn.Hardsigmoid: curve(lambda x: np.clip(x + 3, 0, 6) / 6, lambda x: (abs(x) < 3) * SIXTH),
    nn.SiLU: curve(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    nn.Hardswish: curve(lambda x: x * np.clip(x + 3, 0, 6) / 6, lambda x: np.where(abs(x) < 3, (2 * x + 3) / 6, x > 3)),
}
rectify = ACTIVATIONS[relu]


class Weights:
    """The numbers of a block, and the layers that use them; names are those of its state dict.

    Args:
        block: in training or in evaluation.
    """

    def __init__(self, block: nn.Module) -> None:
        self.training, self.part = block.training, ""
        self.parameters = {name: Value(tensor.detach().numpy().copy()) for name, tensor in block.named_parameters()}
        self.buffers = {name: tensor.numpy().copy() for name, tensor in block.named_buffers()}

    def of(self, part: str) -> "Weights":
        """The same for a part of the block."""
        weights = copy(self)
        weights.part = f"{self.part}{part}."
        return weights

    def parameter(self, name: str) -> Value:
        return self.parameters[self.part + name]

    def conv(self, name: str, x: Value, **options: Any) -> Value:
        has_bias = f"{self.part}{name}.bias" in self.parameters
        bias = [self.parameter(f"{name}.bias")] if has_bias else []
        return apply("conv2d", x, self.parameter(f"{name}.weight"), *bias, **options)

    def linear(self, name: str, x: Value) -> Value:
        return apply("linear", x, self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias"))

    def norm(self, name: str, x: Value) -> Value:
        statistics = [self.buffers[f"{self.part}{name}.{kind}"] for kind in ("running_mean", "running_var")]
        before = [running.copy() for running in statistics]
        sources = [x, self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")]
        image, *scale_and_shift = [source.array for source in sources]
        if self.training:
            self.buffers[f"{self.part}{name}.num_batches_tracked"] += 1
        return Value(
            textbook.batch_norm(image, *statistics, *scale_and_shift, training=self.training),
            sources,
            lambda grad: textbook.batch_norm_backward(grad, image, *before, *scale_and_shift, training=self.training),
        )

    def conv_norm(self, conv: str, norm: str, x: Value, **options: Any) -> Value:
        return self.norm(norm, self.conv(conv, x, **options))


# The formulas. `o` holds what the block was made with, and `kept`, the factor of each picture's residual branch.

Options = SimpleNamespace


def conv_norm_act(w: Weights, x: Value, o: Options) -> Value:
    padding = o.kernel_size // 2 if o.padding is None else o.padding
    return ACTIVATIONS[o.act](w.conv_norm("conv", "norm", x, stride=o.stride, padding=padding))


def same_padded(x: Value, o: Options) -> Value:
    """TensorFlow's SAME: as many zeros as ceil(size / stride) places need, an odd one after."""
    totals = [max((-(-size // o.stride) - 1) * o.stride + o.kernel_size - size, 0) for size in x.array.shape[2:]]
    rows, columns = ((total // 2, total - total // 2) for total in totals)
    return pad(x, rows=rows, columns=columns)


def same_conv(w: Weights, x: Value, o: Options) -> Value:
    weight, bias = w.parameter("weight"), [w.parameter("bias")] if o.bias else []
    return apply("conv2d", same_padded(x, o), weight, *bias, stride=o.stride, groups=o.groups)


def padded_shortcut(w: Weights, x: Value, o: Options) -> Value:
    missing = o.out_channels - o.in_channels
    every = slice(None, None, o.stride)
    return pad(crop(x, every, every), channels=(missing // 2, missing - missing // 2))


def shortcut(w: Weights, x: Value, o: Options, *, activated: Value | None = None) -> Value:
    if o.stride == 1 and o.in_channels == o.out_channels:
        return x
    x = activated or x
    match o.shortcut:
        case residual.zero_padding:
            return padded_shortcut(w, x, o)
        case preactivation.bare_projection:
            return w.conv("downsample.conv", x, stride=o.stride)
        case residual.projection:
            return w.conv_norm("downsample.0", "downsample.1", x, stride=o.stride)
    raise AssertionError(o.shortcut)


def plain_branch(w: Weights, x: Value, o: Options) -> Value:
    first, second = ({"padding": dilation, "dilation": dilation, "groups": o.groups} for dilation in o.dilation)
    x = rectify(w.conv_norm("conv1", "bn1", x, stride=o.stride, **first))
    return w.conv_norm("conv2", "bn2", x, **second)


def plain_block(w: Weights, x: Value, o: Options) -> Value:
    return rectify(plain_branch(w, x, o))


def basic_block(w: Weights, x: Value, o: Options) -> Value:
    return rectify(plain_branch(w, x, o) * o.kept + shortcut(w, x, o))


def bottleneck(w: Weights, x: Value, o: Options) -> Value:
    dilation = o.dilation[0]
    out = rectify(w.conv_norm("conv1", "bn1", x))
    places = {"stride": o.stride, "padding": dilation, "dilation": dilation}
    out = rectify(w.conv_norm("conv2", "bn2", out, groups=o.groups, **places))
    return rectify(w.conv_norm("conv3", "bn3", out) * o.kept + shortcut(w, x, o))


def stage(w: Weights, x: Value, o: Options) -> Value:
    x = basic_block(w.of("0"), x, o)
    after = {"in_channels": o.out_channels, "stride": 1, "dilation": (o.dilation[1], o.dilation[1])}
    return basic_block(w.of("1"), x, Options(**vars(o) | after))


def preactivated_basic_block(w: Weights, x: Value, o: Options) -> Value:
    first, second = ({"padding": dilation, "dilation": dilation} for dilation in o.dilation)
    activated = rectify(w.norm("norm1", x))
    out = w.conv("conv1", activated, stride=o.stride, **first)
    out = w.conv("conv2", rectify(w.norm("norm2", out)), **second)
    return out * o.kept + shortcut(w, x, o, activated=activated)


def preactivated_bottleneck(w: Weights, x: Value, o: Options) -> Value:
    dilation = o.dilation[0]
    activated = rectify(w.norm("norm1", x))
    out = rectify(w.norm("norm2", w.conv("conv1", activated)))
    out = w.conv("conv2", out, stride=o.stride, padding=dilation, dilation=dilation)
    out = w.conv("conv3", rectify(w.norm("norm3", out)))
    return out * o.kept + shortcut(w, x, o, activated=activated)


def squeeze_excite(w: Weights, x: Value, o: Options) -> Value:
    means = apply("avg_pool2d", x, kernel_size=x.array.shape[2:])
    return x * ACTIVATIONS[o.gate](w.conv("fc2", ACTIVATIONS[o.act](w.conv("fc1", means))))


def depthwise_separable(w: Weights, x: Value, o: Options) -> Value:
    act = ACTIVATIONS[o.act]
    x = act(w.conv_norm("conv_dw", "bn1", x, stride=o.stride, padding=1, groups=o.in_channels))
    return act(w.conv_norm("conv_pw", "bn2", x))


def names_of_parts(o: Options, count: int) -> list[tuple[str, str]]:
    """What an inverted residual calls the convolution and the norm of each part."""
    if o.names is separable.timm_names:
        convs = ["conv_pw", "conv_dw", "conv_pwl"] if count == 3 else ["conv_dw", "conv_pw"]
        return [(conv, f"bn{number}") for number, conv in enumerate(convs, start=1)]
    if o.names is separable.torchvision_v2_names:
        return [(f"conv.{part}.0", f"conv.{part}.1") for part in range(count - 1)] + [
            (f"conv.{count - 1}", f"conv.{count}")
        ]
    return [(f"block.{part}.0", f"block.{part}.1") for part in range(count)]


def inverted_residual(w: Weights, x: Value, o: Options) -> Value:
    act, expands, squeezes = ACTIVATIONS[o.act], o.expanded_channels != o.in_channels, o.gate is not None
    names, out = names_of_parts(o, expands + 1 + squeezes + 1), x
    if expands:
        out = act(w.conv_norm(*names[0], out))
    zeros = o.kernel_size // 2
    padded = same_padded(out, o) if o.conv is conv.SameConv2d else pad(out, rows=(zeros, zeros), columns=(zeros, zeros))
    out = act(w.conv_norm(*names[expands], padded, stride=o.stride, groups=o.expanded_channels))
    if squeezes:
        out = squeeze_excite(w.of(f"block.{expands + 1}"), out, o)
    out = w.conv_norm(*names[-1], out)
    return out * o.kept + x if o.stride == 1 and o.in_channels == o.out_channels else out


def dense_layer(w: Weights, x: Value, o: Options) -> Value:
    return w.conv("conv1", rectify(w.norm("norm1", x)), padding=o.dilation, dilation=o.dilation)


def dense_bottleneck(w: Weights, x: Value, o: Options) -> Value:
    x = w.conv("conv1", rectify(w.norm("norm1", x)))
    return w.conv("conv2", rectify(w.norm("norm2", x)), padding=o.dilation, dilation=o.dilation)


def dense_block(w: Weights, x: Value, o: Options) -> Value:
    layer = dense_bottleneck if o.unit is dense.DenseBottleneck else dense_layer
    for number in range(1, o.num_layers + 1):
        x = concatenate(x, layer(w.of(f"denselayer{number}"), x, o))
    return x


def transition(w: Weights, x: Value, o: Options) -> Value:
    x = w.conv("conv", rectify(w.norm("norm", x)))
    return apply("avg_pool2d", x, kernel_size=2) if o.stride == 2 else x


def inception_unit(w: Weights, x: Value, o: Options) -> Value:
    def unit(name: str, x: Value, padding: int = 0) -> Value:
        return rectify(w.conv_norm(f"{name}.conv", f"{name}.norm", x, padding=padding))

    return concatenate(
        unit("branch1", x),
        unit("branch2.1", unit("branch2.0", x), padding=1),
        unit("branch3.1", unit("branch3.0", x), padding=o.large_kernel_size // 2),
        unit("branch4.1", apply("max_pool2d", x, kernel_size=3, stride=1, padding=1)),
    )


def layer_norm(w: Weights, x: Value, o: Options) -> Value:
    """A batch norm for which every place is a channel, and the channels are the batch."""
    shape = [x.array.shape[axis] for axis in (1, 0, 2, 3)]
    by_place = rearrange(
        x,
        lambda array: array.swapaxes(0, 1).reshape(shape[0], -1, 1, 1),
        lambda grad: grad.reshape(shape).swapaxes(0, 1),
    )
    normalised = apply("batch_norm", by_place, running_mean=None, running_var=None, training=True, eps=1e-6)
    maps = rearrange(
        normalised,
        lambda array: array.reshape(shape).swapaxes(0, 1),
        lambda grad: grad.swapaxes(0, 1).reshape(shape[0], -1, 1, 1),
    )
    scale = rearrange(w.parameter("weight"), lambda array: array.reshape(-1, 1, 1, 1), lambda grad: grad.ravel())
    return apply("conv2d", maps, scale, w.parameter("bias"), groups=shape[0])  # a scale and a shift a channel


def l2_pool(w: Weights, x: Value, o: Options) -> Value:
    sides = (o.padding, o.padding)
    return apply(
        "lp_pool2d", pad(x, rows=sides, columns=sides), norm_type=2, kernel_size=o.kernel_size, stride=o.stride
    )


def adaptive_average(x: Value, count: int) -> Value:
    """Each of count x count windows by itself: from floor(i size / count) to ceil((i + 1) size / count)."""
    height, width = x.array.shape[2:]
    parts = []
    for i, j in np.ndindex(count, count):
        top, left = i * height // count, j * width // count
        bottom, right = -(-(i + 1) * height // count), -(-(j + 1) * width // count)
        window = crop(x, slice(top, bottom), slice(left, right))
        mean = apply("avg_pool2d", window, kernel_size=(bottom - top, right - left))
        parts.append(pad(mean, rows=(i, count - 1 - i), columns=(j, count - 1 - j)))
    return reduce(Value.__add__, parts)


def auxiliary_pool(w: Weights, x: Value, o: Options) -> Value:
    if all(size in (14, 15, 16) for size in x.array.shape[2:]):
        return apply("avg_pool2d", x, kernel_size=5, stride=3)
    return adaptive_average(x, 4)


def auxiliary_head(w: Weights, x: Value, o: Options) -> Value:
    x = apply("avg_pool2d", x, kernel_size=5, stride=3)
    x = flatten(rectify(w.conv_norm("conv.conv", "conv.norm", x)))
    return w.linear("fc2", rectify(w.linear("fc1", x)))


# The blocks: how each is made, its formula, and what it is made with.


@dataclass(frozen=True)
class Case:
    """A block and its formula.

    Args:
        make: makes the block from the options.
        formula: what it computes.
        options: what each option is drawn from.
        sizes: of which the input's height and width are drawn, px.
        call: how the block takes its input.
        prepare: changes the random input, where the block needs a special one.
    """

    make: Callable[..., nn.Module]
    formula: Callable[[Weights, Value, Options], Value]
    options: dict[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    sizes: Sequence[int] = range(5, 9)
    call: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x)
    prepare: Callable[[Array], Array] = lambda x: x


one_of = st.sampled_from
few = st.integers(1, 3)
strides = st.integers(1, 2)
activations = one_of([relu, separable.relu6, nn.SiLU, nn.Hardswish])
probabilities = one_of([0.0, 0.5])
widths = {"in_channels": one_of([2, 4]), "channels": one_of([2, 4]), "out_channels": st.just(4)}
places = {"stride": strides, "dilation": one_of([(1, 1), (1, 2), (2, 2), (2, 3)])}
grouped = {**widths, **places, "groups": strides}
shortcuts = one_of([residual.projection, residual.zero_padding])
bare_shortcuts = one_of([preactivation.bare_projection, residual.zero_padding])
dense_layers = {"growth_rate": few, "dilation": strides, "memory_efficient": st.booleans()}


def dropping(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A maker of units that sets how likely their branch is left out."""

    def make_dropping(*, drop_path: float, **options: Any) -> nn.Module:
        unit = make(**options)
        for module in unit.modules():
            if isinstance(module, drop.StochasticDepth):
                module.p = drop_path
        return unit

    return make_dropping


def make_auxiliary_head(**options: Any) -> nn.Module:
    head = inception.AuxiliaryHead(pool=nn.AvgPool2d(5, stride=3), unit=conv.ConvNormAct, **options)
    head.dropout.p = 0.0  # torch's own
    return head


@dropping
def make_inverted_residual(*, gate: Any, act: Any, expanded_channels: int, **options: Any) -> nn.Module:
    squeeze_unit = None if gate is None else squeeze.SqueezeExcite(expanded_channels, 2, act=act, gate=gate)
    return separable.InvertedResidual(expanded_channels=expanded_channels, act=act, squeeze=squeeze_unit, **options)


inverted = {
    "in_channels": st.integers(2, 4),
    "out_channels": st.integers(2, 4),
    "expanded_channels": st.integers(2, 6),
    "kernel_size": one_of([3, 5]),
    "stride": strides,
    "act": activations,
    "drop_path": probabilities,
    "conv": one_of([conv.padded_conv, conv.SameConv2d]),
}
BLOCKS: dict[str, Case] = {
    "ConvNormAct": Case(
        conv.ConvNormAct,
        conv_norm_act,
        {
            "in_channels": few,
            "out_channels": few,
            "kernel_size": one_of([1, 2, 3, 5]),
            "stride": few,
            "padding": one_of([None, 0, 1]),
            "bias": st.booleans(),
            "act": activations,
        },
    ),
    "SameConv2d": Case(
        conv.SameConv2d,
        same_conv,
        {
            "in_channels": one_of([2, 4]),
            "out_channels": one_of([2, 4]),
            "kernel_size": st.integers(1, 5),
            "stride": few,
            "groups": strides,
            "bias": st.booleans(),
        },
    ),
    "PaddedShortcut": Case(
        residual.PaddedShortcut, padded_shortcut, {"in_channels": few, "out_channels": st.integers(3, 6), "stride": few}
    ),
    "projection": Case(
        residual.projection,
        lambda w, x, o: w.conv_norm("0", "1", x, stride=o.stride),
        {"in_channels": few, "out_channels": st.just(4), "stride": few},
    ),
    "BasicBlock": Case(
        dropping(residual.BasicBlock), basic_block, {**grouped, "shortcut": shortcuts, "drop_path": probabilities}
    ),
    "Bottleneck": Case(
        dropping(residual.Bottleneck), bottleneck, {**grouped, "shortcut": shortcuts, "drop_path": probabilities}
    ),
    "PlainBlock": Case(residual.PlainBlock, plain_block, grouped),
    "residual_stage": Case(
        lambda shortcut, groups, **options: residual.residual_stage(
            partial(residual.BasicBlock, shortcut=shortcut, groups=groups), num_blocks=2, **options
        ),
        stage,
        {**grouped, "shortcut": shortcuts},
    ),
    "PreActBasicBlock": Case(
        dropping(preactivation.PreActBasicBlock),
        preactivated_basic_block,
        {**widths, **places, "shortcut": bare_shortcuts, "drop_path": probabilities},
    ),
    "PreActBottleneck": Case(
        dropping(preactivation.PreActBottleneck),
        preactivated_bottleneck,
        {**widths, **places, "shortcut": bare_shortcuts, "drop_path": probabilities},
    ),
    "SqueezeExcite": Case(
        squeeze.SqueezeExcite,
        squeeze_excite,
        {
            "channels": st.integers(1, 5),
            "squeezed_channels": few,
            "act": activations,
            "gate": one_of([nn.Sigmoid, nn.Hardsigmoid]),
        },
    ),
    "DepthwiseSeparable": Case(
        separable.DepthwiseSeparable,
        depthwise_separable,
        {"in_channels": few, "out_channels": few, "stride": strides, "act": activations},
    ),
    "InvertedResidual": Case(
        make_inverted_residual,
        inverted_residual,
        {
            **inverted,
            "gate": st.none(),
            "names": one_of([separable.torchvision_names, separable.torchvision_v2_names, separable.timm_names]),
        },
    ),
    "InvertedResidual with squeeze": Case(
        make_inverted_residual,
        inverted_residual,
        {**inverted, "gate": one_of([nn.Sigmoid, nn.Hardsigmoid]), "names": st.just(separable.torchvision_names)},
    ),
    "DenseLayer": Case(
        dense.DenseLayer,
        dense_layer,
        {"in_channels": st.integers(2, 4), **dense_layers},
        call=lambda block, x: block(x[:, :1], x[:, 1:]),
    ),
    "DenseBottleneck": Case(
        dense.DenseBottleneck,
        dense_bottleneck,
        {"in_channels": st.integers(2, 4), **dense_layers},
        call=lambda block, x: block(x[:, :1], x[:, 1:]),
    ),
    "DenseBlock": Case(
        dense.DenseBlock,
        dense_block,
        {
            "unit": one_of([dense.DenseLayer, dense.DenseBottleneck]),
            "in_channels": few,
            "num_layers": few,
            **dense_layers,
        },
    ),
    "Transition": Case(dense.Transition, transition, {"in_channels": few, "out_channels": few, "stride": strides}),
    "Inception": Case(
        partial(inception.Inception, unit=conv.ConvNormAct),
        inception_unit,
        {
            "in_channels": few,
            "widths": st.builds(inception.InceptionWidths, few, few, few, few, few, few),
            "large_kernel_size": one_of([3, 5]),
        },
    ),
    "AuxiliaryHead": Case(
        make_auxiliary_head, auxiliary_head, {"in_channels": few, "num_classes": few}, sizes=(14, 15, 16)
    ),
    "AuxiliaryPool": Case(inception.AuxiliaryPool, auxiliary_pool, sizes=(3, 7, 14, 15, 16, 17)),
    "GlobalAvgPool2d": Case(
        pool.GlobalAvgPool2d, lambda w, x, o: flatten(apply("avg_pool2d", x, kernel_size=x.array.shape[2:]))
    ),
    "GlobalMaxPool2d": Case(
        pool.GlobalMaxPool2d, lambda w, x, o: flatten(apply("max_pool2d", x, kernel_size=x.array.shape[2:]))
    ),
    "L2Pool2d": Case(
        pool.L2Pool2d,
        l2_pool,
        {"kernel_size": st.integers(2, 3), "stride": one_of([None, 1, 2, 3]), "padding": st.integers(0, 1)},
        prepare=lambda x: np.where(x < 1, 0, x),  # many windows of zeros, where the norm has no gradient
    ),
    "local_response_norm": Case(
        lambda channels: norm.local_response_norm(),
        lambda w, x, o: apply("local_response_norm", x, size=5, alpha=5e-4, beta=0.75, k=2),
        {"channels": st.integers(1, 8)},
        prepare=lambda x: 30 * x,  # at 1, two and a few ten-thousandths could not be told from two
    ),
    "LayerNorm2d": Case(norm.LayerNorm2d, layer_norm, {"channels": st.integers(2, 5)}),
    "StochasticDepth": Case(drop.StochasticDepth, lambda w, x, o: x * o.kept, {"p": one_of([0.0, 0.3, 0.8])}),
}


def test_every_block_has_a_formula() -> None:
    blocks = set()
    for module in pkgutil.iter_modules(sightline.nn.__path__, "sightline.nn."):
        for name, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if member.__module__ == module.name and issubclass(member, nn.Module):
                blocks.add(name)
    assert blocks <= BLOCKS.keys()


def fill(block: nn.Module, rng: np.random.Generator) -> None:
    """Random numbers of the size that training gives them: nothing is 0 or 1 by default."""
    for name, tensor in block.state_dict().items():
        if tensor.is_floating_point():
            is_positive = name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1)
            numbers = rng.uniform(0.5, 1.5, tensor.shape) if is_positive else rng.normal(0, 0.5, tensor.shape)
            tensor.copy_(torch.from_numpy(numbers))


def watch(block: nn.Module) -> list[Array]:
    """The factor of each picture's branch in what was run, a list that fills as the block runs."""
    factors = []

    def look(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        kept = output.detach().flatten(1).any(dim=1).double().numpy().reshape(-1, 1, 1, 1)
        factors.append(kept / (1 - module.p) if module.training else np.ones_like(kept))

    for module in block.modules():
        if isinstance(module, drop.StochasticDepth):
            module.register_forward_hook(look)
    return factors


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), is_training=st.booleans())
def test_a_block_is_its_formula(name: str, data: st.DataObject, seed: int, is_training: bool) -> None:
    case, rng = BLOCKS[name], np.random.default_rng(seed)
    drawn = {option: data.draw(strategy, label=option) for option, strategy in case.options.items()}
    num_images, height, width = (data.draw(one_of(numbers)) for numbers in (range(2, 5), case.sizes, case.sizes))
    channels = drawn.get("in_channels", drawn.get("channels", 3))
    x = case.prepare(rng.normal(size=(num_images, channels, height, width)))
    block = case.make(**drawn).double().train(is_training)
    fill(block, rng)
    weights = Weights(block)

    torch.manual_seed(seed)
    factors = watch(block)
    tensor = torch.tensor(x, requires_grad=True)
    out = case.call(block, tensor.clone())  # a block may write into its input, but not into a leaf of the graph
    delta = rng.normal(size=tuple(out.shape))
    parameters = dict(block.named_parameters())
    expected, *by_parameter = torch.autograd.grad(out, [tensor, *parameters.values()], torch.tensor(delta))

    image = Value(x)
    answer = case.formula(
        weights, image, Options(**drawn, kept=Value(factors[0] if factors else np.ones((1, 1, 1, 1))))
    )
    close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-9)
    close(out.detach().numpy(), answer.array)
    answer.backward(delta)
    close(expected.numpy(), image.grad, err_msg="input")
    for parameter, grad in zip(parameters, by_parameter, strict=True):
        close(grad.numpy(), weights.parameters[parameter].grad, err_msg=parameter)
    for buffer, tensor in block.named_buffers():
        close(tensor.numpy(), weights.buffers[buffer], err_msg=buffer)
