"""Which pictures are for training, for validation and for the test: decided once, and said in sentences."""

import hashlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, Catalog
from sightline.errors import ConfigError, DataError

_DEFAULT_FRACTION = 0.15  # of a flat folder, for validation and for the test each; not from a paper
_OFFICIAL_VAL_FRACTION = 0.1  # He et al. 2015, Sec. 4.2, hold 5,000 of CIFAR-10's 50,000 training pictures out
_OFFICIAL_VAL_MOST = 5000
_TRAIN, _VAL, _TEST, _UNASSIGNED = range(len(SPLITS))

Indices = npt.NDArray[np.int64]


def assign_splits(
    catalog: Catalog, *, val_fraction: float | None = None, test_fraction: float | None = None, seed: int = 0
) -> tuple[Catalog, list[str]]:
    """Give every picture its split.

    A split that the data brings along is kept. Where it brings neither a validation nor a test split, both are taken
    from all pictures; where it brings a test split, the validation is taken from the training pictures. What is taken
    is stratified by class, and a picture's place in the draw depends on the seed and its name alone: not on the order
    of the files, nor on which others there are. Every class keeps at least one training picture.

    Args:
        catalog: the data set.
        val_fraction: of the pictures that are divided; None for 0.15, or, for data with a test split of its own, 0.1
            and at most 5,000.
        test_fraction: likewise; None for 0.15, or, for data with a validation split of its own, no test split.
        seed: of the draw.

    Returns:
        The catalog without an unassigned picture, and what was done, in sentences.

    Raises:
        ConfigError: a fraction is out of range, or given for a split that the data brings along.
        DataError: there is nothing to train on.

    Reference:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Sec. 4.2: 45k/5k.
    """
    has_val, has_test = len(catalog.select("val")) > 0, len(catalog.select("test")) > 0
    _check(catalog, "val_fraction", val_fraction, has_val)
    _check(catalog, "test_fraction", test_fraction, has_test)
    if (val_fraction or 0) + (test_fraction or 0) >= 1:
        raise ConfigError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train on. "
            "Their sum must be below 1."
        )
    most = _OFFICIAL_VAL_MOST if has_test and val_fraction is None else None
    if val_fraction is None:
        val_fraction = 0.0 if has_val else _OFFICIAL_VAL_FRACTION if has_test else _DEFAULT_FRACTION
    if test_fraction is None:
        test_fraction = 0.0 if has_val or has_test else _DEFAULT_FRACTION

    splits = catalog.splits.copy()
    splits[splits == _UNASSIGNED] = _TRAIN
    pool = np.flatnonzero(splits == _TRAIN)
    if len(pool) == 0:
        raise DataError(
            f"{catalog.name} has no training pictures. Put them into train/CLASS/ folders, or into CLASS/ folders."
        )
    numbers = np.bincount(catalog.labels[pool], minlength=len(catalog.classes))
    num_test = _allocate(numbers, test_fraction, keep=1 + (val_fraction > 0))
    num_val = _allocate(numbers, val_fraction, keep=1 + num_test, most=most)
    for label, of_class in enumerate(_ranked(catalog, pool, seed)):
        end = num_test[label] + num_val[label]
        splits[of_class[: num_test[label]]] = _TEST
        splits[of_class[num_test[label] : end]] = _VAL

    said = [
        f"The {name} split is the data's own: {len(catalog.select(split)):,} pictures."
        for split, name, has_own in (("val", "validation", has_val), ("test", "test", has_test))
        if has_own
    ]
    taken = [
        f"{count.sum():,} for {name}" for count, name in ((num_val, "validation"), (num_test, "test")) if count.any()
    ]
    if taken:
        said.append(
            f"{np.sum(splits == _TRAIN):,} of {len(pool):,} pictures are for training, {' and '.join(taken)}: "
            f"drawn with seed {seed}, in each class alike."
        )
    for fraction, count, name in ((val_fraction, num_val, "validation"), (test_fraction, num_test, "test")):
        lacking = [catalog.classes[label] for label in np.flatnonzero((count == 0) & (numbers > 0))]
        if fraction > 0 and lacking:
            said.append(f"Too few pictures to give any to the {name} split: {', '.join(lacking)}.")
    return replace(catalog, splits=splits), said


def _check(catalog: Catalog, name: str, fraction: float | None, has_own: bool) -> None:
    if fraction is None:
        return
    if not 0 <= fraction < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {fraction}.")
    if has_own:
        raise ConfigError(
            f"{name} is {fraction}, but {catalog.name} brings that split along, and it is kept. Leave {name} out."
        )


def _allocate(numbers: Indices, fraction: float, *, keep: int | Indices, most: int | None = None) -> Indices:
    """How many of each class to take: the fraction of the whole, shared out by largest remainder.

    Every class gives at least one, unless that leaves fewer than `keep` of it.
    """
    total = int(numbers.sum() * fraction + 0.5)
    total = total if most is None else min(total, most)
    if total == 0:
        return np.zeros_like(numbers)
    quotas = numbers * (total / numbers.sum())
    taken = np.floor(quotas).astype(np.int64)
    by_remainder = np.argsort(taken - quotas, kind="stable")
    taken[by_remainder[: total - taken.sum()]] += 1
    shares: Indices = np.minimum(np.maximum(taken, 1), np.maximum(numbers - keep, 0))
    return shares


def _ranked(catalog: Catalog, pool: Indices, seed: int) -> list[Indices]:
    """The pool's pictures class by class, each class in the order of a hash of the seed and the name."""
    names = (catalog.images.name(index) for index in pool.tolist())
    # A file's name need not be UTF-8; what is not comes as surrogates.
    digests = [hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()[:8] for name in names]
    keys = np.frombuffer(b"".join(digests), dtype=">u8")
    ordered = pool[np.argsort(keys, kind="stable")]
    labels = catalog.labels[ordered]
    return [ordered[labels == label] for label in range(len(catalog.classes))]
