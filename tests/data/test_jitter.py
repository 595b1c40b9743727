"""Colour jitter: torchvision's ranges and its random order, made by Pillow one picture at a time."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from sightline.data import colour
from sightline.data.draw import draw
from sightline.data.jitter import JITTER_COLUMNS, jittered
from tests.data.small_stores import smooth_picture


def drawn(count: int) -> Tensor:
    return draw(0, 0, range(count), JITTER_COLUMNS)


@pytest.mark.parametrize("widths", [(0.4, 0, 0, 0), (0, 0.4, 0, 0), (0, 0, 0.4, 0), (1.5, 0, 0, 0), (0.4, 0.3, 0.8, 0)])
def test_pillow_makes_the_same_pictures_of_the_same_draws(widths: tuple[float, float, float, float]) -> None:
    """torchvision.transforms.ColorJitter.get_params: factors in [max(0, 1 - width), 1 + width], in a random order."""
    pictures = np.stack([smooth_picture(20, 24, number) for number in range(40)])
    numbers = drawn(40)
    result = jittered(torch.from_numpy(pictures), numbers, widths).numpy()
    enhance = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    for made, picture, row in zip(result, pictures, numbers.double().tolist(), strict=True):
        image = Image.fromarray(picture)
        for number in sorted(range(4), key=lambda each: row[4 + each]):
            if widths[number]:
                low, high = max(0.0, 1 - widths[number]), 1 + widths[number]
                image = enhance[number](image).enhance(low + (high - low) * row[number])
        # one level for each operation, which those after it may nearly double
        assert np.abs(made.astype(int) - np.asarray(image)).max() <= (1 if widths.count(0) == 3 else 6)


def test_the_hue_is_shifted_to_both_sides() -> None:
    pictures = torch.from_numpy(np.stack([smooth_picture(20, 24, number) for number in range(30)]))
    numbers = drawn(30)
    result = jittered(pictures, numbers, (0, 0, 0, 0.2))
    assert torch.equal(result, colour.hue(pictures, 0.2 * (2 * numbers[:, 3].double() - 1)))
    assert numbers[:, 3].min() < 0.2 and numbers[:, 3].max() > 0.8


def test_every_order_is_as_likely() -> None:
    """Two pixels show the order: most orders give them colours of their own."""
    count = 12_000
    numbers = drawn(count)
    numbers[:, :4] = torch.tensor([0.9, 0.1, 0.9, 0.8])
    pixels = torch.tensor([[200, 90, 30], [10, 60, 120]], dtype=torch.uint8).view(1, 1, 2, 3).expand(count, -1, -1, -1)
    widths = (0.6, 0.7, 0.8, 0.3)
    result = jittered(pixels, numbers, widths).flatten(1)
    keys = torch.stack(
        [torch.tensor([order.index(number) / 4 for number in range(4)]) for order in permutations(range(4))]
    )
    each = torch.cat([numbers[:24, :4], keys], dim=1)
    found = [
        int((result == made).all(dim=1).sum()) for made in jittered(pixels[:24], each, widths).flatten(1).unique(dim=0)
    ]
    assert sum(found) == count
    assert len(found) > 12  # some orders give the same two pixels
    chosen = torch.unique(numbers[:, 4:].argsort(dim=1), dim=0, return_counts=True)[1]
    assert len(chosen) == 24
    assert (chosen - count / 24).abs().max() < 5 * math.sqrt(count / 24)


def test_factors_are_uniform_between_their_bounds() -> None:
    count = 20_000
    grey = torch.full((count, 1, 1, 1), 100, dtype=torch.uint8)
    factors = jittered(grey, drawn(count), (0.4, 0, 0, 0)).double() / 100
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 5 * 0.8 / math.sqrt(12 * count)
    assert abs(factors.std() - 0.8 / math.sqrt(12)) < 0.004
    wide = jittered(grey, drawn(count), (2.0, 0, 0, 0)).double() / 100  # uniform in 0 ... 3, cut off at 2.55
    assert wide.min() == 0
    assert abs(wide.mean() - (2.55 - 2.55**2 / 6)) < 0.02


def test_widths_of_zero_change_nothing_and_grey_pictures_have_no_colour() -> None:
    pictures = torch.from_numpy(np.stack([smooth_picture(20, 24, number) for number in range(10)]))
    assert torch.equal(jittered(pictures, drawn(10), (0, 0, 0, 0)), pictures)
    grey = pictures[..., :1].contiguous()
    assert torch.equal(jittered(grey, drawn(10), (0, 0, 0.9, 0.5)), grey)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_same_alone_and_in_any_batch(channels: int) -> None:
    pictures = torch.from_numpy(np.stack([smooth_picture(20, 24, number, channels) for number in range(40)]))
    before, numbers, widths = pictures.clone(), drawn(40), (0.4, 0.4, 0.4, 0.1)
    whole = jittered(pictures, numbers, widths)
    assert torch.equal(pictures, before)
    for row in range(0, 40, 3):
        assert torch.equal(jittered(pictures[row : row + 1], numbers[row : row + 1], widths)[0], whole[row])
    order = torch.tensor([30, 2, 17, 9, 4])
    assert torch.equal(jittered(pictures[order], numbers[order], widths), whole[order])
