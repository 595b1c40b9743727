"""From stored pictures to batches of numbers, whole batches at a time.

A batch of the run is made of the pictures of one step, over all processes. It is a pure function of (seed, epoch,
step); what a process, a worker thread or a micro-batch gets of it is some of its rows, the same numbers in any case.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import get_args

import torch
from torch import Tensor

from sightline.data.augment import Augment
from sightline.data.mix import Mix, Pairing
from sightline.data.prefetch import prefetched
from sightline.data.preprocess import Preprocess
from sightline.data.residence import resident
from sightline.data.sampling import SamplerName, Showings, balanced, require_countable, shuffled, windowed
from sightline.data.shard_images import ShardImages
from sightline.data.store import Store
from sightline.data.targets import fits, is_multilabel, shares_of, targets_of
from sightline.data.transfer import sent, with_number
from sightline.errors import ConfigError, DataError

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network takes in one step, in one process.

    Args:
        images: float32 (N, C, H, W), normalised; N may be 0, where there are fewer pictures than processes.
        labels: int64 (N,), each picture's own class; of multi-label data uint8 (N, K).
        rows: int64 (N,), the rows of the store that it was made from, on the CPU.
        store: where the pictures are from.
        targets: what the network is to answer: the labels; or float32 (N, K), a share for each class, where pictures
            are mixed or may have several labels.
        global_size: pictures of this step in all processes.
        sharers: processes among which they are dealt out, one by one in turn; any others have none of this step.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    store: Store
    targets: Tensor
    global_size: int
    sharers: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def names(self) -> list[str]:
        """The pictures' names in their catalog."""
        return [self.store.name(row) for row in self.rows.tolist()]

    def parts(self, count: int) -> list["Batch"]:
        """Micro-batches: the same pictures in the same order, a few at a time.

        Every process has as many of them, since those that train together wait for each other in each: how many is a
        function of `global_size`, `sharers` and the count.

        Args:
            count: how many; fewer where a process would have one with a single picture, which batch norm cannot take.

        Returns:
            Parts whose sizes differ by one at most, each of two pictures or more; where this batch is empty, as many
            empty ones; where `global_size` is 1, the batch itself. Their tensors are views.

        Raises:
            ConfigError: the count is below 1.
        """
        if count < 1:
            raise ConfigError(f"a batch is split into 1 part or more, got {count}.")
        smallest = self.global_size // self.sharers  # share of a process that has any
        count = max(1, min(count, smallest // 2))
        tensors = (self.images, self.labels, self.rows, self.targets)
        pieces = zip(*(tensor.tensor_split(count) for tensor in tensors), strict=True)
        return [
            Batch(images, labels, rows, self.store, targets, self.global_size, self.sharers)
            for images, labels, rows, targets in pieces
        ]


@dataclass(frozen=True, eq=False)
class TrainLoader:
    """Shuffled, augmented, mixed batches; each one a pure function of (seed, epoch, step).

    An epoch shows as many pictures as there are. The last batch is smaller where they do not divide evenly. Batch norm
    has nothing to normalise over in one picture: a last batch of one joins its neighbour, and of one that is too small
    for all processes some get nothing, so that the others have two or more.

    Args:
        store: the training pictures.
        preprocess: normalises them.
        augment: flips and crops them.
        batch_size: pictures a step, over all processes.
        seed: of the run.
        device: where the batches go, as uint8, to be normalised and mixed there. Pictures of one size that fit in a
            quarter of a GPU's free memory are kept and augmented there.
        memory_format: of the images.
        mix: Mixup and CutMix; None for none.
        sampler: "shuffle", every picture once an epoch; "balanced", every class as often: of large classes some
            pictures are passed over until a later epoch, those of small ones come several times, augmented differently.
        workers: threads that prepare the next batches; at most `workers` + 1 batches wait. They are threads and not
            processes: torch lets go of Python's lock while it resizes, gathers and normalises, nothing is copied
            between processes, and no /dev/shm is needed. The batches are the same with any number, and with none.
        rank: which process this is, from 0.
        world_size: how many there are. Each gets every `world_size`-th picture of a step, from picture `rank` on; where
            that would leave a process with one, as many processes as can have two share the step in this way.
        num_classes: of the targets; needed for `mix`.
        window: how many tar shards are shuffled together, see `sampling.windowed`; 0 shuffles all pictures.

    Raises:
        ConfigError: a number lies outside its range, or the augmentation does not suit the pictures.
        DataError: there are fewer than two pictures.
    """

    store: Store
    preprocess: Preprocess
    augment: Augment
    batch_size: int
    seed: int
    device: torch.device = _CPU
    memory_format: torch.memory_format = torch.channels_last
    mix: Mix | None = None
    sampler: SamplerName = "shuffle"
    workers: int = 0
    rank: int = 0
    world_size: int = 1
    num_classes: int = 0
    window: int = 0

    def __post_init__(self) -> None:
        _check_shares(self.batch_size, self.rank, self.world_size)
        _check_size(self.store, self.preprocess)
        self.augment.check(self.store)
        if self.world_size > 1 and self.batch_size < 2 * self.world_size:
            raise ConfigError(
                f"a batch of {self.batch_size} pictures is too small for {self.world_size} processes: each needs two, "
                f"since batch norm cannot take one. Set --batch-size to {2 * self.world_size} or more: it counts the "
                "pictures of all processes."
            )
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}; it must be 0 or more.")
        if self.sampler not in get_args(SamplerName):
            raise ConfigError(f"sampler is {self.sampler!r}; it must be one of {', '.join(get_args(SamplerName))}.")
        if len(self.store) < 2:
            raise DataError(
                f"training needs at least two pictures, got {len(self.store)}: batch norm cannot take a batch of one. "
                "Add pictures, or look at how they were split."
            )
        require_countable(self.sampler, is_multilabel=is_multilabel(self.store.labels))
        if self.mix is not None and not fits(self.store.labels, self.num_classes):
            what = "the number of label columns" if is_multilabel(self.store.labels) else "above the greatest label"
            number = self.store.labels.shape[1] if is_multilabel(self.store.labels) else int(self.store.labels.max())
            raise ConfigError(f"mixing needs num_classes, {what}, {number}; got {self.num_classes}.")

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has, in every process."""
        full, rest = divmod(len(self.store), self.batch_size)
        return full if rest == 0 or (rest == 1 and full > 0) else full + 1

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """This process's share of each batch of an epoch.

        Args:
            epoch: from 0. The order depends on it and on the seed alone: there is no state to set.
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
        if self.sampler == "balanced":
            showings = balanced(self.store.labels, seed=self.seed, epoch=epoch)
        elif self.window and isinstance(self.store.images, ShardImages):
            shards = self.store.images.shard[self.store.sources]
            showings = windowed(shards, window=self.window, seed=self.seed, epoch=epoch)
        else:
            showings = shuffled(len(self.store), seed=self.seed, epoch=epoch)
        make = partial(self._batch, showings, self._pictures, epoch)  # the pictures move in this thread, not in several
        yield from prefetched(make, range(start_step, self.steps_per_epoch), workers=self.workers)

    @cached_property
    def _pictures(self) -> Store:
        """The store, on the device where its pictures can be kept there."""
        return resident(self.store, self.augment, self._place)

    @cached_property
    def _place(self) -> torch.device:
        return with_number(self.device)

    def _batch(self, showings: Showings, pictures: Store, epoch: int, step: int) -> Batch:
        start = step * self.batch_size
        stop = len(self.store) if step == self.steps_per_epoch - 1 else start + self.batch_size
        shown = showings.at(torch.arange(start, stop))  # by all processes
        sharers = max(1, min(self.world_size, (stop - start) // 2))  # as many processes as can have two pictures each
        own = torch.arange(stop - start)[self.rank :: sharers] if self.rank < sharers else torch.arange(0)  # its places
        labels = sent(self.store.labels[shown.rows[own]], self._place)
        if self.mix is None:
            images, targets = self._images(pictures, shown.at(own), epoch), targets_of(labels)
        else:
            pairing = self.mix.pairing(stop - start, image_size=self.store.size, seed=self.seed, epoch=epoch, step=step)
            images, targets = self._mixed(pairing.of(own), pictures, shown, own, epoch)
        images = images.contiguous(memory_format=self.memory_format)
        return Batch(images, labels, shown.rows[own], self.store, targets, global_size=stop - start, sharers=sharers)

    def _mixed(
        self, pairing: Pairing, pictures: Store, shown: Showings, own: Tensor, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """This process's images and targets; those of its pictures' partners elsewhere are made here once more."""
        needed = torch.cat([own, pairing.partners[~torch.isin(pairing.partners, own)]])
        place = torch.empty_like(shown.rows)
        place[needed] = torch.arange(len(needed))
        partners = sent(place[pairing.partners], self._place)
        images = self._images(pictures, shown.at(needed), epoch)
        targets = shares_of(sent(self.store.labels[shown.rows[needed]], self._place), self.num_classes)
        return pairing.apply(images[: len(own)], images[partners], targets[: len(own)], targets[partners])

    def _images(self, pictures: Store, shown: Showings, epoch: int) -> Tensor:
        """Pictures augmented and normalised, each as it would be among any others."""
        rows = shown.rows
        if shown.repeats.any() or pictures.is_streamed:
            pictures, rows = pictures.showings(rows, shown.repeats), torch.arange(len(rows))
        augmented = self.augment.batch(pictures, rows, seed=self.seed, epoch=epoch)
        return self.preprocess.tensor(sent(augmented, self._place))


@dataclass(frozen=True, eq=False)
class EvalLoader:
    """Every picture once over all processes, in the store's order, as it is; nothing is padded or repeated.

    The last batch is as small as it comes. Each process has as many batches as any other, so that networks whose
    processes wait for each other can be scored; the share of a last one may be empty.

    Args:
        store: the pictures, all at the network's size.
        preprocess: normalises them.
        batch_size: pictures at a time, in this process.
        device: where the batches go.
        rank: which process this is, from 0.
        world_size: how many there are.

    Raises:
        ConfigError: a number lies outside its range, or the pictures are not at the network's size.
    """

    store: Store
    preprocess: Preprocess
    batch_size: int
    device: torch.device = _CPU
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        _check_shares(self.batch_size, self.rank, self.world_size)
        _check_size(self.store, self.preprocess)
        if self.store.is_ragged:
            raise ConfigError(
                "evaluation needs pictures at the network's size, and the store keeps sizes of their own. "
                "Build it with keep_margin=None."
            )

    def __len__(self) -> int:
        return math.ceil(len(self.store) / (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        together = self.batch_size * self.world_size
        starts = range(0, len(self.store), together)
        yield from prefetched(self._batch, starts, workers=1 if self.store.is_streamed else 0)

    def _batch(self, start: int) -> Batch:
        stop = min(start + self.batch_size * self.world_size, len(self.store))
        rows = torch.arange(start, stop)[self.rank :: self.world_size]
        images = self.preprocess.tensor(sent(self.store.take(rows), self.device))
        labels = sent(self.store.labels[rows], self.device)
        sharers = min(self.world_size, stop - start)
        targets = targets_of(labels)
        return Batch(images, labels, rows, self.store, targets, global_size=stop - start, sharers=sharers)


def _check_shares(batch_size: int, rank: int, world_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"the batch size must be 1 or more, got {batch_size}.")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank} of {world_size} processes; they are numbered from 0 to {world_size - 1}.")


def _check_size(store: Store, preprocess: Preprocess) -> None:
    if store.size != preprocess.input_size[1:]:
        raise ConfigError(
            f"the store makes pictures of {store.size[0]}x{store.size[1]} px, and the network takes "
            f"{preprocess.input_size[1]}x{preprocess.input_size[2]}. Build the store for the same input_size."
        )
