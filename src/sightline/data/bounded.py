"""A file that a decoder reads within limits of time and bytes, so that a hostile picture cannot stop the others."""

import io
import math
import time
from typing import Self

MAX_SECONDS = 30.0  # of processor time; a picture of 100 megapixels takes 4 to 10 on one slow core
# What may be read beside the pixels: 64 KB are usual, depth maps and layers take a few MB. The library makes objects of
# numbers in tags, which take ten times their bytes.
MAX_HEADER_BYTES = 16_000_000
BYTES_A_PIXEL = 16  # of the file, at most: as many as the deepest colour has; compressed ones have less


class LimitReached(Exception):
    """A picture asked for more than it may have; the message is the reason, without a full stop."""


class _Bounded:
    """Watches `read`; the class that it is mixed with reads.

    The time is the thread's own processor time: a slow disk and other programs do not count, so no picture is refused
    because the machine is busy. It is looked at whenever the decoder reads on, which it does every 64 KB.
    """

    _until: float = math.inf
    _left: int | None = None

    def begin(self, most_bytes: int | None) -> Self:
        """Starts the clock.

        Args:
            most_bytes: how many may be read; None for any number.
        """
        self._until = time.thread_time() + MAX_SECONDS
        self._left = most_bytes
        return self

    def allow(self, count: int) -> None:
        """Lets so many more bytes be read."""
        if self._left is not None:
            self._left += count

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            LimitReached: of time or bytes.
        """
        if time.thread_time() > self._until:
            raise LimitReached(f"takes more than {MAX_SECONDS:g} s of processor time to decode")
        content: bytes = super().read(size)  # type: ignore[misc]
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0:
                raise LimitReached(f"holds more than {MAX_HEADER_BYTES:,} bytes beside its pixels")
        return content


class BoundedBytes(_Bounded, io.BytesIO):
    """A file in memory.

    Example:
        >>> file = BoundedBytes(bytes(10)).begin(8)
        >>> len(file.read(8))
        8
        >>> file.read(1)
        Traceback (most recent call last):
        sightline.data.bounded.LimitReached: holds more than 16,000,000 bytes beside its pixels
    """


class BoundedFile(_Bounded, io.BufferedReader):
    """A file on disk, of which only what is asked for is read."""
