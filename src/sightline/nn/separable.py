"""Depthwise-separable convolutions, and the inverted residual made of one: the units of networks for phones.

A depthwise convolution looks around in each channel by itself; a 1x1 ("pointwise") convolution mixes the channels.
Together they cost about a ninth of a 3x3 convolution over all channels.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from sightline.nn.conv import Activation, Conv, Norm, padded_conv
from sightline.nn.drop import StochasticDepth

Layers = OrderedDict[str, nn.Module]
Names = Callable[[Sequence[nn.Module]], Layers]


def relu6() -> nn.ReLU6:
    """ReLU that ends at 6, so that numbers of few bits suffice (Howard et al. 2017; Sandler et al. 2018, Sec. 3.2)."""
    return nn.ReLU6(inplace=True)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, but never less than nine tenths: how these papers scale a network's width.

    Args:
        channels: the paper's number times the width multiplier.

    Reference:
        Sandler et al. 2018, in their published code; Tan and Le 2019 likewise.

    Example:
        >>> [round_channels(width * 24) for width in (0.5, 0.75, 1.0, 1.1)]  # 12, 18, 24 and 26.4
        [16, 24, 24, 24]
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    conv: Conv = padded_conv,
    norm: Norm,
    act: Activation | None = None,
) -> nn.Sequential:
    """A convolution, its norm and, where one is given, an activation; numbered 0, 1, 2 in the state dict.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel, px; odd.
        stride: step of the kernel, px.
        groups: parts that channels are split into; `in_channels` of them make the convolution depthwise.
        conv: makes the convolution, and so says how it is padded.
        norm: from a number of channels to a normalisation.
        act: makes the activation; None leaves the output linear.
    """
    layer = conv(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=False)
    return nn.Sequential(layer, norm(out_channels), *([] if act is None else [act()]))


def torchvision_names(parts: Sequence[nn.Module]) -> Layers:
    """block.0.0, block.0.1, block.1.0 and so on: torchvision's MobileNet v3 and EfficientNet."""
    return OrderedDict(block=nn.Sequential(*parts))


def torchvision_v2_names(parts: Sequence[nn.Module]) -> Layers:
    """conv.0.0, conv.0.1, conv.1.0 and so on, but conv.2 and conv.3 at the end: torchvision's MobileNet v2."""
    return OrderedDict(conv=nn.Sequential(*parts[:-1], *parts[-1].children()))


def timm_names(parts: Sequence[nn.Module]) -> Layers:
    """conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3, or conv_dw, bn1, conv_pw, bn2 where nothing expands: timm."""
    convs = ("conv_pw", "conv_dw", "conv_pwl") if len(parts) == 3 else ("conv_dw", "conv_pw")
    layers: Layers = OrderedDict()
    for number, (conv, part) in enumerate(zip(convs, parts, strict=True), start=1):
        names = (conv, f"bn{number}", f"act{number}")  # the last part has no activation
        layers.update(zip(names, part.children(), strict=False))
    return layers


class DepthwiseSeparable(nn.Sequential):
    """A depthwise 3x3 convolution and a 1x1, each with norm and activation: the unit of MobileNet v1.

    The state-dict names are timm's.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the 3x3.
        norm: from a number of channels to a normalisation.
        act: makes the activations.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Reference:
        Howard et al. 2017, "MobileNets", arXiv:1704.04861, Sec. 3.1 and Fig. 3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = nn.BatchNorm2d, act: Activation
    ) -> None:
        depthwise = conv_norm(in_channels, in_channels, 3, stride=stride, groups=in_channels, norm=norm, act=act)
        pointwise = conv_norm(in_channels, out_channels, 1, norm=norm, act=act)
        super().__init__(timm_names((depthwise, pointwise)))


class InvertedResidual(nn.Sequential):
    """1x1 to more channels, depthwise on those, 1x1 back to few: a residual unit that is thin where it is added.

    The last 1x1 has no activation, which would lose too much of so few channels. The input is added where the shapes
    agree.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        expanded_channels: channels between; with as many as come in, the first 1x1 is left out.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution.
        conv: makes the depthwise convolution, and so says how it is padded.
        norm: from a number of channels to a normalisation.
        act: makes the activations.
        squeeze: a unit between the depthwise convolution and the last 1x1, on `expanded_channels`; None for none.
        names: what the parts are called in the state dict. The published weights of one and the same unit come under
            three schemes.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Reference:
        Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381, Sec. 3.3 and
        Table 1; with squeeze-and-excitation Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, Fig. 4.

    Example:
        >>> unit = InvertedResidual(8, 8, expanded_channels=48, act=relu6, names=timm_names)
        >>> [name for name, _ in unit.named_children()]
        ['conv_pw', 'bn1', 'act1', 'conv_dw', 'bn2', 'act2', 'conv_pwl', 'bn3', 'drop_path']
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expanded_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        conv: Conv = padded_conv,
        norm: Norm = nn.BatchNorm2d,
        act: Activation,
        squeeze: nn.Module | None = None,
        names: Names = torchvision_names,
    ) -> None:
        parts: list[nn.Module] = []
        if expanded_channels != in_channels:
            parts.append(conv_norm(in_channels, expanded_channels, 1, norm=norm, act=act))
        parts.append(
            conv_norm(
                expanded_channels,
                expanded_channels,
                kernel_size,
                stride=stride,
                groups=expanded_channels,
                conv=conv,
                norm=norm,
                act=act,
            )
        )
        if squeeze is not None:
            parts.append(squeeze)
        parts.append(conv_norm(expanded_channels, out_channels, 1, norm=norm))
        layers = names(parts)
        self.adds_input = stride == 1 and in_channels == out_channels
        if self.adds_input:
            layers["drop_path"] = StochasticDepth(0.0)
        super().__init__(layers)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self:
            out = layer(out)
        if self.adds_input:
            out += x  # in place: no layer needs its own output again
        return out


class StageRow(NamedTuple):
    """A row of the papers' tables: a run of inverted residuals of one width, the first of which strides.

    Args:
        expansion: channels inside a unit, in multiples of those that come in.
        kernel_size: of the depthwise convolutions.
        stride: of the first unit.
        channels: of the outputs.
        num_units: how many units.
    """

    expansion: int
    kernel_size: int
    stride: int
    channels: int
    num_units: int


class MakeUnit(Protocol):
    """Makes the unit of a network from what changes from unit to unit."""

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expanded_channels: int,
        kernel_size: int,
        stride: int,
    ) -> nn.Module: ...


def inverted_residual_stages(rows: Sequence[StageRow], in_channels: int, unit: MakeUnit) -> Iterator[list[nn.Module]]:
    """The units of each row of a table, in order.

    Args:
        rows: the table.
        in_channels: channels that the first unit is given.
        unit: makes a unit.
    """
    for row in rows:
        units = []
        for stride in (row.stride, *[1] * (row.num_units - 1)):
            units.append(
                unit(
                    in_channels,
                    row.channels,
                    expanded_channels=row.expansion * in_channels,
                    kernel_size=row.kernel_size,
                    stride=stride,
                )
            )
            in_channels = row.channels
        yield units


def keep_size_(net: nn.Module, count: int = 2) -> None:
    """Lets the first convolutions of stride 2 stride by 1: the "small" stem of networks whose stem is one convolution.

    The shapes of the weights stay, so that published weights fit.

    Args:
        net: changed in place.
        count: how many convolutions; two make a network divide the size by 8 instead of 32.
    """
    strided = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
    for conv in strided[:count]:
        conv.stride = (1, 1)
