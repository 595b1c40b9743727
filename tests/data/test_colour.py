"""Colours: each operation is Pillow's to within one level, picture by picture, whatever else is in the batch."""

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from sightline.data import colour

FACTORS = [0.0, 0.1, 0.7, 1.0, 1.4, 1.9, 3.0]


def pictures(channels: int, count: int = 7) -> Tensor:
    """Noise, dark noise, few levels, narrow ranges, flat colours, extremes."""
    rng = np.random.default_rng(channels)
    made = rng.integers(0, 256, (count, 23, 31, channels), np.uint8)
    made[1] //= 5
    made[2] = made[2] // 64 * 20 + 60
    made[3] = 100 + made[3] % 3
    made[4] = 77
    made[5] = np.where(made[5] > 127, 255, 0)
    made[6, :10] = 0
    return torch.from_numpy(made)


def as_image(picture: Tensor) -> Image.Image:
    pixels = picture.numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def furthest(ours: Tensor, images: list[Image.Image]) -> int:
    """The greatest difference from Pillow's pictures, in levels."""
    theirs = np.stack([np.asarray(image).reshape(ours.shape[1:]) for image in images])
    assert ours.dtype == torch.uint8
    return int(np.abs(ours.numpy().astype(int) - theirs).max())


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_pillows(channels: int) -> None:
    batch = pictures(channels)
    theirs = np.stack([np.asarray(as_image(each).convert("L")) for each in batch])
    np.testing.assert_array_equal(colour.luma(batch)[..., 0].numpy(), theirs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows_within_one_level(ours, theirs, channels: int) -> None:
    """One level, because Pillow cuts off the fraction and here it is rounded."""
    batch = pictures(channels)
    for turn in range(len(FACTORS)):  # each picture with each factor
        factors = FACTORS[turn:] + FACTORS[:turn]
        result = ours(batch, torch.tensor(factors))
        images = [theirs(as_image(each)).enhance(factor) for each, factor in zip(batch, factors, strict=True)]
        assert furthest(result, images) <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_posterize_and_solarize_are_pillows(channels: int) -> None:
    batch = pictures(channels)
    bits = [1, 2, 3, 4, 5, 7, 8]
    images = [ImageOps.posterize(as_image(each), number) for each, number in zip(batch, bits, strict=True)]
    assert furthest(colour.posterize(batch, torch.tensor(bits)), images) == 0
    thresholds = [0, 1, 60, 128, 200, 255, 256]
    images = [ImageOps.solarize(as_image(each), number) for each, number in zip(batch, thresholds, strict=True)]
    assert furthest(colour.solarize(batch, torch.tensor(thresholds)), images) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_is_pillows_within_one_level_and_equalize_is_exact(channels: int) -> None:
    batch = pictures(channels)
    assert furthest(colour.autocontrast(batch), [ImageOps.autocontrast(as_image(each)) for each in batch]) <= 1
    assert furthest(colour.equalize(batch), [ImageOps.equalize(as_image(each)) for each in batch]) == 0


@given(arrays.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))))
def test_histograms_of_any_picture_are_pillows(pixels: np.ndarray) -> None:
    batch = torch.from_numpy(pixels)
    assert furthest(colour.equalize(batch), [ImageOps.equalize(as_image(each)) for each in batch]) == 0
    assert furthest(colour.autocontrast(batch), [ImageOps.autocontrast(as_image(each)) for each in batch]) <= 1
    images = [ImageEnhance.Sharpness(as_image(each)).enhance(0.5) for each in batch]
    assert furthest(colour.sharpness(batch, torch.tensor([0.5, 0.5])), images) <= 1


def test_hue_is_colorsys() -> None:
    batch = pictures(3, count=7)
    shifts = [0.0, 1.0, 0.1, -0.1, 0.5, 1 / 3, -0.47]
    result = colour.hue(batch, torch.tensor(shifts)).numpy()
    for picture, made, shift in zip(batch.numpy(), result, shifts, strict=True):
        for place in np.ndindex(picture.shape[:2]):
            h, s, v = colorsys.rgb_to_hsv(*(picture[place] / 255))
            expected = 255 * np.array(colorsys.hsv_to_rgb((h + shift) % 1, s, v))
            assert np.abs(made[place] - expected).max() <= 0.51, (shift, place)


def test_hue_is_pillows_but_for_its_eight_bits() -> None:
    """A level of Pillow's hue is 6 levels of a fully saturated channel, rounded on the way there and back."""
    batch = pictures(3)
    result = colour.hue(batch, torch.full((7,), 64 / 256)).numpy().astype(int)
    for picture, made in zip(batch, result, strict=True):
        hsv = np.array(as_image(picture).convert("HSV"))
        hsv[..., 0] += 64
        theirs = np.asarray(Image.frombytes("HSV", (31, 23), hsv.tobytes()).convert("RGB"))
        assert np.abs(made - theirs).max() <= 12
        assert np.abs(made - theirs).mean() < 2


@pytest.mark.parametrize("change", [colour.saturation, colour.hue])
def test_grey_pictures_have_no_saturation_and_no_hue(change) -> None:
    batch = pictures(1)
    assert torch.equal(change(batch, torch.full((7,), 0.3)), batch)


IDENTITIES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "brightness": (colour.brightness, 1),
    "contrast": (colour.contrast, 1),
    "saturation": (colour.saturation, 1),
    "sharpness": (colour.sharpness, 1),
    "hue": (colour.hue, 0),
    "posterize": (colour.posterize, 8),
    "solarize": (colour.solarize, 256),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IDENTITIES)
def test_the_amount_that_changes_nothing(name: str, channels: int) -> None:
    change, amount = IDENTITIES[name]
    batch = pictures(channels)
    assert torch.equal(change(batch, torch.full((7,), float(amount))), batch)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{name: change for name, (change, _) in IDENTITIES.items()},
    "posterize": lambda batch, amounts: colour.posterize(batch, (1 + 3 * amounts).floor()),
    "solarize": lambda batch, amounts: colour.solarize(batch, 100 * amounts),
    "autocontrast": lambda batch, _: colour.autocontrast(batch),
    "equalize": lambda batch, _: colour.equalize(batch),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_picture_is_the_same_alone_and_in_any_batch(name: str, channels: int) -> None:
    change = OPERATIONS[name]
    batch, amounts = pictures(channels), torch.tensor([0.1, 0.3, 0.77, 1.0, 1.3, 1.61, 2.2])
    before = batch.clone()
    whole = change(batch, amounts)
    assert torch.equal(batch, before)
    for row in range(7):
        assert torch.equal(change(batch[row : row + 1], amounts[row : row + 1])[0], whole[row]), row
    order = torch.tensor([3, 0, 6, 2])
    assert torch.equal(change(batch[order], amounts[order]), whole[order])


def test_values_are_rounded_and_not_cut_off() -> None:
    """Cut off, a factor near 1 would darken nearly every pixel by half a level."""
    ramp = torch.arange(200, dtype=torch.uint8).view(1, 10, 20, 1)
    result = colour.brightness(ramp, torch.tensor([1.111])).double().flatten()
    exact = 1.111 * torch.arange(200).double()
    assert (result - exact).abs().max() <= 0.5 + 1e-5
    assert abs((result - exact).mean()) < 0.5 / math.sqrt(200)
