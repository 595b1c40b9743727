"""Every colour mode and orientation of the image library -> upright uint8 grey or RGB, with alpha where it has some."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_BITS_PER_SAMPLE = 258  # the TIFF tag

# EXIF orientation -> what makes it upright (JEITA CP-3451, tag 274).
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],  # mirrored left to right
    3: lambda pixels: pixels[::-1, ::-1],  # upside down
    4: lambda pixels: pixels[::-1],  # mirrored top to bottom
    5: lambda pixels: pixels.swapaxes(0, 1),  # mirrored about the main diagonal
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],  # needs a quarter turn clockwise
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],  # mirrored about the other diagonal
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],  # needs a quarter turn counter-clockwise
}


# ------------------------------------------------------------------------------------------------------- colour modes


def _as(mode: str) -> Callable[[Image.Image], Pixels]:
    return lambda image: np.asarray(image.convert(mode))


def _grey(image: Image.Image) -> Pixels:
    """L, and 1 as 0 and 255; a transparent grey level (PNG's tRNS) becomes alpha."""
    pixels = np.asarray(image.convert("L"))
    level = image.info.get("transparency")
    if not isinstance(level, int):
        return pixels
    return np.dstack([pixels, _opaque(pixels != (255 * level if image.mode == "1" else level))])


def _rgb(image: Image.Image) -> Pixels:
    """RGB; a transparent colour (PNG's tRNS) becomes alpha."""
    pixels = np.asarray(image)
    colour = image.info.get("transparency")
    if not (isinstance(colour, tuple) and len(colour) == 3):
        return pixels
    if max(colour) > 255:  # of a 16-bit picture, of which the library keeps the high bytes
        colour = tuple(value >> 8 for value in colour)
    return np.dstack([pixels, _opaque((pixels != colour).any(axis=2))])


def _palette(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _sixteen_bits(image: Image.Image) -> Pixels:
    """Grey of 16 bits, or of the 9 to 15 that a TIFF states: the full range of that depth becomes 0 to 255, rounded."""
    values = np.asarray(image).astype(np.uint32)
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    top = (1 << bits) - 1 if 8 < bits < 16 else 65535
    pixels = ((values * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    level = image.info.get("transparency")
    return np.dstack([pixels, _opaque(values != level)]) if isinstance(level, int) else pixels


def _integers(image: Image.Image) -> Pixels:
    """Grey of 32 bits: scaled by the smallest depth of 8, 16 and 32 bits that holds every value.

    The file states only 32 bits, and most such files hold fewer. With negative values: stretched from least to most.
    """
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0:
        return _stretched(values, low, high)
    return _stretched(values, 0, next(top for top in (255, 65535, 4294967295) if high <= top))


def _floats(image: Image.Image) -> Pixels:
    """Grey of floats: 0 to 1 is the full range; else 0 to 255 as they are; else stretched from least to most.

    What is not finite counts as the least value (NaN, -inf) or the most (inf).
    """
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, neginf=low, posinf=high)
    if low < 0 or high > 255:
        return _stretched(values, low, high)
    return _stretched(values, 0, 1 if high <= 1 else 255)


def _stretched(values: npt.NDArray[np.float64], low: float, high: float) -> Pixels:
    return np.rint((values - low) * 255 / (high - low if high > low else 1)).astype(np.uint8)


def _opaque(mask: npt.NDArray[np.bool_]) -> Pixels:
    return np.where(mask, np.uint8(255), np.uint8(0))


# Every colour mode of the library -> uint8 grey, grey + alpha, RGB or RGBA.
CONVERSIONS: dict[str, Callable[[Image.Image], Pixels]] = {
    "1": _grey,
    "L": _grey,
    "LA": np.asarray,
    "La": _as("LA"),  # colours multiplied by alpha: divided again
    "P": _palette,
    "PA": _as("RGBA"),
    "RGB": _rgb,
    "RGBA": np.asarray,
    "RGBX": _as("RGB"),  # the fourth band is padding
    "RGBa": _as("RGBA"),
    "CMYK": _as("RGB"),  # the library has already turned Adobe's inverted files
    "YCbCr": _as("RGB"),
    "LAB": _as("RGB"),
    "HSV": _as("RGB"),
    "I;16": _sixteen_bits,
    "I;16L": _sixteen_bits,
    "I;16B": _sixteen_bits,
    "I;16N": _sixteen_bits,
    "I": _integers,
    "F": _floats,
}
