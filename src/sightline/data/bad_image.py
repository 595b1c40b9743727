"""A picture that cannot be read, and why, whatever the image library makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from sightline.data.bounded import LimitReached
from sightline.data.quiet import LIBRARY_QUIET
from sightline.errors import DataError

MAX_PIXELS = 100_000_000  # a 100-megapixel camera's picture; 300 MB as RGB


class BadImage(DataError):
    """A picture that cannot be read.

    Args:
        source: the path, or a word for what was given instead.
        reason: why, in a sentence without a full stop.

    Example:
        >>> error = BadImage("cats/1.jpg", "the file is empty")
        >>> print(error, "|", error.reason)
        cats/1.jpg: the file is empty | the file is empty
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return type(self), (self.source, self.reason)


@contextmanager
def pillow_errors(name: str) -> Iterator[None]:
    """Turn whatever the library raises into a `BadImage`, and keep its warnings off the terminal.

    Damaged files make its decoders raise nearly every class there is: OSError, SyntaxError, ValueError, IndexError,
    KeyError, TypeError, struct.error, MemoryError, OverflowError, ZeroDivisionError, RuntimeError, ...
    """
    try:
        with LIBRARY_QUIET:
            yield
    except BadImage:
        raise
    except LimitReached as error:
        raise BadImage(name, str(error)) from error
    except Image.DecompressionBombError as error:  # raised before the header can be looked at
        raise BadImage(name, f"has more pixels than the limit of {MAX_PIXELS:,}") from error
    except FileNotFoundError as error:
        raise BadImage(name, "no such file") from error
    except Exception as error:
        raise BadImage(name, f"cannot be decoded ({type(error).__name__}: {error})") from error
