"""Convolution, pooling, normalisation and their gradients straight from the formulas, in NumPy: the oracle.

To be read beside the formula and to check everything else against, not to be fast. Torch has no part in it. A function
takes the arguments of its namesake in `torch.nn.functional`, in that order, and answers in float64. A length is an int
or a pair (height, width).

`NAME_backward` takes δ, the gradient dL/dS of any number L with respect to what NAME returned, and then the arguments
of NAME. It returns dL/d(argument) for each array that can have one, in their order; None for a bias or weight that was
not given.

In the formulas, I is the input, K the kernel, S the output; (i, j) is a place of the output and (m, n) one of the
kernel; s is the stride, d the dilation. I is padded already. Sums over channels are left out where they hide the rest.
"""

import numpy as np
from numpy.typing import ArrayLike

from sightline.errors import ConfigError, ShapeError
from sightline.nn.textbook_norm import (
    batch_norm,
    batch_norm_backward,
    linear,
    linear_backward,
    local_response_norm,
    local_response_norm_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from sightline.nn.textbook_shape import (
    Array,
    Lengths,
    Pair,
    Window,
    conv_window,
    gradient,
    maps,
    pool_window,
    seen,
    size_of,
    vector,
)

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_backward",
    "linear",
    "linear_backward",
    "local_response_norm",
    "local_response_norm_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
]


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Lengths = 1,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    groups: int = 1,
) -> Array:
    """What the kernel sees, each value times the kernel's, summed up.

    S(i, j) = Σ_m Σ_n I(i s + m d, j s + n d) K(m, n) + b

    This is the cross-correlation. The convolution of mathematics flips the kernel first, which makes no difference to
    a kernel that is learned.

    Shape:
        x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O,) -> (N, O, H', W'); H' by `arithmetic.conv_size`.

    Reference:
        Goodfellow, Bengio and Courville 2016, "Deep Learning", Eq. 9.6; with stride and channels Eq. 9.8.

    Example:
        >>> conv2d(np.arange(9).reshape(1, 1, 3, 3), [[[[0, 1], [2, 3]]]])  # 0*0 + 1*1 + 3*2 + 4*3 = 19
        array([[[[19., 25.],
                 [37., 43.]]]])
    """
    x, weight = maps("x", x), maps("weight", weight)
    window = _kernel_window(x, weight, stride, padding, dilation, groups)
    parts = zip(np.split(window.pad(x), groups, axis=1), np.split(weight, groups), strict=True)
    out = np.concatenate(
        [_correlate(part, kernel, window.stride, window.dilation, window.output_size) for part, kernel in parts], axis=1
    )
    return out if bias is None else out + vector("bias", bias, len(weight))[:, None, None]


def conv2d_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Lengths = 1,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array | None]:
    """Two correlations and a sum.

    dL/dK(m, n) = Σ_i Σ_j I(i s + m d, j s + n d) δ(i, j)
        The input correlated with δ: now (m, n) is the place and δ the kernel, so stride and dilation change roles.
    dL/dI(a, b) = Σ δ(i, j) K(m, n) over all i s + m d = a, j s + n d = b
        The full convolution of δ and K: δ with s - 1 zeros between neighbours, and around it as many zeros as let
        every value of the kernel meet every value of δ, correlated with the flipped kernel.
    dL/db = Σ_i Σ_j δ(i, j)

    Returns:
        Gradients of x, weight and bias.

    Reference:
        Goodfellow et al. 2016, "Deep Learning", Eq. 9.11 (kernel) and 9.13 (input). Dumoulin and Visin 2016,
        arXiv:1603.07285, Sec. 4: the gradient of the input as a convolution.

    Example:
        >>> x, weight, delta = np.arange(9).reshape(1, 1, 3, 3), [[[[0, 1], [2, 3]]]], [[[[1, 0], [0, 2]]]]
        >>> grad_x, grad_weight, _ = conv2d_backward(delta, x, weight)
        >>> grad_weight[0, 0]  # 0*1 + 1*0 + 3*0 + 4*2 = 8
        array([[ 8., 11.],
               [17., 20.]])
        >>> grad_x[0, 0]  # in the middle, K(1, 1) δ(0, 0) + K(0, 0) δ(1, 1) = 3*1 + 0*2
        array([[0., 1., 0.],
               [2., 3., 2.],
               [0., 4., 6.]])
    """
    x, weight = maps("x", x), maps("weight", weight)
    window = _kernel_window(x, weight, stride, padding, dilation, groups)
    delta = gradient(grad_output, (len(x), len(weight), *window.output_size))
    padded = window.pad(x)
    parts = np.split(padded, groups, axis=1), np.split(weight, groups), np.split(delta, groups, axis=1)
    grad_parts, grad_kernels = [], []
    for part, kernel, grad in zip(*parts, strict=True):
        # The forward sums over the channels; this sums over the pictures, so the two axes are exchanged.
        by_kernel = _correlate(_swap(part), _swap(grad), window.dilation, window.stride, window.kernel_size)
        grad_kernels.append(_swap(by_kernel))
        # And this over the filters.
        flipped = kernel[:, :, ::-1, ::-1]
        spread = _spread(grad, window, size_of(padded))
        grad_parts.append(_correlate(spread, _swap(flipped), (1, 1), window.dilation, size_of(padded)))
    grad_x = window.crop(np.concatenate(grad_parts, axis=1))
    return grad_x, np.concatenate(grad_kernels), None if bias is None else delta.sum(axis=(0, 2, 3))


def max_pool2d(
    x: ArrayLike,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest value that each window sees; a stride of None takes `kernel_size`.

    S(i, j) = max_m,n I(i s + m d, j s + n d), where padding is -∞.

    Shape:
        (N, C, H, W) -> (N, C, H', W'); H' by `arithmetic.pool_size`.

    Reference:
        Goodfellow et al. 2016, "Deep Learning", Sec. 9.3.

    Example:
        >>> max_pool2d([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], 2)
        array([[[[6., 8.],
                 [3., 4.]]]])
    """
    x = maps("x", x)
    window = pool_window(size_of(x), kernel_size, stride, padding, dilation, ceil_mode)
    padded = window.pad(x, -np.inf)
    out: Array = np.maximum.reduce([window.seen(padded, m, n) for m, n in np.ndindex(window.kernel_size)])
    return out


def max_pool2d_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
) -> Array:
    """Each window hands its δ to its largest value; of equal ones to the first, row by row, as torch does.

    dL/dI(a, b) = Σ δ(i, j) over the windows whose maximum is at (a, b).

    Returns:
        Gradient of x.
    """
    x = maps("x", x)
    window = pool_window(size_of(x), kernel_size, stride, padding, dilation, ceil_mode)
    largest = max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)
    delta = gradient(grad_output, largest.shape)
    padded, inside = window.pad(x), window.pad(np.ones_like(x))
    grad, given = np.zeros_like(padded), np.zeros(largest.shape, bool)
    for m, n in np.ndindex(window.kernel_size):
        is_first = (window.seen(padded, m, n) == largest) & (window.seen(inside, m, n) == 1) & ~given
        window.seen(grad, m, n)[...] += delta * is_first
        given |= is_first
    return window.crop(grad)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of what each window sees; a stride of None takes `kernel_size`.

    S(i, j) = Σ_m Σ_n I(i s + m, j s + n) / c(i, j)

    c counts the values that the window sees, with the zeros of the padding (`count_include_pad`) or without. What
    hangs over beyond the padding (`ceil_mode`) never counts.

    Shape:
        (N, C, H, W) -> (N, C, H', W'); H' by `arithmetic.pool_size`.

    Reference:
        Goodfellow et al. 2016, "Deep Learning", Sec. 9.3.

    Example:
        >>> avg_pool2d([[[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]], 2, stride=1)
        array([[[[2., 3.],
                 [5., 6.]]]])
    """
    x = maps("x", x)
    window = pool_window(size_of(x), kernel_size, stride, padding, 1, ceil_mode)
    padded = window.pad(x)
    total: Array = np.add.reduce([window.seen(padded, m, n) for m, n in np.ndindex(window.kernel_size)])
    return total / window.counts(include_padding=count_include_pad)


def avg_pool2d_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Each window hands an equal share of its δ to every value that it sees.

    dL/dI(a, b) = Σ δ(i, j) / c(i, j) over the windows that see (a, b).

    Returns:
        Gradient of x.
    """
    x = maps("x", x)
    window = pool_window(size_of(x), kernel_size, stride, padding, 1, ceil_mode)
    share = gradient(grad_output, (*x.shape[:2], *window.output_size)) / window.counts(
        include_padding=count_include_pad
    )
    grad = np.zeros_like(window.pad(x))
    for m, n in np.ndindex(window.kernel_size):
        window.seen(grad, m, n)[...] += share
    return window.crop(grad)


def lp_pool2d(
    x: ArrayLike,
    norm_type: float,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of what each window sees, of the values as they are; a stride of None takes `kernel_size`.

    S(i, j) = (Σ_m Σ_n I(i s + m, j s + n)^p)^(1/p), p = `norm_type`

    p = 1 is the sum, p = 2 the length; with p the norm nears the largest value. As in torch the sum is the mean times
    the kernel's size, so that a window that hangs over (`ceil_mode`) weighs as much as a whole one, and the root of a
    negative sum (odd p) is nan.

    Shape:
        (N, C, H, W) -> (N, C, H', W'); H' by `arithmetic.pool_size` without padding.

    Reference:
        Sermanet, Chintala and LeCun 2012, "Convolutional Neural Networks Applied to House Numbers Digit
        Classification", arXiv:1204.3968, Sec. 2.2. Boureau, Ponce and LeCun 2010, "A Theoretical Analysis of Feature
        Pooling in Visual Recognition", ICML.

    Raises:
        ConfigError: `norm_type` is not a finite number above 0.

    Example:
        >>> lp_pool2d([[[[3, 0], [0, 4]]]], 2, 2)
        array([[[[5.]]]])
    """
    x = maps("x", x)
    if not 0 < norm_type < np.inf:
        raise ConfigError(
            f"norm_type is {norm_type}; it must be a finite number above 0. For the maximum take max_pool2d."
        )
    kernel_values = pool_window(size_of(x), kernel_size, stride, 0, 1, ceil_mode).kernel_size
    with np.errstate(invalid="ignore"):
        total = np.prod(kernel_values) * avg_pool2d(x**norm_type, kernel_size, stride, ceil_mode=ceil_mode)
        root: Array = total ** (1 / norm_type)
    return root


def lp_pool2d_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    norm_type: float,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The larger a value, the more of δ it gets, for p > 1.

    dL/dI(a, b) = Σ δ(i, j) S(i, j)^(1-p) I(a, b)^(p-1) over the windows that see (a, b), without those with S = 0: the
    norm has no gradient there, and torch takes 0.

    Returns:
        Gradient of x.
    """
    x = maps("x", x)
    norm = lp_pool2d(x, norm_type, kernel_size, stride, ceil_mode)
    delta = gradient(grad_output, norm.shape)
    kernel_values = pool_window(size_of(x), kernel_size, stride, 0, 1, ceil_mode).kernel_size
    with np.errstate(invalid="ignore", divide="ignore"):
        by_sum = np.where(norm == 0, 0, delta * norm ** (1 - norm_type))
        by_mean = np.prod(kernel_values) * by_sum
        return x ** (norm_type - 1) * avg_pool2d_backward(by_mean, x, kernel_size, stride, ceil_mode=ceil_mode)


def _correlate(x: Array, kernel: Array, stride: Pair, dilation: Pair, size: Pair) -> Array:
    """S(i, j) = Σ_m Σ_n I(i s + m d, j s + n d) K(m, n), and over the channels c of (N, C, H, W) and (O, C, kh, kw)."""
    out = np.zeros((len(x), len(kernel), *size))
    for m, n in np.ndindex(kernel.shape[2:]):
        out += np.einsum("ncij,oc->noij", seen(x, (m, n), size, stride, dilation), kernel[:, :, m, n])
    return out


def _swap(x: Array) -> Array:
    """The first two axes exchanged."""
    return x.swapaxes(0, 1)


def _spread(delta: Array, window: Window, size: Pair) -> Array:
    """δ among zeros: s - 1 between neighbours, (k - 1) d before, and after so many that `size` places have room."""
    reach = tuple((k - 1) * d for k, d in zip(window.kernel_size, window.dilation, strict=True))
    spread = np.zeros((*delta.shape[:2], size[0] + reach[0], size[1] + reach[1]))
    seen(spread, (reach[0], reach[1]), window.output_size, stride=window.stride, dilation=(1, 1))[...] = delta
    return spread


def _kernel_window(
    x: Array, weight: Array, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int
) -> Window:
    channels, filters = x.shape[1], len(weight)
    if groups < 1 or filters % groups or weight.shape[1] * groups != channels:
        raise ShapeError(
            f"x has {channels} channels and weight the shape {weight.shape}, with {groups} groups; weight needs the "
            "shape (O, channels / groups, kh, kw) and groups has to divide O."
        )
    return conv_window(size_of(x), size_of(weight), stride, padding, dilation)
