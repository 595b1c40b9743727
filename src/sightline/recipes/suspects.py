"""Labels that are probably wrong, sought in a data set that is checked: who judges, what it costs, what it found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from sightline.data.catalog import Catalog
from sightline.data.finding import Finding
from sightline.data.measure import Measures
from sightline.errors import ConfigError, DataError, TrainingError
from sightline.evaluation.suspects import find_suspects
from sightline.predict.answers import as_utf8
from sightline.progress import bars, say
from sightline.recipes.settings import Settings
from sightline.recipes.suspect_folds import LEAST_PICTURES, Judged, judged
from sightline.recipes.suspect_judges import Judge, choose_judge
from sightline.recipes.suspect_list import case_of, finding_of, require_writable, write_list
from sightline.runtime import Runtime

MOST_S = 180.0  # sought unasked where it takes no longer; not from a paper: what a check on every change may take
LEAST_FROM_SCRATCH = 1000  # pictures, of fewer a network from scratch knows too little to be asked unasked


@dataclass(frozen=True)
class Wish:
    """What the user wants of suspicious labels.

    Args:
        wanted: True: seek them, whatever it takes; False: do not; None: where it takes few minutes.
        bundle: to judge with; None for the cheapest that works.
        csv: a file to write the list to; None for none.
    """

    wanted: bool | None = None
    bundle: Path | None = None
    csv: Path | None = None

    def __post_init__(self) -> None:
        if self.wanted is False and (self.bundle is not None or self.csv is not None):
            flag = "suspects_csv" if self.bundle is None else "suspects_with"
            raise ConfigError(
                f"--{flag.replace('_', '-')} is for suspicious labels, and --no-suspects seeks none. Leave one out."
            )
        if self.csv is not None:
            require_writable(self.csv)

    @property
    def is_asked(self) -> bool:
        """Whether they are to be sought whatever it takes."""
        return bool(self.wanted) or self.bundle is not None or self.csv is not None


@dataclass(frozen=True)
class Search:
    """What came of it.

    Args:
        findings: one, or none.
        notes: who judged, or why nothing was sought, in sentences.
        summary: JSON: who judged, how well, and the estimated noise; None where nothing was sought.
    """

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    summary: dict[str, Any] | None = None


def seek_suspects(
    catalog: Catalog,
    measures: Measures,
    sets: Sequence[Sequence[int]],
    settings: Settings,
    runtime: Runtime,
    wish: Wish,
    *,
    looking_s: float,
    console: Console,
) -> Search:
    """Seeks labels that are probably wrong, among all pictures that can be read, of all splits.

    Args:
        catalog: with its splits assigned.
        measures: of its pictures.
        sets: pictures that are one, as `duplicates.clusters` gives them.
        settings: of a training: its seed, and weights to begin with.
        runtime: the machine.
        wish: what the user wants.
        looking_s: seconds that one look at every picture took.
        console: for what is done, why, and the progress.

    Raises:
        ConfigError: a setting is wrong.
        BundleError: the bundle cannot be used, or the list cannot be written.
    """
    if wish.wanted is False:
        return Search()
    if catalog.is_multilabel:
        return Search(notes=("Suspicious labels are not sought in data with several labels a picture.",))
    pictures = judged(catalog, measures.readable, sets)
    if len(pictures.classes) < 2:
        needed = f"it takes two classes of {LEAST_PICTURES} pictures or more"
        return _not_sought(needed, pictures.notes if len(pictures.classes) else ())
    judge = choose_judge(pictures, measures, settings, runtime, bundle=wish.bundle, looking_s=looking_s)
    if not wish.is_asked and (why := _why_not(judge, pictures)):
        return _not_sought(why)
    say(console, as_utf8(f"  suspicious labels: {len(pictures):,} pictures, judged by {judge.words}: {_cost(judge)}"))
    try:
        folds = _folds(pictures, judge, settings.seed or 0)
        with bars(console) as bar:
            probabilities = judge.judge(folds, bar("judging labels"))
    except (DataError, TrainingError) as error:  # every other part of the check has its answer
        return _not_sought(str(error))
    return _search(pictures, judge, probabilities, wish)


def _why_not(judge: Judge, pictures: Judged) -> str | None:
    """Why labels are not judged unasked; None where they are."""
    ways = "--suspects seeks them all the same, --suspects-with BUNDLE with a network of yours"
    if judge.name == "networks" and len(pictures) < LEAST_FROM_SCRATCH:
        return f"{len(pictures):,} pictures are few to judge by, without trained weights at hand; {ways}"
    if judge.seconds > MOST_S:
        return f"it would take {_duration(judge.seconds)}, by {judge.words}; {ways}"
    return None


def _not_sought(why: str, notes: Sequence[str] = ()) -> Search:
    return Search(notes=(f"Suspicious labels were not sought: {why}.", *notes))


def _folds(pictures: Judged, judge: Judge, seed: int) -> npt.NDArray[np.int64]:
    if judge.folds == 1:
        return np.zeros(len(pictures), np.int64)
    return pictures.folds(judge.folds, seed=seed)


def _search(pictures: Judged, judge: Judge, probabilities: npt.NDArray[np.float32], wish: Wish) -> Search:
    suspects = find_suspects(probabilities, pictures.labels)
    accuracy = float((probabilities.argmax(axis=1) == pictures.labels).mean())
    cases = [case_of(pictures, suspects, place, probabilities) for place in range(len(suspects))]
    if wish.csv is not None:
        write_list(wish.csv, cases)
    summary = {
        "judge": judge.name,
        "words": judge.words,
        "folds": judge.folds,
        "pictures": len(pictures),
        "agreement": round(accuracy, 4),
        "estimated_noise": round(1 - float(suspects.joint.trace()), 4),
        "estimated_noise_of_class": {
            pictures.class_name(place): round(noise, 4) for place, noise in enumerate(suspects.noise.tolist())
        },
    }
    notes = (f"Labels were judged by {judge.words}{_in_folds(judge)}.", *pictures.notes)
    return Search((finding_of(pictures, suspects, cases, accuracy),) if cases else (), notes, summary)


def _cost(judge: Judge) -> str:
    return f"{_duration(judge.seconds)}{_in_folds(judge)}"


def _in_folds(judge: Judge) -> str:
    return f", in {judge.folds} folds" if judge.folds > 1 else ""


def _duration(seconds: float) -> str:
    """About how long, in words.

    Example:
        >>> _duration(12.3), _duration(200), _duration(9000)
        ('about 12 s', 'about 3 min', 'about 2.5 h')
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
