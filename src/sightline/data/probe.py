"""What most pictures of a set are like: looked up in the headers of some."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sightline.data.decode import BadImage, Header
from sightline.errors import DataError

PROBES = 256  # pictures whose headers tell the typical size and whether there is colour


@dataclass(frozen=True)
class Probe:
    """What the pictures looked at are like.

    Args:
        channels: 1 where all of them are grey, else 3.
        typical_size: the median (height, width) in px.
        count: how many could be read.
        num_animated: how many of those have several frames.
    """

    channels: Literal[1, 3]
    typical_size: tuple[int, int]
    count: int
    num_animated: int


def probe(count: int, header: Callable[[int], Header], *, most: int = PROBES) -> Probe:
    """Look at the headers of pictures spread over the whole set.

    Args:
        count: how many pictures there are.
        header: reads that of a picture, by its place.
        most: how many are looked at.

    Raises:
        DataError: none of those looked at can be read.
    """
    headers, errors = [], []
    for place in np.unique(np.linspace(0, count - 1, most).astype(int)).tolist():
        try:
            headers.append(header(place))
        except BadImage as error:  # a few are left to the store, which lists every one of them
            errors.append(error)
    if not headers:
        raise DataError(f"none of the {len(errors)} pictures looked at can be read. The first: {errors[0]}")
    heights, widths = [header.height for header in headers], [header.width for header in headers]
    return Probe(
        channels=1 if all(header.is_grey for header in headers) else 3,
        typical_size=(int(np.median(heights)), int(np.median(widths))),
        count=len(headers),
        num_animated=sum(header.is_animated for header in headers),
    )
