"""A tar shard on a web server, of which copies are kept while the caches have room."""

import contextlib
import posixpath
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sightline.atomic import replacing
from sightline.data.cache_folder import cache_folder, make_room, mark_used, name_of
from sightline.data.shard import read_at
from sightline.data.shard_index import ShardIndex, read_index, remember, remembered
from sightline.data.web import WebFile
from sightline.errors import DataError

_MOST_TEXT_BYTES = 10_000_000  # of the list of the classes


class WebShard:
    """A shard at an address.

    The first pass over it keeps a copy among the caches, as far as these have room; the copies that are longest unused
    go first. A picture is read from the copy; without one, by a request for its bytes; of a server that knows no such
    requests, from a copy that is fetched anew.

    Args:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = urlsplit(url).path.lstrip("/") or url
        self._file = WebFile(url)
        self._fetching = threading.Lock()

    def index(self) -> ShardIndex:
        """What is in it: remembered while the server tells the same size and version, or read now."""
        about = self._file.about
        identity = f"{self.url}\0{about.num_bytes}\0{about.version}" if about.version else None
        found = remembered(identity)
        if found is None:
            with self._read_once() as stream:
                found = read_index(stream)
                stream.finish()
            remember(found, identity)
        return found

    def num_bytes(self) -> int:
        """What the server says."""
        return self._file.about.num_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes, from where they are quickest."""
        if (content := self._kept(offset, size)) is not None:
            return content
        if self._file.about.has_ranges:
            return self._file.read(offset, size)
        with self._fetching:  # the other threads wait, and find it there
            if (content := self._kept(offset, size)) is not None:
                return content
            with self._read_once() as stream:
                stream.finish()
        content = self._kept(offset, size)
        if content is None:
            raise DataError(
                f"{self.url}: the server does not give a part of the file, and there is no room to keep it here "
                f"({self._file.about.num_bytes:,} bytes). Set SIGHTLINE_CACHE to a folder on a larger disk and "
                "SIGHTLINE_CACHE_GB to more, or copy the shards to this machine."
            )
        return content

    def _copy(self) -> Path | None:
        home, about = cache_folder(), self._file.about
        return None if home is None else home / f"shard-{name_of(f'{self.url} {about.num_bytes} {about.version}')}.tar"

    def _kept(self, offset: int, size: int) -> bytes | None:
        path = self._copy()
        if path is None:
            return None
        try:
            content = read_at(path, offset, size)
        except OSError:  # there is none, or it has just made room
            return None
        mark_used(path)
        return content

    @contextlib.contextmanager
    def _read_once(self) -> Iterator["_Copying"]:
        """The shard from front to back; a copy of it stays, where there is room, once it was read to its end."""
        path = self._copy()
        with contextlib.ExitStack() as stack:
            target = None
            if path is not None and _has_room(path, self._file.about.num_bytes):
                with contextlib.suppress(OSError):
                    target = stack.enter_context(replacing(path))
            yield _Copying(self._file.stream(), target)


class _Copying:
    """A stream that is written to a file on its way.

    Args:
        pieces: of the stream.
        target: where they go; None for nowhere.
    """

    def __init__(self, pieces: Iterator[bytes], target: Path | None) -> None:
        self._pieces = pieces
        self._file = None if target is None else target.open("wb")
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer where the stream gives fewer at a time, none at its end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
            if self._file is not None:
                try:
                    self._file.write(self._rest)
                except OSError as error:
                    self._file.close()
                    raise DataError(
                        f"{self._file.name} cannot be written ({error.strerror}). Free space, or set SIGHTLINE_CACHE."
                    ) from error
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def finish(self) -> None:
        """Read what is left."""
        while self.read(1 << 20):
            pass
        if self._file is not None:
            self._file.close()


def text_beside(shard: WebShard, name: str) -> str | None:
    """A text file in a shard's folder, or in the one above it; None where there is none.

    Args:
        shard: whose folder it is.
        name: of the file.
    """
    address = urlsplit(shard.url)
    folder = posixpath.dirname(address.path)
    for place in (folder, posixpath.dirname(folder)):
        path = posixpath.join(place, name)
        text = WebFile(urlunsplit(address._replace(path=path))).text(most_bytes=_MOST_TEXT_BYTES)
        if text is not None:
            return text
    return None


def _has_room(path: Path, num_bytes: int) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make_room(path.parent, path, num_bytes, is_large=True).num_bytes >= num_bytes
    except OSError:
        return False
