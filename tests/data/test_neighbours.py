"""Candidates for copies: what all pairs compared one by one would give, however they are divided and blocked."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.data import neighbours
from sightline.data.description import VIEWS, WHOLE, describe, mirror_signs
from sightline.data.neighbours import candidates

Pair = tuple[int, int, bool]


def thumbnails(count: int) -> Tensor:
    """Smooth pictures, of which every third comes again darker, every fourth mirrored, and some as one colour."""
    rng = np.random.default_rng(0)
    waves = np.cos(np.pi * np.arange(5)[:, None] * (np.arange(32) + 0.5) / 32)
    pictures = []
    for number in range(count):
        shape = waves.T @ rng.normal(0, 1, (5, 5)) @ waves
        picture = np.clip(127 + 40 * shape / shape.std(), 0, 255)
        pictures += [picture]
        pictures += [picture * 0.7 + rng.normal(0, 3, (32, 32)).clip(-9, 9) + 20] if number % 3 == 0 else []
        pictures += [picture[:, ::-1] * 0.9 + 10] if number % 4 == 0 else []
    pictures += [np.full((32, 32), 90.0)] * 2
    return torch.from_numpy(np.stack(pictures).clip(0, 255).astype(np.uint8))


def one_by_one(lumas: Tensor, most: int, least: float) -> set[Pair]:
    whole = describe(lumas, [WHOLE])[0].numpy()
    views = describe(lumas, VIEWS).numpy()
    found = set()
    for number in range(len(lumas)):
        for is_mirrored, signs in ((False, 1.0), (True, mirror_signs().numpy())):
            alike = (views[:, number] * signs @ whole.T).max(0)
            alike[number] = -1
            best = [other for other in np.argsort(-alike)[:most].tolist() if alike[other] >= least]
            found |= {(min(number, other), max(number, other), is_mirrored) for other in best}
    return found


@pytest.mark.parametrize(("cell_size", "chunk", "block"), [(4000, 256, 32), (10, 7, 3), (2, 20, 1)])
def test_candidates_are_those_of_all_pairs(
    monkeypatch: pytest.MonkeyPatch, cell_size: int, chunk: int, block: int
) -> None:
    for name, value in (("_CELL_SIZE", cell_size), ("_CHUNK", chunk), ("_BLOCK", block), ("_PROBES", 1000)):
        monkeypatch.setattr(neighbours, name, value)
    lumas = thumbnails(40)
    expected = one_by_one(lumas, neighbours._MOST_EACH, neighbours._LEAST_LIKENESS)
    found = candidates(lumas)
    pairs = zip(found.first.tolist(), found.second.tolist(), found.mirrored.tolist(), strict=True)
    listed = [(min(first, second), max(first, second), is_mirrored) for first, second, is_mirrored in pairs]
    assert len(listed) == len(set(listed))
    assert set(listed) == expected
    assert len([pair for pair in expected if not pair[2]]) >= 14  # each that comes again
    assert len([pair for pair in expected if pair[2]]) >= 10


def test_no_picture_has_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_MOST_EACH", 2)
    monkeypatch.setattr(neighbours, "_CELL_SIZE", 3)  # equal pictures have equal centres, so all but one cell is empty
    lumas = thumbnails(1)[:1].repeat(9, 1, 1)
    assert 9 <= len(candidates(lumas)) <= 2 * 2 * 9  # as they are and mirrored


def test_a_description_is_the_cosine_transform_by_its_formula() -> None:
    lumas = thumbnails(3)[:4]
    places = (np.arange(32) + 0.5) / 32
    for luma, described in zip(lumas.double().numpy(), describe(lumas, [WHOLE])[0].numpy(), strict=True):
        numbers = []
        for down in range(8):
            for across in range(8):
                if 0 < down + across < 8:
                    wave = np.outer(np.cos(np.pi * down * places), np.cos(np.pi * across * places))
                    norm = (2 if down and across else 2**0.5) * np.hypot(down, across) ** 0.5
                    numbers.append(norm * (wave * luma).sum())
        np.testing.assert_allclose(described, np.array(numbers) / np.linalg.norm(numbers), atol=2e-5)


def test_a_mirrored_picture_has_the_mirrored_description() -> None:
    lumas = thumbnails(5)[:-2]
    mirrored = describe(lumas.flip(2), [WHOLE])[0]
    assert torch.allclose(mirrored, describe(lumas, [WHOLE])[0] * mirror_signs(), atol=1e-5)


def test_one_colour_and_no_picture_are_described_by_nothing() -> None:
    grey = torch.tensor([90, 255], dtype=torch.uint8)[:, None, None].expand(2, 32, 32)
    assert describe(grey, VIEWS).norm(dim=2).max() < 0.3  # as alike as 0.09, where 0.85 is asked for
    assert describe(grey[:0], VIEWS).shape == (len(VIEWS), 0, 35)
    assert len(candidates(grey)) == len(candidates(grey[:1])) == 0
