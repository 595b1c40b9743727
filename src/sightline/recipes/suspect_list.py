"""The list of suspicious labels: in words, for a program, and as a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.atomic import write_text
from sightline.data.finding import Case, Finding, counted, sighting
from sightline.errors import ConfigError
from sightline.evaluation.suspects import Suspects
from sightline.predict.answers import as_utf8
from sightline.recipes.suspect_folds import Judged

COLUMNS = ("path", "split", "given", "suggested", "given_probability", "suggested_probability", "score")
# What was measured (benchmarks/RESULTS.md), for those who read a list and wonder how far to trust it.
EXPECTED = (
    "Measured with quick networks and 5 % of 10,000 labels of Fashion-MNIST flipped at random: 87 % of the flips were "
    "listed, and 61 % of the list were flips, all of the first 100. So expect four of ten to be right after all, most "
    "of them far down; where hardly a label is wrong, most of the list is pictures that are hard to tell."
)
LOW_AGREEMENT = 0.8
EXPECTED_OF_LOW = (
    "The judge knows these pictures badly, so far fewer of the list are wrong than of a good one: with 5 % of the "
    "labels of 300 pictures of Fashion-MNIST flipped and a judge that agreed with 62 % of them, 15 % of the list were "
    "flips."
)
_RULE = (
    "Confident learning (Northcutt et al. 2021, arXiv:1911.00068): what judges a picture has not been taught its "
    "label, nor that of a copy or of its group; the score is 1 less the probability of the given class. "
)
_SHOWN = 3  # classes with the most noise


def case_of(pictures: Judged, suspects: Suspects, place: int, probabilities: npt.NDArray[np.float32]) -> Case:
    """One of the suspects.

    Args:
        pictures: that were judged.
        suspects: of them.
        place: which of the suspects.
        probabilities: (N, K), by which they were found.
    """
    row, given, suggested = (int(each[place]) for each in (suspects.indices, suspects.given, suspects.suggested))
    names = pictures.class_name(given), pictures.class_name(suggested)
    shares = float(probabilities[row, given]), float(probabilities[row, suggested])
    return Case(
        (sighting(pictures.catalog, int(pictures.pool[row])),),
        f"{names[0]} {shares[0]:.1%}, rather {names[1]} {shares[1]:.1%}",
        {
            "given": names[0],
            "suggested": names[1],
            "given_probability": round(shares[0], 6),
            "suggested_probability": round(shares[1], 6),
            "score": round(float(suspects.scores[place]), 6),
        },
    )


def finding_of(pictures: Judged, suspects: Suspects, cases: Sequence[Case], accuracy: float) -> Finding:
    """The list, as a note: a guess of a program is no reason to stop, nor to change the exit code.

    Args:
        pictures: that were judged.
        suspects: of them.
        cases: of `case_of`, one or more.
        accuracy: the share of all labels that the judge agrees with.
    """
    is_one = len(cases) == 1
    worst = np.argsort(-suspects.noise, kind="stable")[:_SHOWN]
    told = ", ".join(f"{pictures.class_name(int(place))} {suspects.noise[place]:.1%}" for place in worst)
    return Finding(
        "suspect_label",
        "note",
        f"{counted(len(cases), 'label')} of {len(pictures):,} {'is' if is_one else 'are'} suspicious, the most so "
        f"first: the judge agrees with {accuracy:.1%} of all labels, and would call {'this' if is_one else 'these'} "
        f"something else. Wrong by the estimate: {1 - float(suspects.joint.trace()):.1%} of all, most in {told}. Look "
        "before you change one; the files stay as they are.",
        _RULE + (EXPECTED if accuracy >= LOW_AGREEMENT else EXPECTED_OF_LOW),
        tuple(cases),
    )


def require_writable(path: Path) -> None:
    """Refuses early a list that could not be written.

    Args:
        path: of the CSV.

    Raises:
        ConfigError: it would be no CSV, exists, or has no folder.
    """
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--suspects-csv writes a CSV, got {path}. End its name in .csv.")
    if path.exists():
        raise ConfigError(f"{path} exists, and nothing is overwritten. Name another file for --suspects-csv.")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for {path.name}. Make it, or name another.")


def write_list(path: Path, cases: Sequence[Case]) -> None:
    """Writes the list as a table; a path is as the data names it.

    Args:
        path: of the CSV.
        cases: of `case_of`.

    Raises:
        ConfigError: it cannot be written.
    """
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for case in cases:
        rows.writerow({"path": case.sightings[0].path, "split": case.sightings[0].split, **case.figures})
    try:
        write_text(path, as_utf8(text.getvalue()))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}. Name another file for --suspects-csv.") from error
