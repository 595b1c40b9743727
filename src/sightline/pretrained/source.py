"""Weights that were found: where they lie, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.data.preprocess import Preprocess


@dataclass(frozen=True)
class Source:
    """Weights that were found and not yet read.

    Args:
        spelled: what finds them again from anywhere.
        file: the weights.
        model: the network they are of; None where the file does not say.
        origin: where they are from, as plain facts; "sha256" of the file among them.
        licence: under which they are given away, as far as they say.
        preprocess: the pictures they were trained on; None where nobody knows.
        classes: the names of what they answer, in index order; None where nobody knows.
        options: what the network must be built with for them to fit.
        by_order: their names are of another library; see `Published`.
        notes: what was assumed, a sentence each.
    """

    spelled: str
    file: Path
    model: str | None
    origin: Mapping[str, str]
    licence: str
    preprocess: Preprocess | None
    classes: tuple[str, ...] | None
    options: Mapping[str, Any] = field(default_factory=dict)
    by_order: bool = False
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Origin and licence in half a sentence."""
        title = self.origin.get("title") or next(iter(self.origin.values()))
        return f"{title}; licence: {self.licence}"
