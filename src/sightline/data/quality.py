"""Which pictures are unlike the others: dark, blurred, empty, of an odd size; and classes of very different sizes.

Most rules compare a picture with its own data set: photographs of stars are dark, and drawings have few details. A
picture is odd where it lies `MOST_DEVIATIONS` robust standard deviations from the median (the standard deviation taken
as 1.4826 times the median absolute deviation, which a few odd pictures do not move) and is at least a stated factor
away: where all others are alike, the slightest difference is many deviations.

Reference:
    Iglewicz, Hoaglin, "How to Detect and Handle Outliers", ASQC, 1993: the modified z-score and its limit of 3.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Catalog
from sightline.data.finding import Finding, Kind, cases_of, counted
from sightline.data.measure import Measures
from sightline.data.measured import THUMBNAIL_PX

MOST_DEVIATIONS = 3.5  # Iglewicz and Hoaglin 1993
DEVIATIONS_PER_MAD = 1.4826  # of a normal distribution
LEAST_PICTURES = 20  # not from a paper: of fewer, no usual can be told
BLACK = 16 / 255  # ITU-R BT.601: video's black level
# Not from papers. Chosen because a person who leafs through the pictures would stop at these, and at few others.
LEAST_LIGHT_FACTOR = 4.0
LEAST_SHARPNESS_FACTOR = 8.0
LEAST_AREA_FACTOR = 4.0
LEAST_SHAPE_FACTOR = 1.5
IMBALANCE = 3.0  # as the report's advice has it

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Rule:
    """A comparison with the others.

    Args:
        kind: of the finding.
        text: after the number of pictures.
        measured: what is compared, in words.
        values: (N,), above 0: compared are their ratios.
        factor: that a picture is at least away from the median.
        is_low_odd: whether less is odd.
        is_high_odd: whether more is.
        shown: the numbers to print, one a picture.
    """

    kind: Kind
    text: str
    measured: str
    values: Values
    factor: float
    is_low_odd: bool
    is_high_odd: bool
    shown: list[str]


def quality(catalog: Catalog, measures: Measures) -> Iterator[Finding]:
    """Everything odd about single pictures, each kind as one finding.

    Args:
        catalog: with its splits assigned.
        measures: of its pictures.
    """
    read = measures.readable
    rows = measures.rows[read]
    is_flat = (rows["std"] == 0).all(axis=1)
    is_black = ~is_flat & (rows["lightest"] <= BLACK)
    yield from _floor(
        catalog, "one_colour", read[is_flat], "of one colour and nothing else", "every pixel has the same value"
    )
    yield from _floor(
        catalog,
        "black",
        read[is_black],
        "black to the eye",
        f"no grey level of the thumbnail is above {BLACK * 255:.0f} of 255, the black level of video (ITU-R BT.601)",
    )
    is_empty = is_flat | is_black
    for rule in (*_looks(rows, ~is_empty), *_geometry(rows)):
        yield from _apply(catalog, rule, read)


def _floor(catalog: Catalog, kind: Kind, indices: Indices, text: str, rule: str) -> Iterator[Finding]:
    if len(indices):
        count = len(indices)
        yield Finding(
            kind,
            "warning",
            f"{counted(count, 'picture')} {'is' if count == 1 else 'are'} {text}.",
            f"Absolute: {rule}.",
            cases_of(catalog, indices[:, None].tolist(), [""] * count),
        )


def _looks(rows: npt.NDArray[np.void], is_shown: npt.NDArray[np.bool_]) -> Iterator[_Rule]:
    """Of pictures that show something; the others are reported already."""
    level = 1 / 255
    bright = rows["brightness"].astype(np.float64)
    sharp = rows["sharpness"].astype(np.float64)
    told = [f"brightness {value:.3f}" for value in bright.tolist()]

    def of_shown(values: Values) -> Values:
        return np.where(is_shown, values, np.nan)

    yield _Rule("dark", "far darker than the others", "the mean grey level", of_shown(bright + level),
                LEAST_LIGHT_FACTOR, is_low_odd=True, is_high_odd=False, shown=told)  # fmt: skip
    yield _Rule("light", "far lighter than the others", "the distance of the mean grey level from white",
                of_shown(1 - bright + level), LEAST_LIGHT_FACTOR, is_low_odd=True, is_high_odd=False,
                shown=told)  # fmt: skip
    yield _Rule("blurred", "far less sharp than the others",
                "the variance of the Laplacian over that of the grey levels, on a thumbnail whose shorter side has "
                f"{THUMBNAIL_PX} px or less", of_shown(sharp + 1e-6), LEAST_SHARPNESS_FACTOR,
                is_low_odd=True, is_high_odd=False, shown=[f"sharpness {value:.2g}" for value in sharp])  # fmt: skip


def _geometry(rows: npt.NDArray[np.void]) -> Iterator[_Rule]:
    height, width = rows["height"].astype(np.float64), rows["width"].astype(np.float64)
    told = [f"{h:.0f}x{w:.0f} px" for h, w in zip(height.tolist(), width.tolist(), strict=True)]
    yield _Rule("odd_size", "of another size than the others", "height times width", height * width,
                LEAST_AREA_FACTOR, is_low_odd=True, is_high_odd=True, shown=told)  # fmt: skip
    yield _Rule("odd_shape", "of another shape than the others", "the aspect ratio", width / height,
                LEAST_SHAPE_FACTOR, is_low_odd=True, is_high_odd=True, shown=told)  # fmt: skip


def _apply(catalog: Catalog, rule: _Rule, read: Indices) -> Iterator[Finding]:
    away, median, deviation = _from_median(rule)
    limit = max(MOST_DEVIATIONS * deviation, np.log2(rule.factor))
    is_odd = np.where(np.isnan(away), False, (rule.is_low_odd & (away < -limit)) | (rule.is_high_odd & (away > limit)))
    places = np.flatnonzero(is_odd)
    places = places[np.argsort(-np.abs(away[places]), kind="stable")]
    if len(places):
        count = len(places)
        yield Finding(
            rule.kind,
            "note",
            f"{counted(count, 'picture')} {'is' if count == 1 else 'are'} {rule.text}.",
            f"Compared: {rule.measured}. It is more than a factor of {2**limit:.3g} from the median, {2**median:.3g}: "
            f"{MOST_DEVIATIONS} robust standard deviations of the logarithm, and never less than {rule.factor:g}.",
            cases_of(catalog, read[places][:, None].tolist(), [rule.shown[place] for place in places.tolist()]),
        )


def _from_median(rule: _Rule) -> tuple[Values, float, float]:
    """How far each value is from the median, in powers of two; the median; and the robust standard deviation."""
    logs = np.log2(rule.values)
    known = logs[~np.isnan(logs)]
    if len(known) < LEAST_PICTURES:
        return np.full(len(logs), np.nan), 0.0, 0.0
    median = float(np.median(known))
    return logs - median, median, DEVIATIONS_PER_MAD * float(np.median(np.abs(known - median)))


def presentation(catalog: Catalog, measures: Measures) -> Iterator[Finding]:
    """What is done to some pictures when they are read: turned upright, or a first frame taken."""
    rows = measures.rows
    turned, animated = np.flatnonzero(rows["orientation"] > 1), np.flatnonzero(rows["is_animated"])
    if len(turned):
        yield Finding(
            "rotated", "note",
            f"{counted(len(turned), 'picture')} lie on their side or mirrored in the file. Sightline turns them "
            "upright; programs that ignore EXIF see them as they lie.",
            "The file's EXIF orientation is not 1.",
            cases_of(catalog, turned[:, None].tolist(), [f"orientation {rows['orientation'][at]}" for at in turned]),
        )  # fmt: skip
    if len(animated):
        yield Finding(
            "animated", "note", f"{counted(len(animated), 'file')} have more than one frame. The first is used.",
            "The file has a frame after the first.",
            cases_of(catalog, animated[:, None].tolist(), [""] * len(animated)),
        )  # fmt: skip


def imbalance(catalog: Catalog) -> Iterator[Finding]:
    """Whether the largest class of the training split is several times the smallest."""
    counts = catalog.class_counts(catalog.select("train"))
    if not counts.size or counts.max() < IMBALANCE * max(counts.min(), 1):
        return
    large, small = int(counts.argmax()), int(counts.argmin())
    yield Finding(
        "imbalance",
        "warning",
        f"{catalog.classes[large]} has {counted(int(counts[large]), 'training picture')}, {catalog.classes[small]} "
        f"{counts[small]:,}. Watch the scores class by class; --class-weights balanced or --sampler balanced makes "
        "small classes count.",
        f"The largest class has at least {IMBALANCE:g} times the training pictures of the smallest: the figure of the "
        "report's advice, not from a paper.",
    )
