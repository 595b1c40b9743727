"""The way from a picture to a tensor, against Pillow and the formula worked out in float64."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data.preprocess import Preprocess, resize_to_cover
from sightline.errors import ConfigError, ShapeError

RGB = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.1)}


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "crop_fraction", "resized", "corner"),
    # torchvision's rule: the shorter side to the size, the longer one int(size * long / short); the crop from
    # round((long - size) / 2). Worked out by hand for a picture of 48 x 64 px.
    [
        ((32, 32), 1.0, (32, 42), (0, 5)),
        ((28, 28), 0.875, (32, 42), (2, 7)),
        ((96, 96), 1.0, (96, 128), (0, 16)),
        ((16, 32), 1.0, (24, 32), (4, 0)),
    ],
)
@pytest.mark.parametrize(("name", "kernel"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_picture_is_resized_and_cropped_as_torchvision_does(
    size: tuple[int, int],
    crop_fraction: float,
    resized: tuple[int, int],
    corner: tuple[int, int],
    name: str,
    kernel: Image.Resampling,
) -> None:
    pixels = noise(48, 64)
    whole = np.asarray(Image.fromarray(pixels).resize(resized[::-1], kernel))
    expected = whole[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    preprocess = Preprocess((3, *size), **RGB, interpolation=name, crop_fraction=crop_fraction)  # type: ignore[arg-type]
    np.testing.assert_array_equal(preprocess.picture(pixels), expected)


def test_upright_picture_is_cropped_at_top_and_bottom() -> None:
    pixels = np.zeros((90, 30, 3), np.uint8)
    pixels[30:60] = 255
    assert Preprocess((3, 30, 30), **RGB).picture(pixels).min() == 255


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = Preprocess((3, 8, 8), **RGB).picture(stripes)
    assert np.abs(small.astype(int) - 127).max() <= 12  # a kernel of fixed size would give stripes of 0 and 255


def test_picture_of_the_networks_size_is_unchanged() -> None:
    pixels = noise(32, 32)
    np.testing.assert_array_equal(Preprocess((3, 32, 32), **RGB, crop_fraction=0.875).picture(pixels), pixels)


def test_grey_network_takes_colour_and_the_reverse() -> None:
    grey = Preprocess((1, 8, 8), mean=(0.5,), std=(0.5,))
    assert grey.channels == 1
    assert grey.picture(np.full((20, 30, 3), (255, 0, 0), np.uint8)).ravel().tolist() == [76] * 64
    colour = Preprocess((3, 8, 8), **RGB)
    assert colour.picture(np.full((20, 30), 9, np.uint8)).shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(1, 50_000), (50_000, 1)])
def test_extreme_shape_takes_no_extreme_memory(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = Image.Image.resize

    def watched(self: Image.Image, size: tuple[int, int], *arguments: object) -> Image.Image:
        sizes.append(size)
        return resize(self, size, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert Preprocess((3, 64, 64), **RGB).picture(np.full(shape, 5, np.uint8)).ravel().tolist() == [5] * (64 * 64 * 3)
    assert all(width * height <= 64 * 64 * 16 for width, height in sizes)


def test_resize_to_cover_leaves_a_covering_picture_alone() -> None:
    pixels = noise(10, 20, 1)
    np.testing.assert_array_equal(resize_to_cover(pixels, (10, 10)), pixels)
    assert resize_to_cover(pixels, (20, 20), "bilinear").shape == (20, 40, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensor_is_the_formula(channels: int) -> None:
    mean, std = np.array([0.5, 0.4, 0.3][:channels]), np.array([0.25, 0.2, 0.1][:channels])
    preprocess = Preprocess((channels, 5, 7), mean=tuple(mean), std=tuple(std))
    pictures = np.stack([noise(5, 7, channels), noise(5, 7, channels)[::-1]])
    expected = ((pictures.astype(np.float64) / 255 - mean) / std).transpose(0, 3, 1, 2)
    for batch in (pictures, torch.from_numpy(pictures), torch.from_numpy(pictures).float()):
        images = preprocess.tensor(batch)
        assert images.dtype == torch.float32
        assert images.shape == (2, channels, 5, 7)
        assert images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(images.numpy(), expected, atol=1e-6, rtol=0)


def test_tensor_does_not_touch_its_input() -> None:
    floats = torch.from_numpy(noise(4, 4)[None]).float()
    before = floats.clone()
    Preprocess((3, 4, 4), **RGB).tensor(floats)
    assert torch.equal(floats, before)


def test_tensor_refuses_another_shape() -> None:
    preprocess = Preprocess((3, 4, 4), **RGB)
    with pytest.raises(ShapeError, match=r"a batch of pictures must be \(N, H, W, 3\), got \(4, 4, 3\). Make each one"):
        preprocess.tensor(noise(4, 4))
    with pytest.raises(ShapeError, match=r"got \(1, 3, 4, 4\)"):
        preprocess.tensor(torch.zeros(1, 3, 4, 4))


def test_json_round_trip() -> None:
    preprocess = Preprocess((3, 224, 200), **RGB, interpolation="bilinear", crop_fraction=0.875)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (2, 8, 8)}, r"input_size must be \(channels 1 or 3, height, width\), got \(2, 8, 8\)"),
        ({"input_size": (3, 0, 8)}, "input_size must be"),
        ({"mean": (0.5,)}, "mean must be 3 finite numbers, one per channel, got"),
        ({"std": (0.5, float("nan"), 0.5)}, "std must be 3 finite numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0"),
        ({"interpolation": "nearest"}, "interpolation must be one of bilinear, bicubic, got 'nearest'"),
        ({"crop_fraction": 0.0}, "crop_fraction must be above 0 and at most 1, got 0.0"),
        ({"crop_fraction": 1.5}, "crop_fraction must be"),
    ],
)
def test_values_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocess(**{"input_size": (3, 8, 8), **RGB, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_pct": 1.0}, "Preprocess has no field 'crop_pct'. Nearest: crop_fraction"),
        ({"input_size": [3, 8.5, 8]}, r"input_size must be whole numbers, got \[3, 8.5, 8\]"),
        ({"mean": "grey"}, "mean must be numbers, got 'grey'"),
        ({"std": [True, 1, 1]}, "std must be numbers"),
        ({"crop_fraction": "all"}, r"crop_fraction must be numbers, got \['all'\]"),
        ({"interpolation": ["bicubic"]}, r"interpolation must be one of bilinear, bicubic, got \['bicubic'\]"),
    ],
)
def test_damaged_json_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocess.from_dict({"input_size": [3, 8, 8], "mean": [0, 0, 0], "std": [1, 1, 1], **changes})


def test_missing_fields_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Preprocess lacks input_size, std"):
        Preprocess.from_dict({"mean": [0.5]})
