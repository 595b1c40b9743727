"""A picture's fingerprint: a hash of its pixels, and a small thumbnail that survives saving, scaling and cropping."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.data.modes import Pixels
from sightline.errors import DataError

# Not from a paper: the size of the smallest pictures that are common (CIFAR's), which so lose nothing. A million
# fingerprints take 1 GB.
SIDE_PX = 32
DIGEST_BYTES = 16

_REDUCING_GAP = 3.0  # Pillow shrinks a large picture by whole numbers first; from 3 on, hardly a difference is left


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture to find its copies.

    Args:
        digest: BLAKE2b of the shape and the pixels, 16 bytes: equal for equal pixels, however the files were written.
        luma: uint8 (32, 32), 0-255: the whole picture in grey, its sides scaled to 32 px each. Its shape is not kept,
            since a copy may have been squeezed into a square.
    """

    digest: bytes
    luma: Pixels


def fingerprint(pixels: Pixels) -> Fingerprint:
    """The fingerprint of one picture; may be called in threads.

    Args:
        pixels: uint8 (H, W, 1) grey or (H, W, 3) RGB, 0-255, of any size.

    Raises:
        DataError: the array is not of that kind.

    Example:
        >>> grey = fingerprint(np.full((20, 30, 1), 77, np.uint8))
        >>> grey.luma.shape, int(grey.luma[0, 0]), len(grey.digest)
        ((32, 32), 77, 16)
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise DataError(
            f"a fingerprint needs uint8 pixels of shape (H, W, 1) or (H, W, 3), got {pixels.dtype} {pixels.shape}. "
            "Read the picture with sightline.data.decode.decode."
        )
    pixels = np.ascontiguousarray(pixels)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(pixels.data)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    # A triangle filter as wide as the pixels that it merges: an average when shrinking, smooth when enlarging.
    small = image.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    return Fingerprint(digest.digest(), np.asarray(small))


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The fingerprints of many pictures, as arrays.

    Args:
        digests: uint8 (N, 16).
        lumas: uint8 (N, 32, 32), 0-255.

    Example:
        >>> black, white = np.zeros((4, 4, 1), np.uint8), np.full((4, 4, 1), 255, np.uint8)
        >>> both = Fingerprints.of(fingerprint(pixels) for pixels in (black, white))
        >>> len(both), both.digests.shape, both.lumas.shape
        (2, (2, 16), (2, 32, 32))
    """

    digests: npt.NDArray[np.uint8]
    lumas: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.digests)
        if self.digests.shape != (count, DIGEST_BYTES) or self.lumas.shape != (count, SIDE_PX, SIDE_PX):
            raise DataError(
                f"fingerprints need digests of shape (N, {DIGEST_BYTES}) and lumas of shape (N, {SIDE_PX}, {SIDE_PX}), "
                f"got {self.digests.shape} and {self.lumas.shape}. Make them with Fingerprints.of."
            )

    @classmethod
    def of(cls, fingerprints: Iterable[Fingerprint]) -> "Fingerprints":
        """Gather fingerprints, in order; a generator's are not all in memory at once.

        Args:
            fingerprints: any number, also none.
        """
        digests, lumas = bytearray(), bytearray()
        for one in fingerprints:
            digests += one.digest
            lumas += one.luma.tobytes()
        return cls(
            np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
            np.frombuffer(lumas, np.uint8).reshape(-1, SIDE_PX, SIDE_PX),
        )

    def __len__(self) -> int:
        return len(self.digests)
