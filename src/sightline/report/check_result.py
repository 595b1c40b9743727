"""What a check of a data set found, for the terminal, for programs and for the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.data.finding import SEVERITIES, Case, Finding, counted
from sightline.report.check_figures import Figures, figure_words

VERSION = 1  # of the JSON; a name in it keeps its meaning, new ones may come
CASES_SHOWN = 5  # of a finding, on the terminal
PICTURES_SHOWN = 3  # of a case
CLASSES_SHOWN = 30


@dataclass(frozen=True)
class Advice:
    """A choice that a training would make of this data, or a fact to weigh it by.

    Args:
        about: what is chosen: the name of a setting, or a few words.
        value: as a training would take it; "" for a fact alone.
        reason: why.
    """

    about: str
    value: str
    reason: str


@dataclass(frozen=True)
class CheckResult:
    """A data set, looked through.

    Args:
        name: of the data.
        root: its folder; None for arrays.
        classes: in the order of the labels.
        counts: pictures by split and class.
        notes: how it was read and split, in sentences.
        figures: what the pictures are like.
        findings: what is wrong or odd, errors first.
        advice: on size, crops and network.
        fixed: what was written where, in sentences; empty where nothing was to be.
        num_pictures: of the catalog.
        suspects: who judged the labels, how far it agrees, and the estimated noise, as JSON; None where nobody did.
    """

    name: str
    root: str | None
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    figures: Figures
    findings: tuple[Finding, ...]
    advice: tuple[Advice, ...]
    fixed: tuple[str, ...] = ()
    num_pictures: int = 0
    suspects: Mapping[str, Any] | None = None

    @property
    def has_leak(self) -> bool:
        """Whether pictures, or pictures of one group, are in two splits, and not because they were published so."""
        return any(each.kind in ("leak", "group_leak") and each.severity == "error" for each in self.findings)

    @property
    def has_unreadable(self) -> bool:
        """Whether a file cannot be used."""
        return any(each.kind == "unreadable" for each in self.findings)

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 1 for a leak or an unreadable file, else 0."""
        return int(self.has_leak or self.has_unreadable)

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one weight."""
        return tuple(each for each in self.findings if each.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """JSON; every case of every finding is in it."""
        return {
            "version": VERSION,
            "data": {
                "name": self.name,
                "root": self.root,
                "classes": list(self.classes),
                "pictures": self.num_pictures,
                "notes": list(self.notes),
            },
            "counts": {split: dict(by_class) for split, by_class in self.counts.items()},
            "figures": asdict(self.figures),
            "findings": [finding.to_dict() for finding in self.findings],
            "suspects": None if self.suspects is None else dict(self.suspects),
            "advice": [asdict(each) for each in self.advice],
            "fixed": list(self.fixed),
            "has_leak": self.has_leak,
            "has_unreadable": self.has_unreadable,
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(result: CheckResult) -> Iterator[str]:
    yield f"{result.name}: {counted(result.num_pictures, 'picture')}, {len(result.classes)} classes"
    yield from (f"  {note}" for note in result.notes)
    yield ""
    yield from _table(result.counts, result.classes)
    yield ""
    yield from (f"{name:<12}  {value}" for name, value in figure_words(result.figures))
    for severity in SEVERITIES:
        found = result.of(severity)
        if found:
            yield ""
            yield f"{severity}s" if len(found) > 1 else severity
            for finding in found:
                yield from _finding_lines(finding)
    if result.advice:
        yield ""
        yield "advice"
        yield from (f"  {each.about}{f' {each.value}' if each.value else ''}: {each.reason}" for each in result.advice)
    if not result.findings:
        yield ""
        yield "nothing found"
    yield from result.fixed


def _table(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Iterator[str]:
    """Pictures by class and split, the largest class first."""
    totals = {name: sum(by_class[name] for by_class in counts.values()) for name in classes}
    shown = sorted(classes, key=lambda name: (-totals[name], name))[:CLASSES_SHOWN]
    width = max([5, *(len(name) for name in shown)])
    yield f"{'class':<{width}}" + "".join(f"{split:>10}" for split in counts) + f"{'all':>10}"
    for name in shown:
        yield f"{name:<{width}}" + "".join(f"{c[name]:>10,}" for c in counts.values()) + f"{totals[name]:>10,}"
    if len(classes) > len(shown):
        yield f"and {len(classes) - len(shown)} smaller classes"


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"  {finding.kind}: {finding.text}"
    yield from (f"    {case_words(case)}" for case in finding.cases[:CASES_SHOWN])
    if len(finding.cases) > CASES_SHOWN:
        yield f"    and {len(finding.cases) - CASES_SHOWN:,} more"


def case_words(case: Case) -> str:
    """A case in a line: paths with their splits, and what is to be said."""
    names = [f"{s.path} ({s.split})" if s.split else s.path for s in case.sightings[:PICTURES_SHOWN]]
    if len(case.sightings) > PICTURES_SHOWN:
        names.append(f"{len(case.sightings) - PICTURES_SHOWN:,} more")
    return " = ".join(names) + (f": {case.detail}" if case.detail else "")


def as_path(output: Path) -> Path:
    """The page's path: what was named where that ends in .html, else check.html in the folder of that name."""
    return output if output.suffix.lower() in (".html", ".htm") else output / "check.html"
