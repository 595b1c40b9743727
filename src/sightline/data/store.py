"""Training pictures, decoded once: in memory, or on disk when memory is too small; and kept there for later runs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.cache_folder import Tell, cache_folder
from sightline.data.cached import CachedPictures, CannotKeepError, Filled, Progress
from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages, Images, Problem, listed
from sightline.data.decode import BadImage
from sightline.data.kept import Keeping
from sightline.data.modes import Pixels
from sightline.data.pile import Pile
from sightline.data.preprocess import Interpolation, Preprocess
from sightline.data.shard_images import ShardImages
from sightline.data.shelf import FixedShelf, RaggedShelf, has_room, in_words
from sightline.data.streaming import Streamed, tried
from sightline.data.threads import in_order
from sightline.data.transfer import sent
from sightline.errors import DataError

# Pixels in the files, from which on they are kept for later runs: half a second to a second of decoding.
_WORTH_KEEPING_PIXELS = 50_000_000
_SOURCE_BITS = 32  # more than any catalog's index has
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Store:
    """The pictures of one split set, decoded and ready to be put into batches.

    `Store.build` makes one. A row of the store is a picture; its source is the picture's index in the catalog.

    Args:
        pictures: uint8 (N, H, W, C), 0-255; or, where sizes differ or they are on disk, N tensors (H, W, C); or
            `Streamed`, which decodes them when they are asked for.
        labels: int64 (N,); of multi-label data uint8 (N, K).
        sources: int64 (N,), the catalog's index of each row.
        size: (height, width) px of the network's input.
        interpolation: the filter that resizes to it.
        images: the catalog's pictures, for their names.
        location: where the pixels are, in words.
    """

    pictures: Tensor | list[Tensor] | Pile | Streamed
    labels: Tensor
    sources: npt.NDArray[np.int64]
    size: tuple[int, int]
    interpolation: Interpolation
    images: Images
    location: str

    @classmethod
    def build(
        cls,
        catalog: Catalog,
        indices: npt.NDArray[np.int64] | Sequence[int],
        *,
        preprocess: Preprocess,
        keep_margin: float | None,
        threads: int,
        skip_bad: bool,
        progress: Progress | None = None,
        cache: bool | None = None,
        tell: Tell | None = None,
        stream: bool | None = False,
    ) -> tuple["Store", list[Problem]]:
        """Decode pictures of a catalog.

        Args:
            catalog: the data set.
            indices: which of its pictures, in the order of the rows.
            preprocess: the network's size and how pictures come to it.
            keep_margin: None: every picture is `preprocess.picture()`, of one size. A number: pictures are kept whole
                and shrunk, where they are larger, until they just cover the network's size times this number; for
                random resized crops.
            threads: how many decode at once.
            skip_bad: leave out pictures that cannot be read, instead of raising. None is ever substituted.
            progress: called with (done, total) after each picture.
            cache: whether what is decoded is kept in `cache_folder()` for later runs, and what is there is taken; None
                for files whose decoding takes a while. The pixels are the same.
            tell: called with what the user should know about the cache, in sentences.
            stream: decode pictures when they are asked for and keep none; None where neither memory nor disk has room.
                A bad one is then met when its turn comes; with `skip_bad` all are tried once, here.

        Returns:
            The store, and what was left out with the reasons.

        Raises:
            DataError: pictures cannot be read (all of them are tried first), every picture of a class is bad, or
                neither memory nor disk has room.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if keep_margin is None and (ready := _ready_made(catalog.images, wanted, preprocess)) is not None:
            if progress is not None:
                progress(len(wanted), len(wanted))
            return cls._of(catalog, wanted, preprocess, ready, f"in memory ({in_words(ready.nbytes)})"), []

        keeping = Keeping(preprocess, keep_margin)
        if stream is None:
            stream = not has_room(keeping.expected_bytes(catalog.typical_size) * len(wanted))
        if stream:
            return cls._streamed(catalog, wanted, keeping, threads=threads, skip_bad=skip_bad, progress=progress)
        say = tell or _tell_nobody
        filled = _from_cache(catalog, wanted, keeping, threads=threads, progress=progress, cache=cache, tell=say)
        if filled is None:
            filled = _decoded(catalog, wanted, keeping, threads=threads, progress=progress)
        if filled.problems and not skip_bad:
            raise DataError(_bad_pictures(catalog, filled.problems, len(wanted)))
        _require_every_class(catalog, wanted, filled.kept, filled.problems)
        return cls._of(catalog, filled.kept, preprocess, filled.pictures, filled.location), filled.problems

    @classmethod
    def _streamed(
        cls,
        catalog: Catalog,
        wanted: npt.NDArray[np.int64],
        keeping: Keeping,
        *,
        threads: int,
        skip_bad: bool,
        progress: Progress | None,
    ) -> tuple["Store", list[Problem]]:
        kept, problems = wanted, list[Problem]()
        if skip_bad:
            kept, problems = tried(catalog.images, wanted, keeping, threads=threads, progress=progress)
            _require_every_class(catalog, wanted, kept, problems)
        pictures = Streamed(catalog.images, kept, keeping, threads)
        return cls._of(
            catalog, kept, keeping.preprocess, pictures, "decoded as they are needed, and not kept"
        ), problems

    @classmethod
    def _of(
        cls,
        catalog: Catalog,
        kept: npt.NDArray[np.int64],
        preprocess: Preprocess,
        pictures: Tensor | list[Tensor] | Pile | Streamed,
        location: str,
    ) -> "Store":
        return cls(
            pictures=pictures,
            labels=torch.from_numpy(catalog.labels[kept]),
            sources=kept,
            size=preprocess.input_size[1:],
            interpolation=preprocess.interpolation,
            images=catalog.images,
            location=location,
        )

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def is_ragged(self) -> bool:
        """Whether the pictures keep sizes of their own."""
        return isinstance(self.pictures, list) or (
            isinstance(self.pictures, Pile | Streamed) and self.pictures.is_ragged
        )

    @property
    def is_streamed(self) -> bool:
        """Whether pictures are decoded when they are asked for."""
        return isinstance(self.pictures, Streamed)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return _CPU if isinstance(self.pictures, list | Pile | Streamed) else self.pictures.device

    def to(self, device: torch.device) -> "Store":
        """The same store with its pixels on a device; itself where they are there already.

        Raises:
            DataError: the pictures have different sizes; those stay in the memory of the CPU.
        """
        if device == self.device:
            return self
        pictures = self.take(torch.arange(len(self))).to(device)
        return replace(self, pictures=pictures, location=f"on {device} ({in_words(pictures.nbytes)})")

    def showings(self, rows: Tensor, repeats: Tensor) -> "Store":
        """A store of some showings of pictures, for pictures that are shown more than once.

        Args:
            rows: int64 (n,), of this store; the same one may come again.
            repeats: int64 (n,), below 2**31, tells the showings of one picture apart. Each has a source of its own, so
                that it is augmented in its own way; with 0 it is the picture's.
        """
        if isinstance(self.pictures, Streamed):
            taken: Tensor | list[Tensor] = self.pictures.load(rows)
        else:
            taken = self.take(rows) if not self.is_ragged else [self.picture(row) for row in rows.tolist()]
        sources = self.sources[rows.numpy()] + (repeats.numpy() << _SOURCE_BITS)
        return replace(self, pictures=taken, labels=self.labels[rows], sources=sources)

    def take(self, rows: Tensor) -> Tensor:
        """Copy pictures of one size: uint8 (N, H, W, C), on the device of the pixels.

        Raises:
            DataError: the pictures have different sizes.
        """
        if isinstance(self.pictures, Pile) and not self.is_ragged:
            return self.pictures.take(rows)
        if isinstance(self.pictures, Streamed) and not isinstance(loaded := self.pictures.load(rows), list):
            return loaded
        return self._stacked().index_select(0, sent(rows, self.device))

    def picture(self, row: int) -> Tensor:
        """One picture, not a copy: uint8 (H, W, C)."""
        return self.pictures[row]

    def sizes(self, rows: Tensor) -> Tensor:
        """(height, width) px of pictures: int64 (N, 2)."""
        if isinstance(self.pictures, Pile):
            return self.pictures.sizes(rows)
        return torch.tensor([self.picture(row).shape[:2] for row in rows.tolist()]).view(-1, 2)

    def name(self, row: int) -> str:
        """The picture's name in its catalog."""
        return self.images.name(int(self.sources[row]))

    def _stacked(self) -> Tensor:
        if isinstance(self.pictures, list | Pile | Streamed):
            raise DataError(
                "pictures of different sizes cannot be stacked. Crop them with Augment(scale=...), "
                "or build the store with keep_margin=None."
            )
        return self.pictures


# ------------------------------------------------------------------------------------------------------------ filling


def _ready_made(images: Images, wanted: npt.NDArray[np.int64], preprocess: Preprocess) -> Tensor | None:
    """Pictures that already lie in memory in the network's shape: a view where they are adjacent, else a copy."""
    channels, height, width = preprocess.input_size
    if not isinstance(images, ArrayImages) or images.pixels.shape[1:] != (height, width, channels):
        return None
    pixels = images.pixels
    is_adjacent = len(wanted) > 0 and bool((np.diff(wanted) == 1).all())
    if is_adjacent and pixels.flags.writeable and pixels.flags.c_contiguous:  # torch wants memory that may be written
        return torch.from_numpy(pixels[wanted[0] : wanted[-1] + 1])
    return torch.from_numpy(pixels[wanted])


def _from_cache(
    catalog: Catalog,
    wanted: npt.NDArray[np.int64],
    keeping: Keeping,
    *,
    threads: int,
    progress: Progress | None,
    cache: bool | None,
    tell: Tell,
) -> Filled | None:
    """By way of the cache; None where there is none, or it is not worth while."""
    images, home = catalog.images, cache_folder()
    height, width = catalog.typical_size
    is_worth = height * width * len(wanted) >= _WORTH_KEEPING_PIXELS if cache is None else cache
    if not isinstance(images, FileImages | ShardImages) or home is None or not is_worth or not len(wanted):
        return None
    try:
        cached = CachedPictures(images, wanted, keeping, home, threads=threads)
        return cached.fill(keeping.expected_bytes(catalog.typical_size), progress=progress, tell=tell)
    except CannotKeepError as error:
        tell(f"not kept for later runs: {error}")
        return None


def _decoded(
    catalog: Catalog,
    wanted: npt.NDArray[np.int64],
    keeping: Keeping,
    *,
    threads: int,
    progress: Progress | None,
) -> Filled:
    """Decode pictures in threads and put them on a shelf in order."""
    images = catalog.images

    def attempt(index: int) -> Pixels | Problem:
        try:
            return keeping.picture(images, index)
        except BadImage as error:
            return Problem(images.name(index), error.reason)

    kept: list[int] = []
    problems: list[Problem] = []
    with closing(_new_shelf(catalog, len(wanted), keeping)) as shelf, ThreadPoolExecutor(threads) as pool:
        for done, (index, outcome) in enumerate(in_order(pool, attempt, wanted.tolist(), threads=threads), 1):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                shelf.add(outcome)
                kept.append(index)
            if progress is not None:
                progress(done, len(wanted))
        return Filled(np.array(kept, dtype=np.int64), problems, shelf.finish(), shelf.location)


def _new_shelf(catalog: Catalog, count: int, keeping: Keeping) -> FixedShelf | RaggedShelf:
    if keeping.margin is None:
        channels, height, width = keeping.preprocess.input_size
        return FixedShelf((count, height, width, channels))
    return RaggedShelf(count * keeping.expected_bytes(catalog.typical_size))


def _tell_nobody(words: str) -> None:
    """For a caller that has nobody to tell."""


def _bad_pictures(catalog: Catalog, problems: list[Problem], total: int) -> str:
    return (
        f"{len(problems)} of {total} pictures of {catalog.root or catalog.name} cannot be read:\n{listed(problems)}\n"
        "Repair or remove them, or leave them out with --skip-bad (skip_bad=True), which lists them."
    )


def _require_every_class(
    catalog: Catalog, wanted: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], problems: list[Problem]
) -> None:
    """Leaving bad pictures out must not make a class disappear from the training."""
    if not (catalog.splits[wanted] == SPLITS.index("train")).any():
        return
    lost = np.flatnonzero((catalog.class_counts(wanted) > 0) & (catalog.class_counts(kept) == 0))
    if len(lost):
        names = ", ".join(catalog.classes[label] for label in lost)
        raise DataError(
            f"no picture of {names} can be read, so leaving out the bad ones would leave nothing of it. "
            f"Repair some, or remove the class. The bad ones:\n{listed(problems)}"
        )
