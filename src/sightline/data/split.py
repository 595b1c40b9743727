"""Which pictures are for training, for validation and for the test: decided once, and said in sentences."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, Catalog
from sightline.data.folds import check_folds, fold_numbers
from sightline.data.stratify import TEST, TRAIN, UNASSIGNED, VAL, Indices, draw
from sightline.errors import ConfigError, DataError

_DEFAULT_FRACTION = 0.15  # of a flat folder, for validation and for the test each; not from a paper
_OFFICIAL_VAL_FRACTION = 0.1  # He et al. 2015, Sec. 4.2, hold 5,000 of CIFAR-10's 50,000 training pictures out
_OFFICIAL_VAL_MOST = 5000
_SHOWN = 5  # groups that a message lists
_NAMES = {VAL: "validation", TEST: "test"}

Drawn = npt.NDArray[np.uint8]


def assign_splits(
    catalog: Catalog,
    *,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    folds: int | None = None,
    fold: int | None = None,
) -> tuple[Catalog, list[str]]:
    """Give every picture its split.

    A split that the data brings along is kept. Where it brings neither a validation nor a test split, both are taken
    from all pictures; where it brings a test split, the validation is taken from the training pictures. What is taken
    is stratified by class, and a picture's place in the draw depends on the seed and its name alone: not on the order
    of the files, nor on which others there are. Every class keeps at least one training picture.

    Pictures of one group always share a split; the classes' shares are then kept as nearly as the groups allow.

    Args:
        catalog: the data set.
        val_fraction: of the pictures that are divided; None for 0.15, or, for data with a test split of its own, 0.1
            and at most 5,000. With folds: of the pictures that are not tested.
        test_fraction: likewise; None for 0.15, or, for data with a validation split of its own, no test split.
        seed: of the draw.
        folds: divide the pictures into so many parts, each of which is the test split once; None for no folds.
        fold: the one that is the test split here, from 0.

    Returns:
        The catalog without an unassigned picture, and what was done, in sentences.

    Raises:
        ConfigError: a fraction is out of range, or given for a split that the data brings along; or folds are wrong.
        DataError: there is nothing to train on, in all or of a class; or splits of the data's own divide a group.

    Reference:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Sec. 4.2: 45k/5k.
    """
    has_val, has_test = len(catalog.select("val")) > 0, len(catalog.select("test")) > 0
    _check(catalog, "val_fraction", val_fraction, has_val)
    _check(catalog, "test_fraction", test_fraction, has_test)
    check_folds(folds, fold)
    if (val_fraction or 0) + (test_fraction or 0) >= 1:
        raise ConfigError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train on. "
            "Their sum must be below 1."
        )
    splits, pool = _own_splits(catalog)
    if folds is not None and fold is not None:
        _check_for_folds(catalog, test_fraction, has_val or has_test)
        splits[pool], plan = _drawn_fold(catalog, pool, val_fraction, folds=folds, fold=fold, seed=seed)
    else:
        most = _OFFICIAL_VAL_MOST if has_test and val_fraction is None else None
        val, test = _shares(val_fraction, test_fraction, has_val=has_val, has_test=has_test)
        splits[pool] = draw(catalog, pool, val=val, test=test, most_val=most, seed=seed)
        plan = _Plan({VAL: val, TEST: test}, f"drawn with seed {seed}")
    divided = replace(catalog, splits=splits)
    own = [f"The {_NAMES[split]} split is the data's own: {len(catalog.select(SPLITS[split])):,} pictures."
           for split, has_own in ((VAL, has_val), (TEST, has_test)) if has_own]  # fmt: skip
    return divided, [*own, *_said(divided, pool, plan)]


@dataclass(frozen=True)
class _Plan:
    """What a draw was to give: the share of each held-out split, and how, in words."""

    shares: dict[int, float]
    how: str


def _own_splits(catalog: Catalog) -> tuple[Drawn, Indices]:
    """The splits of the data's own, in which what is unassigned trains; and what can be drawn from: what trains."""
    splits = catalog.splits.copy()
    splits[splits == UNASSIGNED] = TRAIN
    _require_whole_groups(catalog, splits)
    pool = np.flatnonzero(splits == TRAIN)
    if len(pool) == 0:
        raise DataError(
            f"{catalog.name} has no training pictures. Put them into train/CLASS/ folders, or into CLASS/ folders."
        )
    return splits, pool


def _shares(
    val_fraction: float | None, test_fraction: float | None, *, has_val: bool, has_test: bool
) -> tuple[float, float]:
    """For validation and for the test: what is asked for, else what suits the splits that the data brings along."""
    val = 0.0 if has_val else _OFFICIAL_VAL_FRACTION if has_test else _DEFAULT_FRACTION
    test = 0.0 if has_val or has_test else _DEFAULT_FRACTION
    return val if val_fraction is None else val_fraction, test if test_fraction is None else test_fraction


def _drawn_fold(
    catalog: Catalog, pool: Indices, val_fraction: float | None, *, folds: int, fold: int, seed: int
) -> tuple[Drawn, _Plan]:
    """One fold is the test split, and the validation split is drawn from the others."""
    drawn = np.full(len(pool), TEST, np.uint8)
    val = _DEFAULT_FRACTION if val_fraction is None else val_fraction
    is_rest = fold_numbers(catalog, pool, folds, seed=seed) != fold
    drawn[is_rest] = draw(catalog, pool[is_rest], val=val, test=0.0, seed=seed)
    return drawn, _Plan(
        {VAL: val, TEST: 1 / folds}, f"fold {fold} of {folds} is the test split, drawn with seed {seed}"
    )


def _check(catalog: Catalog, name: str, fraction: float | None, has_own: bool) -> None:
    if fraction is None:
        return
    if not 0 <= fraction < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {fraction}.")
    if has_own:
        raise ConfigError(
            f"{name} is {fraction}, but {catalog.name} brings that split along, and it is kept. Leave {name} out."
        )


def _check_for_folds(catalog: Catalog, test_fraction: float | None, has_own: bool) -> None:
    if test_fraction is not None:
        raise ConfigError(f"test_fraction is {test_fraction}, but with folds the test split is one fold. Leave it out.")
    if has_own:
        raise ConfigError(
            f"folds divide all pictures, but {catalog.name} brings splits of its own along, and they are kept. "
            "Leave folds out, or give the pictures without splits."
        )


def _require_whole_groups(catalog: Catalog, splits: Drawn) -> None:
    """A group that the data's own splits divide would let the training see what is tested."""
    if catalog.groups is None:
        return
    pairs = np.unique(np.stack([catalog.groups, splits.astype(np.int64)], axis=1), axis=0)
    groups, counts = np.unique(pairs[:, 0], return_counts=True)
    divided = groups[counts > 1].tolist()
    if divided:
        shown = [
            f"{catalog.group_name(group)} ({', '.join(SPLITS[split] for split in pairs[pairs[:, 0] == group, 1])})"
            for group in divided[:_SHOWN]
        ]
        raise DataError(
            f"the splits that {catalog.name} brings along divide {len(divided):,} groups: {', '.join(shown)}"
            f"{', ...' if len(divided) > _SHOWN else ''}. Pictures of one group must share a split. Correct the "
            "splits, or give the data without splits or without groups."
        )


def _said(catalog: Catalog, pool: Indices, plan: _Plan) -> Iterator[str]:
    """What the draw did."""
    drawn = catalog.splits[pool]
    sizes = {split: int((drawn == split).sum()) for split in plan.shares}
    taken = [f"{size:,} for {_NAMES[split]}" for split, size in sizes.items() if size]
    if taken:
        alike = (
            "in each class alike" if catalog.groups is None else "group by group, of each class as alike as they allow"
        )
        yield (
            f"{(drawn == TRAIN).sum():,} of {len(pool):,} pictures are for training, {' and '.join(taken)}: "
            f"{plan.how}, {alike}."
        )
    total = catalog.class_counts(pool)
    unit = "pictures" if catalog.groups is None else "groups"
    for split, share in plan.shares.items():
        count = catalog.class_counts(pool[drawn == split])
        lacking = [catalog.classes[label] for label in np.flatnonzero((count == 0) & (total > 0))]
        if share > 0 and lacking:
            yield f"Too few {unit} to give any to the {_NAMES[split]} split: {', '.join(lacking)}."
    yield from _large_groups(catalog, pool, plan.shares)


def _large_groups(catalog: Catalog, pool: Indices, shares: dict[int, float]) -> Iterator[str]:
    """Groups that no held-out split has room for."""
    least = min((share for share in shares.values() if share > 0), default=0.0) * len(pool)
    if catalog.groups is None or not least:
        return
    groups, counts = np.unique(catalog.groups[pool], return_counts=True)
    large = np.flatnonzero(counts > least)
    large = large[np.argsort(-counts[large], kind="stable")]
    if len(large):
        shown = ", ".join(f"{catalog.group_name(int(groups[each]))} ({counts[each]:,})" for each in large[:_SHOWN])
        yield (
            f"{len(large):,} of {len(groups):,} groups have more pictures than a held-out split should, {least:,.0f}: "
            f"{shown}{', ...' if len(large) > _SHOWN else ''}. The shares of the splits are as near as that allows."
        )
