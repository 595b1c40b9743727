"""A folder of pictures, and a bundle that says it was trained on it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.lock import data_lock
from sightline.data.sources import Arrays, open_data
from sightline.data.split import assign_splits
from tests.bundles import tiny_bundle

NAMES = ("ant", "bee", "cat")  # three of the bundle's seven classes

MakePhotos = Callable[..., Path]


def patterns(count: int, *, seed: int, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    """Coarse colour patterns, uint8 (N, H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize(size[::-1])) for each in coarse])


@pytest.fixture
def make_photos(tmp_path: Path) -> MakePhotos:
    """make_photos("photos", seed=1, count=10): class folders with that many pictures each."""

    def make(name: str, *, seed: int, count: int = 10, classes: tuple[str, ...] = NAMES) -> Path:
        pixels = patterns(count * len(classes), seed=seed)
        for number, picture in enumerate(pixels):
            path = tmp_path / name / classes[number % len(classes)] / f"{number // len(classes):02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        return tmp_path / name

    return make


@pytest.fixture
def photos(make_photos: MakePhotos) -> Path:
    """30 pictures of three classes."""
    return make_photos("photos", seed=1)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that does not say what it was trained on."""
    return tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def train_on(tmp_path: Path) -> Callable[..., Path]:
    """train_on(data, classes=...): a bundle that says it was trained on that data, split with seed 5."""

    def train(data: Path | Arrays, *, classes: tuple[str, ...] = NAMES) -> Path:
        catalog, _ = assign_splits(open_data(data), val_fraction=0.2, test_fraction=0.3, seed=5)
        record = {"name": catalog.name, "val_fraction": 0.2, "test_fraction": 0.3, "seed": 5}
        folder = tiny_bundle(tmp_path / "trained", classes=classes, provenance={"data": record})
        (folder / "data.lock.json").write_text(json.dumps(data_lock(catalog)), encoding="utf-8")
        return folder

    return train
