"""Rotation, shear, translation: Pillow's to within one level inside, NumPy's reflection outside."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sightline.data import warp
from tests.data.small_stores import smooth_picture

BILINEAR = Image.Resampling.BILINEAR
SIZES = [(30, 41), (31, 24)]


def noise(size: tuple[int, int], channels: int = 3, count: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *size, channels), np.uint8))


def affine(image: Image.Image, *numbers: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, numbers, BILINEAR)


MOVES: dict[str, tuple[Callable[..., Tensor], list[float], Callable[[Image.Image, float], Image.Image]]] = {
    "rotate": (warp.rotate, [0, 3.7, -30, 90, 135, 180], lambda image, a: image.rotate(a, resample=BILINEAR)),
    "shear_x": (warp.shear_x, [0, 0.1, -0.3, 0.7, 0.99, -0.99], lambda image, a: affine(image, 1, a, 0, 0, 1, 0)),
    "shear_y": (warp.shear_y, [0, 0.1, -0.3, 0.7, 0.99, -0.99], lambda image, a: affine(image, 1, 0, 0, a, 1, 0)),
    "translate_x": (warp.translate_x, [0, 1, -7, 12.9, 40, -50], lambda image, a: affine(image, 1, 0, int(a), 0, 1, 0)),
    "translate_y": (warp.translate_y, [0, 1, -7, 12.9, 40, -50], lambda image, a: affine(image, 1, 0, 0, 0, 1, int(a))),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_pillows_within_one_level(name: str, size: tuple[int, int], channels: int) -> None:
    """Where all four neighbours lie inside. Along the edge Pillow repeats the last pixel; here the fill is mixed in."""
    move, amounts, theirs = MOVES[name]
    batch = noise(size, channels)
    result = move(batch, torch.tensor(amounts, dtype=torch.float64), fill=(0,))
    inside = move(torch.full_like(batch, 255), torch.tensor(amounts, dtype=torch.float64), fill=(0,)) == 255
    for row, amount in enumerate(amounts):
        pixels = batch[row].numpy()
        expected = np.asarray(theirs(Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels), amount))
        difference = np.abs(result[row].numpy().astype(int) - expected.reshape(pixels.shape))
        assert difference[inside[row].numpy()].max(initial=0) <= 1, amount
        outside = move(torch.full_like(batch, 255), torch.tensor(amounts, dtype=torch.float64), fill=(0,))[row] == 0
        assert (result[row][outside] == 0).all()
    assert inside[0].all()  # the first amount moves nothing
    assert inside[2].float().mean() > 0.4


@pytest.mark.parametrize("fill", [None, (128,), (1, 2, 3)])
@pytest.mark.parametrize("name", MOVES)
def test_nothing_moves_by_nothing(name: str, fill) -> None:
    move, *_ = MOVES[name]
    for size in [(30, 41), (224, 223), (1, 5), (5, 1)]:
        batch = noise(size, count=2)
        assert torch.equal(move(batch, torch.zeros(2), fill=fill), batch)


@pytest.mark.parametrize("fill", [None, (128,)])
@pytest.mark.parametrize("name", MOVES)
def test_a_picture_is_the_same_alone_and_in_any_batch(name: str, fill) -> None:
    move, _, _ = MOVES[name]
    batch, amounts = noise((31, 37)), torch.tensor([0.1, -0.77, 0.3, 21.3, 5.21, -33.3], dtype=torch.float64)
    before = batch.clone()
    whole = move(batch, amounts, fill=fill)
    assert torch.equal(batch, before)
    for row in range(6):
        assert torch.equal(move(batch[row : row + 1], amounts[row : row + 1], fill=fill)[0], whole[row]), row
    order = torch.tensor([3, 0, 5, 2])
    assert torch.equal(move(batch[order], amounts[order], fill=fill), whole[order])


@pytest.mark.parametrize("shift", [-7, -1, 3, 8])
def test_reflection_is_numpys_without_a_second_edge(shift: int) -> None:
    batch = noise((9, 12), count=1)
    padded = np.pad(batch[0].numpy(), ((8, 8), (11, 11), (0, 0)), mode="reflect")
    across = warp.translate_x(batch, torch.tensor([float(shift)]), fill=None)[0].numpy()
    np.testing.assert_array_equal(across, padded[8:17, 11 + shift : 23 + shift])
    down = warp.translate_y(batch, torch.tensor([float(shift)]), fill=None)[0].numpy()
    np.testing.assert_array_equal(down, padded[8 + shift : 17 + shift, 11:23])


def test_a_rotation_shows_the_picture_reflected_around_itself() -> None:
    """Pillow rotates a picture that NumPy has padded by reflection; its middle is what is expected."""
    picture = smooth_picture(24, 30, 0)
    padded = np.pad(picture, ((23, 23), (29, 29), (0, 0)), mode="reflect")
    for angle in (7.0, -45.0, 120.0):
        expected = np.asarray(Image.fromarray(padded).rotate(angle, resample=BILINEAR))[23:47, 29:59]
        result = warp.rotate(torch.from_numpy(picture)[None], torch.tensor([angle]), fill=None)[0].numpy()
        assert np.abs(result.astype(int) - expected).max() <= 1, angle


def test_the_fill_is_a_colour() -> None:
    black = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    result = warp.translate_x(black, torch.tensor([2.0]), fill=(10, 20, 30))
    assert (result[0, :, :2] == 0).all()
    assert (result[0, :, 2:] == torch.tensor([10, 20, 30])).all()
