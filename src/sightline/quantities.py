"""Quantities as people write them: 1.81 G, 10M, 3x224x224."""

import math
import re
from collections.abc import Iterable

from sightline.errors import ConfigError


def short(number: float) -> str:
    """A large number in three digits.

    Args:
        number: not negative.

    Example:
        >>> short(4_089_184_256), short(61_706), short(840)
        ('4.09 G', '61.7 k', '840')
    """
    for unit, size in ((" T", 1e12), (" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= 0.9995 * size:
            return three_digits(number / size) + unit
    return f"{number:g}"


def three_digits(number: float) -> str:
    """A number with as many places as tell something.

    Args:
        number: not negative.

    Example:
        >>> three_digits(102.4), three_digits(61.706), three_digits(0.004), three_digits(0.0001), three_digits(0)
        ('102', '61.7', '0.004', '<0.001', '0')
    """
    for least, places in ((99.95, 0), (9.995, 1), (0.0995, 2)):
        if number >= least:
            return f"{number:.{places}f}"
    return f"{number:.3f}" if number >= 0.0005 else "<0.001" if number else "0"


def by(numbers: Iterable[int]) -> str:
    """Sizes as in 3x224x224.

    Args:
        numbers: in order.
    """
    return "x".join(map(str, numbers))


def amount(text: str) -> float:
    """A number with k, M or G behind it, as it is typed.

    Args:
        text: as in "10M", "1.5G", "300", "12,000,000".

    Raises:
        ConfigError: it is no such number.

    Example:
        >>> amount("1.5G"), amount("61k"), amount("300"), amount("12,000,000")
        (1500000000.0, 61000.0, 300.0, 12000000.0)
    """
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    unit = text[-1:].lower()
    number = text[:-1] if unit in units else text
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?", number):  # thousands; "1,5" may be meant as 1.5 and is refused
        number = number.replace(",", "")
    try:
        value = float(number) * units.get(unit, 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"{text!r} is no amount. Write a number with k, M or G behind it, such as 10M or 1.5G.")
    return value
