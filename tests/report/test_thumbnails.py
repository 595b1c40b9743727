import base64
import io

import numpy as np
import pytest
from PIL import Image

from sightline.report.thumbnails import thumbnail


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (20, 30), (1, 1, 3)])
def test_small_pictures_keep_every_pixel(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri = thumbnail(pixels)
    assert uri.startswith("data:image/png;")
    assert np.array_equal(np.asarray(opened(uri)), pixels.squeeze(-1) if shape[-1] == 1 else pixels)


@pytest.mark.parametrize(
    ("shape", "size"), [((300, 600, 3), (128, 64)), ((4000, 1000, 1), (32, 128)), ((100, 90, 3), (90, 100))]
)
def test_large_pictures_shrink_to_128_px(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    uri = thumbnail(np.full(shape, 99, np.uint8))
    assert uri.startswith("data:image/jpeg;")
    assert opened(uri).size == size  # (width, height)


def test_a_thread_of_a_picture_keeps_a_pixel() -> None:
    assert opened(thumbnail(np.zeros((1, 5000, 3), np.uint8))).size == (128, 1)


def test_rows_that_are_not_contiguous() -> None:
    pixels = np.arange(10 * 10 * 3, dtype=np.uint8).reshape(10, 10, 3)
    assert np.array_equal(np.asarray(opened(thumbnail(pixels[:, ::-1]))), pixels[:, ::-1])
