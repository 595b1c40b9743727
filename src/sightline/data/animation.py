"""Animations and files of several pages are read as their first frame; this tells the user how many there are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.data.catalog import Catalog, FileImages
from sightline.data.decode import BadImage, read_header

_MOST = 256  # headers looked at of a data set: 30 ms


def animation_note(sources: Sequence[str | Path | bytes]) -> str | None:
    """A sentence about pictures of several frames; None where there is none.

    Args:
        sources: files or their bytes; those that cannot be read are not counted.

    Example:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> file, red, blue = BytesIO(), Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
        >>> red.save(file, "GIF", save_all=True, append_images=[blue])
        >>> animation_note([file.getvalue()])
        'Of 1 picture looked at, 1 has several frames: the first one is used.'
    """
    looked = [found for found in map(_is_animated, sources) if found is not None]
    count = sum(looked)
    if not count:
        return None
    of = f"{len(looked):,} picture{'s' if len(looked) > 1 else ''}"
    return f"Of {of} looked at, {count:,} {'have' if count > 1 else 'has'} several frames: the first one is used."


def animation_note_of(catalog: Catalog) -> str | None:
    """The same of a data set in files, from pictures spread over all of it.

    Args:
        catalog: of any kind; those that are not in files have no frames, or are not looked at.
    """
    images = catalog.images
    if not isinstance(images, FileImages) or not len(images):
        return None
    places = np.unique(np.linspace(0, len(images) - 1, _MOST).astype(int)).tolist()
    return animation_note([images.path(place) for place in places])


def _is_animated(source: str | Path | bytes) -> bool | None:
    try:
        return read_header(source).is_animated
    except BadImage:
        return None
