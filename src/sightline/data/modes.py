"""Every colour mode and orientation of the image library -> upright uint8 grey or RGB, with alpha where it has some."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_BITS_PER_SAMPLE = 258  # the TIFF tag
_BAND_VALUES = 1 << 20  # worked on at a time, so that what is between costs a few MB and not several times the picture

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
    values = np.asarray(image)
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    top = (1 << bits) - 1 if 8 < bits < 16 else 65535
    pixels = _in_bands(values, 1, lambda band: ((band.astype(np.uint32) * 255 + top // 2) // top).clip(0, 255))
    level = image.info.get("transparency")
    return np.dstack([pixels, _opaque(values != level)]) if isinstance(level, int) else pixels


def _integers(image: Image.Image) -> Pixels:
    """Grey of 32 bits: scaled by the smallest depth of 8, 16 and 32 bits that holds every value.

    The file states only 32 bits, and most such files hold fewer. With negative values: stretched from least to most.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return _stretched(values, low, high)
    return _stretched(values, 0, next(top for top in (255, 65535, 4294967295) if high <= top))


def _floats(image: Image.Image) -> Pixels:
    """Grey of floats: 0 to 1 is the full range; else 0 to 255 as they are; else stretched from least to most.

    What is not finite counts as the least value (NaN, -inf) or the most (inf).
    """
    values = np.asarray(image)
    is_finite = np.isfinite(values)
    if is_finite.any():
        low = float(values.min(where=is_finite, initial=np.inf))
        high = float(values.max(where=is_finite, initial=-np.inf))
    else:
        low = high = 0.0
    if low < 0 or high > 255:
        return _stretched(values, low, high)
    return _stretched(values, 0, 1 if high <= 1 else 255)


def _stretched(values: npt.NDArray[np.generic], low: float, high: float) -> Pixels:
    """From low to high as 0 to 255, rounded; what is not finite, as the nearer end, NaN as low."""

    def scale(band: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        with np.errstate(invalid="ignore"):  # a signalling NaN would warn
            numbers = np.nan_to_num(band.astype(np.float64), nan=low, neginf=low, posinf=high)
        return np.rint((numbers - low) * 255 / (high - low if high > low else 1))

    return _in_bands(values, 1, scale)


def _opaque(mask: npt.NDArray[np.bool_]) -> Pixels:
    return np.where(mask, np.uint8(255), np.uint8(0))


def on_white(pixels: Pixels) -> Pixels:
    """Composite the alpha channel, where there is one, on white.

    Args:
        pixels: uint8 (H, W, C): grey, grey + alpha, RGB or RGBA for C from 1 to 4.

    Returns:
        uint8 (H, W, 1 or 3).

    Example:
        >>> on_white(np.array([[[200, 100, 0, 51]]], np.uint8)).tolist()  # a fifth of it, and four fifths of white
        [[[244, 224, 204]]]
    """
    channels = pixels.shape[2]
    if channels in (1, 3):
        return pixels
    if pixels[:, :, -1].min() == 255:
        return pixels[:, :, :-1]

    def composite(band: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        wide = band.astype(np.uint16)
        colour, alpha = wide[:, :, :-1], wide[:, :, -1:]
        return (colour * alpha + 255 * (255 - alpha) + 127) // 255

    return _in_bands(pixels, channels - 1, composite)


def _in_bands(
    values: npt.NDArray[np.generic],
    channels: int,
    convert: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]],
) -> Pixels:
    """Convert some rows at a time: (H, W) -> (H, W) or (H, W, C) -> (H, W, channels), uint8."""
    pixels = np.empty((*values.shape[:2], channels) if values.ndim == 3 else values.shape, np.uint8)
    rows = max(1, _BAND_VALUES // (values.size // len(values)))
    for top in range(0, len(values), rows):
        pixels[top : top + rows] = convert(values[top : top + rows])
    return pixels


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
