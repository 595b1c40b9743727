"""The pictures inside tar shards, each read by its place."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sightline.data.decode import MAX_BYTES, BadImage, decode
from sightline.data.modes import Pixels
from sightline.data.shard import Shard
from sightline.errors import DataError

Indices = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint8]


class Names:
    """Texts as one run of bytes: a tenth of what as many Python strings take.

    Args:
        texts: in order.

    Example:
        >>> names = Names(["a.png", "", "ä.png"])
        >>> len(names), names[2], list(names.part(np.array([2, 0])))
        (3, 'ä.png', ['ä.png', 'a.png'])
    """

    def __init__(self, texts: Sequence[str]) -> None:
        parts = [text.encode() for text in texts]
        self._bytes = b"".join(parts)
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    @classmethod
    def joined(cls, parts: Sequence["Names"]) -> "Names":
        """Those of all parts, in order."""
        names = cls([])
        names._bytes = b"".join([part._bytes for part in parts])
        starts = np.cumsum([0, *(len(part._bytes) for part in parts)])
        names._ends = np.concatenate([part._ends + start for part, start in zip(parts, starts[:-1], strict=True)])
        return names

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])].decode()

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def are_unique(self) -> bool:
        """Whether no two are the same, judged by digests of 64 bits: a false alarm adds the shard's name."""
        digests = b"".join([hashlib.blake2b(name.encode(), digest_size=8).digest() for name in self])
        return len(np.unique(np.frombuffer(digests, "<u8"))) == len(self)

    def part(self, indices: Indices) -> "Names":
        """Some of them, in that order."""
        return Names([self[index] for index in indices.tolist()])


@dataclass(frozen=True, eq=False)
class ShardImages:
    """Pictures in tar shards, decoded when asked for; about 60 bytes of memory each, and their names.

    Each read is compared with the SHA-256 of the pass over the shard: what has changed since is an error, and never
    another picture.

    Args:
        shards: the files.
        shard: int32 (N,), in which of them each picture lies.
        offsets: int64 (N,), where.
        sizes: int64 (N,), in bytes.
        sha256: uint8 (N, 32).
        names: of the pictures.
        folder: what messages and caches call the place that they are from.
        root: the folder of the shards; None where they are on a server.
        channels: 3 for RGB, 1 for grey.
    """

    shards: tuple[Shard, ...]
    shard: npt.NDArray[np.int32]
    offsets: Indices
    sizes: Indices
    sha256: Digests
    names: Names
    folder: str
    root: Path | None
    channels: Literal[1, 3] = 3

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, index: int) -> Pixels:
        """Decode the picture."""
        content = self.content(index)
        try:
            return decode(content, channels=self.channels)
        except BadImage as error:
            raise BadImage(self.name(index), self.where(index, error.reason)) from error

    def content(self, index: int) -> bytes:
        """The bytes of the picture's file.

        Raises:
            BadImage: they are too many for a picture, or none.
            DataError: the shard has changed or cannot be reached.
        """
        size = int(self.sizes[index])
        shard: Shard = self.shards[int(self.shard[index])]
        if not 0 < size <= MAX_BYTES:
            reason = "the file is empty" if not size else f"has {size:,} bytes, more than the limit of {MAX_BYTES:,}"
            raise BadImage(self.name(index), self.where(index, reason))
        content = shard.read(int(self.offsets[index]), size)
        if hashlib.sha256(content).digest() != self.sha256[index].tobytes():
            raise DataError(
                f"{shard.name} has changed since it was opened: {self.name(index)} is not there any more as it was. "
                "Put the shard back, or start the run again."
            )
        return content

    def name(self, index: int) -> str:
        """The name of the picture's file; with its shard before it, where a name comes in two of them."""
        return self.names[index]

    def where(self, index: int, reason: str) -> str:
        """A reason, and where the picture lies."""
        return f"{reason} (in {self.shards[self.shard[index]].name}, at byte {int(self.offsets[index]):,})"

    def with_channels(self, channels: Literal[1, 3]) -> "ShardImages":
        """The same, decoded with so many channels."""
        return replace(self, channels=channels)

    def part(self, indices: Indices) -> "ShardImages":
        """Some of the pictures."""
        taken = {name: getattr(self, name)[indices] for name in ("shard", "offsets", "sizes", "sha256")}
        return replace(self, names=self.names.part(indices), **taken)


class KnownHashes:
    """The hashes of shards' pictures, known since the pass over them; as `hashes.HashMemory` has those of files.

    Args:
        images: of the catalog.
        wanted: int64 (N,), which of them will be asked about.
    """

    def __init__(self, images: ShardImages, wanted: Indices) -> None:
        self._digests = images.sha256[wanted]

    def look_up(self, paths: Sequence[str]) -> tuple[list[bytes | None], npt.NDArray[np.bool_], Digests]:
        """What is known: all of it, and nothing by which it would have to be remembered."""
        return [None] * len(paths), np.ones(len(paths), np.bool_), self._digests.copy()

    def remember(self, paths: Sequence[str], identities: Sequence[bytes | None], digests: Sequence[bytes]) -> None:
        """Nothing: all are known."""
