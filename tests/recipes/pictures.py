"""Small folders of pictures for whole runs."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}


def photo_folder(folder: Path, *, count: int = 16, size: tuple[int, int] = (40, 48)) -> Path:
    """Class folders of noisy pictures of one colour each, PNG and JPEG, of different sizes."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shape = (size[0] + number % 5, size[1] + number % 7, 3)
            pixels = np.clip(np.array(colour) + rng.normal(0, 40, shape), 0, 255).astype(np.uint8)
            suffix = "png" if number % 2 else "jpg"
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.{suffix}")
    return folder
