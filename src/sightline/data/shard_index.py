"""What one pass over a tar shard, front to back, tells of it; remembered, so that the pass is made once.

Nothing is ever unpacked: of each picture the place of its bytes and their SHA-256 are noted. The hash is what
`data.lock.json` needs anyway, and what tells later that a shard has changed.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from sightline.atomic import write_text
from sightline.data.cache_folder import cache_folder, mark_used, name_of
from sightline.data.sample import LABELS, MOST_LABEL_BYTES, PICTURES, Label, NoSample, Place, Sample, key_of

_VERSION = 1
_BLOCK_BYTES = 1 << 20
_TAR_BLOCK = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard
# What tarfile raises of damaged headers: its own errors, and those of numbers and nesting that it does not expect.
_DAMAGED = (tarfile.TarError, ValueError, OverflowError, RecursionError)


class Stream(Protocol):
    """Bytes from the front to the back."""

    def read(self, size: int, /) -> bytes:
        """So many, fewer at the end only."""


@dataclass
class ShardIndex:
    """The samples of one shard, in its order.

    Args:
        names: of the pictures' files: key, dot, extension.
        offsets: of their first bytes.
        sizes: in bytes.
        sha256: of them, in hexadecimal.
        labels: of the samples; None for none.
        groups: of the samples; "" for none.
        problems: (name, reason) of what is not used; the name is "" for the shard itself.
        num_ignored: files that belong to no sample.
    """

    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    labels: list[Label | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    num_ignored: int = 0

    def add(self, sample: Sample) -> None:
        """One more sample, or why it is none."""
        try:
            picture, (label, group) = sample.picture(), sample.label()
        except NoSample as reason:
            self.problems.append((sample.key, str(reason)))
            return
        self.names.append(f"{sample.key}.{picture.suffix}")
        self.offsets.append(picture.offset)
        self.sizes.append(picture.size)
        self.sha256.append(picture.sha256.hex())
        self.labels.append(label)
        self.groups.append(group)

    def text(self, identity: str) -> str:
        """What `of_text` reads: JSON, behind a digest of it."""
        content = json.dumps({"version": _VERSION, "of": identity, **asdict(self)})
        return f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}"

    @classmethod
    def of_text(cls, text: str, identity: str) -> "ShardIndex | None":
        """None where it is damaged, or of another shard."""
        digest, _, content = text.partition("\n")
        with suppress(ValueError, KeyError, TypeError):
            if digest == hashlib.sha256(content.encode()).hexdigest():
                table: dict[str, Any] = json.loads(content)
                if table.pop("version") == _VERSION and table.pop("of") == identity:
                    table["problems"] = [(name, reason) for name, reason in table["problems"]]
                    return cls(**table)
        return None


def remembered(identity: str | None) -> ShardIndex | None:
    """The index of an earlier pass.

    Args:
        identity: of the shard: where it lies, its size, and what changes when it does. None: nothing is remembered.
    """
    path = _path(identity)
    if path is None or identity is None:
        return None
    with suppress(OSError, UnicodeDecodeError):
        index = ShardIndex.of_text(path.read_text(encoding="utf-8"), identity)
        if index is not None:
            mark_used(path)
        return index
    return None


def remember(index: ShardIndex, identity: str | None) -> None:
    """Keep an index for the next time, where the caches may be written.

    Args:
        index: of a whole pass.
        identity: as `remembered` takes it.
    """
    path = _path(identity)
    if path is None or identity is None:
        return
    with suppress(OSError, UnicodeEncodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, index.text(identity))


def _path(identity: str | None) -> Path | None:
    home = cache_folder()
    return None if home is None or identity is None else home / f"listing-shard-{name_of(identity)}"


# ---------------------------------------------------------------------------------------------------------- the pass


def read_index(stream: Stream) -> ShardIndex:
    """Read a shard from the front to the back.

    Args:
        stream: of its bytes; each is read once, and no more than a megabyte is held.

    Returns:
        The index. Where the shard is damaged or cut off, it has what lies before, and a problem without a name.
    """
    index = ShardIndex()
    forward = _Forward(stream)
    sample: Sample | None = None
    seen: set[str] = set()
    try:
        for name, member in _members(forward, index):
            found = key_of(name)
            if found is None:
                index.num_ignored += 1
                continue
            key, suffix = found
            if sample is None or sample.key != key:
                _finish(index, sample, seen)
                sample = Sample(key)
            _take(sample, suffix, member, forward)
        _finish(index, sample, seen)
    except _DAMAGED as error:
        index.problems.append(("", _damage(error, forward, len(index.names))))
    return index


class _Forward:
    """What tarfile reads a shard from: never back, and no more at a time than a header has."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._at = 0
        self.start = b""
        self.last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, place: int) -> None:
        if place < self._at:
            raise tarfile.ReadError("a header leads back")
        for _ in self.pieces(place - self._at):
            pass

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _BLOCK_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = b"".join(self.pieces(size))
        self.start = self.start or self.last
        return self.last

    def pieces(self, size: int) -> Iterator[bytes]:
        """So many bytes, fewer where the shard ends."""
        while size > 0 and (piece := self._stream.read(min(size, _BLOCK_BYTES))):
            self._at += len(piece)
            size -= len(piece)
            yield piece


def _members(forward: _Forward, index: ShardIndex) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The plain files of a shard with their names; what else there is becomes a problem, but for folders."""
    tar = tarfile.TarFile(fileobj=forward, mode="r", encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined] # they would all be kept
        name = member.name.removeprefix("./")
        if member.size < 0:
            raise tarfile.ReadError("a header with a negative size")
        if member.isdir():
            continue
        reason = _refusal(member, name)
        if reason is None:
            yield name, member
        else:
            index.problems.append((name.encode(errors="replace").decode(), reason))
    if forward.last != bytes(_TAR_BLOCK):
        raise tarfile.ReadError("no block of zeros ends it" if not forward.last else "a damaged header")


def _refusal(member: tarfile.TarInfo, name: str) -> str | None:
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r:.60}, and only plain files are read"
    if member.issparse():
        return "is a sparse file, and only plain files are read"
    if not member.isreg():
        return "is no plain file"
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return "has a name that leads out of the shard"
    if not name.isprintable():  # control characters, and bytes that are no UTF-8
        return "has a name with bytes that are no text"
    return None


def _take(sample: Sample, suffix: str, member: tarfile.TarInfo, forward: _Forward) -> None:
    """Note one file of a sample."""
    sample.suffixes.append(suffix)
    is_picture = suffix in PICTURES
    if not is_picture and not (suffix in LABELS and member.size <= MOST_LABEL_BYTES):
        return
    digest, kept, done = hashlib.sha256(), [], 0
    offset = forward.tell()
    for piece in forward.pieces(member.size):
        done += len(piece)
        if is_picture:
            digest.update(piece)
        else:
            kept.append(piece)
    if done < member.size:
        raise tarfile.ReadError(f"the end lies within {member.name}")
    if is_picture:
        sample.pictures.append(Place(suffix, offset, member.size, digest.digest()))
    else:
        sample.texts[suffix] = b"".join(kept)


def _finish(index: ShardIndex, sample: Sample | None, seen: set[str]) -> None:
    if sample is None:
        return
    if sample.key in seen:
        index.problems.append((sample.key, "comes again: the files of a sample must follow each other"))
        return
    seen.add(sample.key)
    index.add(sample)


def _damage(error: Exception, forward: _Forward, count: int) -> str:
    if forward.start.startswith(_COMPRESSED):
        return "is compressed: unpack it, as pictures in it are read by their place"
    if not count and not forward.start:
        return "is empty"
    return (
        f"is damaged or cut off at byte {forward.tell():,}, after {count:,} samples ({error or type(error).__name__})"
    )
