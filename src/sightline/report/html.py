"""report.html: one page about a bundle that needs nothing but itself.

No request leaves the page: style, script and pictures are inside it, and its content security policy forbids the rest.
Every value is escaped on its way into the template: class names and paths are whatever a user's folders are called.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import sightline
from sightline.atomic import write_text
from sightline.errors import BundleError
from sightline.predict.answers import as_utf8
from sightline.report.advice import advise
from sightline.report.contents import Contents, read_contents
from sightline.report.figures import Drawing, cell_colours, confusion_map, curves, reliability
from sightline.report.label_advice import advise_labels
from sightline.report.label_parts import label_parts
from sightline.report.scores import Mistake, confused_pairs
from sightline.report.template import template
from sightline.report.thumbnails import PictureSource, picture_uri
from sightline.report.words import calibration_words, choices, facts, headline, moment, provenance, tiles, uses

REPORT = "report.html"
MOST_AT_A_GLANCE = 30  # classes; beyond, a picture of the confusion matrix comes before its numbers
MOST_IN_MATRIX = 100  # beyond, only the most confused pairs
PAIRS_SHOWN = 12
REFUSED_SHOWN = 200
DARK = 140  # luminance under which white digits are read better


def write_report(bundle_path: str | Path, *, picture: PictureSource | None = None) -> Path:
    """Writes `report.html` into a bundle from the files that lie there.

    Args:
        bundle_path: the folder.
        picture: gives the picture of a name in predictions.csv, uint8 (H, W, C) with 1 or 3 channels, or None where it
            is not at hand. It is asked for the worst mistakes, 24 at most. Without it the page shows their names.

    Returns:
        The page's path.

    Raises:
        BundleError: the folder is no bundle, or the page cannot be written.
    """
    contents = read_contents(bundle_path)
    path = contents.bundle.path / REPORT
    try:
        write_text(path, as_utf8(render(contents, picture=picture)))
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}. Free space, or make the folder writable.") from error
    return path


def render(contents: Contents, *, picture: PictureSource | None = None) -> str:
    """The page as text.

    Args:
        contents: of the bundle.
        picture: as for `write_report`.
    """
    if contents.bundle.is_multilabel:
        return template("labels.html.jinja").render(
            **_shared(contents), **label_parts(contents, picture), advice=advise_labels(contents)
        )
    mistakes = [_shown(mistake, picture) for mistake in (contents.mistakes.worst if contents.mistakes else ())]
    return template("report.html.jinja").render(
        **_shared(contents),
        advice=advise(contents),
        headline=headline(contents),
        tiles=tiles(contents),
        matrix=_matrix(contents),
        pairs=confused_pairs(contents.scores, most=PAIRS_SHOWN) if contents.scores else (),
        calibration_words=calibration_words(contents),
        mistakes=mistakes,
        has_pictures=any(each.uri for each in mistakes),
    )


def _shared(contents: Contents) -> dict[str, Any]:
    """What both pages show: of one class a picture, and of several labels."""
    script = files("sightline.report").joinpath("table.js.jinja").read_text(encoding="utf-8")
    return {
        "contents": contents,
        "title": contents.bundle.path.resolve().name,
        "made": moment(contents.bundle.provenance.get("created")),
        "choices": choices(contents),
        "data": _data_table(contents),
        "trained": facts(contents),
        "curves": curves(contents.history) if contents.history else (),
        "reliability": (
            reliability(contents.calibration, is_multilabel=contents.bundle.is_multilabel)
            if contents.calibration
            else None
        ),
        "refused_shown": REFUSED_SHOWN,
        "uses": uses(contents),
        "provenance": provenance(contents),
        "version": sightline.__version__,
        "script": script,
        "script_digest": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


@dataclass(frozen=True)
class ShownMistake(Mistake):
    """A mistake with its thumbnail; None where the picture is not at hand."""

    uri: str | None


def _shown(mistake: Mistake, picture: PictureSource | None) -> ShownMistake:
    uri = picture_uri(mistake.source, picture)
    return ShownMistake(mistake.source, mistake.true, mistake.predicted, mistake.probability, uri)


@dataclass(frozen=True)
class Cell:
    """One number of the confusion matrix as a table cell."""

    count: int
    colour: str
    is_dark: bool


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix as its size allows: cells alone, a drawing and the cells behind it, or neither."""

    cells: Sequence[Sequence[Cell]] = ()
    drawing: Drawing | None = None


def _matrix(contents: Contents) -> Matrix:
    scores = contents.scores
    if scores is None or len(contents.classes) > MOST_IN_MATRIX:
        return Matrix()
    colours = cell_colours(scores.confusion)
    dark = colours @ np.array([0.299, 0.587, 0.114]) < DARK  # luma, ITU-R BT.601
    cells = [
        [
            Cell(int(count), "#{:02x}{:02x}{:02x}".format(*colour), bool(is_dark))
            for count, colour, is_dark in zip(counts, row_colours, row_dark, strict=True)
        ]
        for counts, row_colours, row_dark in zip(scores.confusion, colours, dark, strict=True)
    ]
    is_large = len(contents.classes) > MOST_AT_A_GLANCE
    return Matrix(cells, confusion_map(scores.confusion, contents.classes) if is_large else None)


@dataclass(frozen=True)
class DataRow:
    """A class's pictures in each split, and the parts of its bar as shares of the longest bar."""

    name: str
    counts: Sequence[int]
    widths: Sequence[float]


@dataclass(frozen=True)
class DataTable:
    """The pictures by class and split."""

    splits: Sequence[str]
    rows: Sequence[DataRow]
    totals: Sequence[int]


def _data_table(contents: Contents) -> DataTable | None:
    if contents.data is None:
        return None
    by_split = contents.data.counts
    counts = [[by_split[split][name] for split in by_split] for name in contents.classes]
    largest = max((sum(row) for row in counts), default=0)
    rows = [
        DataRow(name, row, [number / max(largest, 1) for number in row])
        for name, row in zip(contents.classes, counts, strict=True)
    ]
    totals = contents.data.totals
    return DataTable(tuple(by_split), rows, [totals[split] for split in by_split])
