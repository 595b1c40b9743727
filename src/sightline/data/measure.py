"""What each picture of a data set is like: size, format, light, sharpness and fingerprint, from one look at each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline.data.catalog import Catalog, FileImages, Images, Problem
from sightline.data.decode import FORMATS, BadImage, Header, decode, read_header
from sightline.data.fingerprint import DIGEST_BYTES, SIDE_PX, Fingerprint, Fingerprints, fingerprint
from sightline.data.modes import CONVERSIONS, Pixels
from sightline.data.parquet import ParquetImages
from sightline.data.threads import in_order

# Light and sharpness are measured on a grey thumbnail whose shorter side is so long, so that a photograph is not
# sharper for being large; a smaller picture is left as it is. Not from a paper: about what a network sees of it.
THUMBNAIL_PX = 128
FORMAT_NAMES = (*FORMATS, "")  # "" for pictures that are no files
MODE_NAMES = tuple(CONVERSIONS)

_REDUCING_GAP = 3.0  # as in fingerprint.py
_LEVELS = np.arange(256, dtype=np.float64) / 255

Progress = Callable[[int, int], None]

ROW = np.dtype(
    [
        ("is_read", "?"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("format", "u1"),
        ("mode", "u1"),
        ("orientation", "u1"),
        ("is_animated", "?"),
        ("num_bytes", "<i8"),
        ("mean", "<f4", (3,)),
        ("std", "<f4", (3,)),
        ("brightness", "<f4"),
        ("lightest", "<f4"),
        ("contrast", "<f4"),
        ("sharpness", "<f4"),
    ]
)


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


@dataclass(frozen=True, eq=False)
class Measures:
    """All pictures of a catalog, a row each.

    Args:
        rows: (N,) of the type `ROW`, the fields of `Measured` with the header's: `format` counts in `FORMAT_NAMES`,
            `mode` in `MODE_NAMES`, `mean` and `std` have 3 channels, equal ones of a grey picture. Where `is_read` is
            not set, the rest is 0.
        prints: the fingerprints; of what cannot be read, zeros.
        problems: what cannot be read, and why, in the order of the catalog.
    """

    rows: npt.NDArray[np.void]
    prints: Fingerprints
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> npt.NDArray[np.int64]:
        """The indices of the pictures that can be read."""
        return np.flatnonzero(self.rows["is_read"]).astype(np.int64)

    def statistics(
        self, indices: npt.NDArray[np.int64], channels: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of each channel in [0, 1], as `Preprocess` takes them; None without a picture.

        Every picture counts the same, whatever its size, as it does once all are brought to the network's size.

        Args:
            indices: of the pictures; those that cannot be read do not count.
            channels: 1 or 3.
        """
        used = self.rows[indices][self.rows["is_read"][indices]]
        if not len(used):
            return None
        means, stds = (used[name].astype(np.float64)[:, :channels] for name in ("mean", "std"))
        mean = means.mean(axis=0)
        std = np.sqrt(np.maximum((stds**2 + means**2).mean(axis=0) - mean**2, 0))
        # one flat colour has no deviation to divide by
        return tuple(mean.round(4).tolist()), tuple(std.clip(1 / 255).round(4).tolist())


def measure(catalog: Catalog, *, threads: int, progress: Progress | None = None) -> Measures:
    """Look at every picture once.

    Only what is measured stays in memory, about 1.1 KB a picture; at most one decoded picture for each thread.

    Args:
        catalog: the data set.
        threads: how many decode at once.
        progress: called with (done, total) after each picture.

    Example:
        >>> from sightline.data.catalog import ArrayImages
        >>> images = ArrayImages(np.full((2, 8, 8, 1), 255, np.uint8), (("train", 2),))
        >>> white = Catalog("white", None, ("a", "b"), images, np.array([0, 1]), np.zeros(2, np.uint8), channels=1)
        >>> seen = measure(white, threads=1)
        >>> seen.rows["brightness"].tolist(), seen.problems
        ([1.0, 1.0], ())
    """
    count = len(catalog)
    rows = np.zeros(count, ROW)
    digests, lumas = np.zeros((count, DIGEST_BYTES), np.uint8), np.zeros((count, SIDE_PX, SIDE_PX), np.uint8)
    problems = []

    def look(index: int) -> Measured | str:
        try:
            return _look(catalog, index)
        except BadImage as error:
            return error.reason

    with ThreadPoolExecutor(threads) as pool:
        for done, (index, seen) in enumerate(in_order(pool, look, range(count), threads=threads), 1):
            if isinstance(seen, str):
                problems.append(Problem(catalog.images.name(index), seen))
            else:
                rows[index] = _row(seen)
                digests[index] = np.frombuffer(seen.fingerprint.digest, np.uint8)
                lumas[index] = seen.fingerprint.luma
            if progress is not None:
                progress(done, count)
    return Measures(rows, Fingerprints(digests, lumas), tuple(problems))


def _look(catalog: Catalog, index: int) -> Measured:
    images = catalog.images
    if not _are_files(images):
        pixels = images.read(index)
        height, width, channels = pixels.shape
        header = Header("", "L" if channels == 1 else "RGB", height, width, 1, channels == 1, is_animated=False)
        return measured(pixels, header, pixels.nbytes)
    content = images.content(index)
    return measured(decode(content, channels=catalog.channels), read_header(content), len(content))


def _are_files(images: Images) -> bool:
    """Whether `content` gives what a picture's file holds."""
    return isinstance(images, FileImages | ParquetImages)


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


def _row(seen: Measured) -> tuple[object, ...]:
    header = seen.header
    return (
        True,
        header.height,
        header.width,
        FORMAT_NAMES.index(header.format),
        MODE_NAMES.index(header.mode),
        header.orientation,
        header.is_animated,
        seen.num_bytes,
        np.resize(seen.mean, 3),
        np.resize(seen.std, 3),
        seen.brightness,
        seen.lightest,
        seen.contrast,
        seen.sharpness,
    )
