"""A sample's random numbers depend on (seed, epoch, index, stream, column) and on nothing else."""

import math

import numpy as np
import pytest
import torch

from sightline.data.draw import ORDER_STREAM, draw, epoch_order

MASK = 2**64 - 1

# As `slow_bits` below computes them.
PINNED_DRAWS = [[16017874, 4563545], [13531148, 15056935]]
PINNED_ORDER = [0, 3, 9, 4, 10, 5, 7, 11, 2, 1, 8, 6]


class Splitmix64:
    """The generator as Sebastiano Vigna's public-domain C code writes it, in plain integers."""

    def __init__(self, state: int) -> None:
        self.state = state & MASK

    def __next__(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def output(state: int, number: int) -> int:
    """Output `number` (from 0) of the generator started at `state`, found by stepping there."""
    generator = Splitmix64(state)
    for _ in range(number):
        next(generator)
    return next(generator)


def slow_bits(seed: int, epoch: int, index: int, stream: int, column: int) -> int:
    state = 0
    for word in (seed, epoch, stream, index):
        state = output(state, word)
    return output(state, column)


def test_the_oracle_is_splitmix64() -> None:
    # The first outputs for seed 1234567, as in the test vectors of Rosetta Code's "Pseudo-random numbers/Splitmix64".
    generator = Splitmix64(1234567)
    assert [next(generator) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, 0), (17, 3, 0), (5, 40, 7)])
def test_numbers_equal_plain_integer_arithmetic(seed: int, epoch: int, stream: int) -> None:
    indices = [0, 1, 2, 999, 31]
    expected = [
        [(slow_bits(seed, epoch, index, stream, column) >> 40) / 2**24 for column in range(4)] for index in indices
    ]
    assert draw(seed, epoch, indices, 4, stream=stream).tolist() == expected


def test_pinned_numbers() -> None:
    """These never change: a run that is resumed by a later version goes on with the same numbers."""
    assert (draw(0, 3, [7, 8], 2) * 2**24).to(torch.int64).tolist() == PINNED_DRAWS
    assert epoch_order(42, 5, 12).tolist() == PINNED_ORDER


def test_a_sample_draws_the_same_whatever_the_batch() -> None:
    together = draw(1, 2, torch.arange(100), 6)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(1, 2, shuffled, 6), together[shuffled])
    for index in (0, 1, 57, 99):
        assert torch.equal(draw(1, 2, [index], 6)[0], together[index])


def test_more_columns_leave_the_first_ones_alone() -> None:
    assert torch.equal(draw(1, 2, range(50), 9)[:, :3], draw(1, 2, range(50), 3))


def test_indices_may_be_a_list_an_array_or_a_tensor() -> None:
    expected = draw(3, 1, [5, 6], 2)
    assert torch.equal(draw(3, 1, np.array([5, 6]), 2), expected)
    assert torch.equal(draw(3, 1, torch.tensor([5, 6]), 2), expected)


def test_every_argument_matters() -> None:
    base = draw(1, 1, range(64), 2)
    for other in (draw(2, 1, range(64), 2), draw(1, 2, range(64), 2), draw(1, 1, range(64), 2, stream=9)):
        assert not (base == other).any(dim=1).any()
    assert not torch.equal(draw(1, 2, range(64), 2), draw(2, 1, range(64), 2))  # the words do not commute


def test_a_seed_of_any_size_or_sign_is_taken() -> None:
    draws = [draw(seed, 0, [0, 1], 2) for seed in (-1, 2**63, 2**64 - 2, 10**30)]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(draws[first], draws[second])


def test_numbers_are_uniform() -> None:
    numbers = draw(0, 0, range(200_000), 2)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0 and numbers.max() < 1
    flat = numbers.double().flatten()
    # Five standard errors of the mean, and of the count in each of 64 bins.
    assert abs(flat.mean() - 0.5) < 5 * math.sqrt(1 / 12 / len(flat))
    counts = torch.histc(flat, bins=64, min=0, max=1)
    expected = len(flat) / 64
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("indices", lambda: draw(0, 0, range(100_000), 1), lambda: draw(0, 0, range(1, 100_001), 1)),
        ("epochs", lambda: draw(0, 0, range(100_000), 1), lambda: draw(0, 1, range(100_000), 1)),
        ("seeds", lambda: draw(0, 0, range(100_000), 1), lambda: draw(1, 0, range(100_000), 1)),
        ("streams", lambda: draw(0, 0, range(100_000), 1), lambda: draw(0, 0, range(100_000), 1, stream=1)),
        (
            "columns",
            lambda: draw(0, 0, range(100_000), 2)[:, :1],
            lambda: draw(0, 0, range(100_000), 2)[:, 1:],
        ),
    ],
)
def test_neighbours_are_uncorrelated(name: str, first, second) -> None:
    pair = torch.cat([first(), second()], dim=1).double()
    correlation = torch.corrcoef(pair.T)[0, 1]
    assert abs(correlation) < 5 / math.sqrt(100_000), name


def test_an_order_is_a_permutation_and_differs_between_epochs_and_seeds() -> None:
    orders = [epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000))
    for first in range(4):
        for second in range(first):
            # Two random permutations agree in one place on average; ten are a chance of one in ten million.
            assert (orders[first] == orders[second]).sum() < 10
    assert torch.equal(epoch_order(0, 1, 1000), orders[1])


def test_an_order_is_the_order_of_the_hashes() -> None:
    def signed(bits: int) -> int:
        return bits - 2**64 if bits >= 2**63 else bits

    keys = [signed(slow_bits(7, 2, index, ORDER_STREAM, 0)) for index in range(50)]
    assert epoch_order(7, 2, 50).tolist() == sorted(range(50), key=keys.__getitem__)


def test_every_place_gets_every_sample() -> None:
    """Over many epochs each sample comes first, second, ... equally often."""
    orders = torch.stack([epoch_order(0, epoch, 8) for epoch in range(4000)])
    for place in range(8):
        counts = torch.bincount(orders[:, place], minlength=8)
        assert (counts - 500).abs().max() < 5 * math.sqrt(500), place


def test_an_empty_order() -> None:
    assert epoch_order(0, 0, 0).tolist() == []
