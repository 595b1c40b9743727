"""Digits and sides are not mirrored, whatever they are read from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline as sl
from sightline.recipes.plan import make_plan
from sightline.recipes.settings import Settings
from sightline.runtime import choose_runtime


def folder_of(root: Path, names: tuple[str, ...]) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for picture in range(8):
            pixels = np.random.default_rng(100 * number + picture).integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{picture}.png")
    return root


@pytest.mark.parametrize(
    ("names", "is_mirrored"),
    [
        (("3", "7"), False),
        (tuple("abcdefghij"), False),
        (("a", "b", "c"), True),
        (("turn_left", "stop"), False),
        (("Left", "Right"), False),
        (("10", "11"), True),
        (("cat", "dog"), True),
        (("aright", "cleft"), True),
    ],
)
def test_classes_tell_whether_a_mirrored_picture_is_still_of_them(
    names: tuple[str, ...], is_mirrored: bool, tmp_path: Path
) -> None:
    catalog = sl.open_data(folder_of(tmp_path / "data", names))
    assert catalog.hflip_ok is is_mirrored
    assert any("--hflip 0.5" in note for note in catalog.notes) is not is_mirrored


def test_a_folder_of_digits_is_planned_without_mirroring(tmp_path: Path) -> None:
    catalog = sl.open_data(folder_of(tmp_path / "data", ("3", "7")))
    plan = make_plan(Settings(), catalog, choose_runtime(device="cpu", amp=False))
    assert (plan.augment.hflip, plan.augment.alternating_flip, plan.tta) == (0.0, False, "none")
    asked = make_plan(Settings(hflip=0.5), catalog, choose_runtime(device="cpu", amp=False))
    assert asked.augment.hflip == 0.5
    assert [choice.name for choice in asked.choices].count("beware") == 1


@pytest.mark.parametrize(("channels", "is_mirrored"), [(1, False), (3, True)])
def test_arrays_in_colour_have_numbers_that_stand_for_something(channels: int, is_mirrored: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, channels), np.uint8)
    assert sl.open_data((images, np.arange(8) % 2)).hflip_ok is is_mirrored
