"""The pictures of a store by way of the cache: what it has is taken from there, what it lacks is decoded and added."""

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.cache import PictureCache, Writer, digest_of
from sightline.data.cache_folder import Tell, make_room
from sightline.data.catalog import FileImages, Problem
from sightline.data.decode import BadImage
from sightline.data.hashes import HashMemory
from sightline.data.kept import Keeping
from sightline.data.ledger import Keys, Records, key_of
from sightline.data.modes import Pixels
from sightline.data.pile import Pile
from sightline.data.shard_images import KnownHashes, ShardImages
from sightline.data.shelf import fits_in_memory, in_words
from sightline.data.threads import in_order
from sightline.errors import DataError

Progress = Callable[[int, int], None]  # (pictures done, pictures in all)
Indices = npt.NDArray[np.int64]

_BATCH = 256  # pictures whose hashes are remembered at once


@dataclass(frozen=True, eq=False)
class Filled:
    """What a store takes over.

    Args:
        kept: the indices of the pictures, in the order asked for.
        problems: what cannot be read, in that order.
        pictures: as a store has them.
        location: where they are, in words.
    """

    kept: Indices
    problems: list[Problem]
    pictures: Tensor | list[Tensor] | Pile
    location: str


class CannotKeepError(Exception):
    """The cache cannot take what it should; the message says why."""


class CachedPictures:
    """Some pictures of a folder, kept in one way.

    Args:
        images: of the catalog.
        wanted: which of them.
        keeping: how they are kept.
        home: the folder of the caches.
        threads: how many decode at once.

    Raises:
        CannotKeepError: there is no cache, and none can be made.
    """

    def __init__(
        self, images: FileImages | ShardImages, wanted: Indices, keeping: Keeping, home: Path, *, threads: int
    ) -> None:
        self._images, self._wanted, self._keeping = images, wanted, keeping
        self._home, self._threads = home, threads
        name = images.folder if isinstance(images, ShardImages) else images.root.resolve().name or "root"
        folder = home / f"pictures-{name}-{keeping.digest(images.channels)}"
        try:
            self._cache = PictureCache(folder)
        except OSError as error:
            raise CannotKeepError(f"{folder} cannot be used ({error.strerror})") from error
        self._memory = KnownHashes(images, wanted) if isinstance(images, ShardImages) else HashMemory(images.root, home)
        self._paths = [images.name(index) for index in wanted.tolist()]
        self._unread: dict[int, str] = {}  # place -> why its file cannot be read, where that was found now
        self._identities, self._is_hashed, self._digests = self._memory.look_up(self._paths)
        self._num_decoded = 0

    def fill(self, picture_bytes: int, *, progress: Progress | None, tell: Tell) -> Filled:
        """Decode what is missing, and take everything from the cache.

        Args:
            picture_bytes: of a typical picture as it is kept.
            progress: told of every picture.
            tell: told what the user should know.

        Raises:
            CannotKeepError: the cache cannot take what is missing.
            DataError: a file changes while it is read.
        """
        missing = self._missing()
        done = len(self._wanted) - len(missing)
        if progress is not None and done:
            progress(done, len(self._wanted))
        if len(missing):
            self._add(picture_bytes, progress, tell)
        return self._filled()

    def _room(self, num_pictures: int, picture_bytes: int, tell: Tell) -> int:
        """How many bytes may be added, once there is room for some pictures."""
        needed = num_pictures * picture_bytes
        is_large = not fits_in_memory(picture_bytes * len(self._wanted))
        room = make_room(self._home, self._cache.folder, needed, is_large=is_large)
        if room.num_bytes < needed:
            raise CannotKeepError(" ".join(room.words))
        for words in room.words:
            tell(words)
        return room.num_bytes

    def _keys(self) -> Keys:
        return np.ascontiguousarray(self._digests[:, :16]).view("<u8").astype(np.uint64)

    def _missing(self) -> Indices:
        """Places in `wanted` of which nothing is known."""
        found, reasons = self._cache.find(self._keys())
        is_known = found["height"] > 0
        is_known |= np.array([reason is not None for reason in reasons], np.bool_)
        return np.flatnonzero(~(is_known & self._is_hashed))

    # -------------------------------------------------------------------------------------------------------- adding

    def _add(self, picture_bytes: int, progress: Progress | None, tell: Tell) -> None:
        def waiting() -> None:
            tell(f"another run adds pictures to {self._cache.folder}: waiting for it, and for what it decodes")

        try:
            with self._cache.writing(waiting) as writer:
                self._decode(writer, picture_bytes, progress, tell)
        except OSError as error:
            raise CannotKeepError(f"{self._cache.folder} cannot be written ({error.strerror})") from error

    def _decode(self, writer: Writer, picture_bytes: int, progress: Progress | None, tell: Tell) -> None:
        """Decode in threads what is missing still, and write in order."""
        missing = self._missing()  # another run may have added some meanwhile
        known = set(self._cache.records["key"][:, 0].tolist()) | {key[0] for key in self._cache.refused}
        found, _ = self._cache.find(self._keys())
        # Files that were moved or touched may be those of records that no other file has: these need no room.
        perhaps_there = len(known) - int((found["height"] > 0).sum())
        room = self._room(max(0, len(missing) - max(0, perhaps_there)), picture_bytes, tell)

        done = len(self._wanted) - len(missing)
        hashed: list[int] = []
        try:
            with ThreadPoolExecutor(self._threads) as pool:
                attempt = partial(self._attempt, known)
                for place, outcome in in_order(pool, attempt, missing.tolist(), threads=self._threads):
                    if isinstance(outcome, BadImage):
                        self._unread[place] = outcome.reason
                    else:
                        digest, kept = outcome
                        if isinstance(kept, str):
                            self._unread[place] = kept
                            writer.refuse(digest, kept)
                        elif kept is not None:
                            self._num_decoded += 1
                            writer.add(digest, kept)
                        self._digests[place] = np.frombuffer(digest, np.uint8)
                        self._is_hashed[place] = True
                        hashed.append(place)
                    if writer.num_bytes > room:  # more or larger ones than expected
                        room = writer.num_bytes + self._room(len(self._wanted) - done, picture_bytes, tell)
                    if len(hashed) == _BATCH:
                        self._remember(hashed)
                        hashed.clear()
                    done += 1
                    if progress is not None:
                        progress(done, len(self._wanted))
        finally:
            self._remember(hashed)

    def _attempt(self, known: set[int], place: int) -> tuple[bytes, Pixels | str | None] | BadImage:
        """The hash of a file, and what is kept of it, or why nothing is; None where that is there already."""
        try:
            content = self._images.content(int(self._wanted[place]))
        except BadImage as error:
            return error
        digest = digest_of(content)
        if key_of(digest)[0] in known:
            return digest, None
        try:
            return digest, self._keeping.of_file(content, self._images.channels)
        except BadImage as error:
            return digest, error.reason

    def _remember(self, places: list[int]) -> None:
        self._memory.remember(
            [self._paths[place] for place in places],
            [self._identities[place] for place in places],
            [self._digests[place].tobytes() for place in places],
        )

    # -------------------------------------------------------------------------------------------------------- taking

    def _filled(self) -> Filled:
        found, reasons = self._cache.find(self._keys())
        is_good = (found["height"] > 0) & self._is_hashed
        problems = []
        for place in np.flatnonzero(~is_good).tolist():
            reason = self._unread.get(place) or reasons[place]
            if reason is None:
                raise DataError(f"{self._paths[place]} was lost from the cache {self._cache.folder}. Run this again.")
            problems.append(Problem(self._images.name(int(self._wanted[place])), reason))
        pictures, place_words = self._pictures(found[is_good], np.flatnonzero(is_good))
        decoded = f"{self._num_decoded:,} of {len(self._wanted):,} decoded now"
        return Filled(self._wanted[is_good], problems, pictures, f"{place_words} {self._cache.folder}; {decoded}")

    def _pictures(self, found: Records, places: Indices) -> tuple[Tensor | Pile, str]:
        shapes = np.stack([found[name].astype(np.int64) for name in ("height", "width", "channels")], axis=1)
        num_bytes = int(shapes.prod(axis=1).sum())
        offsets = found["offset"].astype(np.int64)
        pile = Pile(
            self._cache.mapped(),
            shapes,
            offsets,
            checks=found["crc"].astype(np.int64),
            again=lambda row: self._again(int(places[row]), int(offsets[row]), int(found["crc"][row])),
            holds=self._cache.using,
        )
        if not fits_in_memory(num_bytes):
            return pile, f"on disk ({in_words(num_bytes)}), mapped from the cache"
        return self._in_memory(pile, shapes, offsets), f"in memory ({in_words(num_bytes)}), from the cache"

    def _in_memory(self, pile: Pile, shapes: Indices, offsets: Indices) -> Tensor | Pile:
        """Copies in the order in which the disk has them, several at a time."""
        lengths = shapes.prod(axis=1)
        flat = torch.empty(int(lengths.sum()), dtype=torch.uint8)
        starts = np.cumsum(lengths) - lengths

        def copy(row: int) -> None:
            start = int(starts[row])
            flat.numpy()[start : start + int(lengths[row])] = pile[row].numpy().reshape(-1)

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in in_order(pool, copy, np.argsort(offsets).tolist(), threads=self._threads):
                pass
        if self._keeping.margin is None:
            channels, height, width = self._keeping.preprocess.input_size
            return flat.view(len(shapes), height, width, channels)
        return Pile(flat, shapes)

    def _again(self, place: int, offset: int, crc: int) -> Pixels:
        """The pixels of a damaged record, decoded from the file that they came from."""
        content = self._images.content(int(self._wanted[place]))
        if digest_of(content) != self._digests[place].tobytes():
            raise DataError(
                f"{self._paths[place]} has changed since this run began, and its decoded picture in "
                f"{self._cache.folder} is damaged. Start the run again."
            )
        pixels = self._keeping.of_file(content, self._images.channels)
        if zlib.crc32(pixels.tobytes()) == crc:
            self._cache.mend(offset, pixels)
        return pixels
