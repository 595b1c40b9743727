"""docs/check.md names every kind of finding with its weight, and its commands have flags that exist."""

import inspect
import re
from pathlib import Path
from typing import get_args

from sightline.cli import check, train
from sightline.data.finding import SEVERITIES, Kind
from sightline.data.quality import LEAST_PICTURES, MOST_DEVIATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")


def test_every_kind_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (\w+) \|", PAGE, re.MULTILINE)
    kinds = [kind for cell, _ in rows for kind in re.findall(r"`(\w+)`", cell)]
    assert sorted(kinds) == sorted(get_args(Kind))
    assert {weight for _, weight in rows} == set(SEVERITIES)


def test_the_flags_exist() -> None:
    known = {name for verb in (check, train) for name in inspect.signature(verb.command).parameters}
    known |= {"json", "no_near", "no_suspects"}
    flags = {flag.replace("-", "_") for flag in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", PAGE)}
    assert flags <= known, flags - known


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"means {MOST_DEVIATIONS} robust" in PAGE
    assert f"less than {LEAST_PICTURES} pictures" in PAGE
