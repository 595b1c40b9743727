"""Fingerprints: equal for equal pixels, nearly equal for the same picture at another size."""

import numpy as np
import pytest

from sightline.data.fingerprint import Fingerprints, fingerprint
from sightline.errors import DataError


def test_digest_is_of_the_pixels_and_the_shape() -> None:
    pixels = np.arange(24, dtype=np.uint8)
    same = fingerprint(pixels.reshape(4, 6, 1)).digest
    assert len(same) == 16
    assert fingerprint(np.asfortranarray(pixels.reshape(4, 6, 1))).digest == same
    assert fingerprint(np.repeat(pixels, 2)[::2].reshape(4, 6, 1)).digest == same
    assert fingerprint(pixels.reshape(6, 4, 1)).digest != same
    assert fingerprint(pixels.reshape(4, 2, 3)).digest != same
    changed = pixels.copy()
    changed[23] += 1
    assert fingerprint(changed.reshape(4, 6, 1)).digest != same


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_luma_is_of_itu_r_601(colour: tuple[int, int, int], luma: int) -> None:
    pixels = np.full((40, 50, 3), colour, np.uint8)
    assert (fingerprint(pixels).luma == luma).all()


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (480, 640), (2000, 40), (1, 1), (5, 3000)])
def test_luma_keeps_the_whole_picture_at_any_size(shape: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, shape[1]) if shape[1] > 1 else np.full(1, 127.5)
    pixels = np.broadcast_to(ramp, shape).round().astype(np.uint8)[:, :, None]
    luma = fingerprint(pixels).luma
    assert luma.shape == (32, 32) and luma.dtype == np.uint8
    expected = np.interp((np.arange(32) + 0.5) / 32, (np.arange(shape[1]) + 0.5) / shape[1], ramp)
    # At the ends of a shrunken picture the filter has one side only.
    assert np.abs(luma[:, 1:-1] - expected[1:-1]).max() <= 1.5
    assert np.abs(luma - expected).max() <= 4


def test_luma_averages_what_is_finer_than_its_pixels() -> None:
    checkered = (np.indices((640, 640)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    assert np.abs(fingerprint(checkered).luma.astype(int) - 127).max() <= 3


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"needs uint8 pixels of shape \(H, W, 1\) or \(H, W, 3\), got .*decode"):
        fingerprint(pixels)


def test_many_keep_their_order() -> None:
    ones = [fingerprint(np.full((3, 3, 1), grey, np.uint8)) for grey in (9, 7, 200)]
    many = Fingerprints.of(one for one in ones)
    assert len(many) == 3
    assert [row.tobytes() for row in many.digests] == [one.digest for one in ones]
    assert many.lumas[:, 5, 5].tolist() == [9, 7, 200]
    assert len(Fingerprints.of([])) == 0


def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"got \(2, 16\) and \(3, 32, 32\)\. Make them with Fingerprints\.of"):
        Fingerprints(np.zeros((2, 16), np.uint8), np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(DataError, match=r"digests of shape \(N, 16\) .* got \(1, 8\)"):
        Fingerprints(np.zeros((1, 8), np.uint8), np.zeros((1, 32, 32), np.uint8))
