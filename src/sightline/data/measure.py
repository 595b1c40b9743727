"""What each picture of a data set is like: what its file says and what its pixels show, from one look at each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Catalog, FileImages, Images, Problem
from sightline.data.decode import FORMATS, BadImage, Header, decode, read_header
from sightline.data.fingerprint import DIGEST_BYTES, SIDE_PX, Fingerprints
from sightline.data.measured import Measured, measured
from sightline.data.modes import CONVERSIONS
from sightline.data.parquet_images import ParquetImages
from sightline.data.shard_images import ShardImages
from sightline.data.threads import in_order

FORMAT_NAMES = (*FORMATS, "")  # "" for pictures that are no files
MODE_NAMES = tuple(CONVERSIONS)

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
    return isinstance(images, FileImages | ParquetImages | ShardImages)


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
