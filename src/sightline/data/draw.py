"""Random numbers without a generator: each one a pure function of what it is drawn for.

A generator hands out numbers in the order in which they are asked for, so a worker, a restart or another batch size
changes what every later sample gets. Here the number for (seed, epoch, index, stream, column) is computed from these
five alone by the splitmix64 hash, and nothing can change it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Streams keep the purposes apart: the draws of one stream say nothing about those of another.
AUGMENT_STREAM = 0  # mirror image and crop
ORDER_STREAM = 1
TURN_STREAM = 2  # upside down and rotation
POLICY_STREAM = 3  # RandAugment, TrivialAugment, AugMix
JITTER_STREAM = 4  # brightness, contrast, saturation, hue
ERASE_STREAM = 5  # whether and where a rectangle is erased
NOISE_STREAM = 6  # what it is filled with
BALANCE_STREAM = 7
SHARD_STREAM = 8  # the order in which shards are read

# The constants of splitmix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
# with the mixing of Vigna's public-domain splitmix64.c.
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = 0xFFFFFFFFFFFFFFFF


def draw(
    seed: int,
    epoch: int,
    indices: Tensor | np.ndarray | Sequence[int],
    count: int,
    *,
    stream: int = AUGMENT_STREAM,
) -> Tensor:
    """Uniform random numbers for samples, each a pure function of (seed, epoch, index, stream, column).

    Args:
        seed: of the run.
        epoch: of the run.
        indices: one integer a sample, the same wherever and whenever the sample is used.
        count: how many numbers each sample gets; asking for more leaves the first ones as they were.
        stream: what the numbers are for.

    Returns:
        float32 (N, count) in [0, 1), multiples of 2**-24, on the device of `indices`.

    Example:
        >>> draw(0, 3, [7, 8], 2)
        tensor([[0.9547, 0.2720],
                [0.8065, 0.8975]])
        >>> draw(0, 3, [8], 1)
        tensor([[0.8065]])
    """
    bits = _bits(seed, epoch, torch.as_tensor(indices, dtype=torch.int64), count, stream)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24  # 24 bits are what a float32 in [0, 1) holds exactly


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """The order in which an epoch visits `size` samples, a pure function of its arguments.

    Returns:
        int64 (size,), a permutation of 0 ... size - 1.

    Example:
        >>> epoch_order(0, 1, 6)
        tensor([5, 2, 1, 0, 3, 4])
    """
    keys = _bits(seed, epoch, torch.arange(size), 1, ORDER_STREAM)[:, 0]
    return torch.argsort(keys, stable=True)  # stable: even two equal keys have one order


def sort_keys(seed: int, epoch: int, indices: Tensor, *, stream: int) -> Tensor:
    """A random whole number for each index; sorted by them, things lie in random order.

    Returns:
        int64 (N,), of all 64 bits, so that two are hardly ever equal.

    Example:
        >>> sort_keys(0, 0, torch.arange(5), stream=BALANCE_STREAM).argsort()
        tensor([4, 0, 1, 3, 2])
    """
    return _bits(seed, epoch, indices, 1, stream)[:, 0]


def _bits(seed: int, epoch: int, indices: Tensor, count: int, stream: int) -> Tensor:
    """64 random bits for each (index, column): int64 (N, count)."""
    state = 0
    for word in (seed, epoch, stream):
        state = _absorb(state, word)
    per_index = _mix(_signed(state) + _signed(_GAMMA) * (indices[:, None] + 1))
    columns = torch.arange(1, count + 1, device=indices.device)
    return _mix(per_index + _signed(_GAMMA) * columns)


def _absorb(state: int, word: int) -> int:
    """The splitmix64 output number `word` of the generator that starts at `state`, in Python's integers."""
    z = (state + _GAMMA * (word + 1)) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def _mix(z: Tensor) -> Tensor:
    """The output function of splitmix64 on int64 tensors, whose sums and products wrap around modulo 2**64."""
    z = (z ^ _shift_right(z, 30)) * _signed(_MIX_1)
    z = (z ^ _shift_right(z, 27)) * _signed(_MIX_2)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Shift in zeros from the left, where `>>` on int64 copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    """The int64 that has the same 64 bits."""
    return word - (1 << 64) if word >> 63 else word
