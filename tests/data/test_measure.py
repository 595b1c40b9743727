"""What is measured of a picture, against NumPy's own figures; and that nothing is lost on the way."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.decode import decode
from sightline.data.fingerprint import fingerprint
from sightline.data.measure import FORMAT_NAMES, MODE_NAMES, measure
from sightline.data.sources import open_data


def shot(seed: int, size: tuple[int, int] = (40, 56)) -> Image.Image:
    """A picture with broad shapes and fine detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-20, 20, (*size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path / "data"


def look(folder: Path, **more: object):
    catalog = open_data(folder)
    seen = measure(catalog, threads=2, **more)
    return catalog, seen, {catalog.images.name(index): seen.rows[index] for index in range(len(catalog))}


def test_figures_are_those_of_the_decoded_pixels(folder: Path) -> None:
    shot(0, (200, 333)).save(folder / "a" / "1.png")
    shot(1).convert("L").save(folder / "b" / "2.bmp")
    catalog, seen, rows = look(folder)
    for index in range(len(catalog)):
        pixels, row = decode(catalog.images.path(index)), seen.rows[index]
        assert (row["height"], row["width"]) == pixels.shape[:2]
        assert row["mean"] == pytest.approx(pixels.reshape(-1, 3).mean(0) / 255, abs=1e-6)
        assert row["std"] == pytest.approx(pixels.reshape(-1, 3).std(0) / 255, abs=1e-6)
        assert row["num_bytes"] == catalog.images.path(index).stat().st_size
        assert seen.prints.digests[index].tobytes() == fingerprint(pixels).digest
        assert (seen.prints.lumas[index] == fingerprint(pixels).luma).all()
        grey = np.asarray(Image.fromarray(pixels).convert("L")) / 255
        if min(grey.shape) <= 128:  # not shrunk
            assert row["brightness"] == pytest.approx(grey.mean(), abs=1e-6)
            assert row["contrast"] == pytest.approx(grey.std(), abs=1e-6)
            kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
            windows = np.lib.stride_tricks.sliding_window_view(grey, (3, 3))
            assert row["sharpness"] == pytest.approx((windows * kernel).sum((2, 3)).var() / grey.var(), rel=1e-5)
    assert [FORMAT_NAMES[rows[name]["format"]] for name in ("a/1.png", "b/2.bmp")] == ["PNG", "BMP"]
    assert [MODE_NAMES[rows[name]["mode"]] for name in ("a/1.png", "b/2.bmp")] == ["RGB", "L"]


def test_a_turned_picture_has_its_shown_size_and_the_print_of_the_upright_one(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    shot(0).save(folder / "a" / "1.png")
    shot(0).transpose(Image.Transpose.ROTATE_90).save(folder / "b" / "2.png", exif=exif)  # lies on its side
    _, seen, rows = look(folder)
    assert (rows["b/2.png"]["height"], rows["b/2.png"]["width"], rows["b/2.png"]["orientation"]) == (40, 56, 6)
    assert (seen.prints.digests[0] == seen.prints.digests[1]).all()


def test_sharpness_is_about_detail_and_not_about_size_or_contrast(folder: Path) -> None:
    large = shot(3, (512, 512))
    large.save(folder / "a" / "whole.png")
    large.resize((256, 256), Image.Resampling.BOX).save(folder / "a" / "half.png")
    large.point(lambda level: level // 3).save(folder / "a" / "pale.png")
    large.filter(ImageFilter.GaussianBlur(12)).save(folder / "b" / "blurred.png")
    _, _, rows = look(folder)
    whole = rows["a/whole.png"]["sharpness"]
    assert rows["a/half.png"]["sharpness"] == pytest.approx(whole, rel=0.25)
    assert whole / 2 < rows["a/pale.png"]["sharpness"] < 2 * whole  # a ninth of the variance; rounding adds to it
    assert rows["b/blurred.png"]["sharpness"] < whole / 3


def test_what_cannot_be_read_is_a_problem_with_its_reason_and_counts_in_nothing(folder: Path) -> None:
    shot(0).save(folder / "a" / "1.png")
    whole = io.BytesIO()
    shot(1).save(whole, "PNG")
    (folder / "a" / "2.png").write_bytes(whole.getvalue()[:200])
    shot(2).save(folder / "b" / "3.png")
    (folder / "b" / "4.png").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    catalog, seen, rows = look(folder, progress=lambda done, total: calls.append((done, total)))
    assert [problem.path for problem in seen.problems] == ["a/2.png", "b/4.png"]
    assert seen.problems[1].reason == "the file is empty"
    assert not rows["a/2.png"]["is_read"]
    assert seen.readable.tolist() == [0, 2]
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    mean, std = seen.statistics(np.arange(4), 3)
    pixels = np.concatenate([decode(catalog.images.path(index)).reshape(-1, 3) for index in (0, 2)]) / 255
    assert mean == pytest.approx(pixels.mean(0), abs=1e-4)
    assert std == pytest.approx(pixels.std(0), abs=1e-4)
    assert seen.statistics(np.array([1, 3]), 3) is None


def test_arrays_are_measured_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 1), np.uint8)
    images = ArrayImages(pixels, (("train", 3),))
    catalog = Catalog("arrays", None, ("a", "b"), images, np.array([0, 1, 0]), np.zeros(3, np.uint8), channels=1)
    seen = measure(catalog, threads=1)
    assert seen.rows["height"].tolist() == [8, 8, 8]
    assert seen.rows["num_bytes"].tolist() == [72, 72, 72]
    assert {FORMAT_NAMES[number] for number in seen.rows["format"]} == {""}
    assert seen.statistics(np.arange(3), 1)[0] == pytest.approx([pixels.mean() / 255], abs=1e-4)
