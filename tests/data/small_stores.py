"""Small stores of training pictures."""

import numpy as np
from PIL import Image

from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store


class ListImages:
    """Pictures of any sizes, from a list."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int) -> np.ndarray:
        return self.pictures[index]

    def content(self, index: int) -> bytes:
        return self.pictures[index].tobytes()

    def name(self, index: int) -> str:
        return f"picture {index}"


def store_of(images, size, *, indices=None, keep_margin=None, interpolation="bicubic") -> Store:
    count = len(images)
    channels = images.read(0).shape[2]
    catalog = Catalog(
        "test",
        None,
        ("a", "b"),
        images,
        labels=np.arange(count) % 2,
        splits=np.zeros(count, np.uint8),
        channels=channels,
    )
    preprocess = Preprocess((channels, *size), (0.5,) * channels, (0.25,) * channels, interpolation=interpolation)
    store, _ = Store.build(
        catalog,
        range(count) if indices is None else indices,
        preprocess=preprocess,
        keep_margin=keep_margin,
        threads=1,
        skip_bad=False,
    )
    return store


def fixed_store(count=40, size=(9, 12), channels=3, **options) -> Store:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, channels), np.uint8)
    return store_of(ArrayImages(pixels, (("train", count),)), size, **options)


def smooth_picture(height: int, width: int, seed: int, channels: int = 3) -> np.ndarray:
    """A picture without edges, so that two resize filters of one kind agree."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (4, 5, channels), np.uint8)
    layers = [
        Image.fromarray(noise[:, :, layer]).resize((width, height), Image.Resampling.BICUBIC)
        for layer in range(channels)
    ]
    return np.stack([np.asarray(layer) for layer in layers], axis=2)
