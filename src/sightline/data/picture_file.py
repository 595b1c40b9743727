"""The file of a picture: its formats, how large it may be, and how it is opened within limits of time and bytes."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sightline.data.bad_image import BadImage
from sightline.data.bounded import BYTES_A_PIXEL, MAX_HEADER_BYTES, BoundedBytes, BoundedFile

MAX_BYTES = 200_000_000
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp")

# How the files of each format begin; RIFF is also the start of sounds and films.
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
}


def read_bytes(path: str | Path) -> bytes:
    """The content of a picture's file, within `MAX_BYTES`.

    Raises:
        BadImage: there is no such file, it is no plain file, or it is larger.

    Example:
        >>> read_bytes("no/such.png")
        Traceback (most recent call last):
        sightline.data.bad_image.BadImage: no/such.png: cannot be opened (FileNotFoundError: No such file or directory)
    """
    name = str(path)
    try:
        check_file(path, name)
        with io.FileIO(path) as file:  # a Path's own method takes several times as long, and there may be a million
            return file.readall()
    except OSError as error:
        raise BadImage(name, f"cannot be opened ({type(error).__name__}: {error.strerror})") from error


def check_file(path: str | Path, name: str) -> None:
    """Refuse what is no plain file (a pipe would wait for ever) and what is too large, before reading it.

    Args:
        path: of the file.
        name: that a message calls it.

    Raises:
        BadImage: it is such a one.
        OSError: there is no such file.
    """
    status = os.stat(path)  # noqa: PTH116 - as above
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(name, "is not a plain file")
    check_length(status.st_size, name)


def check_length(length: int, name: str) -> None:
    """Refuse a file without a byte, and one of more than `MAX_BYTES`."""
    if length == 0:
        raise BadImage(name, "the file is empty")
    if length > MAX_BYTES:
        raise BadImage(name, f"has {length:,} bytes, more than the limit of {MAX_BYTES:,}")


@contextmanager
def opened(file: BoundedBytes | BoundedFile, name: str) -> Iterator[Image.Image]:
    """The library's image of a file, of which the header has been read; what may be read of the rest is bounded.

    Args:
        file: at its beginning.
        name: that a message calls it.

    Raises:
        BadImage: it is none of `FORMATS`.
    """
    start = file.read(8)
    claimed = next((format for format, signatures in _SIGNATURES.items() if start.startswith(signatures)), None)
    if claimed is None:
        raise BadImage(name, f"is none of {', '.join(FORMATS)}, judged by its content")
    file.begin(None if claimed == "WEBP" else MAX_HEADER_BYTES)  # its header is read with everything else
    try:
        image = Image.open(file, formats=[claimed])
    except UnidentifiedImageError as error:
        raise BadImage(
            name, f"begins like a {claimed} file, but its header is damaged or of an unknown kind"
        ) from error
    file.allow(BYTES_A_PIXEL * image.width * image.height)
    with image:
        yield image
