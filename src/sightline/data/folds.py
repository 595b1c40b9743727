"""K folds: every picture is tested in exactly one of them."""

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Catalog
from sightline.data.stratify import Indices, divide, groups_of, ranked
from sightline.errors import ConfigError, DataError


def check_folds(folds: int | None, fold: int | None) -> None:
    """Refuse numbers of folds that cannot work.

    Raises:
        ConfigError: only one of the two is given, or one is out of range.
    """
    if folds is None and fold is None:
        return
    if folds is None or fold is None:
        given, lacking = ("folds", "fold") if fold is None else ("fold", "folds")
        raise ConfigError(
            f"{given} is given without {lacking}: --folds 5 --fold 0 tests on the first of five parts. Give both."
        )
    if folds < 2:
        raise ConfigError(f"folds must be at least 2, got {folds}.")
    if not 0 <= fold < folds:
        raise ConfigError(f"fold must be from 0 to {folds - 1}, got {fold}.")


def fold_numbers(catalog: Catalog, pool: Indices, folds: int, *, seed: int) -> npt.NDArray[np.int64]:
    """The one fold in which each picture is tested.

    Args:
        catalog: the data set.
        pool: int64 (n,), the pictures to divide.
        folds: how many parts, at least 2.
        seed: of the draw, which depends on it and on the names alone.

    Returns:
        int64 (n,), from 0 to `folds` - 1; of each class alike, as far as groups allow.

    Raises:
        ConfigError: there are fewer pictures, or groups, than folds.
        DataError: without one of the folds, nothing of a class would be left to train on.
    """
    if catalog.groups is None and not catalog.is_multilabel:
        numbers, count, unit = _of_pictures(catalog, pool, folds, seed), len(pool), "picture"
    else:
        members, counts, names = groups_of(catalog, pool)
        numbers = divide(counts, names, [1 / folds] * folds, seed=seed)[members]
        count, unit = len(names), "picture" if catalog.groups is None else "group"
    if count < folds:
        raise ConfigError(f"{folds} folds need at least as many {unit}s, and {catalog.name} has {count}. Choose fewer.")
    _require_every_class(catalog, pool, numbers, folds, unit)
    return numbers


def _of_pictures(catalog: Catalog, pool: Indices, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Each class in the order of the draw, cut into parts of one length; who gets one more goes round."""
    numbers = np.empty(len(pool), np.int64)
    first = 0  # the fold that gets the next picture too many
    for places in ranked(catalog, pool, seed):
        each, more = divmod(len(places), folds)
        lengths = np.full(folds, each)
        lengths[(first + np.arange(more)) % folds] += 1
        numbers[places] = np.repeat(np.arange(folds), lengths)
        first += more
    return numbers


def _require_every_class(
    catalog: Catalog, pool: Indices, numbers: npt.NDArray[np.int64], folds: int, unit: str
) -> None:
    total = catalog.class_counts(pool)
    for fold in range(folds):
        left = total - catalog.class_counts(pool[numbers == fold])
        lost = [catalog.classes[label] for label in np.flatnonzero((left == 0) & (total > 0))]
        if lost:
            raise DataError(
                f"fold {fold} would hold every picture of {', '.join(lost)}, and the training none. A class needs at "
                f"least two {unit}s, to be in two folds. Add some, or remove the class."
            )
