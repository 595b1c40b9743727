"""Pictures whose files are equal byte for byte: the part of a check that costs next to nothing, before a training."""

import contextlib
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages, Images
from sightline.data.decode import MAX_BYTES, BadImage
from sightline.data.hashes import content_hashes
from sightline.data.published import KNOWN
from sightline.data.shard_images import ShardImages
from sightline.data.threads import in_order
from sightline.errors import DataError

Indices = npt.NDArray[np.int64]

_SHOWN = 5
_DIGEST_BYTES = 16
_POOL = tuple(SPLITS.index(split) for split in ("train", "unassigned"))  # what a draw takes from


def exact_copies(images: Images, *, threads: int) -> Indices:
    """For each picture, the first one of the same content; itself, where it is that or cannot be read.

    Of files, only those are read whose size another one has, too.

    Args:
        images: of a catalog.
        threads: how many read at once.

    Returns:
        int64 (N,).

    Example:
        >>> pixels = np.array([1, 2, 1], np.uint8).reshape(3, 1, 1, 1)
        >>> exact_copies(ArrayImages(pixels, (("image", 3),)), threads=1).tolist()
        [0, 1, 0]
    """
    digests: dict[int, str]
    if isinstance(images, FileImages | ShardImages):
        alike = _of_equal_size(images)
        digests = dict(zip(alike, content_hashes(images, alike, threads=threads), strict=True))
    else:
        digests = _digests(images, threads)
    first: dict[str, int] = {}
    copies = np.arange(len(images), dtype=np.int64)
    for index in sorted(digests):
        copies[index] = first.setdefault(digests[index], index)
    return copies


def _of_equal_size(images: FileImages | ShardImages) -> list[int]:
    """Plain files whose size another one has, too."""
    sizes = images.sizes if isinstance(images, ShardImages) else _sizes(images)
    found, counts = np.unique(sizes, return_counts=True)
    return np.flatnonzero(np.isin(sizes, found[(counts > 1) & (found > 0)])).tolist()


def _sizes(images: FileImages) -> Indices:
    """In bytes; 0 where that is not known, or more than a picture may have."""
    sizes = np.zeros(len(images), np.int64)
    for index in range(len(images)):
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(f"{images.root}/{images.paths[index]}")  # noqa: PTH116 - there may be a million
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
                sizes[index] = status.st_size
    return sizes


def _digests(images: Images, threads: int) -> dict[int, str]:
    def digest(index: int) -> str | None:
        try:
            return hashlib.blake2b(images.content(index), digest_size=_DIGEST_BYTES).hexdigest()
        except BadImage:
            return None

    with ThreadPoolExecutor(threads) as pool:
        found = in_order(pool, digest, range(len(images)), threads=threads)
        return {index: seen for index, seen in found if seen is not None}


def keep_together(catalog: Catalog, copies: Indices) -> Catalog:
    """Put exact copies into one group each, so that a draw cannot divide them.

    Only pictures that a draw takes from are looked at; what the data has assigned stays. Pictures in arrays keep what
    they have: an evaluation draws their splits again, from the seed alone.

    Args:
        catalog: before its splits are assigned.
        copies: of `exact_copies`.

    Returns:
        The catalog with groups for the draw; itself, where there is nothing to keep together.
    """
    pool = np.flatnonzero(np.isin(catalog.splits, _POOL))
    _, first, which = np.unique(copies[pool], return_index=True, return_inverse=True)
    first_of = np.arange(len(catalog), dtype=np.int64)
    first_of[pool] = pool[first][which]
    if isinstance(catalog.images, ArrayImages) or (first_of == np.arange(len(catalog))).all():
        return catalog
    if catalog.groups is None:
        names = tuple(catalog.images.name(index) for index in range(len(catalog)))
        return replace(catalog, groups=first_of, group_names=names)
    return replace(catalog, groups=joined(catalog.groups, first_of))


def joined(groups: Indices, others: Indices) -> Indices:
    """Groups that have a picture in common under either numbering become one, with the lowest number of `groups`.

    Args:
        groups: int64 (N,), of each picture.
        others: int64 (N,), likewise.

    Example:
        >>> joined(np.array([4, 5, 5, 6]), np.array([0, 0, 1, 2])).tolist()
        [4, 4, 4, 6]
    """
    groups = groups.copy()
    _, others = np.unique(others, return_inverse=True)
    while True:
        before = groups
        for numbers in (others, np.unique(before, return_inverse=True)[1]):
            lowest = np.full(numbers.max(initial=-1) + 1, np.iinfo(np.int64).max)
            np.minimum.at(lowest, numbers, groups)
            groups = lowest[numbers]
        if (groups == before).all():
            return groups


def kept_together(catalog: Catalog, drawn: Catalog, copies: Indices) -> list[str]:
    """What `keep_together` did, in a sentence.

    Args:
        catalog: as it was opened.
        drawn: the same with its splits assigned.
        copies: of `exact_copies`.
    """
    is_drawn = np.isin(catalog.splits, _POOL)
    count = int((copies[is_drawn] != np.flatnonzero(is_drawn)).sum())
    has_draw = len(np.unique(drawn.splits[is_drawn])) > 1
    if isinstance(catalog.images, ArrayImages) or not count or not has_draw:
        return []
    return [f"{count:,} pictures are exact copies of others: copies were kept in one split when it was drawn."]


def is_published(catalog: Catalog) -> bool:
    """Whether a catalog is a known set as it was published: its splits stay, so that scores can be compared."""
    return catalog.name in KNOWN and isinstance(catalog.images, ArrayImages) and len(catalog.source_files) > 0


def refuse_leaks(catalog: Catalog, drawn: Catalog, copies: Indices, *, allowed: bool) -> list[str]:
    """Refuse splits that hold a picture out and train on it, too.

    Args:
        catalog: as it was opened.
        drawn: the same with its splits assigned.
        copies: of `exact_copies`.
        allowed: say it and go on, instead.

    Returns:
        What leaks all the same, in sentences: because it is allowed, because the split is a published one, or because
        it was drawn from arrays.

    Raises:
        DataError: held-out pictures are exact copies of pictures of another split.
    """
    pairs = leaking_pairs(drawn, copies)
    by_draw = np.isin(catalog.splits[pairs], _POOL).all(axis=1)
    notes = [f"{_said(by_draw.sum())}, by the draw."] if by_draw.any() else []
    own = pairs[~by_draw]
    if not len(own):
        return notes
    if is_published(catalog):
        return [*notes, f"{_said(len(own))}, as {catalog.name} was published. The splits stay, to compare scores."]
    if allowed:
        return [*notes, f"{_said(len(own))}, which is allowed here: scores will be too good."]
    where = catalog.root or "DATA"
    raise DataError(
        f"{catalog.name}: {_said(len(own))}, so scores would be too good:\n{_listed(drawn, own)}\n"
        f"Remove one of each; or write a clean split with `sightline check {where} --fix-split clean.csv` and train on "
        "clean.csv; or train all the same with --allow-leaks (allow_leaks=True)."
    )


def _said(count: int) -> str:
    is_one = count == 1
    return (
        f"{count:,} held-out picture{' is an exact copy' if is_one else 's are exact copies'} of "
        f"{'one' if is_one else 'some'} in another split"
    )


def _listed(catalog: Catalog, pairs: Indices) -> str:
    def told(index: int) -> str:
        return f"{catalog.images.name(index)} ({SPLITS[catalog.splits[index]]})"

    lines = [f"  {told(held_out)} = {told(earlier)}" for earlier, held_out in pairs[:_SHOWN].tolist()]
    return "\n".join([*lines, f"  and {len(pairs) - _SHOWN:,} more"] if len(pairs) > _SHOWN else lines)


def leaking_pairs(catalog: Catalog, copies: Indices) -> Indices:
    """Pictures of different splits with the same content.

    Args:
        catalog: with its splits assigned.
        copies: of `exact_copies`.

    Returns:
        int64 (M, 2): each picture of the validation or test split that has a copy in an earlier split (training, then
        validation), with the first such copy before it; in the order of the held-out pictures.
    """
    order = np.lexsort((np.arange(len(copies)), catalog.splits))
    _, place, which = np.unique(copies[order], return_index=True, return_inverse=True)
    earliest = np.empty(len(copies), np.int64)
    earliest[order] = order[place][which]
    leaking = np.flatnonzero(catalog.splits[earliest] < catalog.splits)
    return np.stack([earliest[leaking], leaking], axis=1)
