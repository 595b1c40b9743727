"""What a check of a data set finds: each kind of trouble with its weight, its rule and the pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sightline.data.catalog import SPLITS, Catalog, Problem

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Kind = Literal[
    "unreadable", "leak", "group_leak", "contradiction", "duplicate", "near_duplicate", "suspect_label",
    "one_colour", "black", "dark", "light", "blurred", "odd_size", "odd_shape", "rotated", "animated", "imbalance",
]  # fmt: skip


@dataclass(frozen=True)
class Sighting:
    """One picture of a finding.

    Args:
        path: as the catalog names it.
        split: one of `SPLITS`; "" of a file that is in none.
        label: the class, or of multi-label data the classes with semicolons between.
        index: of the catalog; None of a file that is not in it.
    """

    path: str
    split: str = ""
    label: str = ""
    index: int | None = None


@dataclass(frozen=True)
class Case:
    """One instance of a finding: a picture, or pictures that belong together.

    Args:
        sightings: the pictures.
        detail: what is to be said of them: a reason, a number. "" for nothing.
        figures: the same for a program, by name, where there is more than words.
    """

    sightings: tuple[Sighting, ...]
    detail: str = ""
    figures: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Everything of one kind.

    Args:
        kind: for a program.
        severity: an error is a reason to stop; a warning should be looked at; a note is good to know.
        text: what was found and what it does, in sentences.
        rule: how it was decided, and where its numbers are from.
        cases: where it was found, all of them, in the order of the catalog or the worst first.
    """

    kind: Kind
    severity: Severity
    text: str
    rule: str
    cases: tuple[Case, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "text": self.text,
            "rule": self.rule,
            "count": len(self.cases),
            "cases": [
                {
                    "pictures": [{"path": s.path, "split": s.split, "label": s.label} for s in case.sightings],
                    "detail": case.detail,
                    **case.figures,
                }
                for case in self.cases
            ],
        }


def sighting(catalog: Catalog, index: int) -> Sighting:
    """A picture as a finding names it.

    Args:
        catalog: with its splits assigned.
        index: of the picture.
    """
    return Sighting(catalog.images.name(index), SPLITS[catalog.splits[index]], label_of(catalog, index), index)


def label_of(catalog: Catalog, index: int) -> str:
    """The class of a picture, or its classes with semicolons between."""
    if catalog.is_multilabel:
        return ";".join(catalog.classes[number] for number in np.flatnonzero(catalog.labels[index]))
    return catalog.classes[int(catalog.labels[index])]


def cases_of(catalog: Catalog, sets: Sequence[Sequence[int]], details: Sequence[str]) -> tuple[Case, ...]:
    """Cases from indices.

    Args:
        catalog: with its splits assigned.
        sets: the pictures of each case.
        details: of each.
    """
    return tuple(
        Case(tuple(sighting(catalog, index) for index in members), detail)
        for members, detail in zip(sets, details, strict=True)
    )


def unreadable(catalog: Catalog, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Files that cannot be used, as one finding; nothing where there is none.

    Args:
        catalog: with its splits assigned; its own problems are among them.
        problems: pictures of it that cannot be decoded.
    """
    numbers = {catalog.images.name(index): index for index in range(len(catalog))} if problems else {}
    known = [Case((sighting(catalog, numbers[problem.path]),), problem.reason) for problem in problems]
    others = [Case((Sighting(problem.path),), problem.reason) for problem in catalog.problems]
    if known or others:
        count = len(known) + len(others)
        yield Finding(
            "unreadable",
            "error",
            f"{counted(count, 'file')} cannot be used. Repair or remove {'it' if count == 1 else 'them'}, or leave "
            f"{'it' if count == 1 else 'them'} out of a training with --skip-bad, which lists what it leaves out.",
            "Every picture was decoded whole, as a training decodes it.",
            (*others, *known),
        )


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "picture"), counted(1200, "picture")
        ('1 picture', '1,200 pictures')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
