"""What one picture is like: light, sharpness, statistics and fingerprint, from one look at its pixels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.data.decode import Header
from sightline.data.fingerprint import Fingerprint, fingerprint
from sightline.data.modes import Pixels

# Light and sharpness are measured on a grey thumbnail whose shorter side is so long, so that a photograph is not
# sharper for being large; a smaller picture is left as it is. Not from a paper: about what a network sees of it.
THUMBNAIL_PX = 128

_REDUCING_GAP = 3.0  # as in fingerprint.py
_LEVELS = np.arange(256, dtype=np.float64) / 255


@dataclass(frozen=True)
class Measured:
    """One picture.

    Args:
        header: of its file; of an array, what it would say.
        num_bytes: of the file, or of the pixels.
        mean: of each channel, in [0, 1].
        std: of each channel's pixels, likewise.
        brightness: mean grey level of the thumbnail, in [0, 1].
        lightest: its highest grey level.
        contrast: the standard deviation of its grey levels.
        sharpness: the variance of its Laplacian over the variance of its levels: how much of what it shows is fine
            detail. Near 0 for a blurred picture, whatever its contrast; 20 for noise; 0 for one colour.
        fingerprint: to find its copies by.
    """

    header: Header
    num_bytes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    brightness: float
    lightest: float
    contrast: float
    sharpness: float
    fingerprint: Fingerprint


def measured(pixels: Pixels, header: Header, num_bytes: int) -> Measured:
    """Measure one decoded picture.

    Args:
        pixels: uint8 (H, W, 1) or (H, W, 3), 0-255.
        header: what its file says.
        num_bytes: of the file.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    shares = np.array(image.histogram(), np.float64).reshape(-1, 256) / (image.width * image.height)
    mean = shares @ _LEVELS
    std = np.sqrt(np.maximum(shares @ _LEVELS**2 - mean**2, 0))
    std[(shares > 0).sum(axis=1) == 1] = 0  # one level: no rounding
    grey = _thumbnail(image)
    variance = float(grey.var())
    return Measured(
        header=header,
        num_bytes=num_bytes,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        brightness=float(grey.mean()),
        lightest=float(grey.max()),
        contrast=variance**0.5,
        sharpness=_laplacian_variance(grey) / variance if variance > 0 else 0.0,
        fingerprint=fingerprint(pixels),
    )


def _thumbnail(image: Image.Image) -> npt.NDArray[np.float64]:
    """Grey levels in [0, 1]."""
    grey = image.convert("L")
    scale = THUMBNAIL_PX / min(grey.size)
    if scale < 1:
        size = max(1, round(grey.width * scale)), max(1, round(grey.height * scale))
        grey = grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    return np.asarray(grey, np.float64) / 255


def _laplacian_variance(grey: npt.NDArray[np.float64]) -> float:
    """Of the sum of the four neighbours less four times the pixel; 0 for a picture that has no inner pixel."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(inner.var())
