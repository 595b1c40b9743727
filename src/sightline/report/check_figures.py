"""What the pictures of a data set are like, summed up: sizes, shapes, formats, channels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Catalog
from sightline.data.measure import FORMAT_NAMES, MODE_NAMES, Measures

COMMON_SIZES = 5

Values = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the largest of some numbers; all 0 where there are none."""

    least: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: Values) -> "Spread":
        """Of any numbers."""
        if not len(values):
            return cls(0, 0, 0)
        numbers = np.asarray(values, np.float64)
        return cls(*(round(float(of(numbers)), 4) for of in (np.min, np.median, np.max)))

    def __str__(self) -> str:
        return f"{self.least:g} to {self.largest:g}, median {self.median:g}"


@dataclass(frozen=True)
class Figures:
    """What the pictures that can be read are like.

    Args:
        height: in px, as shown.
        width: likewise.
        aspect_ratio: width over height.
        num_bytes: of the files, or of arrays' pixels.
        total_bytes: all together.
        common_sizes: (height, width, pictures) of the most common ones.
        shorter_sides: (from px, below px, pictures): a histogram, each bin reaching twice as far as the one before.
        formats: pictures by file format; "array" for those that are not in files.
        modes: by colour mode, as the image library names it.
        orientations: by EXIF orientation; 1 is upright.
        num_animated: files with more than one frame.
        mean: of each channel over the training pictures, in [0, 1]; empty where none can be read.
        std: likewise.
    """

    height: Spread
    width: Spread
    aspect_ratio: Spread
    num_bytes: Spread
    total_bytes: int
    common_sizes: tuple[tuple[int, int, int], ...]
    shorter_sides: tuple[tuple[int, int, int], ...]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    orientations: Mapping[str, int]
    num_animated: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def figures_of(catalog: Catalog, measures: Measures) -> Figures:
    """Sums up what was measured.

    Args:
        catalog: with its splits assigned.
        measures: of its pictures.
    """
    rows = measures.rows[measures.readable]
    height, width = rows["height"], rows["width"]
    sizes = Counter(zip(height.tolist(), width.tolist(), strict=True))
    statistics = measures.statistics(catalog.select("train"), catalog.channels)
    mean, std = statistics or ((), ())
    return Figures(
        height=Spread.of(height),
        width=Spread.of(width),
        aspect_ratio=Spread.of(width / np.maximum(height, 1)),
        num_bytes=Spread.of(rows["num_bytes"]),
        total_bytes=int(rows["num_bytes"].sum()),
        common_sizes=tuple((h, w, count) for (h, w), count in sizes.most_common(COMMON_SIZES)),
        shorter_sides=_doubling(np.minimum(height, width)),
        formats=_counts(FORMAT_NAMES[number] or "array" for number in rows["format"].tolist()),
        modes=_counts(MODE_NAMES[number] for number in rows["mode"].tolist()),
        orientations=_counts(str(number) for number in rows["orientation"].tolist()),
        num_animated=int(rows["is_animated"].sum()),
        mean=mean,
        std=std,
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _doubling(sides: Values) -> tuple[tuple[int, int, int], ...]:
    """A histogram whose bins reach from one power of two to the next."""
    if not len(sides):
        return ()
    powers = np.floor(np.log2(np.maximum(sides, 1))).astype(int)
    low, high = int(powers.min()), int(powers.max())
    return tuple((2**power, 2 ** (power + 1), int((powers == power).sum())) for power in range(low, high + 1))


def figure_words(figures: Figures) -> Iterator[tuple[str, str]]:
    """The figures as rows of name and words."""
    common = ", ".join(f"{h}x{w} ({count:,})" for h, w, count in figures.common_sizes)
    yield "height", f"{figures.height} px"
    yield "width", f"{figures.width} px"
    yield "sizes", f"{common} px" if len(figures.common_sizes) < COMMON_SIZES else f"{common}, ... px"
    yield "width/height", str(figures.aspect_ratio)
    yield "bytes", f"{figures.total_bytes:,} in all; each {figures.num_bytes}"
    yield "formats", _listed(figures.formats)
    yield "modes", _listed(figures.modes)
    if figures.mean:
        yield "mean", " ".join(f"{value:.4f}" for value in figures.mean)
        yield "std", " ".join(f"{value:.4f}" for value in figures.std)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
