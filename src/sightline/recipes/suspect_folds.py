"""Whose labels can be judged, and which pictures are judged together: copies and groups share a fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Catalog
from sightline.data.copies import joined
from sightline.data.folds import fold_numbers

LEAST_PICTURES = 20  # of a class; not from a paper: of fewer, neither a network nor a threshold can be learned
_SHOWN = 5

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Judged:
    """The pictures whose labels are judged, of all splits.

    Args:
        catalog: that they are of; groups and copies that share a fold are its groups.
        pool: int64 (N,), their indices, ascending.
        classes: int64 (K,), the class numbers of the catalog that take part, ascending.
        labels: int64 (N,), the place of each picture's class among `classes`.
        notes: what is not judged, and why, in sentences.
    """

    catalog: Catalog
    pool: Indices
    classes: Indices
    labels: Indices
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pool)

    def class_name(self, place: int) -> str:
        """The name of one of `classes`."""
        return self.catalog.classes[int(self.classes[place])]

    def folds(self, count: int, *, seed: int) -> Indices:
        """The fold of each picture: of each class alike, as far as copies and groups allow.

        Args:
            count: how many, 2 or more.
            seed: of the draw.

        Returns:
            int64 (N,), from 0.

        Raises:
            ConfigError: there are fewer groups than folds.
            DataError: a class would be in one fold alone.
        """
        return fold_numbers(self.catalog, self.pool, count, seed=seed)


def judged(catalog: Catalog, readable: Indices, sets: Sequence[Sequence[int]]) -> Judged:
    """The pictures that can be read, of classes that have enough of them.

    Args:
        catalog: with one class a picture.
        readable: the indices of the pictures that can be read.
        sets: pictures that are one, as `duplicates.clusters` gives them.
    """
    counts = catalog.class_counts(readable)
    together = _together(catalog, sets)
    units = _units(catalog, readable, together)
    is_judged = (counts >= LEAST_PICTURES) & (units >= 2)
    pool = readable[is_judged[catalog.class_numbers[readable]]]
    classes = np.flatnonzero(is_judged)
    return Judged(
        catalog=catalog if together is None else replace(catalog, groups=together, group_names=()),
        pool=pool,
        classes=classes,
        labels=np.searchsorted(classes, catalog.class_numbers[pool]),
        notes=tuple(_left_out(catalog, counts, units)),
    )


def _together(catalog: Catalog, sets: Sequence[Sequence[int]]) -> Indices | None:
    """One number for pictures that share a fold; None where each stands for itself."""
    if not sets:
        return catalog.groups
    copies = np.arange(len(catalog), dtype=np.int64)
    for members in sets:
        copies[list(members)] = members[0]
    return copies if catalog.groups is None else joined(copies, catalog.groups)


def _units(catalog: Catalog, readable: Indices, together: Indices | None) -> Indices:
    """How many groups each class has, or pictures that stand for themselves: int64 (K,)."""
    if together is None:
        return catalog.class_counts(readable)
    pairs = np.unique(np.stack([catalog.class_numbers[readable], together[readable]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=len(catalog.classes))


def _left_out(catalog: Catalog, counts: Indices, units: Indices) -> Iterator[str]:
    few = [catalog.classes[label] for label in np.flatnonzero((counts > 0) & (counts < LEAST_PICTURES))]
    if few:
        yield f"{_classes(few)} with less than {LEAST_PICTURES} pictures {_are(few)} left out."
    single = [catalog.classes[label] for label in np.flatnonzero((counts >= LEAST_PICTURES) & (units < 2))]
    if single:
        yield f"{_classes(single)} of a single group {_are(single)} left out."


def _classes(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f"{len(names):,} class{'' if len(names) == 1 else 'es'} ({', '.join(names[:_SHOWN])}{more})"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
