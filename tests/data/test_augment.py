"""Flips and crops: exact pixels against NumPy, resampled ones against Pillow, boxes against torchvision's loop.

And what comes after them: in which order, by which random numbers, and that these depend on the picture alone.
"""

import dataclasses
import math
import random
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data.augment import Augment
from sightline.data.catalog import ArrayImages
from sightline.data.crop import random_boxes, resized_crops, shifted
from sightline.data.draw import ERASE_STREAM, JITTER_STREAM, NOISE_STREAM, POLICY_STREAM, TURN_STREAM, draw
from sightline.data.erase import erase_boxes, erased, noise
from sightline.data.jitter import jittered
from sightline.data.policy import policy_of
from sightline.data.preprocess import Preprocess
from sightline.data.warp import rotate
from sightline.errors import ConfigError
from tests.data.small_stores import ListImages, fixed_store, smooth_picture, store_of

ALMOST_1 = 1 - 2.0**-24

# --------------------------------------------------------------------------------------------- flip and padded crop


@pytest.mark.parametrize("channels", [1, 3])
def test_padded_crop_and_flip_copy_the_pixels_that_numpy_copies(channels: int) -> None:
    store = fixed_store(size=(9, 12), channels=channels)
    rows = torch.tensor([5, 0, 39, 17, 17, 2])
    result = Augment(hflip=0.5, crop_padding=3).batch(store, rows, seed=11, epoch=4).numpy()
    assert result.dtype == np.uint8
    seen = set()
    for picture, row in zip(result, rows.tolist(), strict=True):
        flip, top, left = draw(11, 4, [row], 3)[0].tolist()
        padded = np.pad(store.picture(row).numpy(), ((3, 3), (3, 3), (0, 0)), mode="reflect")
        y, x = int(top * 7), int(left * 7)
        expected = padded[y : y + 9, x : x + 12]
        if flip < 0.5:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(picture, expected)
        seen.add((flip < 0.5, y, x))
    assert len(seen) > 3  # the cases differ


def test_shift_and_mirror_at_every_offset() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (4, 5, 2), np.uint8)
    padded = np.pad(picture, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    for down in range(-3, 4):
        for right in range(-3, 4):
            expected = padded[down + 3 : down + 7, right + 3 : right + 8]
            pair = torch.from_numpy(picture).expand(2, -1, -1, -1)
            offsets = torch.tensor([[down, right]] * 2)
            plain, mirrored = shifted(pair, offsets, torch.tensor([False, True])).numpy()
            np.testing.assert_array_equal(plain, expected)
            np.testing.assert_array_equal(mirrored, expected[:, ::-1])


def test_every_offset_is_equally_likely_and_half_are_mirrored() -> None:
    count = 20_000
    # Each pixel says where it is from: 32 * line + column, in two channels' worth of one 8x8 picture.
    picture = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    store = store_of(ArrayImages(np.repeat(picture, count, axis=0), (("train", count),)), (8, 8))
    result = Augment(hflip=0.5, crop_padding=2).batch(store, torch.arange(count), seed=0, epoch=0)
    centre, right = result[:, 4, 3, 0].long(), result[:, 4, 4, 0].long()
    mirrored = right < centre
    assert abs(mirrored.double().mean() - 0.5) < 5 * 0.5 / math.sqrt(count)
    down = centre // 8 - 4
    across = torch.where(mirrored, centre % 8 - 4, centre % 8 - 3)
    places = torch.bincount((down + 2) * 5 + across + 2, minlength=25)
    assert len(places) == 25
    assert (places - count / 25).abs().max() < 5 * math.sqrt(count / 25)


def test_the_greatest_random_number_stays_within_the_padding(monkeypatch) -> None:
    monkeypatch.setattr("sightline.data.augment.draw", lambda *_, **__: torch.full((1, 3), ALMOST_1))
    store = fixed_store(size=(9, 12))
    result = Augment(hflip=0, crop_padding=4).batch(store, torch.tensor([0]), seed=0, epoch=0)[0]
    padded = np.pad(store.picture(0).numpy(), ((4, 4), (4, 4), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(result.numpy(), padded[8:17, 8:20])


def test_without_augmentation_pictures_stay_as_they_are() -> None:
    store = fixed_store()
    rows = torch.tensor([3, 1, 38])
    assert torch.equal(Augment(hflip=0).batch(store, rows, seed=0, epoch=0), store.take(rows))
    mirrored = Augment(hflip=1).batch(store, rows, seed=0, epoch=0)
    np.testing.assert_array_equal(mirrored.numpy(), store.take(rows).numpy()[:, :, ::-1])


def test_the_widest_padding_works() -> None:
    store = fixed_store(size=(4, 6))
    padded = [np.pad(picture, ((3, 3), (3, 3), (0, 0)), mode="reflect") for picture in store.pictures.numpy()]
    result = Augment(hflip=0, crop_padding=3).batch(store, torch.arange(40), seed=0, epoch=0).numpy()
    for picture, wide in zip(result, padded, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(wide, (4, 6, 3)).reshape(-1, 4, 6, 3)
        assert (windows == picture).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("augment", [Augment(crop_padding=2), Augment(scale=(0.3, 1.0))], ids=["padded", "resized"])
def test_a_picture_depends_on_seed_epoch_and_its_catalog_index_alone(augment: Augment) -> None:
    store = fixed_store()
    rows = torch.arange(40)
    whole = augment.batch(store, rows, seed=3, epoch=5)
    assert torch.equal(augment.batch(store, rows.flip(0), seed=3, epoch=5).flip(0), whole)
    assert torch.equal(augment.batch(store, torch.tensor([23]), seed=3, epoch=5)[0], whole[23])

    part = fixed_store(indices=[30, 23, 4])  # the same pictures in other rows
    assert torch.equal(augment.batch(part, torch.arange(3), seed=3, epoch=5), whole[[30, 23, 4]])

    for seed, epoch in ((4, 5), (3, 6)):
        other = augment.batch(store, rows, seed=seed, epoch=epoch)
        assert (other != whole).flatten(1).any(dim=1).sum() > 30


@pytest.mark.parametrize("augment", [Augment(hflip=1, crop_padding=2), Augment(hflip=1, scale=(0.3, 1.0))])
def test_the_store_is_left_as_it_was(augment: Augment) -> None:
    store = fixed_store()
    before = store.pictures.clone()
    augment.batch(store, torch.arange(40), seed=0, epoch=0).fill_(7)
    assert torch.equal(store.pictures, before)


# ---------------------------------------------------------------------------------------------- random resized crop


def torchvision_box(height: int, width: int, numbers: list[float], scale, ratio) -> tuple[int, int, int, int]:
    """torchvision.transforms.RandomResizedCrop.get_params, with the random numbers handed in."""
    top, left, areas, shapes = numbers[0], numbers[1], numbers[2:12], numbers[12:22]
    for area, shape in zip(areas, shapes, strict=True):
        target_area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
        aspect_ratio = math.exp(log_ratio[0] + (log_ratio[1] - log_ratio[0]) * shape)
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(top * (height - h + 1)), int(left * (width - w + 1)), h, w
    in_ratio = width / height
    if in_ratio < min(ratio):
        w = width
        h = round(w / min(ratio))
    elif in_ratio > max(ratio):
        h = height
        w = round(h * max(ratio))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.9, 1.0), (3 / 4, 4 / 3)), ((1.0, 1.0), (1.0, 1.0)), ((0.5, 1.0), (2.0, 3.0))],
)
def test_boxes_are_those_of_torchvisions_loop(scale, ratio) -> None:
    rng = random.Random(0)
    shapes = [(rng.randint(1, 400), rng.randint(1, 400)) for _ in range(300)] + [(10, 3000), (3000, 10), (1, 1)] * 5
    numbers = draw(1, 2, range(len(shapes)), 22)
    numbers[-6:] = ALMOST_1
    numbers[-12:-6] = 0
    boxes = random_boxes(torch.tensor(shapes), numbers, scale=scale, ratio=ratio)
    num_fallbacks = 0
    for shape, row, box in zip(shapes, numbers.tolist(), boxes.tolist(), strict=True):
        expected = torchvision_box(*shape, row, scale, ratio)
        if expected[2] == 0 or expected[3] == 0:  # torchvision would fail here; one pixel is the least
            expected = (*expected[:2], max(1, expected[2]), max(1, expected[3]))
        assert tuple(box) == expected, shape
        top, left, height, width = box
        assert 0 <= top <= top + height <= shape[0] and 0 <= left <= left + width <= shape[1]
        num_fallbacks += (top, left) == ((shape[0] - height) // 2, (shape[1] - width) // 2)
    assert num_fallbacks > 0


def test_boxes_have_the_areas_and_ratios_asked_for() -> None:
    count = 20_000
    boxes = random_boxes(
        torch.tensor([[1000, 1000]]).expand(count, 2),
        draw(0, 0, range(count), 22),
        scale=(0.2, 0.5),  # at most 0.5, so that the first attempt always fits
        ratio=(3 / 4, 4 / 3),
    ).double()
    area = boxes[:, 2] * boxes[:, 3] / 1e6
    log_ratio = (boxes[:, 3] / boxes[:, 2]).log() / math.log(4 / 3)
    # Uniform: mean and standard deviation, within five standard errors and the rounding to whole pixels.
    assert abs(area.mean() - 0.35) < 5 * 0.3 / math.sqrt(12 * count)
    assert abs(area.std() - 0.3 / math.sqrt(12)) < 0.002
    assert abs(log_ratio.mean()) < 5 * 2 / math.sqrt(12 * count)
    assert abs(log_ratio.std() - 2 / math.sqrt(12)) < 0.01
    assert abs(torch.corrcoef(torch.stack([area, log_ratio]))[0, 1]) < 5 / math.sqrt(count)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("interpolation", "levels"), [("bilinear", 1), ("bicubic", 2)])
def test_resized_crops_are_pillows_but_for_rounding(interpolation, levels: int, channels: int) -> None:
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    # Smooth, because bicubic overshoots at edges, and is clipped there between the passes in different order.
    pictures = [smooth_picture(*size, seed, channels) for seed, size in enumerate([(50, 80), (90, 60)] * 4)]
    boxes = [(0, 0, 50, 80), (3, 4, 80, 50), (10, 20, 24, 30), (0, 0, 90, 60), (49, 79, 1, 1), (7, 9, 12, 8)]
    boxes += [(1, 2, 48, 3), (5, 5, 60, 24)]
    mirrored = [False, True, False, True, True, False, True, False]
    result = resized_crops(
        [torch.from_numpy(picture) for picture in pictures],
        torch.tensor(boxes),
        torch.tensor(mirrored),
        size=(24, 30),
        interpolation=interpolation,
    ).numpy()
    for number, (picture, box, is_mirrored) in enumerate(zip(pictures, boxes, mirrored, strict=True)):
        top, left, height, width = box
        image = Image.fromarray(picture.squeeze(2) if channels == 1 else picture)
        image = image.crop((left, top, left + width, top + height)).resize((30, 24), filters[interpolation])
        if is_mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        difference = np.abs(result[number].astype(int) - np.asarray(image).reshape(24, 30, channels))
        assert difference.max() <= levels and difference.mean() < 0.25, number


def test_a_crop_of_just_the_size_is_copied() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    boxes = torch.tensor([[1, 2, 5, 6]])
    result = resized_crops([picture], boxes, torch.tensor([False]), size=(5, 6), interpolation="bicubic")
    assert torch.equal(result[0], picture[1:6, 2:8])


def test_shrinking_does_not_alias() -> None:
    """A chessboard of single pixels becomes even grey; point sampling would keep black and white."""
    board = torch.from_numpy((np.indices((120, 120)).sum(axis=0) % 2 * 255).astype(np.uint8))[:, :, None]
    boxes = torch.tensor([[0, 0, 120, 120]])
    result = resized_crops([board], boxes, torch.tensor([False]), size=(24, 24), interpolation="bilinear")
    assert (result.int() - 127).abs().max() <= 2


@pytest.mark.parametrize("side", [32, 57, 200])
def test_the_whole_of_a_square_picture_is_what_prediction_sees(side: int) -> None:
    picture = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    store = store_of(ListImages([picture]), (32, 32), keep_margin=10.0)
    augment = Augment(hflip=0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    result = augment.batch(store, torch.tensor([0]), seed=0, epoch=0)[0].numpy()
    expected = Preprocess((3, 32, 32), (0.5,) * 3, (0.5,) * 3).picture(picture)
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_a_batch_of_pictures_of_different_sizes() -> None:
    pictures = [
        smooth_picture(height, width, seed) for seed, (height, width) in enumerate([(70, 50), (40, 90), (33, 33)])
    ]
    store = store_of(ListImages(pictures), (32, 32), keep_margin=1.25, interpolation="bilinear")
    assert store.is_ragged
    rows = torch.tensor([2, 0, 1, 0])
    result = Augment(scale=(0.35, 1.0)).batch(store, rows, seed=9, epoch=2)
    assert result.shape == (4, 32, 32, 3)
    for made, row in zip(result.numpy(), rows.tolist(), strict=True):
        flip, *numbers = draw(9, 2, [row], 23)[0].tolist()
        kept = store.picture(row).numpy()
        top, left, height, width = torchvision_box(*kept.shape[:2], numbers, (0.35, 1.0), (3 / 4, 4 / 3))
        image = Image.fromarray(kept[top : top + height, left : left + width])
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
        if flip < 0.5:
            expected = expected[:, ::-1]
        assert np.abs(made.astype(int) - expected).max() <= 1
    assert torch.equal(result[1], result[3])  # the same picture of the same epoch


# ------------------------------------------------------------------------------------------------ after the crop

ALL = {
    "vflip": 0.5,
    "rotation": 15.0,
    "aa": "rand-m9-n2-mstd0.5",
    "color_jitter": (0.4, 0.4, 0.4, 0.1),
    "reprob": 0.5,
    "remode": "pixel",
}
EVERYTHING = [
    Augment(crop_padding=2, **ALL),
    Augment(scale=(0.3, 1.0), alternating_flip=True, **ALL),
    Augment(hflip=0, aa="trivial", reprob=1, fill=(10, 20, 30)),
    Augment(crop_padding=3, aa="augmix-m5-w2", rotation=180),
]


def test_flips_and_crops_are_those_of_the_first_version() -> None:
    """Checksums and boxes as printed by the version of this package that had nothing but flips and crops."""
    store = fixed_store()
    for epoch, checksum in ((0, 4195793772), (1, 1828353977), (7, 563589802)):
        result = Augment(crop_padding=3).batch(store, torch.arange(40), seed=5, epoch=epoch)
        assert zlib.crc32(result.numpy().tobytes()) == checksum
    numbers = draw(5, 2, range(4), 23)[:, 1:]
    boxes = random_boxes(torch.tensor([[40, 60]] * 4), numbers, scale=(0.35, 1.0), ratio=(0.75, 4 / 3))
    assert boxes.tolist() == [[4, 10, 29, 31], [7, 27, 32, 33], [2, 20, 32, 34], [12, 19, 27, 35]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", EVERYTHING)
def test_with_everything_a_picture_depends_on_seed_epoch_and_its_index_alone(augment: Augment, channels: int) -> None:
    if channels == 1 and len(augment.fill) == 3:
        augment = dataclasses.replace(augment, fill=(10,))
    store = fixed_store(size=(14, 12), channels=channels)
    rows = torch.arange(40)
    whole = augment.batch(store, rows, seed=3, epoch=5)
    assert whole.dtype == torch.uint8 and whole.shape == (40, 14, 12, channels)
    assert torch.equal(augment.batch(store, rows.flip(0), seed=3, epoch=5).flip(0), whole)
    for row in (0, 11, 23, 39):
        assert torch.equal(augment.batch(store, torch.tensor([row]), seed=3, epoch=5)[0], whole[row])
    part = fixed_store(size=(14, 12), channels=channels, indices=[30, 23, 4])
    assert torch.equal(augment.batch(part, torch.tensor([2, 0, 1, 0]), seed=3, epoch=5), whole[[4, 30, 23, 30]])
    before = store.pictures.clone()
    for seed, epoch in ((4, 5), (3, 6)):
        other = augment.batch(store, rows, seed=seed, epoch=epoch)
        assert (other != whole).flatten(1).any(dim=1).sum() > 30
    assert torch.equal(store.pictures, before)


def test_the_steps_come_in_order_each_with_numbers_of_its_own() -> None:
    store, rows, key = fixed_store(size=(14, 12)), torch.arange(40), {"seed": 2, "epoch": 9}
    whole = Augment(crop_padding=2, **ALL).batch(store, rows, **key)

    step = Augment(crop_padding=2).batch(store, rows, **key)
    turns = draw(2, 9, range(40), 2, stream=TURN_STREAM)
    step = torch.where((turns[:, 0] < 0.5).view(-1, 1, 1, 1), step.flip(1), step)
    step = rotate(step, 15 * (2 * turns[:, 1].double() - 1), fill=None)
    numbers = draw(2, 9, range(40), 6, stream=POLICY_STREAM)
    step = policy_of("rand-m9-n2-mstd0.5").apply(step, numbers, fill=(128,))
    step = jittered(step, draw(2, 9, range(40), 8, stream=JITTER_STREAM), (0.4, 0.4, 0.4, 0.1))
    chosen, boxes = erase_boxes(draw(2, 9, range(40), 23, stream=ERASE_STREAM), (14, 12), probability=0.5)
    colours = noise(draw(2, 9, chosen, 14 * 12, stream=NOISE_STREAM), (14, 12), 3)
    assert torch.equal(erased(step, chosen, boxes, colours), whole)
    assert 10 < len(chosen) < 30


def test_upside_down_is_numpys_and_as_often_as_asked_for() -> None:
    store, rows = fixed_store(count=400), torch.arange(400)
    plain = Augment(hflip=0).batch(store, rows, seed=0, epoch=0).numpy()
    turned = Augment(hflip=0, vflip=1).batch(store, rows, seed=0, epoch=0).numpy()
    np.testing.assert_array_equal(turned, plain[:, ::-1])
    some = Augment(hflip=0, vflip=0.3).batch(store, rows, seed=0, epoch=0).numpy()
    is_turned = (some == turned).all(axis=(1, 2, 3))
    assert (is_turned | (some == plain).all(axis=(1, 2, 3))).all()
    assert abs(is_turned.mean() - 0.3) < 5 * math.sqrt(0.21 / 400)


def test_rotations_are_uniform_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    angles: list[torch.Tensor] = []
    monkeypatch.setattr(
        "sightline.data.augment.rotate", lambda pictures, degrees, fill: angles.append(degrees) or pictures
    )
    Augment(rotation=20).batch(fixed_store(count=4000), torch.arange(4000), seed=0, epoch=0)
    (found,) = angles
    assert -20 <= found.min() < -19.9 and 19.9 < found.max() <= 20
    assert abs(found.mean()) < 5 * 40 / math.sqrt(12 * 4000)
    assert abs(found.std() - 40 / math.sqrt(12)) < 0.3


@pytest.mark.parametrize("crop", [{"crop_padding": 2}, {"scale": (0.5, 1.0)}], ids=["padded", "resized"])
def test_alternating_flip_shows_both_sides_in_every_two_epochs(crop: dict[str, object]) -> None:
    """arXiv:2404.00498, Sec. 3.6: of the first epoch's random choice, then of its opposite, and so on."""
    store, rows = fixed_store(), torch.arange(40)
    first = (draw(6, 0, range(40), 1)[:, 0] < 0.5).view(-1, 1, 1, 1)
    assert 10 < first.sum() < 30
    for epoch in range(5):
        plain = Augment(hflip=0, **crop).batch(store, rows, seed=6, epoch=epoch)
        mirrored = first if epoch % 2 == 0 else ~first
        expected = torch.where(mirrored, plain.flip(2), plain)
        result = Augment(alternating_flip=True, **crop).batch(store, rows, seed=6, epoch=epoch)
        assert torch.equal(result, expected), epoch


def test_erased_rectangles_have_the_fill_and_the_rest_stays() -> None:
    store, rows = fixed_store(size=(20, 30)), torch.arange(40)
    plain = Augment(crop_padding=2).batch(store, rows, seed=0, epoch=0)
    for fill in ((128,), (7, 8, 9)):
        result = Augment(crop_padding=2, reprob=1, fill=fill).batch(store, rows, seed=0, epoch=0)
        filled = (result == torch.tensor(fill, dtype=torch.uint8)).all(dim=3)
        changed = (result != plain).any(dim=3)
        assert (filled | ~changed).all()
        share = filled.flatten(1).double().mean(dim=1)
        assert share.min() > 0.01 and share.max() < 0.37  # 2 to 33 %, and half a px more on each side
    noisy = Augment(crop_padding=2, reprob=1, remode="pixel").batch(store, rows, seed=0, epoch=0)
    inside = (noisy != plain).any(dim=3)
    assert (inside <= filled).all() and inside.sum() > 0.99 * filled.sum()  # the same rectangles
    assert abs(noisy[filled].double().mean() - 127.5) < 2


def test_no_operation_needs_the_pictures_on_the_cpu() -> None:
    """A tensor of the meta device has no values: whatever mixes it with the CPU's, or reads it, fails."""
    store = fixed_store(size=(14, 12)).to(torch.device("meta"))
    for augment in EVERYTHING:
        if augment.scale is None:
            result = augment.batch(store, torch.arange(40), seed=0, epoch=0)
            assert (result.device.type, result.dtype, result.shape) == ("meta", torch.uint8, (40, 14, 12, 3))


@pytest.mark.parametrize("augment", [Augment(), *EVERYTHING])
def test_a_batch_of_no_pictures(augment: Augment) -> None:
    result = augment.batch(fixed_store(size=(14, 12)), torch.empty(0, dtype=torch.int64), seed=0, epoch=0)
    assert result.shape == (0, 14, 12, 3) and result.dtype == torch.uint8


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hflip": 1.5}, "hflip is a probability from 0 to 1, got 1.5."),
        ({"vflip": -0.1}, "vflip is a probability from 0 to 1, got -0.1."),
        ({"reprob": 2}, "reprob is a probability from 0 to 1, got 2."),
        (
            {"hflip": 0.0, "alternating_flip": True},
            "alternating_flip mirrors every picture in one of two epochs, and hflip is 0.0. "
            "Leave hflip out, or set it to 0.5.",
        ),
        ({"rotation": -5}, "rotation must be 0 to 180 degrees, got -5."),
        ({"rotation": 181}, "rotation must be 0 to 180 degrees, got 181."),
        (
            {"color_jitter": (0.4, 0.4, 0.4, 0.6)},
            "color_jitter must be 4 numbers of 0 or more, (brightness, contrast, saturation, hue), hue at most 0.5, "
            "got (0.4, 0.4, 0.4, 0.6).",
        ),
        (
            {"color_jitter": (0.4, -1, 0.4, 0.1)},
            "color_jitter must be 4 numbers of 0 or more, (brightness, contrast, saturation, hue), hue at most 0.5, "
            "got (0.4, -1, 0.4, 0.1).",
        ),
        ({"aa": "rand-m31"}, "aa is 'rand-m31'; m must be a whole number from 0 to 30, got 31."),
        ({"remode": "pixels"}, "remode is 'pixels'. Nearest: pixel."),
        ({"fill": (1, 2)}, "fill must be 1 or 3 levels from 0 to 255, got (1, 2)."),
        ({"fill": (256,)}, "fill must be 1 or 3 levels from 0 to 255, got (256,)."),
        ({"crop_padding": -1}, "crop_padding must be 0 px or more, got -1."),
        ({"ratio": (0.0, 1.0)}, "ratio must be (least, greatest) width / height above 0, got (0.0, 1.0)."),
        ({"ratio": (2.0, 1.0)}, "ratio must be (least, greatest) width / height above 0, got (2.0, 1.0)."),
        ({"scale": (0.0, 1.0)}, "scale must be (least, greatest) fraction of the area, above 0 to 1, got (0.0, 1.0)."),
        ({"scale": (0.5, 1.5)}, "scale must be (least, greatest) fraction of the area, above 0 to 1, got (0.5, 1.5)."),
        (
            {"scale": (0.5, 1.0), "crop_padding": 4},
            "crop_padding=4 and scale=(0.5, 1.0) are two ways to crop. Choose one of them.",
        ),
    ],
)
def test_options_that_make_no_sense(options, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Augment(**options)
    assert str(caught.value) == message


def test_too_much_padding() -> None:
    with pytest.raises(ConfigError) as caught:
        Augment(crop_padding=9).batch(fixed_store(size=(9, 12)), torch.tensor([0]), seed=0, epoch=0)
    assert str(caught.value) == ("crop_padding=9 reflects more than there is: pictures are 9x12 px. Use at most 8.")


def test_pictures_of_different_sizes_need_a_resized_crop() -> None:
    store = store_of(ListImages([smooth_picture(40, 50, 0), smooth_picture(50, 40, 1)]), (32, 32), keep_margin=1.25)
    with pytest.raises(ConfigError) as caught:
        Augment().check(store)
    assert str(caught.value) == (
        "the store keeps pictures of different sizes, which only a random resized crop makes equal. "
        "Set scale, such as (0.35, 1.0), or build the store with keep_margin=None."
    )


def test_a_colour_for_grey_pictures() -> None:
    with pytest.raises(ConfigError) as caught:
        Augment(fill=(1, 2, 3)).check(fixed_store(channels=1))
    assert str(caught.value) == "fill=(1, 2, 3) has 3 levels, and the pictures have 1 channel. Give one level."
