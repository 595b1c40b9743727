"""JPEGs that are shrunk far are decoded at a part of their size: how small, how different, and never elsewhere."""

import io

import numpy as np
import pytest
from PIL import Image

from sightline.data.catalog import FileImages
from sightline.data.decode import BadImage, decode
from sightline.data.kept import Keeping
from sightline.data.preprocess import Preprocess, resize_to_cover

HEIGHT, WIDTH = 400, 602


def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth waves with some detail, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [np.sin(x / (7 + 20 * c)) + np.cos(y / (11 + 9 * c)) + (x + 2 * y) / 500 for c in range(3)]
    levels = 128 + 35 * np.stack(waves, axis=2) + np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return levels.clip(0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, *, orientation: int = 1, format: str = "JPEG", **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, exif=exif, **options)
    return file.getvalue()


PHOTO = jpeg(photo(), quality=92)


@pytest.mark.parametrize(
    ("at_least", "size"),
    [
        ((400, 602), (400, 602)),
        ((201, 301), (400, 602)),  # a half would be 200 high
        ((200, 301), (200, 301)),
        ((101, 20), (200, 301)),
        ((100, 150), (100, 151)),
        ((20, 151), (200, 301)),  # 602 // 151 = 3
        ((50, 75), (50, 76)),
        ((1, 1), (50, 76)),  # an eighth is the least
        ((500, 500), (400, 602)),  # nothing is enlarged
    ],
)
def test_the_result_covers_what_is_enough(at_least: tuple[int, int], size: tuple[int, int]) -> None:
    assert decode(PHOTO, at_least=at_least).shape == (*size, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sides_are_those_that_are_shown(orientation: int) -> None:
    """Orientations from 5 on swap them."""
    content = jpeg(photo(), orientation=orientation, quality=92)
    whole = decode(content)
    is_turned = orientation >= 5
    assert whole.shape[:2] == ((WIDTH, HEIGHT) if is_turned else (HEIGHT, WIDTH))
    reduced = decode(content, at_least=(100, 150) if not is_turned else (150, 100))
    assert reduced.shape[:2] == ((151, 100) if is_turned else (100, 151))
    # The same way up: far nearer to the whole, shrunk, than any other way up would be.
    shrunk = np.asarray(Image.fromarray(whole).resize(reduced.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(reduced.astype(int) - shrunk).mean() < 2
    assert np.abs(reduced[::-1, ::-1].astype(int) - shrunk).mean() > 20
    wide = decode(content, at_least=(100, 201))  # of 400 px high, a quarter; of 400 px wide, not even a half
    assert wide.shape[:2] == ((602, 400) if is_turned else (200, 301))


@pytest.mark.parametrize(("width", "most"), [(600, 1.0), (602, 2.0)])
def test_after_the_resize_levels_differ_little_from_those_of_the_whole(width: int, most: float) -> None:
    """On average, and of a noisy picture; a little more where the blocks stand over the right edge."""
    content = jpeg(photo(width=width), quality=92)
    whole = resize_to_cover(decode(content), (50, 50)).astype(int)
    reduced = resize_to_cover(decode(content, at_least=(100, 100)), (50, 50)).astype(int)
    assert whole.shape == reduced.shape
    difference = np.abs(whole - reduced)
    assert 0 < difference.mean() < most and difference.max() <= 16


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_cmyk_and_progressive_files(channels: int) -> None:
    colour = photo()
    for image, options in (
        (Image.fromarray(colour).convert("L"), {}),
        (Image.fromarray(colour).convert("CMYK"), {}),
        (Image.fromarray(colour), {"progressive": True}),
    ):
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        reduced = decode(file.getvalue(), channels=channels, at_least=(100, 100))
        assert reduced.shape == (100, 151, channels)
        shrunk = Image.fromarray(decode(file.getvalue())).resize((151, 100), Image.Resampling.BOX)
        expected = decode(np.asarray(shrunk), channels=channels)
        assert np.abs(reduced.astype(int) - expected).mean() < 3


def test_other_formats_arrays_and_opened_images_stay_whole() -> None:
    for format in ("PNG", "BMP", "WEBP"):
        content = jpeg(photo(), format=format)
        np.testing.assert_array_equal(decode(content, at_least=(50, 50)), decode(content))
    assert decode(photo(), at_least=(50, 50)).shape == (HEIGHT, WIDTH, 3)
    with Image.open(io.BytesIO(PHOTO)) as image:
        assert decode(image, at_least=(50, 50)).shape == (HEIGHT, WIDTH, 3)


def test_the_limits_are_for_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.data.header.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(BadImage, match="more than the limit"):
        decode(PHOTO, at_least=(50, 50))


def test_half_a_file_is_refused_as_ever() -> None:
    with pytest.raises(BadImage) as whole:
        decode(PHOTO[: len(PHOTO) // 2])
    with pytest.raises(BadImage) as reduced:
        decode(PHOTO[: len(PHOTO) // 2], at_least=(50, 50))
    assert reduced.value.reason.split("(")[0] == whole.value.reason.split("(")[0]


def test_only_pictures_with_a_margin_are_reduced(tmp_path) -> None:
    """What is scored and predicted is decoded whole."""
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    images = FileImages(tmp_path, ["a.jpg"])
    preprocess = Preprocess((3, 40, 40), mean=(0.5,) * 3, std=(0.25,) * 3)
    np.testing.assert_array_equal(Keeping(preprocess, None).picture(images, 0), preprocess.picture(tmp_path / "a.jpg"))
    kept = Keeping(preprocess, 1.25).picture(images, 0)  # covers 50 x 50; so 100 x 100 of 400 x 602 are enough
    np.testing.assert_array_equal(kept, resize_to_cover(decode(PHOTO, at_least=(100, 100)), (50, 50)))
    assert (kept != resize_to_cover(decode(PHOTO), (50, 50))).any()
