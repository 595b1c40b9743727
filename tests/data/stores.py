"""A small store whose pictures tell which they are."""

import numpy as np
import torch

from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store

PREPROCESS = Preprocess((3, 8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))


def store_of(count: int, *, keep_margin: float | None = None) -> Store:
    """Pictures whose first channel is their own number."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    pixels[..., 0] = np.arange(count)[:, None, None]
    labels = np.arange(count, dtype=np.int64) * 7 % 5
    catalog = Catalog(
        "test",
        None,
        tuple("abcde"),
        ArrayImages(pixels, (("train", count),)),
        labels,
        np.zeros(count, np.uint8),
    )
    store, _ = Store.build(
        catalog, range(count), preprocess=PREPROCESS, keep_margin=keep_margin, threads=1, skip_bad=False
    )
    return store


def numbers_of(images: torch.Tensor) -> list[int]:
    """Which pictures these are, from their first channel."""
    return (images[:, 0, 0, 0] * 0.5 + 0.1).mul(255).round().long().tolist()
