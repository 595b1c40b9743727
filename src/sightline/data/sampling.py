"""Which pictures an epoch shows, in which order: pure functions of the seed, the epoch and the labels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.draw import BALANCE_STREAM, ORDER_STREAM, SHARD_STREAM, epoch_order, sort_keys
from sightline.errors import ConfigError

SamplerName = Literal["shuffle", "balanced"]


@dataclass(frozen=True, eq=False)
class Showings:
    """The pictures of an epoch in the order in which they are shown.

    Args:
        rows: int64 (N,), rows of the store.
        repeats: int64 (N,), 0, 1, 2, ... for the showings of the same picture, in any order: tells them apart.
    """

    rows: Tensor
    repeats: Tensor

    def at(self, places: Tensor) -> "Showings":
        """Those at some places of the order."""
        return Showings(self.rows[places], self.repeats[places])


def require_countable(sampler: SamplerName, *, is_multilabel: bool) -> None:
    """Refuses a balanced epoch of pictures with several labels each.

    Raises:
        ConfigError: it is asked for.
    """
    if sampler == "balanced" and is_multilabel:
        raise ConfigError(
            "sampler is balanced, and the pictures have several labels each: showing one label's pictures more often "
            "shows others more often, too. Take --class-weights balanced, and leave --sampler out."
        )


def shuffled(count: int, *, seed: int, epoch: int) -> Showings:
    """Every picture once.

    Example:
        >>> shuffled(4, seed=0, epoch=0).rows
        tensor([2, 3, 0, 1])
    """
    return Showings(epoch_order(seed, epoch, count), torch.zeros(count, dtype=torch.int64))


def windowed(shards: npt.NDArray[np.int32], *, window: int, seed: int, epoch: int) -> Showings:
    """Every picture once, a few shards at a time: for pictures that are read from a disk or a server in every epoch.

    The shards are put in random order, and each `window` of them in turn are shuffled together. So no picture comes
    near one of a shard that is not in its window; with as many shards in the window as there are, it is `shuffled`.

    Args:
        shards: int (N,), in which shard each row lies.
        window: how many are shuffled together; 1 or more.
        seed: of the run.
        epoch: of the run.

    Example:
        >>> windowed(np.array([0, 0, 1, 1, 2, 2]), window=2, seed=0, epoch=0).rows
        tensor([5, 2, 3, 4, 0, 1])
        >>> windowed(np.array([0, 0, 1, 1]), window=2, seed=0, epoch=0).rows  # of all: as `shuffled`
        tensor([2, 3, 0, 1])
    """
    present, which = np.unique(shards, return_inverse=True)
    places = np.empty(len(present), np.int64)
    places[sort_keys(seed, epoch, torch.arange(len(present)), stream=SHARD_STREAM).argsort(stable=True).numpy()] = (
        np.arange(len(present))
    )
    keys = sort_keys(seed, epoch, torch.arange(len(shards)), stream=ORDER_STREAM).numpy()
    order = np.lexsort((keys, places[which] // window))
    return Showings(torch.from_numpy(order), torch.zeros(len(shards), dtype=torch.int64))


def balanced(labels: Tensor, *, seed: int, epoch: int) -> Showings:
    """Every class as often, in an epoch of the usual length.

    The run is one long sequence in which the classes take turns; an epoch is a piece of it, shuffled. A class deals
    out its pictures like a pack of cards: none comes again before all have come, then the pack is shuffled anew. It
    goes on from epoch to epoch, so a class too large for an epoch shows the rest of its pictures in the next.

    Args:
        labels: int64 (N,), of the training pictures. Numbers that no picture has take no turn.
        seed: of the run.
        epoch: of the run.

    Returns:
        N showings: N / classes of each class, rounded down or up.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> showings = balanced(labels, seed=0, epoch=0)
        >>> showings.rows.tolist(), showings.repeats.tolist()
        ([5, 1, 5, 5, 4, 0], [2, 0, 0, 1, 0, 0])
    """
    # A showing is number `place` of its class, counted from the start of the run, and in pass `place // size` over it.
    _, kinds, sizes = np.unique(labels.numpy(), return_inverse=True, return_counts=True)
    count = len(kinds)
    start, stop = _turns(epoch * count, len(sizes)), _turns((epoch + 1) * count, len(sizes))  # places of this epoch
    first_pass = start // sizes
    num_passes = (stop - 1) // sizes - first_pass + 1

    # Every pass that the epoch touches, whole and in order; then what belongs to the epoch is cut out of it.
    rows = np.repeat(np.arange(count), num_passes[kinds])
    passes = first_pass[kinds[rows]] + _place_in_block(num_passes[kinds])
    keys = sort_keys(seed, 0, torch.from_numpy(passes * count + rows), stream=BALANCE_STREAM).numpy()
    order = np.lexsort((keys, passes, kinds[rows]))
    rows, passes = rows[order], passes[order]
    kind = kinds[rows]
    place = (first_pass * sizes)[kind] + _place_in_block(sizes * num_passes)
    is_shown = (start[kind] <= place) & (place < stop[kind])
    rows, passes = rows[is_shown], passes[is_shown]

    first_shown = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_shown, rows, passes)
    mixed = epoch_order(seed, epoch, count)
    return Showings(torch.from_numpy(rows)[mixed], torch.from_numpy(passes - first_shown[rows])[mixed])


def _turns(time: int, num_classes: int) -> npt.NDArray[np.int64]:
    """How many turns each class has had before a time, where they take turns at times 0, 1, 2, ...: int64 (K,)."""
    return (time - np.arange(num_classes) + num_classes - 1) // num_classes


def _place_in_block(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, ... in each of some adjacent blocks.

    Example:
        >>> _place_in_block(np.array([2, 3]))
        array([0, 1, 0, 1, 2])
    """
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
