"""What counted successes say about the share behind them: intervals, and a test between two models."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError

_Z = 1.959963984540054  # the normal distribution's 97.5% point: 95% lie within plus or minus this


@dataclass(frozen=True)
class Interval:
    """A share and its 95% confidence interval, all in [0, 1].

    Args:
        value: as measured.
        low: the lower end.
        high: the upper end.

    Example:
        >>> print(Interval(0.913, 0.908, 0.919))
        91.3% [90.8%, 91.9%]
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"

    def to_dict(self) -> dict[str, float]:
        """The three numbers as JSON knows them."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(successes: int, count: int) -> Interval:
    """Wilson's score interval for a share: what it is measured as, and between which values it probably lies.

    It holds its 95% for small counts and near 0 and 1, where the textbook's p ± 1.96 sqrt(p (1 - p) / n) does not.

    Args:
        successes: how many of them.
        count: of how many, at least 1.

    Raises:
        ConfigError: there are no samples, or more successes than samples.

    Reference:
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22. Newcombe 1998,
        "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, method 3.

    Example:
        >>> print(wilson(81, 263))
        30.8% [25.5%, 36.6%]
    """
    if not 0 <= successes <= count or count < 1:
        raise ConfigError(f"an interval needs 0 to n successes of n >= 1 samples, got {successes} of {count}.")
    share = successes / count
    spread = 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / spread
    half = _Z / spread * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    # The ends are exact at 0 and 1, where rounding would miss them.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == count else centre + half
    return Interval(share, low, high)


@dataclass(frozen=True)
class McNemar:
    """Two models on the same pictures.

    Args:
        only_first: how many pictures the first alone has right.
        only_second: how many the second alone has right.
        p_value: how often chance alone would part two equal models at least so far.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_correct: npt.ArrayLike, second_correct: npt.ArrayLike) -> McNemar:
    """McNemar's exact test: whether two models differ, judged by the pictures on which they disagree.

    Pictures that both have right, or both wrong, say nothing about which is better; of the others each model would have
    half if they were equal. The two-sided binomial probability is exact: no chi-square approximation.

    Args:
        first_correct: bool (N,), whether the first model is right about each picture.
        second_correct: likewise for the second model, the same pictures in the same order.

    Raises:
        ConfigError: the two do not have the same length.

    Reference:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
        Psychometrika 12. Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification
        Learning Algorithms", Neural Computation 10, Sec. 3.1.

    Example:
        >>> first, second = [True] * 9 + [False], [False] * 9 + [True]
        >>> mcnemar(first, second).p_value
        0.021484375
    """
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ConfigError(
            f"a paired test needs one answer of each model per picture, got {first.shape} and {second.shape}. "
            "Evaluate both on the same pictures."
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(only_first, only_second, _two_sided_binomial(min(only_first, only_second), only_first + only_second))


def _two_sided_binomial(fewer: int, count: int) -> float:
    """Twice the probability of at most `fewer` heads in `count` throws of a fair coin, at most 1."""
    if count <= 1000:  # whole numbers, exact
        return min(1.0, 2 * sum(math.comb(count, heads) for heads in range(fewer + 1)) / (1 << count))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    heads = np.arange(fewer + 1)
    logs = log_factorial[count] - log_factorial[heads] - log_factorial[count - heads] - (count - 1) * math.log(2)
    return min(1.0, float(np.exp(logs).sum()))
