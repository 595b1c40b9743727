"""The brace notation of shell and WebDataset: one name that stands for many."""

import re
from itertools import product

from sightline.errors import ConfigError

MOST = 1_000_000  # names; more are a slip of the finger
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expanded(name: str) -> list[str]:
    """The names that one with braces stands for, in order.

    Args:
        name: with {first..last}, where leading zeros tell the width, or with {one,other}; any number of either.

    Raises:
        ConfigError: a pair of braces holds neither, braces lie within braces, or there are more than a million names.

    Example:
        >>> expanded("train-{008..010}.tar")
        ['train-008.tar', 'train-009.tar', 'train-010.tar']
        >>> expanded("{a,b}/{1..2}.tar")
        ['a/1.tar', 'a/2.tar', 'b/1.tar', 'b/2.tar']
        >>> expanded("one.tar")
        ['one.tar']
    """
    between = _BRACES.split(name)  # text, inside of braces, text, ...
    if any(sign in text for text in between[::2] for sign in "{}"):
        raise ConfigError(f"{name!r} has a brace without its other half, or braces within braces.")
    choices = [_choices(name, inside) for inside in between[1::2]]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST:
        raise ConfigError(f"{name!r} stands for {count:,} names, more than the limit of {MOST:,}.")
    texts = between[::2]
    return ["".join(map("".join, zip(texts, (*chosen, ""), strict=True))) for chosen in product(*choices)]


def _choices(name: str, inside: str) -> list[str]:
    found = _RANGE.fullmatch(inside)
    if found is not None:
        first, last = found.groups()
        is_padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
        width = max(len(first), len(last)) if is_padded else 0
        if int(last) - int(first) >= MOST:
            raise ConfigError(f"{name!r} stands for more names than the limit of {MOST:,}.")
        if int(last) >= int(first):
            return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    elif "," in inside:
        return inside.split(",")
    raise ConfigError(
        f"{name!r} has {{{inside}}}, which is neither a range such as {{000..012}}, the smaller number first, nor a "
        "choice such as {train,val}."
    )
