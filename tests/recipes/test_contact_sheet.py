"""The sheet shows each picture pixel by pixel where it says, and words that fit."""

import numpy as np
import pytest

from sightline.recipes.contact_sheet import Frame, Row, contact_sheet


def noise(size: tuple[int, int], channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, channels), np.uint8)


@pytest.mark.parametrize(("size", "zoom"), [((32, 32), 3), ((28, 20), 4), ((97, 60), 1), ((128, 200), 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_there_enlarged_by_a_whole_number(size: tuple[int, int], zoom: int, channels: int) -> None:
    pictures = [noise(size, channels, seed) for seed in range(3)]
    rows = [
        Row("a", "1", [Frame(pictures[0], ("0.7 a", "0.3 b")), None]),
        Row("b", "2", [Frame(pictures[1]), Frame(pictures[2])]),
    ]
    sheet = np.asarray(contact_sheet(["x", "y"], rows))
    height, width = zoom * size[0], zoom * size[1]
    down, across = height + 8 + 2 * 18, width + 8
    assert sheet.shape == (18 + 2 * down + 8, 150 + 2 * across + 8, 3)
    places = [(18, 150), (18 + down, 150), (18 + down, 150 + across)]
    for picture, (top, left) in zip(pictures, places, strict=True):
        expected = np.kron(picture, np.ones((zoom, zoom, 1), np.uint8))
        found = sheet[top : top + height, left : left + width]
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))
    assert (sheet[18 : 18 + height, 150 + across :] == 255).all()  # the empty place
    under = sheet[18 + height : 18 + down - 8, 150 : 150 + width]
    assert (under[:18] < 200).any() and (under[18:] < 200).any()  # two lines


def test_long_words_stay_in_their_place() -> None:
    frame = Frame(noise((32, 32), 3, 0), ("0.55 " + "long" * 30,))
    rows = [Row("w" * 100, "a\nb" * 50, [frame, None])]
    sheet = np.asarray(contact_sheet(["first", "second"], rows))
    assert (sheet[18:, 142:150] == 255).all()  # between the title and the picture
    assert (sheet[18 + 96 :, 150 + 96 :] == 255).all()  # right of the caption
    assert (sheet[18 + 96 :, 150 : 150 + 96] < 200).any()
    assert (sheet[18 + 36 : 18 + 96, :142] == 255).all()  # a line break in a name makes no third line


def test_letters_of_other_scripts_are_drawn() -> None:
    """A font that lacks a letter draws the same box for each."""
    frame = Frame(noise((96, 96), 3, 0))
    drawn = [np.asarray(contact_sheet([""], [Row(word, "", [frame])]))[:, :142] for word in ("Ж", "Щ", "ß", "ω", "")]
    for number, one in enumerate(drawn):
        assert all((one != other).any() for other in drawn[number + 1 :])
