"""Random erasing: how often, how large, of what shape, where, and with what."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.draw import draw
from sightline.data.erase import ERASE_COLUMNS, erase_boxes, erased, noise


def test_areas_ratios_and_their_number_are_as_asked_for() -> None:
    count = 20_000
    rows, boxes = erase_boxes(draw(0, 0, range(count), ERASE_COLUMNS), (600, 600), probability=0.25)
    assert abs(len(rows) - count / 4) < 5 * math.sqrt(count * 3 / 16)
    area = (boxes[:, 2] * boxes[:, 3]).double() / 600**2
    ratio = boxes[:, 3] / boxes[:, 2].double()
    # torchvision.transforms.RandomErasing: scale=(0.02, 0.33), ratio=(0.3, 3.3); rounding to whole px aside
    assert 0.0195 < area.min() < 0.022 and 0.325 < area.max() < 0.331
    assert 0.295 < ratio.min() < 0.31 and 3.2 < ratio.max() < 3.35
    small = boxes[area < 0.1]  # none of them is too large for its ratio, so nothing favours a shape
    log_ratio = (small[:, 3] / small[:, 2].double()).log()
    middle, width = math.log(0.3 * 3.3) / 2, math.log(3.3 / 0.3)
    assert abs(log_ratio.mean() - middle) < 5 * width / math.sqrt(12 * len(small))
    assert abs(log_ratio.std() - width / math.sqrt(12)) < 0.05
    place = small[:, :2].double() / (600 - small[:, 2:])
    assert (abs(place.mean(dim=0) - 0.5) < 5 / math.sqrt(12 * len(small))).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_boxes_lie_inside(height: int, width: int, seed: int) -> None:
    rows, boxes = erase_boxes(draw(seed, 0, range(50), ERASE_COLUMNS), (height, width), probability=1)
    assert (boxes >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([height, width])).all()
    assert rows.unique().tolist() == rows.tolist()
    # rounding each side to whole px adds half a px at most
    sides = boxes[:, 2:].double()
    assert ((sides - 0.5).clamp(min=0).prod(dim=1) <= 0.33 * height * width + 1e-9).all()


def test_where_no_rectangle_fits_nothing_is_erased() -> None:
    """The centre crop that a random resized crop falls back to would erase nearly all of a long picture."""
    rows, boxes = erase_boxes(draw(0, 0, range(2000), ERASE_COLUMNS), (4, 400), probability=1)
    assert 0 < len(rows) < 2000
    assert (boxes[:, 2] * boxes[:, 3] <= 0.33 * 1600 + 4).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_rectangle_changes(channels: int) -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 9, 11, channels), np.uint8))
    rows, boxes = torch.tensor([3, 0]), torch.tensor([[1, 2, 5, 3], [8, 10, 1, 1]])
    content = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1)
    expected = pictures.numpy().copy()
    expected[3, 1:6, 2:5] = 0
    expected[0, 8, 10] = 1
    before = pictures.clone()
    np.testing.assert_array_equal(erased(pictures, rows, boxes, content).numpy(), expected)
    assert torch.equal(pictures, before)
    nothing = torch.empty(0, dtype=torch.int64)
    assert torch.equal(erased(pictures, nothing, torch.empty(0, 4, dtype=torch.int64), content[:0]), pictures)


def test_noise_has_every_level_as_often_and_channels_of_its_own() -> None:
    made = noise(draw(0, 0, range(4), 100 * 100), (100, 100), 3)
    assert made.shape == (4, 100, 100, 3) and made.dtype == torch.uint8
    counts = torch.bincount(made.flatten().long(), minlength=256)
    assert len(counts) == 256
    assert (counts - 120_000 / 256).abs().max() < 5 * math.sqrt(120_000 / 256)
    correlation = torch.corrcoef(made.view(-1, 3).double().T)
    assert (correlation - torch.eye(3)).abs().max() < 5 / math.sqrt(40_000)
