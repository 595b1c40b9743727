"""What the formulas of the textbook take for granted: arrays that fit, and the places at which a window stands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import ShapeError
from sightline.nn.arithmetic import conv_size, kernel_extent, pool_size

Array = NDArray[np.float64]
Pair = tuple[int, int]
Lengths = int | Pair


@dataclass(frozen=True)
class Window:
    """The places at which a kernel or a pooling window stands. Every pair is (height, width).

    Made by `conv_window` or `pool_window`.

    Args:
        input_size: of the maps, px.
        output_size: number of places.
        kernel_size: number of values under the window.
        stride: distance of neighbouring places, px.
        padding: on each of the two sides, px.
        dilation: distance of neighbouring values, px.
    """

    input_size: Pair
    output_size: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    def seen(self, padded: Array, m: int, n: int) -> Array:
        """I(i s + m d, j s + n d) for one place (m, n) of the kernel and every (i, j); a view, to be added to as well.

        Args:
            padded: maps by `pad`.
            m: row of the kernel.
            n: column of the kernel.
        """
        return seen(padded, (m, n), self.output_size, self.stride, self.dilation)

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """Maps with `value` around them, and beyond the far ends where a last window of `ceil_mode` hangs over."""
        sides = [(0, 0), (0, 0)]
        for size, places, k, s, p, d in zip(
            self.input_size,
            self.output_size,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        ):
            overhang = (places - 1) * s + kernel_extent(k, d) - (size + 2 * p)
            sides.append((p, p + max(overhang, 0)))
        return np.pad(x, sides, constant_values=value)

    def crop(self, padded: Array) -> Array:
        """What `pad` was given."""
        (top, left), (height, width) = self.padding, self.input_size
        return padded[:, :, top : top + height, left : left + width]

    def counts(self, *, include_padding: bool) -> Array:
        """How many values each window sees, (1, 1, H', W'): of the maps alone or of their padding too; no overhang."""
        ones = self.pad(np.ones((1, 1, *self.input_size)))
        if include_padding:
            (top, left), (height, width) = self.padding, self.input_size
            ones[:, :, : height + 2 * top, : width + 2 * left] = 1
        counts: Array = np.add.reduce([self.seen(ones, m, n) for m, n in np.ndindex(self.kernel_size)])
        return counts


def conv_window(input_size: Pair, kernel_size: Pair, stride: Lengths, padding: Lengths, dilation: Lengths) -> Window:
    """The places of a convolution's kernel.

    Raises:
        ShapeError: a number is out of range, or the kernel is larger than the padded input.
    """
    strides, paddings, dilations = pair("stride", stride), pair("padding", padding), pair("dilation", dilation)
    axes = zip(input_size, kernel_size, strides, paddings, dilations, strict=True)
    height, width = (conv_size(size, k, stride=s, padding=p, dilation=d) for size, k, s, p, d in axes)
    return Window(input_size, (height, width), kernel_size, strides, paddings, dilations)


def pool_window(
    input_size: Pair,
    kernel_size: Lengths,
    stride: Lengths | None,
    padding: Lengths,
    dilation: Lengths,
    ceil_mode: bool,
) -> Window:
    """The places of a pooling window.

    Raises:
        ShapeError: as `conv_window`, or the padding is more than half of the window.
    """
    kernel_sizes, paddings, dilations = (
        pair("kernel_size", kernel_size),
        pair("padding", padding),
        pair("dilation", dilation),
    )
    strides = kernel_sizes if stride is None else pair("stride", stride)
    sizes = []
    for size, k, s, p, d in zip(input_size, kernel_sizes, strides, paddings, dilations, strict=True):
        sizes.append(pool_size(size, k, stride=s, padding=p, dilation=d, ceil_mode=ceil_mode))
        if 2 * p > k:
            raise ShapeError(
                f"a pool with a kernel_size of {k} got a padding of {p} on each side; windows could see nothing else. "
                "Take at most half of kernel_size, as in torch."
            )
    return Window(input_size, (sizes[0], sizes[1]), kernel_sizes, strides, paddings, dilations)


def seen(x: Array, place: Pair, size: Pair, stride: Pair, dilation: Pair) -> Array:
    """x(i s + m d, j s + n d) for one place (m, n) and every (i, j) of a map of that size; a view.

    Example:
        >>> seen(np.arange(9.0).reshape(1, 1, 3, 3), (0, 1), size=(2, 2), stride=(1, 1), dilation=(1, 1))
        array([[[[1., 2.],
                 [4., 5.]]]])
    """
    rows, columns = (
        slice(m * d, m * d + (length - 1) * s + 1, s)
        for m, length, s, d in zip(place, size, stride, dilation, strict=True)
    )
    return x[:, :, rows, columns]


def pair(name: str, value: Lengths) -> Pair:
    """(height, width) of an int or of a pair.

    Raises:
        ShapeError: neither.
    """
    if isinstance(value, int | np.integer):
        return int(value), int(value)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ShapeError(f"{name} is {value}; it must be an int or a pair (height, width).")
    return int(value[0]), int(value[1])


def maps(name: str, value: ArrayLike) -> Array:
    """Feature maps, or a stack of kernels, in float64.

    Raises:
        ShapeError: not of four axes.
    """
    array = np.asarray(value, np.float64)
    if array.ndim != 4:
        needed = "(O, C / groups, kh, kw)" if name == "weight" else "(N, C, H, W)"
        raise ShapeError(f"{name} needs the shape {needed}, got {array.shape}. Add the missing axes, say x[None].")
    return array


def rows(name: str, value: ArrayLike) -> Array:
    """A matrix in float64.

    Raises:
        ShapeError: not of two axes.
    """
    array = np.asarray(value, np.float64)
    if array.ndim != 2:
        raise ShapeError(f"{name} needs two axes, got the shape {array.shape}. Flatten it: x.reshape(len(x), -1).")
    return array


def vector(name: str, value: ArrayLike, length: int) -> Array:
    """A number a channel in float64.

    Raises:
        ShapeError: of another length.
    """
    array = np.asarray(value, np.float64)
    if array.shape != (length,):
        raise ShapeError(f"{name} needs the shape ({length},), a number a channel, got {array.shape}.")
    return array


def gradient(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """δ in float64.

    Raises:
        ShapeError: not of the output's shape.
    """
    array = np.asarray(value, np.float64)
    if array.shape != shape:
        raise ShapeError(
            f"grad_output needs the shape of the output, {shape}, got {array.shape}. "
            "Give the backward function the same arguments as the forward one."
        )
    return array


def size_of(x: Array) -> Pair:
    """(height, width) of feature maps, px."""
    return x.shape[2], x.shape[3]
