"""Small pictures for the report, as data URIs."""

import base64
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.errors import DataError

LONGEST_PX = 128
_JPEG_QUALITY = 85
_PNG_UNDER_PX = 64

PictureSource = Callable[[str], npt.NDArray[np.uint8] | None]


def picture_uri(name: str, picture: PictureSource | None) -> str | None:
    """The thumbnail of a picture of the data; None where it is not at hand.

    Args:
        name: of the picture, as predictions.csv has it.
        picture: gives its pixels, uint8 (H, W, C), or None.
    """
    if picture is None:
        return None
    try:
        pixels = picture(name)
    except (DataError, OSError, LookupError):  # moved or changed since the evaluation: the page still has its name
        return None
    return None if pixels is None else thumbnail(pixels)


def thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture as the `src` of an <img>, its longer side at most 128 px.

    Args:
        pixels: uint8 (H, W), (H, W, 1) or (H, W, 3), 0-255.

    Returns:
        A data URI: PNG for pictures under 64 px, whose every pixel is to be seen, JPEG for larger ones.

    Example:
        >>> thumbnail(np.zeros((28, 28, 1), np.uint8))[:22]
        'data:image/png;base64,'
    """
    image = Image.fromarray(
        pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    )
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    is_small = max(image.size) < _PNG_UNDER_PX
    file = io.BytesIO()
    if is_small:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/{'png' if is_small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
