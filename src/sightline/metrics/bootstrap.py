"""How far a score would move with other pictures of the same kind: the bootstrap, for scores that are no share."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sightline.metrics.proportion import Interval

SEED = 0
MOST, LEAST = 1000, 200  # resamples: enough for a 95% interval, and few enough for a large set
_BUDGET = 100_000_000  # pictures times classes times resamples, about two seconds
_AT_ONCE = 50  # resamples in memory

Values = npt.NDArray[np.float64]


def num_resamples(num_pictures: int, num_classes: int) -> int:
    """How many resamples are drawn: 1,000, and fewer of large sets, whose scores hardly move.

    Example:
        >>> num_resamples(1000, 20), num_resamples(40_000, 80)
        (1000, 200)
    """
    return max(LEAST, min(MOST, _BUDGET // (num_pictures * num_classes)))


def resamples(num_pictures: int, count: int, *, seed: int = SEED) -> Iterator[Values]:
    """Draws with replacement, as many pictures as there are: how often each picture comes in each.

    Args:
        num_pictures: N.
        count: how many draws in all.
        seed: of the draws.

    Yields:
        float64 (B, N), some draws at a time; rows sum to N.

    Reference:
        Efron 1979, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7.

    Example:
        >>> [part.sum(axis=1).tolist() for part in resamples(4, 2)]
        [[4.0, 4.0]]
    """
    generator = np.random.default_rng(seed)
    for start in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - start)
        drawn = generator.integers(0, num_pictures, (size, num_pictures))
        places = drawn + num_pictures * np.arange(size)[:, None]
        yield np.bincount(places.ravel(), minlength=size * num_pictures).reshape(size, num_pictures).astype(np.float64)


def percentile_interval(value: float, redrawn: Values) -> Interval:
    """The middle 95% of a score's values over the resamples, around the score itself.

    Args:
        value: of all pictures.
        redrawn: (B,), of the resamples; NaN where it is not defined there.

    Example:
        >>> print(percentile_interval(0.5, np.linspace(0, 1, 101)))
        50.0% [2.5%, 97.5%]
    """
    known = redrawn[~np.isnan(redrawn)]
    if not len(known):
        return Interval(value, value, value)
    low, high = np.percentile(known, [2.5, 97.5]).tolist()
    return Interval(value, min(low, value), max(high, value))
