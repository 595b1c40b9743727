"""Catalogs, machines and weights for plans: as large as they say, and nothing to decode in them."""

from pathlib import Path

import numpy as np
import torch

from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.preprocess import Preprocess
from sightline.pretrained import Source
from sightline.runtime import Runtime

CPU = Runtime(torch.device("cpu"), "bfloat16", 2, ())
GPU = Runtime(torch.device("cuda"), "bfloat16", 16, ())
IMAGENET = Preprocess((3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_fraction=0.875)


def catalog_of(
    counts: dict[str, int],
    *,
    size: tuple[int, int],
    num_classes: int = 10,
    channels: int = 3,
    hflip_ok: bool = True,
) -> Catalog:
    """A catalog of black pictures of one pixel, the classes in turn.

    Args:
        counts: pictures of each split.
        size: what it says of its pictures.
        num_classes: "0", "1", ...
        channels: 3 or 1.
        hflip_ok: whether they may be mirrored.
    """
    total = sum(counts.values())
    numbers = {"train": 0, "val": 1, "test": 2}
    return Catalog(
        "things",
        None,
        tuple(map(str, range(num_classes))),
        ArrayImages(np.zeros((total, 1, 1, channels), np.uint8), tuple(counts.items())),
        np.concatenate([np.arange(count) % num_classes for count in counts.values()]).astype(np.int64),
        np.concatenate([np.full(count, numbers[split], np.uint8) for split, count in counts.items()]),
        channels=3 if channels == 3 else 1,
        typical_size=size,
        hflip_ok=hflip_ok,
    )


CIFAR = catalog_of({"train": 45_000, "val": 5_000, "test": 10_000}, size=(32, 32))
DIGITS = catalog_of({"train": 54_000, "val": 6_000, "test": 10_000}, size=(28, 28), channels=1, hflip_ok=False)
PHOTOS = catalog_of({"train": 300, "val": 60, "test": 60}, size=(480, 640), num_classes=5)


def weights_of(model: str, preprocess: Preprocess | None = IMAGENET) -> Source:
    """Weights that are never read."""
    origin = {"title": f"weights of {model}", "sha256": "0" * 64}
    return Source(f"{model}.pth", Path(f"{model}.pth"), model, origin, "Apache-2.0", preprocess, None)
