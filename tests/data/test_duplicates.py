"""Duplicates: every altered copy is found, and nothing else; flat and look-alike pictures are no evidence."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from sightline.data import alignment, duplicates, neighbours
from sightline.data.duplicates import Pair, clusters, find_duplicates
from sightline.data.fingerprint import Fingerprints, fingerprint
from sightline.data.modes import Pixels


def scene(seed: int, size: tuple[int, int] = (96, 120)) -> Pixels:
    """A picture with shapes, light and texture, as a photograph has."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = Image.fromarray(rng.integers(60, 190, (3, 4, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(0.08, 0.4, 2) * (width, height)
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, tuple(rng.integers(20, 236, 3).tolist()))
    noise = rng.normal(0, 4, (height, width, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def found(pictures: Sequence[Pixels]) -> list[Pair]:
    return find_duplicates(Fingerprints.of(map(fingerprint, pictures)))


def saved(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def scaled(pixels: Pixels, down: float, across: float) -> Pixels:
    size = round(pixels.shape[1] * across), round(pixels.shape[0] * down)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def cut(pixels: Pixels, top: float, bottom: float, left: float, right: float) -> Pixels:
    height, width = pixels.shape[:2]
    return pixels[round(top * height) : round((1 - bottom) * height), round(left * width) : round((1 - right) * width)]


def lit(pixels: Pixels, factor: float) -> Pixels:
    return np.clip(pixels * factor, 0, 255).astype(np.uint8)


ALTERED: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG 60": lambda pixels: saved(pixels, 60),
    "JPEG 90": lambda pixels: saved(pixels, 90),
    "70 %": lambda pixels: scaled(pixels, 0.7, 0.7),
    "130 %": lambda pixels: scaled(pixels, 1.3, 1.3),
    "squeezed": lambda pixels: scaled(pixels, 1.0, 0.8),
    "corner": lambda pixels: cut(pixels, 0.1, 0, 0, 0.1),
    "one side": lambda pixels: cut(pixels, 0, 0.08, 0, 0),
    "each edge": lambda pixels: cut(pixels, 0.1, 0.1, 0.1, 0.1),
    "darker": lambda pixels: lit(pixels, 0.8),
    "brighter": lambda pixels: lit(pixels, 1.2),
    "all at once": lambda pixels: saved(lit(scaled(cut(pixels, 0.05, 0, 0.05, 0), 0.8, 0.8), 0.85), 75),
}


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (96, 120)])
def test_altered_copies_are_found_and_nothing_else(size: tuple[int, int]) -> None:
    originals = [scene(seed, size) for seed in range(60)]
    copies = [alter(originals[number * 3]) for number, alter in enumerate(ALTERED.values())]
    pairs = found([*originals, *copies])
    assert {(pair.first, pair.second): pair.kind for pair in pairs} == {
        (number * 3, 60 + number): "near" for number in range(len(ALTERED))
    }
    assert all(0.93 <= pair.score <= 1 for pair in pairs)


@pytest.mark.parametrize("alter", ["JPEG 60", "70 %", "corner", "darker"])
def test_mirrored_copies_are_found_as_such(alter: str) -> None:
    originals = [scene(seed) for seed in range(20)]
    copy = np.ascontiguousarray(ALTERED[alter](originals[7])[:, ::-1])
    (pair,) = found([*originals, copy])
    assert (pair.first, pair.second, pair.kind) == (7, 20, "mirrored")


def test_a_picture_that_is_its_own_mirror_image_is_near() -> None:
    half = scene(3)
    whole = np.concatenate([half, half[:, ::-1]], axis=1)
    (pair,) = found([whole, scene(4), saved(whole, 80)])
    assert (pair.first, pair.second, pair.kind) == (0, 2, "near")


def test_colour_pictures_match_their_grey_copies() -> None:
    grey = np.asarray(Image.fromarray(scene(1)).convert("L"))[:, :, None]
    assert [pair.kind for pair in found([scene(0), scene(1), grey])] == ["near"]


def test_equal_pictures_are_paired_with_the_first_and_only_the_first_has_near_copies() -> None:
    shot, other = scene(1), scene(2)
    pairs = found([other, shot, shot, saved(shot, 80), shot, other])
    assert [(pair.first, pair.second, pair.kind) for pair in pairs] == [
        (0, 5, "exact"),
        (1, 2, "exact"),
        (1, 3, "near"),
        (1, 4, "exact"),
    ]
    assert clusters(pairs) == [(0, 5), (1, 2, 3, 4)]


def test_flat_pictures_have_exact_copies_only() -> None:
    rng = np.random.default_rng(0)
    flat = [np.full((40, 40, 3), grey, np.uint8) for grey in (0, 60, 60, 61, 130, 255)]
    noisy = [np.clip(rng.normal(grey, 3, (400, 400, 3)), 0, 255).astype(np.uint8) for grey in (50, 50, 130, 200)]
    skies = [
        np.repeat(np.linspace(start, start + 60, 90).astype(np.uint8)[:, None, None], 100, 1).repeat(3, 2)
        for start in (50, 70, 120)
    ]
    resaved = [saved(picture, 60) for picture in (noisy[0], skies[0])]
    pairs = found([*flat, *noisy, *skies, *resaved])
    assert [(pair.first, pair.second) for pair in pairs if pair.kind == "exact"] == [(1, 2)]
    assert not [pair for pair in pairs if pair.first < 10 and pair.kind != "exact"]


def test_pictures_too_faint_to_tell_from_noise_have_exact_copies_only() -> None:
    faint = [(100 + (scene(seed) - 128.0) / 40).round().astype(np.uint8) for seed in (0, 1)]
    assert found([*faint, cut(faint[0], 0.05, 0, 0, 0), faint[1]]) == [Pair(1, 3, "exact", 1.0)]


def test_lone_spots_on_black_are_no_duplicates() -> None:
    spots = []
    for number in range(10):
        texture = scene(number, (48, 48))
        down, across = (np.indices((48, 48)) - 23.5) / 24
        spot = np.where((down**2 + across**2 < 1)[:, :, None], texture, 0).astype(np.uint8)
        spots.append(np.pad(spot, ((76, 76), (76, 76), (0, 0))))
    assert len(found(spots)) <= 1  # of 45 pairs; two of the spots have hardly a texture
    assert (0, 10) in {(pair.first, pair.second) for pair in found([*spots, saved(spots[0], 90)])}


def test_one_frame_round_different_pictures_is_no_duplicate() -> None:
    framed = [np.pad(scene(seed, (60, 60)), ((10, 10), (10, 10), (0, 0)), constant_values=255) for seed in range(10)]
    assert found(framed) == []


def test_look_alikes_are_no_duplicates_but_their_copies_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_ENOUGH", 100)
    template, rng = scene(0, (32, 32)).astype(float), np.random.default_rng(0)
    alike = []
    for _ in range(200):
        details = Image.fromarray(rng.normal(0, 9, (8, 8)).astype(np.float32)).resize(
            (32, 32), Image.Resampling.BICUBIC
        )
        alike.append(np.clip(template + np.asarray(details)[:, :, None], 0, 255).astype(np.uint8))
    copies = {200 + number: saved(alike[number * 20], 90) for number in range(10)}
    pairs = found([*alike, *copies.values()])
    right = {(number * 20, 200 + number) for number in range(10)}
    assert {(pair.first, pair.second) for pair in pairs} >= right
    assert len(pairs) < 15  # of 210 * 209 / 2


def test_cells_lose_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [scene(seed, (32, 32)) for seed in range(90)]
    alters = list(ALTERED.values())
    copies = [alters[number % len(alters)](picture) for number, picture in enumerate(originals[:40])]
    pictures = Fingerprints.of(map(fingerprint, [*originals, *copies]))
    whole = find_duplicates(pictures)
    monkeypatch.setattr(neighbours, "_CELL_SIZE", 8)  # 16 cells, of which each looks into 4
    monkeypatch.setattr(neighbours, "_CHUNK", 7)
    monkeypatch.setattr(alignment, "_CHUNK", 5)
    cells = find_duplicates(pictures)
    assert len(whole) == 40
    assert [(pair.first, pair.second, pair.kind) for pair in cells] == [
        (pair.first, pair.second, pair.kind) for pair in whole
    ]
    assert cells == find_duplicates(pictures)


def test_the_order_of_the_pictures_does_not_matter() -> None:
    pictures = [scene(seed, (32, 32)) for seed in range(30)]
    pictures += [ALTERED["corner"](picture) for picture in pictures[:5]] + [pictures[9]]
    order = np.random.default_rng(0).permutation(len(pictures))
    plain = {frozenset((pair.first, pair.second)) for pair in found(pictures)}
    shuffled = found([pictures[number] for number in order])
    assert len(plain) == 6
    assert {frozenset((int(order[pair.first]), int(order[pair.second]))) for pair in shuffled} == plain


def test_few_and_unreadable_pictures() -> None:
    assert found([]) == []
    assert found([scene(0)]) == []
    missing = Fingerprints(np.zeros((3, 16), np.uint8), np.zeros((3, 32, 32), np.uint8))
    assert find_duplicates(missing) == []
    one = Fingerprints.of([fingerprint(scene(0)), fingerprint(scene(0))])
    gap = Fingerprints(np.insert(one.digests, 1, 0, axis=0), np.insert(one.lumas, 1, 0, axis=0))
    assert find_duplicates(gap) == [Pair(0, 2, "exact", 1.0)]


def test_progress_ends_at_the_number_of_pictures() -> None:
    seen: list[tuple[int, int]] = []
    pictures = Fingerprints.of(fingerprint(scene(seed, (32, 32))) for seed in range(9))
    find_duplicates(pictures, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9) and [done for done, _ in seen] == sorted(done for done, _ in seen)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda ends: ends[0] < ends[1]), max_size=20))
def test_clusters_are_the_connected_components(ends: list[tuple[int, int]]) -> None:
    reached = np.eye(13, dtype=bool)
    for first, second in ends:
        reached[first, second] = reached[second, first] = True
    for _ in range(4):
        reached = reached @ reached
    expected = sorted({tuple(np.flatnonzero(row).tolist()) for row in reached if row.sum() > 1})
    assert clusters(Pair(first, second, "near", 0.97) for first, second in ends) == expected
