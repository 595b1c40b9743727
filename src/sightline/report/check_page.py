"""check.html: one page about a data set that needs nothing but itself, in the manner of the report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import sightline
from sightline.atomic import write_text
from sightline.data.finding import SEVERITIES, Case, Finding, Severity, Sighting, counted
from sightline.errors import DataError
from sightline.predict.answers import as_utf8
from sightline.report.check_figures import figure_words
from sightline.report.check_result import CheckResult
from sightline.report.template import template
from sightline.report.thumbnails import thumbnail

CASES_SHOWN = 24  # of a finding, with thumbnails
SUSPECTS_SHOWN = 60  # of suspicious labels: each is one picture, and every one has to be looked at
CASES_LISTED = 200  # and further ones by name
PICTURES_SHOWN = 6  # of a case
MOST_BYTES = 6_000_000  # of all thumbnails; beyond, names alone
CLASSES_SHOWN = 200

PictureSource = Callable[[str], npt.NDArray[np.uint8] | None]


def write_page(path: Path, result: CheckResult, *, picture: PictureSource) -> None:
    """Writes the page.

    Args:
        path: of the page.
        result: of the check.
        picture: gives the picture of a name, uint8 (H, W, C) with 1 or 3 channels, or None where it cannot be read.
    """
    write_text(path, as_utf8(render(result, picture=picture)))


def render(result: CheckResult, *, picture: PictureSource) -> str:
    """The page as text.

    Args:
        result: of the check.
        picture: as for `write_page`.
    """
    room = _Room(picture)
    return template("check.html.jinja").render(
        result=result,
        verdict=_verdict(result),
        groups=[(severity, [_shown(each, room) for each in result.of(severity)]) for severity in SEVERITIES],
        rows=tuple(_rows(result)),
        more_classes=max(0, len(result.classes) - CLASSES_SHOWN),
        figures=tuple(figure_words(result.figures)),
        bins=tuple(_bins(result)),
        cases_listed=CASES_LISTED,
        version=sightline.__version__,
    )


def _verdict(result: CheckResult) -> str:
    told = [counted(len(result.of(severity)), severity) for severity in SEVERITIES if result.of(severity)]
    return f"Found: {', '.join(told)}." if told else "Nothing found: no leak, no unreadable file, no odd picture."


class _Room:
    """Makes thumbnails as long as there is room for them.

    Args:
        picture: as for `write_page`.
    """

    def __init__(self, picture: PictureSource) -> None:
        self._picture = picture
        self._left = MOST_BYTES

    def thumbnail(self, sighting: Sighting) -> str | None:
        """A data URI; None where there is no room, or no picture."""
        if self._left <= 0 or sighting.index is None:
            return None
        try:
            pixels = self._picture(sighting.path)
        except (DataError, OSError):  # changed since it was checked: the page still has its name
            return None
        if pixels is None:
            return None
        uri = thumbnail(pixels)
        self._left -= len(uri)
        return uri


@dataclass(frozen=True)
class ShownCase:
    """A case with its thumbnails; None where there is none."""

    pictures: Sequence[tuple[Sighting, str | None]]
    more: int
    detail: str


@dataclass(frozen=True)
class ShownFinding:
    """A finding with its first cases in pictures, some more by name, and how many there are beyond."""

    kind: str
    title: str
    severity: Severity
    text: str
    rule: str
    cases: Sequence[ShownCase]
    listed: Sequence[Case]
    more: int


def _shown(finding: Finding, room: _Room) -> ShownFinding:
    has_pictures = finding.kind != "unreadable"
    shown = SUSPECTS_SHOWN if finding.kind == "suspect_label" else CASES_SHOWN
    pictured = finding.cases[:shown] if has_pictures else ()
    rest = finding.cases[len(pictured) :]
    return ShownFinding(
        kind=finding.kind,
        title=finding.kind.replace("_", " ").capitalize(),
        severity=finding.severity,
        text=finding.text,
        rule=finding.rule,
        cases=[_shown_case(case, room) for case in pictured],
        listed=rest[:CASES_LISTED],
        more=max(0, len(rest) - CASES_LISTED),
    )


def _shown_case(case: Case, room: _Room) -> ShownCase:
    """At least one picture of each split and class comes before others of the same."""
    seen: set[tuple[str, str]] = set()
    first: list[Sighting] = []
    later: list[Sighting] = []
    for sighting in case.sightings:
        kind = sighting.split, sighting.label
        (later if kind in seen else first).append(sighting)
        seen.add(kind)
    chosen = (*first, *later)[:PICTURES_SHOWN]
    return ShownCase(
        [(sighting, room.thumbnail(sighting)) for sighting in chosen],
        len(case.sightings) - len(chosen),
        case.detail,
    )


@dataclass(frozen=True)
class ClassRow:
    """A class's pictures in each split, and the parts of its bar as shares of the longest bar."""

    name: str
    counts: Sequence[int]
    widths: Sequence[float]


def _rows(result: CheckResult) -> Iterator[ClassRow]:
    """The largest class first."""
    table = {name: [by_class[name] for by_class in result.counts.values()] for name in result.classes}
    largest = max((sum(counts) for counts in table.values()), default=0)
    for name, counts in sorted(table.items(), key=lambda row: (-sum(row[1]), row[0]))[:CLASSES_SHOWN]:
        yield ClassRow(name, counts, [count / max(largest, 1) for count in counts])


def _bins(result: CheckResult) -> Iterator[tuple[str, int, float]]:
    """Of the histogram of sizes: from where to where, how many, and the share of the longest bar."""
    bins = result.figures.shorter_sides
    largest = max((count for _, _, count in bins), default=0)
    for start, end, count in bins:
        yield f"{start:,} to {end - 1:,} px", count, count / max(largest, 1)
