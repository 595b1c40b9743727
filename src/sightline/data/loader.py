"""From stored pictures to batches of numbers, whole batches at a time and in this process.

There are no workers: flip, crop and normalisation of a batch are a few tensor operations, cheaper than sending the
result from one process to another.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.augment import Augment
from sightline.data.draw import epoch_order
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network takes in one step.

    Args:
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,).
        rows: int64 (N,), the rows of the store that it was made from.
        store: where the pictures are from.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    store: Store

    def __len__(self) -> int:
        return len(self.rows)

    def names(self) -> list[str]:
        """The pictures' names in their catalog."""
        return [self.store.name(row) for row in self.rows.tolist()]


@dataclass(frozen=True, eq=False)
class TrainLoader:
    """Shuffled, augmented batches; each one a pure function of (seed, epoch, step).

    Every picture comes once an epoch. The last batch is smaller where they do not divide evenly; a last batch of one
    picture joins its neighbour, since batch norm has nothing to normalise over in it.

    Args:
        store: the training pictures.
        preprocess: normalises them.
        augment: flips and crops them.
        batch_size: pictures a step.
        seed: of the run.
        device: where the batches go, as uint8, to be normalised there.
        memory_format: of the images.

    Raises:
        ConfigError: the batch size is below 1, or the augmentation does not suit the pictures.
        DataError: there are fewer than two pictures.
    """

    store: Store
    preprocess: Preprocess
    augment: Augment
    batch_size: int
    seed: int
    device: torch.device = _CPU
    memory_format: torch.memory_format = torch.channels_last

    def __post_init__(self) -> None:
        _check_batch_size(self.batch_size)
        _check_size(self.store, self.preprocess)
        self.augment.check(self.store)
        if len(self.store) < 2:
            raise DataError(
                f"training needs at least two pictures, got {len(self.store)}: batch norm cannot take a batch of one. "
                "Add pictures, or look at how they were split."
            )

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        full, rest = divmod(len(self.store), self.batch_size)
        return full if rest == 0 or (rest == 1 and full > 0) else full + 1

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: from 0.
            start_step: how many batches to pass over, at no cost; those that follow are what they would have been.

        Raises:
            ConfigError: the epoch has no such step.
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            raise ConfigError(
                f"an epoch of {len(self.store)} pictures in batches of {self.batch_size} has {self.steps_per_epoch} "
                f"steps, and cannot go on after step {start_step}. Use the batch size and the data of the run's start."
            )
        return self._batches(epoch, start_step)

    def _batches(self, epoch: int, start_step: int) -> Iterator[Batch]:
        order = epoch_order(self.seed, epoch, len(self.store))
        for step in range(start_step, self.steps_per_epoch):
            is_last = step == self.steps_per_epoch - 1
            rows = order[step * self.batch_size : None if is_last else (step + 1) * self.batch_size]
            pictures = self.augment.batch(self.store, rows, seed=self.seed, epoch=epoch).to(self.device)
            images = self.preprocess.tensor(pictures).contiguous(memory_format=self.memory_format)
            yield Batch(images, self.store.labels[rows].to(self.device), rows, self.store)


@dataclass(frozen=True, eq=False)
class EvalLoader:
    """Every picture once, in the store's order, as it is; the last batch is as small as it comes.

    Args:
        store: the pictures, all at the network's size.
        preprocess: normalises them.
        batch_size: pictures at a time.
        device: where the batches go.

    Raises:
        ConfigError: the batch size is below 1, or the pictures are not at the network's size.
    """

    store: Store
    preprocess: Preprocess
    batch_size: int
    device: torch.device = _CPU

    def __post_init__(self) -> None:
        _check_batch_size(self.batch_size)
        _check_size(self.store, self.preprocess)
        if self.store.is_ragged:
            raise ConfigError(
                "evaluation needs pictures at the network's size, and the store keeps sizes of their own. "
                "Build it with keep_margin=None."
            )

    def __len__(self) -> int:
        return math.ceil(len(self.store) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.split(torch.arange(len(self.store)), self.batch_size):
            if len(rows) == 0:  # a split of nothing is one empty part
                return
            images = self.preprocess.tensor(self.store.take(rows).to(self.device))
            yield Batch(images, self.store.labels[rows].to(self.device), rows, self.store)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"the batch size must be 1 or more, got {batch_size}.")


def _check_size(store: Store, preprocess: Preprocess) -> None:
    if store.size != preprocess.input_size[1:]:
        raise ConfigError(
            f"the store makes pictures of {store.size[0]}x{store.size[1]} px, and the network takes "
            f"{preprocess.input_size[1]}x{preprocess.input_size[2]}. Build the store for the same input_size."
        )
