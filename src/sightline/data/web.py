"""Bytes of a file on a web server: all of them from front to back, or some by their place.

What passes (a broken connection, a busy server) is tried again a few times, with growing pauses; what does not (404)
is an error at once. A file that changes while it is read is an error, never a mixture.
"""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from sightline.errors import DataError

Result = TypeVar("Result")

TIMEOUT_S = 20.0  # for a connection, and for each further read
PAUSE_S = 0.5  # before the second attempt; twice as long before each further one
ATTEMPTS = 5
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that a later attempt may not get
_BLOCK_BYTES = 1 << 20
_NO_BYTES = 416  # the range begins behind the end: the file is empty, or shorter than it was


class _PassingError(Exception):
    """What another attempt may not meet."""


@dataclass(frozen=True)
class About:
    """What a server says of a file.

    Args:
        num_bytes: of it.
        version: what changes when the file does: its ETag, else the time of its last change; "" where neither is said.
        has_ranges: whether it gives a part of the file.
    """

    num_bytes: int
    version: str
    has_ranges: bool


class WebFile:
    """A file on a web server.

    Args:
        url: its address, http or https. Redirections are followed; proxies are those of the environment.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def about(self) -> About:
        """What the server says of it, asked once.

        Raises:
            DataError: there is no such file, or no answer.
        """
        return self._tried(self._ask)

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes.

        Args:
            offset: of the first one.
            size: how many; the file has as many.

        Raises:
            DataError: there is no answer, or the file has changed.
        """
        return self._tried(lambda: b"".join(self._range(offset, offset + size)))

    def stream(self) -> Iterator[bytes]:
        """All of its bytes, in pieces. A broken connection goes on where it broke.

        Raises:
            DataError: there is no answer, or the file has changed.
        """
        done, failures = 0, 0
        while done < self.about.num_bytes:
            try:
                for piece in self._range(done, self.about.num_bytes):
                    done, failures = done + len(piece), 0
                    yield piece
            except _PassingError as error:
                failures += 1
                self._pause(failures, error)

    def text(self, *, most_bytes: int) -> str | None:
        """All of a small file; None where there is none."""

        def fetch() -> str | None:
            try:
                with closing(self._open({})) as response:
                    content: bytes = response.read(most_bytes)
            except _Missing:
                return None
            return content.decode("utf-8-sig", errors="replace")

        return self._tried(fetch)

    # ------------------------------------------------------------------------------------------------------ requests

    def _ask(self) -> About:
        try:
            with closing(self._open({"Range": "bytes=0-0"})) as response:
                headers = response.headers
                version = headers.get("ETag") or headers.get("Last-Modified") or ""
                total = headers.get("Content-Range", "").rpartition("/")[2] if response.status == 206 else ""
                has_ranges = total.isdecimal()
                length = total if has_ranges else headers.get("Content-Length", "")
        except _Missing as error:
            raise DataError(f"{self.url}: {error}. Check the address, and that the file may be read.") from error
        if not length.isdecimal():
            raise DataError(f"{self.url}: the server does not say how long the file is. Copy it to this machine.")
        return About(int(length), version, has_ranges)

    def _range(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes from start to stop, of one request; of a server that knows no ranges, the rest is passed over."""
        about = self.about
        wanted = {"Range": f"bytes={start}-{stop - 1}"} if about.has_ranges else {}
        try:
            with closing(self._open(wanted)) as response:
                self._require_same(response, start, stop)
                skip = 0 if response.status == 206 else start
                left = stop - start
                while left:
                    piece = self._piece(response, min(_BLOCK_BYTES, skip or left))
                    if skip:
                        skip -= len(piece)
                        continue
                    left -= len(piece)
                    yield piece
        except _Missing as error:
            raise DataError(f"{self.url}: {error}, and it was there when the run began. Put it back.") from error

    def _require_same(self, response: Any, start: int, stop: int) -> None:
        """The file that was asked about, and the part of it that is wanted."""
        about, headers = self.about, response.headers
        version = headers.get("ETag") or headers.get("Last-Modified") or ""
        if response.status == 206:
            place, _, total = headers.get("Content-Range", "").rpartition("/")
            same = place.strip() == f"bytes {start}-{stop - 1}" and total == str(about.num_bytes)
        else:
            same = headers.get("Content-Length") == str(about.num_bytes)
        if not same or version != about.version:
            raise DataError(self._changed())

    def _changed(self) -> str:
        return f"{self.url} has changed since it was opened. Put it back as it was, or start the run again."

    def _piece(self, response: Any, size: int) -> bytes:
        try:
            piece: bytes = response.read(size)
        except (http.client.HTTPException, OSError) as error:
            raise _PassingError(f"the connection broke ({type(error).__name__}: {error})") from error
        if not piece:
            raise _PassingError("the connection ended early")
        return piece

    def _open(self, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.url, headers={"User-Agent": "sightline", **headers})
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            said = f"the server answered {error.code} {error.reason}"
            if error.code in _PASSING:
                raise _PassingError(said) from error
            if error.code == _NO_BYTES:
                raise DataError(f"{self.url} is empty, or has changed since it was opened.") from error
            raise _Missing(said) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _PassingError(f"no connection ({reason})") from error
        except ValueError as error:
            raise DataError(f"{self.url} is no address: {error}.") from error

    def _tried(self, attempt: Callable[[], Result]) -> Result:
        failures = 0
        while True:
            try:
                return attempt()
            except _PassingError as error:
                failures += 1
                self._pause(failures, error)

    def _pause(self, failures: int, error: Exception) -> None:
        """Before the next attempt; after the last one, an error."""
        if failures == ATTEMPTS:
            raise DataError(
                f"{self.url}: {error}, {ATTEMPTS} times in a row. Try again later; an interrupted run goes on with "
                "--resume."
            ) from error
        time.sleep(PAUSE_S * 2 ** (failures - 1))


class _Missing(Exception):
    """The server refuses for good."""
