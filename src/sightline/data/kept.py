"""How the pictures of a store are kept: at the network's size, or whole with a margin for random resized crops."""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import PIL
from PIL import features

from sightline.data.catalog import FileImages, Images
from sightline.data.decode import decode
from sightline.data.modes import Pixels
from sightline.data.preprocess import Preprocess, resize_to_cover
from sightline.data.shard_images import ShardImages

# A JPEG that is shrunk is decoded at a half, a quarter or an eighth, where that leaves this many times what is kept:
# the resize that follows still has the last word. Not from a paper: see benchmarks/loading.py for what it changes.
DRAFT_ROOM = 2
# The modules that make the pixels.
DECODING = ("bad_image", "bounded", "decode", "header", "kept", "modes", "picture_file", "preprocess", "quiet")
_LIBRARIES = ("libjpeg_turbo", "jpg", "zlib", "libtiff", "webp")


@dataclass(frozen=True)
class Keeping:
    """From a picture of a catalog to the pixels that are stored.

    Args:
        preprocess: the network's size and how pictures come to it.
        margin: None: every picture is `preprocess.picture()`, of one size. A number: pictures are kept whole and
            shrunk, where they are larger, until they just cover the network's size times this number. A JPEG that is
            shrunk far is then decoded at a part of its size, which is several times as fast and changes the pixels a
            little: for training alone, never for what is scored or predicted.

    Example:
        >>> from sightline.data.catalog import ArrayImages
        >>> import numpy as np
        >>> images = ArrayImages(np.zeros((1, 90, 60, 3), np.uint8), (("train", 1),))
        >>> network = Preprocess((3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> Keeping(network, None).picture(images, 0).shape, Keeping(network, 1.25).picture(images, 0).shape
        ((32, 32, 3), (60, 40, 3))
    """

    preprocess: Preprocess
    margin: float | None

    def picture(self, images: Images, index: int) -> Pixels:
        """What is kept of a picture: uint8 (H, W, C).

        Raises:
            BadImage: it cannot be read.
        """
        if isinstance(images, FileImages | ShardImages):
            return self.of_file(images.content(index), images.channels)
        return self._of(images.read(index))

    def of_file(self, content: bytes, channels: Literal[1, 3]) -> Pixels:
        """What is kept of the picture in a file.

        Args:
            content: of the file.
            channels: that the catalog reads it with.

        Raises:
            BadImage: it cannot be read.
        """
        height, width = self.cover
        at_least = None if self.margin is None else (DRAFT_ROOM * height, DRAFT_ROOM * width)
        return self._of(decode(content, channels=channels, at_least=at_least))

    @property
    def cover(self) -> tuple[int, int]:
        """(height, width) px that a kept picture covers, where it is large enough."""
        _, height, width = self.preprocess.input_size
        margin = self.margin or 1.0
        return math.ceil(height * margin), math.ceil(width * margin)

    def expected_bytes(self, typical_size: tuple[int, int]) -> int:
        """What is kept of a picture of a size (height, width)."""
        channels, height, width = self.preprocess.input_size
        if self.margin is None:
            return height * width * channels
        height, width = typical_size
        shrink = min(1.0, max(self.cover[0] / height, self.cover[1] / width))
        return math.ceil(height * shrink) * math.ceil(width * shrink) * channels

    def digest(self, channels: int) -> str:
        """Tells apart whatever keeps other pixels of the same file: this, and the program and libraries that decode.

        Args:
            channels: that the catalog reads files with.
        """
        of_preprocess = self.preprocess
        said = [of_preprocess.input_size, of_preprocess.interpolation, of_preprocess.crop_fraction, self.margin]
        text = json.dumps([*said, channels, DRAFT_ROOM, decoder()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _of(self, picture: Pixels) -> Pixels:
        if self.margin is None:
            return self.preprocess.picture(picture)
        pixels = decode(picture, channels=self.preprocess.channels)
        if pixels.shape[0] <= self.cover[0] or pixels.shape[1] <= self.cover[1]:
            return pixels
        return resize_to_cover(pixels, self.cover, self.preprocess.interpolation)


@cache
def decoder() -> str:
    """A digest of what decodes: the text of our own modules, and the libraries' versions.

    The text and not a number that somebody has to raise: who forgets it would get the pixels of the old decoder.
    """
    text = b"\0".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in DECODING)
    versions = [PIL.__version__, *(str(features.version(library)) for library in _LIBRARIES)]
    return hashlib.sha256(text + json.dumps(versions).encode()).hexdigest()
