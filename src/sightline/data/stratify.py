"""The draw of held-out pictures: of each class alike, group by group where pictures belong together, by hash."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, Catalog

TRAIN, VAL, TEST, UNASSIGNED = range(len(SPLITS))

Indices = npt.NDArray[np.int64]


def draw(
    catalog: Catalog, pool: Indices, *, val: float, test: float, most_val: int | None = None, seed: int
) -> npt.NDArray[np.uint8]:
    """Draw validation and test pictures.

    Args:
        catalog: the data set.
        pool: int64 (n,), the pictures to draw from.
        val: share of the pool, in [0, 1).
        test: likewise; the two sum to less than 1.
        most_val: the most validation pictures.
        seed: of the draw.

    Returns:
        uint8 (n,), the split of each picture of the pool. Every class keeps at least one training picture, or group.
        The draw depends on the seed and the names alone: not on the order of the pool.
    """
    if catalog.groups is None and not catalog.is_multilabel:
        return _draw_pictures(catalog, pool, val=val, test=test, most_val=most_val, seed=seed)
    if most_val is not None:
        val = min(val, most_val / len(pool))
    val, test = (share if share * len(pool) >= 0.5 else 0.0 for share in (val, test))  # less than a picture is none
    members, counts, names = groups_of(catalog, pool)
    chosen = divide(counts, names, [1 - val - test, val, test], seed=seed)
    wanted = [split for split, share in ((VAL, val), (TEST, test)) if share > 0]
    _complete(chosen, counts, _order(counts, names, seed)[::-1], wanted=wanted)
    return chosen[members].astype(np.uint8)


# ------------------------------------------------------------------------------------------------------------ pictures


def _draw_pictures(
    catalog: Catalog, pool: Indices, *, val: float, test: float, most_val: int | None, seed: int
) -> npt.NDArray[np.uint8]:
    numbers = catalog.class_counts(pool)
    num_test = _allocate(numbers, test, keep=1 + (val > 0))
    num_val = _allocate(numbers, val, keep=1 + num_test, most=most_val)
    splits = np.full(len(pool), TRAIN, np.uint8)
    for label, places in enumerate(ranked(catalog, pool, seed)):
        end = num_test[label] + num_val[label]
        splits[places[: num_test[label]]] = TEST
        splits[places[num_test[label] : end]] = VAL
    return splits


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


def ranked(catalog: Catalog, pool: Indices, seed: int) -> list[Indices]:
    """The places of the pool's pictures class by class, each class in the order of a hash of the seed and the name."""
    keys = hashed((catalog.images.name(index) for index in pool.tolist()), seed)
    ordered = np.argsort(keys, kind="stable")
    labels = catalog.class_numbers[pool][ordered]
    return [ordered[labels == label] for label in range(len(catalog.classes))]


def hashed(names: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """A number for each name, uint64, that depends on the seed and the name alone."""
    # A file's name need not be UTF-8; what is not comes as surrogates.
    digests = [hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()[:8] for name in names]
    return np.frombuffer(b"".join(digests), dtype=">u8")


# -------------------------------------------------------------------------------------------------------------- groups


def groups_of(catalog: Catalog, pool: Indices) -> tuple[Indices, Indices, list[str]]:
    """The groups of some pictures; where there are none, each picture is one.

    Returns:
        int64 (n,), the group of each picture of the pool, from 0; int64 (G, 1 + K), how many pictures each group has,
        in all and of each class; and the groups' names.
    """
    if catalog.groups is None:
        members, names = np.arange(len(pool)), [catalog.images.name(index) for index in pool.tolist()]
    else:
        numbers, members = np.unique(catalog.groups[pool], return_inverse=True)
        names = [catalog.group_name(number) for number in numbers.tolist()]
    counts = np.zeros((len(names), 1 + len(catalog.classes)), np.int64)
    np.add.at(counts[:, 0], members, 1)
    if catalog.is_multilabel:
        np.add.at(counts[:, 1:], members, catalog.labels[pool])
    else:
        np.add.at(counts, (members, 1 + catalog.class_numbers[pool]), 1)
    return members, counts, names


def divide(counts: Indices, names: Sequence[str], shares: Sequence[float], *, seed: int) -> Indices:
    """Put whole groups into parts, so that each part has its share of every class as nearly as groups allow.

    The largest group goes first, equal ones in the order of a hash of the seed and the name. Each goes where the sum
    of squared errors of all classes' shares, each part's measured against its share, grows least.

    Args:
        counts: int64 (G, C), how many of each kind a group has; the first column, all of them, tells its size.
        names: of the groups.
        shares: of the parts, which sum to 1; a part with the share 0 gets nothing.
        seed: of the order of equal groups.

    Returns:
        int64 (G,), the part of each group.

    Example:
        >>> divide(np.array([[4, 4], [2, 2], [2, 2]]), ["a", "b", "c"], [0.5, 0.5], seed=0).tolist()
        [0, 1, 1]
    """
    parts = np.flatnonzero(np.array(shares) > 0)
    wanted = np.array(shares)[parts, None]  # (parts, 1)
    present = counts.sum(axis=0) > 0
    fractions = counts[:, present] / counts[:, present].sum(axis=0)  # (G, C): each class counts alike
    filled = np.zeros((len(parts), fractions.shape[1]))
    chosen = np.zeros(len(counts), np.int64)
    for group in _order(counts, names, seed).tolist():
        more = fractions[group]
        growth = (more * (more + 2 * (filled - wanted)) / wanted).sum(axis=1)
        part = int(np.argmin(np.round(growth, 12)))  # the first one of those that only rounding tells apart
        filled[part] += more
        chosen[group] = parts[part]
    return chosen


def _order(counts: Indices, names: Sequence[str], seed: int) -> Indices:
    """The largest group first, equal ones by hash."""
    return np.lexsort((hashed(names, seed), -counts[:, 0]))


def _complete(chosen: Indices, counts: Indices, smallest_first: Indices, *, wanted: Sequence[int]) -> None:
    """Gives every class a group for training, and then one for each other split, as far as it has groups."""
    has = counts > 0
    for label in range(1, counts.shape[1]):
        if has[:, label].any() and not (has[:, label] & (chosen == TRAIN)).any():
            chosen[next(group for group in smallest_first if has[group, label])] = TRAIN
    for split in wanted:
        givers = [TRAIN, *(each for each in wanted if each != split)]
        for label in range(1, counts.shape[1]):
            if (has[:, label] & (chosen == split)).any():
                continue
            candidates = (group for giver in givers for group in smallest_first if chosen[group] == giver)
            spare = (group for group in candidates if has[group, label] and _is_dispensable(group, chosen, has))
            if (group := next(spare, None)) is not None:
                chosen[group] = split


def _is_dispensable(group: int, chosen: Indices, has: npt.NDArray[np.bool_]) -> bool:
    """Whether the split that a group is in has another one of each class that this one has."""
    others = chosen == chosen[group]
    others[group] = False
    return bool(has[others][:, has[group]].any(axis=0).all())
