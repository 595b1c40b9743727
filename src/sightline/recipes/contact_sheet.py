"""Pictures in rows and columns, each at whole pixels, with words beside them: one image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

LEAST_PX = 96  # smaller pictures are enlarged by a whole number, so that each of their pixels is seen
_FONT = Path("fonts", "ttf", "DejaVuSans.ttf")  # comes with matplotlib: Latin, Greek, Cyrillic and many more
_FONT_PX = 12
_LINE_PX = 18
_GAP_PX = 8
_TITLE_PX = 150
_PAPER, _INK, _PALE = (255, 255, 255), (31, 41, 51), (110, 120, 130)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a sheet.

    Args:
        pixels: uint8 (H, W, C), C 1 or 3; those of a sheet have one size.
        caption: lines that stand under it.
    """

    pixels: npt.NDArray[np.uint8]
    caption: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures side by side.

    Args:
        title: what stands beside them.
        subtitle: in a paler line under it.
        frames: one for each column; None leaves a place empty.
    """

    title: str
    subtitle: str
    frames: Sequence[Frame | None]


def contact_sheet(headings: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Lay pictures out.

    Args:
        headings: of the columns.
        rows: of the sheet, each with a frame or None for each column.

    Returns:
        An RGB image; words that are too long for their place end in "…".

    Example:
        >>> black = Frame(np.zeros((32, 32, 1), np.uint8))
        >>> contact_sheet(["first", "second"], [Row("cat", "1.png", [black, None])]).size  # 150 + 2 * (96 + 8) + 8
        (366, 130)
    """
    frames = [frame for row in rows for frame in row.frames if frame is not None]
    height, width = frames[0].pixels.shape[:2]
    zoom = math.ceil(LEAST_PX / max(height, width))
    cell = zoom * height, zoom * width
    down = cell[0] + _GAP_PX + _LINE_PX * max(len(frame.caption) for frame in frames)
    across = cell[1] + _GAP_PX
    size = (_TITLE_PX + len(headings) * across + _GAP_PX, _LINE_PX + len(rows) * down + _GAP_PX)
    sheet = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(str(get_data_path() / _FONT), _FONT_PX)

    def write(words: str, left: int, top: int, room: int, colour: tuple[int, int, int] = _INK) -> None:
        pen.text((left, top), _fitted(words, font, room), fill=colour, font=font)

    for column, heading in enumerate(headings):
        write(heading, _TITLE_PX + column * across, 2, cell[1])
    for number, row in enumerate(rows):
        top = _LINE_PX + number * down
        write(row.title, _GAP_PX, top, _TITLE_PX - 2 * _GAP_PX)
        write(row.subtitle, _GAP_PX, top + _LINE_PX, _TITLE_PX - 2 * _GAP_PX, _PALE)
        for column, frame in enumerate(row.frames):
            if frame is not None:
                left = _TITLE_PX + column * across
                sheet.paste(_image(frame.pixels, zoom), (left, top))
                for line, words in enumerate(frame.caption):
                    write(words, left, top + cell[0] + line * _LINE_PX + 1, cell[1])
    return sheet


def _image(pixels: npt.NDArray[np.uint8], zoom: int) -> Image.Image:
    large = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return Image.fromarray(large[:, :, 0] if large.shape[2] == 1 else large)


def _fitted(words: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """The words, cut short where they are wider than the room in px; a line break would leave the line."""
    words = " ".join(words.split())
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(f"{words}…") > room:
        words = words[:-1]
    return f"{words}…"
