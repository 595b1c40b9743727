"""The pictures on which an export is proved: those of the validation split, where they can be had."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.bundle import Bundle
from sightline.data.catalog import Catalog, Problem
from sightline.data.class_map import in_order
from sightline.data.decode import BadImage
from sightline.data.known import find
from sightline.data.modes import Pixels
from sightline.data.preprocess import Preprocess
from sightline.data.published import KNOWN
from sightline.data.sources import Data as Data
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import DataError

MOST = 1000  # pictures of a proof; evenly spaced where there are more
MADE = 256


@dataclass(frozen=True, eq=False)
class ProofPictures:
    """Pictures at the network's size, and where they are from.

    Args:
        pixels: uint8 (N, H, W, C), at least one.
        source: in a sentence.
        are_made: whether they are made by rule, for want of real ones.
        skipped: pictures that cannot be read.
    """

    pixels: Pixels
    source: str
    are_made: bool = False
    skipped: tuple[Problem, ...] = ()


def proof_pictures(bundle: Bundle, data: Data | None = None, *, most: int = MOST) -> ProofPictures:
    """The validation pictures of a bundle's training, or of the data given; made pictures where there is nothing.

    Args:
        bundle: names its data, and how it was split, in its provenance.
        data: what to use instead; split as the bundle's own was, where it brings no splits.
        most: pictures; evenly spaced ones are taken of more.

    Raises:
        DataError: `data` was given and cannot be opened, or none of its pictures can be read.
    """
    if data is not None:
        return _held_out(open_data(data), bundle, most)
    try:
        return _held_out(_open_original(bundle), bundle, most)
    except (DataError, OSError) as error:
        return made_pictures(bundle.preprocess, because=(str(error) or type(error).__name__).splitlines()[0])


def made_pictures(preprocess: Preprocess, *, because: str, count: int = MADE) -> ProofPictures:
    """Pictures by rule: in turn noise, every pixel on its own, and a 4x4 patch of noise enlarged to smooth blobs.

    Args:
        preprocess: gives them the network's size.
        because: why there are no real ones, in a sentence.
        count: how many.

    Example:
        >>> made = made_pictures(Preprocess((1, 8, 8), mean=(0.5,), std=(0.5,)), because="there are none", count=3)
        >>> made.pixels.shape, made.are_made
        ((3, 8, 8, 1), True)
    """
    channels, height, width = preprocess.input_size
    generator = np.random.default_rng(0)
    pictures = []
    for index in range(count):
        size = (height, width) if index % 2 == 0 else (4, 4)
        noise = generator.integers(0, 256, (*size, channels), dtype=np.uint8)
        pictures.append(preprocess.picture(noise))
    source = (
        f"{count} pictures made by rule (numpy default_rng(0): in turn pixel noise, and 4x4 noise enlarged), "
        f"because the data of the training was not found: {because.rstrip('.')}. Give it with --data."
    )
    return ProofPictures(np.stack(pictures), source, are_made=True)


def _open_original(bundle: Bundle) -> Catalog:
    """The data that the bundle's provenance names, never fetched from elsewhere."""
    source = _provenance(bundle).get("source")
    if not isinstance(source, str):
        raise DataError("the bundle names no folder and no known set")
    if source in KNOWN and find(source) is None:
        raise DataError(f"{source} is not on this machine")
    group_by = _provenance(bundle).get("group_by")
    catalog = open_data(source, group_by=group_by if isinstance(group_by, str) else None)
    if set(catalog.classes) != set(bundle.classes):  # a relative path may lead elsewhere today
        raise DataError(f"{source} holds other classes than the bundle")
    return in_order(catalog, bundle.classes, source="the bundle")


def _held_out(catalog: Catalog, bundle: Bundle, most: int) -> ProofPictures:
    """Pictures of the validation split; without one, of the test split, and at last of the training split."""
    run = _provenance(bundle)
    has_own = {split: len(catalog.select(split)) > 0 for split in ("val", "test")}
    catalog, _ = assign_splits(
        catalog,
        val_fraction=None if has_own["val"] else run.get("val_fraction"),
        test_fraction=None if has_own["test"] else run.get("test_fraction"),
        seed=run.get("seed") or 0,
        folds=run.get("folds"),
        fold=run.get("fold"),
    )
    split = next(name for name in ("val", "test", "train") if len(catalog.select(name)))
    indices = catalog.select(split)
    chosen = indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(np.int64)]

    def prepare(index: int) -> Pixels | Problem:
        try:
            return bundle.preprocess.picture(catalog.images.read(index))
        except BadImage as error:
            return Problem(catalog.images.name(index), error.reason)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(prepare, chosen.tolist()))
    skipped = tuple(outcome for outcome in outcomes if isinstance(outcome, Problem))
    pictures = [outcome for outcome in outcomes if not isinstance(outcome, Problem)]
    if not pictures:
        raise DataError(
            f"none of {len(skipped)} {split} pictures of {catalog.name} can be read. The first: {skipped[0]}. "
            "Give other pictures with --data."
        )
    spaced = f" of {len(indices):,}, evenly spaced" if len(chosen) < len(indices) else ""
    source = f"{len(pictures):,} pictures{spaced}, of the {split} split of {catalog.name}"
    return ProofPictures(np.stack(pictures), source, skipped=skipped)


def _provenance(bundle: Bundle) -> Mapping[str, Any]:
    data = bundle.provenance.get("data")
    return data if isinstance(data, Mapping) else {}
