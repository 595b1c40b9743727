"""The second part of the textbook: normalisation, the dense layer and the loss. Read `textbook.py` first."""

import numpy as np
from numpy.typing import ArrayLike

from sightline.errors import ConfigError, ShapeError
from sightline.nn.textbook_shape import Array, gradient, maps, rows, vector

ALL_BUT_CHANNELS = (0, 2, 3)


def batch_norm(
    x: ArrayLike,
    running_mean: Array | None,
    running_var: Array | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Each channel is brought to mean 0 and variance 1, then to a learned scale and shift.

    S = γ Î + β, Î = (I - μ) / √(σ² + ε)

    In training, μ and σ² = Σ (I - μ)² / M are those of the M = N H W values of the channel. The running ones move
    towards them, in the arrays given: running ← (1 - momentum) running + momentum new, where the new variance is the
    unbiased one, Σ (I - μ)² / (M - 1). In evaluation, μ and σ² are the running ones.

    Shape:
        x (N, C, H, W); running_mean, running_var, weight γ, bias β (C,) -> (N, C, H, W).

    Reference:
        Ioffe and Szegedy 2015, "Batch Normalization", arXiv:1502.03167, Algorithms 1 and 2.

    Raises:
        ShapeError: too few values to have a variance, or no running statistics in evaluation.

    Example:
        >>> batch_norm([[[[1, 3]]]], None, None, training=True, eps=0)
        array([[[[-1.,  1.]]]])
    """
    x = maps("x", x)
    mean, variance = _statistics(x, running_mean, running_var, training)
    gamma, beta = _scale(x, weight), _shift(x, bias)
    if training and running_mean is not None and running_var is not None:
        count = x.size // x.shape[1]
        unbiased = variance * count / (count - 1)
        np.copyto(running_mean, (1 - momentum) * running_mean + momentum * mean.ravel())
        np.copyto(running_var, (1 - momentum) * running_var + momentum * unbiased.ravel())
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


def batch_norm_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    running_mean: Array | None,
    running_var: Array | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """In training, a value acts on the whole channel, through μ and σ².

    dL/dγ = Σ δ Î,  dL/dβ = Σ δ,  dL/dÎ = γ δ
    dL/dσ² = Σ dL/dÎ (I - μ) · -½ (σ² + ε)^(-3/2)
    dL/dμ = Σ dL/dÎ · -1 / √(σ² + ε)
    dL/dI = dL/dÎ / √(σ² + ε) + dL/dσ² 2 (I - μ) / M + dL/dμ / M

    In evaluation, only the first term of the last line is left. The running statistics stay as they are, so `momentum`
    has no part.

    Returns:
        Gradients of x, weight and bias.

    Reference:
        Ioffe and Szegedy 2015, arXiv:1502.03167, Sec. 3. Its dL/dμ has one more term, which is a multiple of
        Σ (I - μ) = 0.
    """
    x = maps("x", x)
    delta = gradient(grad_output, x.shape)
    mean, variance = _statistics(x, running_mean, running_var, training)
    root = np.sqrt(variance + eps)
    by_normalised = _scale(x, weight) * delta
    grad_x = by_normalised / root
    if training:
        count = x.size // x.shape[1]
        by_variance = _over_channel(by_normalised * (x - mean)) * -0.5 / root**3
        by_mean = _over_channel(by_normalised) * -1 / root
        grad_x = grad_x + by_variance * 2 * (x - mean) / count + by_mean / count
    grad_weight = None if weight is None else _over_channel(delta * (x - mean) / root).ravel()
    return grad_x, grad_weight, None if bias is None else _over_channel(delta).ravel()


def local_response_norm(x: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """A value is divided by a power of the energy of `size` neighbouring channels at its place, its own in the middle.

    S_c = I_c D_c^-β
    D_c = k + α / size Σ_e I_e² over the channels e from c - ⌊size / 2⌋ to c + ⌊(size - 1) / 2⌋, as far as there are any

    Shape:
        (N, C, H, W) -> (N, C, H, W).

    Reference:
        Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
        NeurIPS, Sec. 3.3.

    Deviation:
        α is divided by `size`, as in torch and Caffe. The paper does not divide: its n = 5, k = 2, α = 1e-4, β = 0.75
        are size=5, k=2, alpha=5e-4, beta=0.75 here.
    """
    x = maps("x", x)
    return x * _energy(x, size, alpha, k) ** -beta


def local_response_norm_backward(
    grad_output: ArrayLike, x: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """A value acts on its own output and, through D, on those of its neighbours.

    dL/dI_e = δ_e D_e^-β - 2 I_e α / size Σ_c β δ_c I_c D_c^(-β-1) over the channels c that have e for a neighbour

    Returns:
        Gradient of x.
    """
    x = maps("x", x)
    delta = gradient(grad_output, x.shape)
    energy = _energy(x, size, alpha, k)
    by_energy = -beta * delta * x * energy ** (-beta - 1)
    # e is at most ⌊size / 2⌋ channels before c, so c is at most that many after e: before and after are exchanged.
    by_square = alpha / size * _neighbours(by_energy, before=(size - 1) // 2, after=size // 2)
    return delta * energy**-beta + 2 * x * by_square


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """S = W I + b for every row I of x.

    Shape:
        x (N, C), weight (O, C), bias (O,) -> (N, O).

    Reference:
        Goodfellow, Bengio and Courville 2016, "Deep Learning", Sec. 6.1.

    Example:
        >>> linear([[1, 2]], [[3, 4], [5, 6]], [0, 1])
        array([[11., 18.]])
    """
    x, weight = _dense(x, weight)
    out = x @ weight.T
    return out if bias is None else out + vector("bias", bias, len(weight))


def linear_backward(
    grad_output: ArrayLike, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None
) -> tuple[Array, Array, Array | None]:
    """dL/dI = Wᵀ δ for every row; dL/dW = Σ δ Iᵀ and dL/db = Σ δ, over the rows.

    Returns:
        Gradients of x, weight and bias.

    Reference:
        Goodfellow et al. 2016, "Deep Learning", Algorithm 6.4.
    """
    x, weight = _dense(x, weight)
    delta = gradient(grad_output, (len(x), len(weight)))
    return delta @ weight, delta.T @ x, None if bias is None else delta.sum(axis=0)


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike, label_smoothing: float = 0.0) -> float:
    """The mean surprise, in nats, at the labels.

    L = -1 / N Σ_n Σ_k q_nk log p_nk, p_nk = exp z_nk / Σ_l exp z_nl

    q is 1 at the label and 0 elsewhere; with `label_smoothing` ε, (1 - ε) times that, plus ε / K everywhere.

    Shape:
        logits z (N, K), labels (N,) whole numbers below K -> one number.

    Reference:
        Goodfellow et al. 2016, "Deep Learning", Sec. 6.2.2.3. Szegedy et al. 2015, "Rethinking the Inception
        Architecture", arXiv:1512.00567, Sec. 7.

    Raises:
        ShapeError: labels do not fit the logits.
        ConfigError: `label_smoothing` is outside [0, 1].

    Example:
        >>> round(softmax_cross_entropy([[0, 0]], [1]), 6)  # log 2
        0.693147
    """
    logits = rows("logits", logits)
    return float(-(_targets(logits, labels, label_smoothing) * _log_softmax(logits)).sum() / len(logits))


def softmax_cross_entropy_backward(
    grad_output: ArrayLike, logits: ArrayLike, labels: ArrayLike, label_smoothing: float = 0.0
) -> Array:
    """dL/dz = (p - q) / N, times δ, which is one number.

    Returns:
        Gradient of logits.
    """
    logits = rows("logits", logits)
    delta = gradient(grad_output, ())
    return delta * (np.exp(_log_softmax(logits)) - _targets(logits, labels, label_smoothing)) / len(logits)


def _statistics(x: Array, running_mean: Array | None, running_var: Array | None, training: bool) -> tuple[Array, Array]:
    """μ and σ², (1, C, 1, 1)."""
    channels = x.shape[1]
    if (running_mean is None) != (running_var is None):
        raise ShapeError("batch_norm got one of running_mean and running_var. Give both or neither.")
    running = None
    if running_mean is not None and running_var is not None:
        running = vector("running_mean", running_mean, channels), vector("running_var", running_var, channels)
    if training:
        if x.size <= channels:
            raise ShapeError(
                f"batch_norm needs more than one value a channel in training, got x of shape {x.shape}. "
                "Give it more pictures or larger maps."
            )
        return x.mean(axis=ALL_BUT_CHANNELS, keepdims=True), x.var(axis=ALL_BUT_CHANNELS, keepdims=True)
    if running is None:
        raise ShapeError("batch_norm needs running_mean and running_var in evaluation, got None.")
    return running[0].reshape(1, -1, 1, 1), running[1].reshape(1, -1, 1, 1)


def _scale(x: Array, weight: ArrayLike | None) -> Array:
    return np.ones((1, 1, 1, 1)) if weight is None else vector("weight", weight, x.shape[1]).reshape(1, -1, 1, 1)


def _shift(x: Array, bias: ArrayLike | None) -> Array:
    return np.zeros((1, 1, 1, 1)) if bias is None else vector("bias", bias, x.shape[1]).reshape(1, -1, 1, 1)


def _over_channel(x: Array) -> Array:
    """Σ over the values of a channel, (1, C, 1, 1)."""
    total: Array = x.sum(axis=ALL_BUT_CHANNELS, keepdims=True)
    return total


def _energy(x: Array, size: int, alpha: float, k: float) -> Array:
    """D_c = k + α / size Σ_e I_e²."""
    if size < 1:
        raise ShapeError(f"size is {size}; it must be 1 or more channels.")
    return k + alpha / size * _neighbours(x**2, before=size // 2, after=(size - 1) // 2)


def _neighbours(x: Array, *, before: int, after: int) -> Array:
    """Σ_e x_e over the channels e from c - before to c + after, for every c."""
    channels = range(x.shape[1])
    return np.stack([x[:, max(c - before, 0) : c + after + 1].sum(axis=1) for c in channels], axis=1)


def _dense(x: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    x, weight = rows("x", x), rows("weight", weight)
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(f"weight needs the shape (O, {x.shape[1]}) for x of shape {x.shape}, got {weight.shape}.")
    return x, weight


def _log_softmax(logits: Array) -> Array:
    """log p. The largest logit is taken away first, which changes no p and keeps exp finite."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities


def _targets(logits: Array, labels: ArrayLike, label_smoothing: float) -> Array:
    """q, (N, K)."""
    num_rows, num_classes = logits.shape
    labels = np.asarray(labels)
    if labels.shape != (num_rows,) or labels.dtype.kind not in "iu":
        raise ShapeError(
            f"labels need the shape ({num_rows},), a whole number a row of logits, got {labels.shape} of "
            f"{labels.dtype}."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ShapeError(
            f"labels go from {labels.min()} to {labels.max()}; for {num_classes} logits a row they need to be from 0 "
            f"to {num_classes - 1}."
        )
    if not 0 <= label_smoothing <= 1:
        raise ConfigError(f"label_smoothing is {label_smoothing}; it must be from 0 to 1.")
    targets: Array = (1 - label_smoothing) * np.eye(num_classes)[labels] + label_smoothing / num_classes
    return targets
