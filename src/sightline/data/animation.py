"""Animations and files of several pages are read as their first frame; this tells the user how many there are."""

from collections.abc import Sequence
from pathlib import Path

from sightline.data.catalog import Catalog
from sightline.data.decode import BadImage, read_header


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
    return _note(len(looked), sum(looked))


def animation_note_of(catalog: Catalog) -> str | None:
    """The same of a data set, from the pictures that were looked at when it was opened.

    Args:
        catalog: of any kind.
    """
    return None if catalog.looks is None else _note(catalog.looks.count, catalog.looks.num_animated)


def _note(looked: int, count: int) -> str | None:
    if not count:
        return None
    of = f"{looked:,} picture{'s' if looked > 1 else ''}"
    return f"Of {of} looked at, {count:,} {'have' if count > 1 else 'has'} several frames: the first one is used."


def _is_animated(source: str | Path | bytes) -> bool | None:
    try:
        return read_header(source).is_animated
    except BadImage:
        return None
