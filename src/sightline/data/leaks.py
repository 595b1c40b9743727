"""From pictures that are one to what that spoils: leaks between splits, contradictions, and what counts twice."""

from collections.abc import Iterator, Sequence

import numpy as np

from sightline.data.catalog import SPLITS, Catalog
from sightline.data.duplicates import LEAST_SCORE, Pair, clusters
from sightline.data.finding import Case, Finding, Kind, Severity, counted, sighting
from sightline.data.fingerprint import Fingerprints

_EXACT = "exact"
_EXACT_RULE = "Exact: the same pixels once decoded, however the files were written."
_NEAR_RULE = (
    "Near: thumbnails laid on each other get lighter and darker in the same places, a likeness of at least "
    f"{LEAST_SCORE}: as after saving again, resizing, cropping a tenth of each edge, brightening or mirroring. Look at "
    "the pairs: two pictures of the same simple thing can be as alike. --no-near leaves them out."
)
_PUBLISHED = (
    " The published splits stay, so that scores can be compared: this much of what is held out is known to the "
    "training."
)


def duplicates(catalog: Catalog, pairs: Sequence[Pair], *, published: bool) -> Iterator[Finding]:
    """Pictures that are one, by what they spoil. What leaks is not told again as a duplicate.

    Args:
        catalog: with its splits assigned.
        pairs: of its pictures.
        published: whether its splits are a published set's, whose leaks are no error of the user's.
    """
    found: dict[Kind, list[Case]] = {kind: [] for kind in ("leak", "contradiction", "duplicate", "near_duplicate")}
    for case in (*_exact_cases(catalog, pairs), *_near_cases(catalog, pairs)):
        if len({each.split for each in case.sightings}) > 1:
            found["leak"].append(case)
        else:
            found["duplicate" if case.detail == _EXACT else "near_duplicate"].append(case)
        if len({each.label for each in case.sightings}) > 1:
            found["contradiction"].append(case)
    leak = "in more than one split: what is learned from is scored, too."
    yield from _told("leak", "warning" if published else "error", found["leak"],
                     leak + (_PUBLISHED if published else " --fix-split writes a clean split."))  # fmt: skip
    yield from _told("contradiction", "warning", found["contradiction"],
                     "with different labels. One label is wrong, or a picture is of several classes.")  # fmt: skip
    yield from _told(
        "duplicate", "warning", found["duplicate"], "in one split, which count as often as they are there."
    )
    yield from _told("near_duplicate", "note", found["near_duplicate"], "in one split: perhaps one shot, altered.")


def _exact_cases(catalog: Catalog, pairs: Sequence[Pair]) -> Iterator[Case]:
    for members in clusters([pair for pair in pairs if pair.kind == "exact"]):
        yield Case(tuple(sighting(catalog, index) for index in members), _EXACT)


def _near_cases(catalog: Catalog, pairs: Sequence[Pair]) -> Iterator[Case]:
    """The most alike first."""
    for pair in sorted(pairs, key=lambda pair: -pair.score):
        if pair.kind != "exact":
            words = f"{'mirrored' if pair.kind == 'mirrored' else 'near'}, likeness {pair.score:.3f}"
            yield Case((sighting(catalog, pair.first), sighting(catalog, pair.second)), words)


def _told(kind: Kind, severity: Severity, cases: list[Case], text: str) -> Iterator[Finding]:
    exact = sum(case.detail == _EXACT for case in cases)
    near = len(cases) - exact
    told = [counted(exact, "set") + " of exact copies"] if exact else []
    told += [counted(near, "pair") + " of near copies"] if near else []
    rule = " ".join([*([_EXACT_RULE] if exact else []), *([_NEAR_RULE] if near else [])])
    if cases:
        yield Finding(kind, severity, f"{' and '.join(told)} {text}", rule, tuple(cases))


def divided_groups(catalog: Catalog, assigned: Catalog | None = None) -> list[list[int]]:
    """The groups that splits divide: the pictures of each, ascending.

    Args:
        catalog: with its groups.
        assigned: the same with its splits; None for the catalog's own, in which what is unassigned trains.
    """
    if catalog.groups is None:
        return []
    splits = (assigned or catalog).splits.copy()
    splits[splits == SPLITS.index("unassigned")] = SPLITS.index("train")
    order = np.lexsort((np.arange(len(splits)), catalog.groups))
    starts = np.flatnonzero(np.diff(catalog.groups[order])) + 1
    return [members.tolist() for members in np.split(order, starts) if len(np.unique(splits[members])) > 1]


def group_leaks(catalog: Catalog, groups: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Groups that the splits divide, as one finding.

    Args:
        catalog: with its splits assigned.
        groups: of `divided_groups`.
    """
    if not groups or catalog.groups is None:
        return
    cases = tuple(
        Case(
            tuple(sighting(catalog, index) for index in members),
            f"group {catalog.group_name(int(catalog.groups[members[0]]))}",
        )
        for members in groups
    )
    is_one = len(groups) == 1
    yield Finding(
        "group_leak",
        "error",
        f"{counted(len(groups), 'group')} {'is' if is_one else 'are'} divided between splits: pictures of one group "
        "must share one. --fix-split writes a clean split.",
        "The groups are the data's own, or those of --group-by.",
        cases,
    )


def exact_pairs(prints: Fingerprints) -> list[Pair]:
    """The pictures with the same pixels, each with the first of them.

    Args:
        prints: of all pictures.
    """
    first: dict[bytes, int] = {}
    found = ((first.setdefault(digest.tobytes(), number), number) for number, digest in enumerate(prints.digests))
    return [Pair(earlier, number, "exact", 1.0) for earlier, number in found if earlier != number]
