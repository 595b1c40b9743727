"""What the networks of the zoo cost and see, read from a file: an overview without building any, and without torch.

`figures.json` beside this file is written by `python -m sightline.recipes.figures`; a test computes every figure again.
"""

import fnmatch
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

from sightline.errors import ConfigError
from sightline.quantities import amount

FILE = "figures.json"
Sort = Literal["name", "year", "params", "macs", "receptive-field"]


@dataclass(frozen=True)
class Figures:
    """One network, at its paper's input size and number of classes.

    Args:
        name: its name in the zoo.
        year: of the paper.
        paper: authors, year, arXiv id where there is one.
        input_size: (channels, height, width).
        num_classes: outputs.
        options: what may be asked of it besides classes and channels.
        parameters: trained numbers.
        macs: multiply-accumulates for one picture: convolutions and dense layers.
        receptive_field: of the last map: size_px, stride_px, padding_px; None where there is no map.
    """

    name: str
    year: int
    paper: str
    input_size: tuple[int, int, int]
    num_classes: int
    options: tuple[str, ...]
    parameters: int
    macs: int
    receptive_field: Mapping[str, int] | None


def read_figures() -> list[Figures]:
    """The file's rows, in the order of the zoo.

    Example:
        >>> next(row.parameters for row in read_figures() if row.name == "resnet18")
        11689512
    """
    rows: dict[str, dict[str, Any]] = json.loads((files("sightline.models") / FILE).read_text(encoding="utf-8"))
    return [
        Figures(name=name, **{**row, "input_size": tuple(row["input_size"]), "options": tuple(row["options"])})
        for name, row in rows.items()
    ]


def select(
    pattern: str = "*",
    *,
    max_params: str | None = None,
    max_macs: str | None = None,
    year: int | None = None,
    sort: str | None = None,
) -> list[Figures]:
    """The rows that fit, in the order of the zoo or sorted, the smallest first.

    Args:
        pattern: a name with wildcards, in any case; without wildcards, a name or a part of one.
        max_params: the most parameters, as in "10M".
        max_macs: the most multiply-accumulates, as in "1.5G".
        year: of the paper.
        sort: a `Sort`; None keeps the zoo's order.

    Raises:
        ConfigError: an amount is none, or there is no such order.

    Example:
        >>> [row.name for row in select("resnet*", max_macs="45M", sort="params")]
        ['resnet20']
    """
    if sort is not None and sort not in get_args(Sort):
        raise ConfigError(f"sort is {sort!r}; it must be one of {', '.join(get_args(Sort))}.")
    most_params, most_macs = (math.inf if text is None else amount(text) for text in (max_params, max_macs))
    rows = read_figures()
    fitting = _fitting(pattern, [row.name for row in rows])
    found = [
        row
        for row in rows
        if row.name in fitting and row.parameters <= most_params and row.macs <= most_macs and year in (None, row.year)
    ]
    return found if sort is None else sorted(found, key=lambda row: _key(row, sort))


def _fitting(pattern: str, names: Sequence[str]) -> set[str]:
    """The names that a person means by a pattern."""
    pattern = pattern.lower()
    if pattern not in names and not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return {name for name in names if fnmatch.fnmatchcase(name, pattern)}


def _key(row: Figures, sort: str) -> tuple[Any, ...]:
    """What rows are ordered by; networks without a map come last."""
    field = row.receptive_field["size_px"] if row.receptive_field else math.inf
    first = {"name": row.name, "year": row.year, "params": row.parameters, "macs": row.macs, "receptive-field": field}
    return first[sort], row.name
