"""Anything that holds a picture -> uint8 pixels; the only file that reads pictures with the image library.

A picture gives the same pixels whether it comes as a path, bytes, a PIL image or an array. What is done to it:

- the format is found from the content, never from the file's name, and must be one of `FORMATS`;
- its size is known from the header, and refused beyond `MAX_PIXELS`, before any pixel is decoded;
- reading it is bounded in time and bytes, see `bounded`;
- the first frame of an animation is taken (`animation.animation_note` counts them for the user);
- every colour mode goes through one table, `CONVERSIONS`, to grey or RGB with or without alpha;
- the EXIF orientation is applied;
- alpha is composited on white;
- embedded colour profiles are not applied: pixel values are taken as sRGB.

What cannot be read is a `BadImage` with its reason. Nothing is repaired: half a picture is a `BadImage`, too.

What one file can cost: its own bytes (`MAX_BYTES`), 20 bytes of memory a pixel (2 GB at `MAX_PIXELS`, 3 MB for 500 x
375), 0.7 GB for hostile tags, and `bounded.MAX_SECONDS` of processor time and what the decoder needs for the last 64 KB
that it was given. libtiff (compressed TIFF) and libwebp get the whole file at once: their time is bounded by the pixels
alone. So is the memory, not the time, of a PIL image that was opened elsewhere.
"""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from sightline.data.bounded import BYTES_A_PIXEL, MAX_HEADER_BYTES, BoundedBytes, BoundedFile, LimitReached
from sightline.data.modes import CONVERSIONS, TURNS, on_white
from sightline.data.modes import Pixels as Pixels
from sightline.data.quiet import LIBRARY_QUIET
from sightline.errors import DataError

Source = str | Path | bytes | Image.Image | npt.NDArray[np.generic]

MAX_PIXELS = 100_000_000  # a 100-megapixel camera's picture; 300 MB as RGB
MAX_BYTES = 200_000_000
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp")

_ORIENTATION = 0x0112  # the EXIF tag
_TILE_TAGS = ((256, 322), (257, 323))  # of TIFF: width and length of the picture and of its tiles
# How the files of each format begin; RIFF is also the start of sounds and films.
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
}


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


@dataclass(frozen=True)
class Header:
    """What a picture's header says, before any pixel is decoded.

    Args:
        format: one of `FORMATS`; "" for a PIL image that came from no file, and for an array.
        mode: Pillow's name of the colour mode.
        height: in pixels, as shown: after the EXIF orientation.
        width: in pixels, likewise.
        orientation: of EXIF, 1 to 8; 1 is upright, and what is said of a PNG whose block comes after its pixels, which
            only `decode` meets.
        is_grey: whether the picture has no colour (a palette counts as colour).
        is_animated: whether there are frames after the first, which is the one that is decoded.
    """

    format: str
    mode: str
    height: int
    width: int
    orientation: int
    is_grey: bool
    is_animated: bool


def decode(source: Source, *, channels: Literal[1, 3] = 3, at_least: tuple[int, int] | None = None) -> Pixels:
    """Read one picture.

    Args:
        source: a path, the bytes of a file, a PIL image (an animation: the frame it stands on), or a uint8 array of
            shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.
        channels: 3 for RGB, 1 for grey (ITU-R 601 luma).
        at_least: (height, width) px, as shown, that are enough: a JPEG in a file or in bytes is decoded at a half, a
            quarter or an eighth of its size where that still covers both sides, which is several times as fast. Its
            pixels are then means over blocks, a little different from those of a resize of the whole; so never for what
            is scored or predicted. None for all pixels.

    Returns:
        uint8 (H, W, channels), 0-255; for an array that is already so, the array itself.

    Raises:
        BadImage: it cannot be read; `reason` says why.

    Example:
        >>> decode(Image.new("RGBA", (3, 2), (255, 0, 0, 0)))[0, 0]  # transparent red, on white
        array([255, 255, 255], dtype=uint8)
        >>> decode(np.zeros((2, 3), np.uint8)).shape
        (2, 3, 3)
    """
    name = source_name(source)
    with _pillow_errors(name):
        if isinstance(source, np.ndarray):
            pixels = _checked_array(source)
        elif isinstance(source, Image.Image):
            pixels = _pixels(source, name)
        else:
            with _open(_read(source, name), name) as image:
                if at_least is not None:
                    _reduce(image, at_least, name)
                pixels = _pixels(image, name)
        return _with_channels(on_white(pixels), channels)


def read_header(source: str | Path | bytes | Image.Image) -> Header:
    """Read what the header says of a picture, without decoding its pixels.

    Args:
        source: as in `decode`.

    Raises:
        BadImage: the header cannot be read, or promises more than the limits allow.

    Example:
        >>> read_header(Image.new("L", (3, 2)))
        Header(format='', mode='L', height=2, width=3, orientation=1, is_grey=True, is_animated=False)
    """
    name = source_name(source)
    with _pillow_errors(name):
        if isinstance(source, Image.Image):
            return _header(source, name)
        if isinstance(source, bytes):
            with _open(_read(source, name), name) as image:
                return _header(image, name)
        _check_file(Path(source), name)
        with BoundedFile(io.FileIO(source)) as file, _open(file, name) as image:
            return _header(image, name)


def source_name(source: Source) -> str:
    """What a message calls a source: its path, or what it is.

    Example:
        >>> source_name("cats/1.jpg"), source_name(bytes(10))
        ('cats/1.jpg', 'a picture of 10 bytes')
    """
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, bytes):
        return f"a picture of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return f"a PIL image of mode {source.mode}"
    return f"an array of {source.dtype} {source.shape}"


# ---------------------------------------------------------------------------------------------------- reading a file


def read_bytes(path: str | Path) -> bytes:
    """The content of a picture's file, within `MAX_BYTES`.

    Raises:
        BadImage: there is no such file, it is no plain file, or it is larger.

    Example:
        >>> read_bytes("no/such.png")
        Traceback (most recent call last):
        sightline.data.decode.BadImage: no/such.png: cannot be opened (FileNotFoundError: No such file or directory)
    """
    name = str(path)
    try:
        _check_file(Path(path), name)
        return Path(path).read_bytes()
    except OSError as error:
        raise BadImage(name, f"cannot be opened ({type(error).__name__}: {error.strerror})") from error


def _check_file(path: Path, name: str) -> None:
    """Refuse what is no plain file (a pipe would wait for ever) and what is too large, before reading it."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(name, "is not a plain file")
    _check_length(status.st_size, name)


def _check_length(length: int, name: str) -> None:
    if length == 0:
        raise BadImage(name, "the file is empty")
    if length > MAX_BYTES:
        raise BadImage(name, f"has {length:,} bytes, more than the limit of {MAX_BYTES:,}")


def _read(source: str | Path | bytes, name: str) -> BoundedBytes:
    if isinstance(source, bytes):
        _check_length(len(source), name)
        return BoundedBytes(source)
    return BoundedBytes(read_bytes(source))


@contextmanager
def _open(file: BoundedBytes | BoundedFile, name: str) -> Iterator[Image.Image]:
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


@contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
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


# ----------------------------------------------------------------------------------- from the library's image to pixels


def _header(image: Image.Image, name: str) -> Header:
    _check_image(image, name)
    orientation = _orientation(image)
    # The library's TIFF reader swaps the sides itself.
    is_turned = orientation >= 5 and image.format != "TIFF"
    height, width = (image.width, image.height) if is_turned else (image.height, image.width)
    return Header(
        format="JPEG" if image.format == "MPO" else image.format or "",
        mode=image.mode,
        height=height,
        width=width,
        orientation=orientation,
        is_grey=image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"),
        is_animated=_is_animated(image),
    )


def _check_image(image: Image.Image, name: str) -> None:
    """Check its size, and that of a TIFF's tiles, of which the smallest picture may have a huge one."""
    _check_size(image.width, image.height, name)
    tags = getattr(image, "tag_v2", {})
    stored = 1
    for side, tile in ((tags.get(of_picture), tags.get(of_tile)) for of_picture, of_tile in _TILE_TAGS):
        stored *= -(-side // tile) * tile if isinstance(side, int) and isinstance(tile, int) and tile > 0 else 1
    if stored > MAX_PIXELS:
        raise BadImage(name, f"has {stored:,} pixels in its tiles, more than the limit of {MAX_PIXELS:,}")


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise BadImage(name, f"has no pixels: {height}x{width}")
    if width * height > MAX_PIXELS:
        raise BadImage(name, f"has {height}x{width} pixels, more than the limit of {MAX_PIXELS:,}")


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":  # a second view or a preview, not a second frame
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except LimitReached:
        raise
    except Exception:  # looking for a second frame reads on, into what may be damaged; the first is what counts
        return False


def _orientation(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation; 1, upright, where there is none or the block is damaged."""
    has_exif = any(key in image.info for key in ("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"))
    if image.format == "PNG" and not has_exif and not _is_loaded(image):
        return 1  # the library would decode all pixels to look for a block after them
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except LimitReached:
        raise
    except Exception:  # a damaged block says nothing; the pixels are whole
        return 1
    return orientation if orientation in TURNS else 1


def _is_loaded(image: Image.Image) -> bool:
    return not getattr(image, "tile", ())


def _reduce(image: Image.Image, at_least: tuple[int, int], name: str) -> None:
    """Let a JPEG's decoder do without the finest detail; what was read from another format stays as it is."""
    if image.format in ("JPEG", "MPO"):
        _check_size(image.width, image.height, name)  # the limit is for the picture, not for what is left of it
        height, width = at_least if _orientation(image) < 5 else at_least[::-1]  # sides are not yet swapped
        image.draft(None, (width, height))


def _pixels(image: Image.Image, name: str) -> Pixels:
    """Upright uint8 (H, W, 1 to 4): grey, grey + alpha, RGB or RGBA."""
    _check_image(image, name)
    if image.mode not in CONVERSIONS:
        raise BadImage(name, f"has the unknown colour mode {image.mode!r}. Known: {', '.join(CONVERSIONS)}")
    image.load()
    pixels = CONVERSIONS[image.mode](image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return TURNS[_orientation(image)](pixels)


# ------------------------------------------------------------------------------------------------------------ arrays


def _checked_array(array: npt.NDArray[np.generic]) -> Pixels:
    name = source_name(array)
    if array.dtype != np.uint8:
        raise BadImage(name, "must be uint8, 0-255. Scale it and convert it with .astype(numpy.uint8)")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise BadImage(name, "must have the shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA")
    _check_size(array.shape[1], array.shape[0], name)
    return cast("Pixels", array)


def _with_channels(pixels: Pixels, channels: Literal[1, 3]) -> Pixels:
    if pixels.shape[2] == 1 and channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]
    return np.ascontiguousarray(pixels)
