"""Anything that holds a picture -> uint8 pixels; here, in `picture_file` and in `header` alone the image library reads.

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
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.data.bad_image import BadImage, pillow_errors
from sightline.data.bounded import BoundedBytes, BoundedFile
from sightline.data.header import Header, check_image, check_size, header_of, orientation_of
from sightline.data.modes import CONVERSIONS, TURNS, Pixels, on_white
from sightline.data.picture_file import FORMATS, MAX_BYTES, SUFFIXES, check_file, check_length, opened, read_bytes

__all__ = [
    "FORMATS", "MAX_BYTES", "SUFFIXES", "BadImage", "Header", "Pixels", "Source",
    "decode", "read_bytes", "read_header", "source_name",
]  # fmt: skip

Source = str | Path | bytes | Image.Image | npt.NDArray[np.generic]


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
    with pillow_errors(name):
        if isinstance(source, np.ndarray):
            pixels = _checked_array(source)
        elif isinstance(source, Image.Image):
            pixels = _pixels(source, name)
        else:
            with opened(_read(source, name), name) as image:
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
    with pillow_errors(name):
        if isinstance(source, Image.Image):
            return header_of(source, name)
        if isinstance(source, bytes):
            with opened(_read(source, name), name) as image:
                return header_of(image, name)
        check_file(source, name)
        with BoundedFile(io.FileIO(source)) as file, opened(file, name) as image:
            return header_of(image, name)


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


def _read(source: str | Path | bytes, name: str) -> BoundedBytes:
    if isinstance(source, bytes):
        check_length(len(source), name)
        return BoundedBytes(source)
    return BoundedBytes(read_bytes(source))


# ----------------------------------------------------------------------------------- from the library's image to pixels


def _reduce(image: Image.Image, at_least: tuple[int, int], name: str) -> None:
    """Let a JPEG's decoder do without the finest detail; what was read from another format stays as it is."""
    if image.format in ("JPEG", "MPO"):
        check_size(image.width, image.height, name)  # the limit is for the picture, not for what is left of it
        height, width = at_least if orientation_of(image) < 5 else at_least[::-1]  # sides are not yet swapped
        image.draft(None, (width, height))


def _pixels(image: Image.Image, name: str) -> Pixels:
    """Upright uint8 (H, W, 1 to 4): grey, grey + alpha, RGB or RGBA."""
    check_image(image, name)
    if image.mode not in CONVERSIONS:
        raise BadImage(name, f"has the unknown colour mode {image.mode!r}. Known: {', '.join(CONVERSIONS)}")
    image.load()
    pixels = CONVERSIONS[image.mode](image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return TURNS[orientation_of(image)](pixels)


# ------------------------------------------------------------------------------------------------------------ arrays


def _checked_array(array: npt.NDArray[np.generic]) -> Pixels:
    name = source_name(array)
    if array.dtype != np.uint8:
        raise BadImage(name, "must be uint8, 0-255. Scale it and convert it with .astype(numpy.uint8)")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise BadImage(name, "must have the shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA")
    check_size(array.shape[1], array.shape[0], name)
    return cast("Pixels", array)


def _with_channels(pixels: Pixels, channels: Literal[1, 3]) -> Pixels:
    if pixels.shape[2] == 1 and channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 3 and channels == 1:
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]
    return np.ascontiguousarray(pixels)
