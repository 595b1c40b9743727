"""Damaged pictures by the thousand: seed pictures of six formats, and what happens to files on disks and wires.

Picture `i` of a format is a pure function of (seed, format, i).
"""

import io
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, TiffImagePlugin

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
_SIDES = (20, 28)  # height and width px: small files, so that a change of a few bytes meets everything in them
_LENGTHS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_PNG_START = 8
_RIFF_START = 12

Change = Callable[[random.Random, bytes, str], bytes]


def mutant(seed: int, format: str, number: int) -> bytes:
    """One damaged picture: a seed picture after one to three changes.

    Args:
        seed: of all.
        format: of `FORMATS`.
        number: of the picture.
    """
    chance = random.Random(f"{seed} {format} {number}")
    content = chance.choice(seeds(format))
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(CHANGES)(chance, content, format)
    # Half of the PNGs get right check sums, as otherwise most are refused before anything else of them is looked at.
    return with_check_sums(content) if format == "PNG" and chance.random() < 0.5 else content


# ------------------------------------------------------------------------------------------------------ seed pictures


@cache
def seeds(format: str) -> tuple[bytes, ...]:
    """Whole pictures of a format, of all the kinds that the library can write."""
    return tuple(saved(image, format, options) for image, options in KINDS[format]())


def saved(image: Image.Image, format: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture(mode: str = "RGB", shift: int = 0) -> Image.Image:
    rows, columns = np.mgrid[: _SIDES[0], : _SIDES[1]]
    pixels = np.stack([rows * 12, columns * 9, (rows + columns + shift) * 5], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif() -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = 6  # orientation
    block[0x011A] = TiffImagePlugin.IFDRational(72, 1)
    block[0x010E] = "a description"
    return block


def frames() -> dict[str, object]:
    return {"save_all": True, "append_images": [picture(shift=20), picture(shift=40)], "duration": 50}


Kinds = list[tuple[Image.Image, dict[str, object]]]


def _jpeg() -> Kinds:
    grainy = Image.effect_noise((64, 48), 80)
    return [
        (picture(), {}),
        (picture("L"), {"exif": exif()}),
        (picture("CMYK"), {}),
        (picture(), {"progressive": True, "quality": 95}),
        (grainy, {"progressive": True, "optimize": True}),
        (picture(), {"subsampling": 0, "restart_marker_blocks": 2, "comment": b"a comment"}),
        (picture(), {"icc_profile": bytes(range(256)) * 3, "exif": exif()}),
    ]


def _png() -> Kinds:
    deep = Image.fromarray((np.arange(_SIDES[0] * _SIDES[1], dtype=np.uint16) * 117).reshape(_SIDES))
    return [
        *((picture(mode), {}) for mode in ("1", "L", "LA", "P", "RGB")),
        (picture("RGBA"), {"exif": exif()}),
        (deep, {}),
        (picture("P"), {"transparency": bytes(range(200))}),
        (picture(), {"transparency": (0, 0, 0), "dpi": (72, 72)}),
        (picture(), {**frames(), "loop": 0}),
        (picture("L"), {"icc_profile": bytes(300)}),
    ]


def _bmp() -> Kinds:
    return [(picture(mode), {}) for mode in ("1", "L", "P", "RGB", "RGBA")]


def _gif() -> Kinds:
    return [
        (picture("P"), {}),
        (picture("L"), {"interlace": 0}),
        (picture("P"), {"transparency": 3, "comment": b"a comment"}),
        (picture(), frames()),
        (picture("1"), {}),
    ]


def _tiff() -> Kinds:
    deep = Image.fromarray((np.arange(_SIDES[0] * _SIDES[1], dtype=np.uint16) * 117).reshape(_SIDES))
    real = Image.fromarray(np.linspace(-1, 300, _SIDES[0] * _SIDES[1], dtype=np.float32).reshape(_SIDES))
    methods = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd")
    return [
        *((picture(), {"compression": method}) for method in methods),
        *((picture("1"), {"compression": method}) for method in ("group3", "group4", "tiff_ccitt")),
        *((picture(mode), {}) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F")),
        (deep, {}),
        (deep, {"compression": "tiff_lzw"}),
        (real, {"compression": "tiff_adobe_deflate"}),
        (picture(), {"exif": exif()}),
        (picture(), {"big_tiff": True}),
        (picture(), {"save_all": True, "append_images": [picture("L")]}),
    ]


def _webp() -> Kinds:
    return [
        (picture(), {}),
        (picture(), {"lossless": True}),
        (picture("RGBA"), {"exif": exif()}),
        (picture("RGBA"), {"lossless": True, "icc_profile": bytes(300)}),
        (picture(), frames()),
    ]


KINDS: dict[str, Callable[[], Kinds]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "BMP": _bmp,
    "GIF": _gif,
    "TIFF": _tiff,
    "WEBP": _webp,
}


# ------------------------------------------------------------------------------------------------------------ changes


def flip_bits(chance: random.Random, content: bytes, format: str) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64)) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(chance: random.Random, content: bytes, format: str) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def delete_chunk(chance: random.Random, content: bytes, format: str) -> bytes:
    start, end = _chunk(chance, content, format)
    return content[:start] + content[end:]


def repeat_chunk(chance: random.Random, content: bytes, format: str) -> bytes:
    start, end = _chunk(chance, content, format)
    return content[:end] + content[start:end] * chance.choice((1, 1, 2, 50)) + content[end:]


def edit_length(chance: random.Random, content: bytes, format: str) -> bytes:
    """Write an unlikely number near the start of a chunk, where its length or its first fields are."""
    start, end = _chunk(chance, content, format)
    layout = chance.choice(("B", ">H", "<H", ">I", "<I"))
    size = struct.calcsize(layout)
    place = min(chance.randrange(start, max(start + 1, min(end, start + 16))), max(0, len(content) - size))
    number = struct.pack(layout, chance.choice(_LENGTHS) & ((1 << 8 * size) - 1))
    return content[:place] + number + content[place + size :]


def splice(chance: random.Random, content: bytes, format: str) -> bytes:
    """The beginning of this picture, the rest of another."""
    other = chance.choice(seeds(format))
    return content[: _chunk(chance, content, format)[0]] + other[_chunk(chance, other, format)[0] :]


CHANGES: tuple[Change, ...] = (flip_bits, truncate, delete_chunk, repeat_chunk, edit_length, splice)


def _chunk(chance: random.Random, content: bytes, format: str) -> tuple[int, int]:
    """The start and the end of a part of a file: half of the time one that its format knows, else any."""
    edges = _edges(content, format) if chance.random() < 0.5 else []
    if len(edges) < 2:
        start = chance.randrange(len(content) + 1)
        return start, min(len(content), start + chance.randint(1, 64))
    return chance.choice(list(pairwise(edges)))


def _edges(content: bytes, format: str) -> Sequence[int]:
    """Where the chunks of a file begin, and the end; few or none where it is too damaged to say."""
    if format == "JPEG":
        return [found.start() for found in re.finditer(rb"\xff[\xc0-\xfe]", content)]
    if format in ("PNG", "WEBP"):
        place, layout, beside = (_PNG_START, ">I", 12) if format == "PNG" else (_RIFF_START, "<4xI", 8)
        edges = []
        while place + 8 <= len(content):
            edges.append(place)
            (length,) = struct.unpack_from(layout, content, place)
            place += beside + length + (length % 2 if format == "WEBP" else 0)
        return [*edges, len(content)]
    if format == "TIFF" and len(content) > 8:
        (start,) = struct.unpack_from("<I", content, 4)
        return [0, 8, *range(start, len(content), 12)] if start < len(content) else []
    if format == "GIF":
        return [0, 13, *(found.start() for found in re.finditer(rb"[!,]", content))]
    return [0, 14, 54]  # BMP: the two headers


def with_check_sums(content: bytes) -> bytes:
    """A PNG whose chunks, as far as they can be told, have the check sums of what is in them."""
    edges = _edges(content, "PNG")
    parts = [content[: edges[0]]]
    for start, end in pairwise(edges):
        body = content[start + 4 : max(start + 8, end - 4)]
        parts.append(content[start : start + 4] + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(parts)
