"""The sums behind a convolutional network, in whole numbers: sizes, padding, costs and receptive fields.

Everything is for one axis unless it says otherwise: height and width follow the same rule, each with its own numbers.
Nothing here needs a tensor, so a network can be judged before it is built.
"""

from dataclasses import dataclass

from sightline.errors import ShapeError


def kernel_extent(kernel_size: int, dilation: int = 1) -> int:
    """How many input pixels a dilated kernel reaches over, first to last.

    Args:
        kernel_size: weights along the axis.
        dilation: distance of neighbouring weights, px; 1 is the ordinary kernel.

    Reference:
        Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, Sec. 5.1.

    Example:
        >>> kernel_extent(3, dilation=2)
        5
    """
    return dilation * (kernel_size - 1) + 1


def conv_size(size: int, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """The output size of a convolution: how many places the kernel can stand.

    Args:
        size: of the input, px.
        kernel_size: weights along the axis.
        stride: distance of neighbouring places, px; a rest at the far end that no whole step fits is not looked at.
        padding: zeros on each of the two sides, px.
        dilation: distance of neighbouring weights, px.

    Raises:
        ShapeError: a number is out of range, or the kernel is larger than the padded input.

    Reference:
        Dumoulin and Visin 2016, arXiv:1603.07285, Relationship 15.

    Example:
        >>> conv_size(224, 7, stride=2, padding=3)
        112
    """
    _check_window(kernel_size, stride, padding, dilation)
    room = size + 2 * padding - kernel_extent(kernel_size, dilation)
    if room < 0:
        raise _does_not_fit(size, kernel_size, padding, dilation)
    return room // stride + 1


def pool_size(
    size: int,
    kernel_size: int,
    *,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """The output size of a pooling layer.

    Args:
        size: of the input, px.
        kernel_size: values along the axis that are pooled into one.
        stride: distance of neighbouring windows, px; None takes `kernel_size`, so that windows touch.
        padding: on each of the two sides, px.
        dilation: distance of neighbouring values, px.
        ceil_mode: whether a last window that only partly fits counts too. It has to start inside the input or the
            padding before it, as in torch.

    Raises:
        ShapeError: as `conv_size`.

    Example:
        >>> pool_size(112, 3, stride=2), pool_size(112, 3, stride=2, ceil_mode=True)
        (55, 56)
    """
    stride = kernel_size if stride is None else stride
    if not ceil_mode:
        return conv_size(size, kernel_size, stride=stride, padding=padding, dilation=dilation)
    _check_window(kernel_size, stride, padding, dilation)
    room = size + 2 * padding - kernel_extent(kernel_size, dilation)
    windows = -(-room // stride) + 1
    if (windows - 1) * stride >= size + padding:  # the last would start behind the input
        windows -= 1
    if windows < 1:
        raise _does_not_fit(size, kernel_size, padding, dilation)
    return windows


def same_padding(size: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """The zeros (before, after) with which the output size is ceil(size / stride): `same` padding.

    Args:
        size: of the input, px.
        kernel_size: weights along the axis.
        stride: distance of neighbouring places, px.
        dilation: distance of neighbouring weights, px.

    Returns:
        Zeros before and after, px. The odd one goes after, as in TensorFlow and in torch's `padding="same"`; with a
        stride above 1 the answer depends on the size, and so does the place at which the kernels stand.

    Raises:
        ShapeError: a number is out of range.

    Example:
        >>> same_padding(224, 3), same_padding(224, 3, stride=2)
        ((1, 1), (0, 1))
    """
    _check_window(kernel_size, stride, 0, dilation)
    places = -(-size // stride)
    total = max((places - 1) * stride + kernel_extent(kernel_size, dilation) - size, 0)
    return total // 2, total - total // 2


def conv_parameters(
    in_channels: int, out_channels: int, kernel_size: tuple[int, int], *, groups: int = 1, bias: bool = True
) -> int:
    """Weights and biases of a 2-d convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, one filter each.
        kernel_size: (height, width).
        groups: parts that channels are split into; each filter sees the channels of its part only.
        bias: whether each filter has one.

    Raises:
        ShapeError: the channels cannot be split into so many groups.

    Example:
        >>> conv_parameters(3, 96, (11, 11))
        34944
    """
    weights = out_channels * _weights_per_filter(in_channels, out_channels, kernel_size, groups)
    return weights + (out_channels if bias else 0)


def conv_macs(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    output_size: tuple[int, int],
    *,
    groups: int = 1,
) -> int:
    """Multiply-accumulates of a 2-d convolution for one picture; biases are not counted.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: (height, width).
        output_size: (height, width) of the output, px.
        groups: parts that channels are split into.

    Raises:
        ShapeError: the channels cannot be split into so many groups.

    Example:
        >>> conv_macs(192, 32, (5, 5), (28, 28))
        120422400
    """
    places = output_size[0] * output_size[1]
    return places * out_channels * _weights_per_filter(in_channels, out_channels, kernel_size, groups)


def linear_parameters(in_features: int, out_features: int, *, bias: bool = True) -> int:
    """Weights and biases of a dense layer.

    Example:
        >>> linear_parameters(84, 10)
        850
    """
    return in_features * out_features + (out_features if bias else 0)


def linear_macs(in_features: int, out_features: int) -> int:
    """Multiply-accumulates of a dense layer for one picture; biases are not counted.

    Example:
        >>> linear_macs(84, 10)
        840
    """
    return in_features * out_features


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the picture that a unit of a feature map looks at, along one axis.

    Begin with `ReceptiveField()`, a pixel of the picture itself, and take one step a layer with `after`.

    Args:
        size_px: how many pixels a unit sees.
        stride_px: how far apart the fields of neighbouring units are.
        padding_px: how far the first unit's field begins outside the picture; negative where it begins inside.

    Reference:
        Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
        doi:10.23915/distill.00021.

    Example:
        >>> ReceptiveField().after(7, stride=2, padding=3).after(3, stride=2, padding=1)  # stem of ResNet
        ReceptiveField(size_px=11, stride_px=4, padding_px=5)
    """

    size_px: int = 1
    stride_px: int = 1
    padding_px: int = 0

    def after(self, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> "ReceptiveField":
        """The field after one more convolution or pooling layer.

        Args:
            kernel_size: weights along the axis.
            stride: of the layer.
            padding: of the layer, on the side where the axis begins.
            dilation: of the layer.

        Raises:
            ShapeError: a number is out of range.
        """
        _check_window(kernel_size, stride, padding, dilation)
        return ReceptiveField(
            self.size_px + (kernel_extent(kernel_size, dilation) - 1) * self.stride_px,
            self.stride_px * stride,
            self.padding_px + padding * self.stride_px,
        )

    def joined(self, other: "ReceptiveField") -> "ReceptiveField":
        """The field after two paths were added or concatenated: the larger of the two.

        Args:
            other: the field at the end of the other path.

        Raises:
            ShapeError: the paths look at different places, so that no one field describes the sum.
        """
        if self.stride_px != other.stride_px:
            raise ShapeError(
                f"two paths with strides of {self.stride_px} and {other.stride_px} px cannot be joined: their fields "
                "drift apart from unit to unit. Give both paths the same strides."
            )
        if self._twice_centre_px != other._twice_centre_px:
            raise ShapeError(
                f"two paths whose first units look at pixels {self._twice_centre_px / 2:g} and "
                f"{other._twice_centre_px / 2:g} cannot be joined: they are shifted against each other. "
                "Give the larger kernel more padding."
            )
        return self if self.size_px >= other.size_px else other

    def region(self, unit: int) -> tuple[int, int]:
        """The first and the last pixel of a unit's field; either may lie outside the picture.

        Args:
            unit: index in the feature map.

        Example:
            >>> ReceptiveField(size_px=11, stride_px=4, padding_px=5).region(2)
            (3, 13)
        """
        first = unit * self.stride_px - self.padding_px
        return first, first + self.size_px - 1

    @property
    def _twice_centre_px(self) -> int:
        """Twice the middle of the first unit's field, which is whole where the middle itself is not."""
        return sum(self.region(0))


def _weights_per_filter(in_channels: int, out_channels: int, kernel_size: tuple[int, int], groups: int) -> int:
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ShapeError(
            f"{in_channels} channels in and {out_channels} out cannot be split into {groups} groups. "
            "Take a number of groups that divides both."
        )
    return in_channels // groups * kernel_size[0] * kernel_size[1]


def _does_not_fit(size: int, kernel_size: int, padding: int, dilation: int) -> ShapeError:
    return ShapeError(
        f"a kernel over {kernel_extent(kernel_size, dilation)} px does not fit into {size} px with {padding} px of "
        "padding on each side. Enlarge the image, or take a smaller kernel or more padding."
    )


def _check_window(kernel_size: int, stride: int, padding: int, dilation: int) -> None:
    for name, value, least in (
        ("kernel_size", kernel_size, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if value < least:
            raise ShapeError(f"{name} is {value}; it must be {least} or more.")
