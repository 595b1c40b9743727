"""Every class as often, every picture in turn, every showing augmented in its own way: all of it a pure function."""

import numpy as np
import pytest
import torch

from sightline.data.augment import Augment
from sightline.data.draw import epoch_order
from sightline.data.sampling import Showings, balanced, shuffled
from tests.data.stores import PREPROCESS, store_of

LABELS = {
    "long tail": [0] * 40 + [1] * 9 + [2] * 3 + [3],
    "equal": [0, 1, 2, 3] * 5,
    "one class": [7] * 6,
    "gaps": [9, 2, 2, 5, 2, 2, 2],  # labels that no picture has
    "a picture each": [3, 1, 2],
}


@pytest.fixture(params=LABELS, ids=str)
def labels(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.tensor(LABELS[request.param])


def epochs(labels: torch.Tensor, count: int, *, seed: int = 0) -> list[Showings]:
    return [balanced(labels, seed=seed, epoch=epoch) for epoch in range(count)]


def test_shuffled_is_the_order_of_the_epoch() -> None:
    showings = shuffled(20, seed=4, epoch=3)
    assert torch.equal(showings.rows, epoch_order(4, 3, 20))
    assert not showings.repeats.any()


def test_every_class_comes_as_often(labels: torch.Tensor) -> None:
    classes = labels.unique()
    for showings in epochs(labels, 7):
        assert len(showings.rows) == len(showings.repeats) == len(labels)
        counts = torch.tensor([(labels[showings.rows] == label).sum() for label in classes])
        assert counts.sum() == len(labels)
        assert counts.max() - counts.min() <= 1


def test_over_the_run_no_class_is_ahead_by_more_than_one(labels: torch.Tensor) -> None:
    shown = torch.cat([showings.rows for showings in epochs(labels, 11)])
    counts = torch.tensor([(labels[shown] == label).sum() for label in labels.unique()])
    assert counts.max() - counts.min() <= 1


def test_no_picture_comes_again_before_all_of_its_class_have_come(labels: torch.Tensor) -> None:
    """At the end of any epoch the pictures of a class have come equally often, or once more."""
    times = torch.zeros(len(labels), dtype=torch.int64)
    for showings in epochs(labels, 9):
        times += torch.bincount(showings.rows, minlength=len(labels))
        for label in labels.unique():
            of_class = times[labels == label]
            assert of_class.max() - of_class.min() <= 1


def test_repeats_tell_the_showings_of_a_picture_apart(labels: torch.Tensor) -> None:
    for showings in epochs(labels, 4):
        for row in showings.rows.unique():
            repeats = showings.repeats[showings.rows == row]
            assert sorted(repeats.tolist()) == list(range(len(repeats)))


def test_an_order_is_a_pure_function_and_differs_between_epochs_and_seeds() -> None:
    labels = torch.tensor(LABELS["long tail"])
    orders = [showings.rows.tolist() for seed in (0, 1) for showings in epochs(labels, 2, seed=seed)]
    assert len({tuple(order) for order in orders}) == 4
    backwards = [balanced(labels, seed=0, epoch=epoch).rows.tolist() for epoch in (1, 0)]
    assert backwards == [orders[1], orders[0]]


def test_classes_are_mixed_over_the_epoch() -> None:
    labels = torch.tensor([0] * 300 + [1] * 300)
    kinds = labels[balanced(labels, seed=0, epoch=0).rows]
    halves = kinds[:300].sum(), kinds[300:].sum()
    assert all(abs(int(half) - 150) < 31 for half in halves)  # five standard deviations of drawing without replacement


def test_each_pass_over_a_class_is_shuffled_anew() -> None:
    """What comes in the first two thirds of a pass is not what came there before, and each picture as often as any."""
    labels = torch.tensor([0] * 10 + [1] * 30)  # class 0: two passes an epoch; class 1: two thirds of one
    firsts = []
    for epoch in range(0, 300, 3):  # each starts a pass over class 1
        rows = balanced(labels, seed=0, epoch=epoch).rows
        firsts.append(tuple(sorted(rows[labels[rows] == 1].tolist())))
    assert len(set(firsts)) > 90
    times = np.bincount(np.concatenate(firsts), minlength=40)[10:]
    assert abs(times - 100 * 20 / 30).max() < 5 * np.sqrt(100 * 2 / 9)


def test_a_hundred_thousand_passes_are_no_loop() -> None:
    """One picture against a hundred thousand: as many passes over the one, in whole-array operations."""
    labels = torch.cat([torch.zeros(1, dtype=torch.int64), torch.ones(99_999, dtype=torch.int64)])
    showings = balanced(labels, seed=0, epoch=5)
    assert (showings.rows == 0).sum() == 50_000
    assert showings.repeats.max() == 49_999


# ----------------------------------------------------------------------------------------- the showings of one picture


@pytest.mark.parametrize("keep_margin", [None, 1.0], ids=["stacked", "whole"])
def test_each_showing_is_augmented_in_its_own_way_and_the_first_as_ever(keep_margin: float | None) -> None:
    store = store_of(8, keep_margin=keep_margin)
    augment = Augment(scale=(0.2, 0.8))
    rows, repeats = torch.tensor([5, 2, 5, 5]), torch.tensor([0, 0, 1, 2])
    shown = augment.batch(store.showings(rows, repeats), torch.arange(4), seed=1, epoch=0)
    plain = augment.batch(store, rows, seed=1, epoch=0)
    assert torch.equal(shown[:2], plain[:2])
    assert not torch.equal(shown[2], shown[0]) and not torch.equal(shown[3], shown[0])
    assert not torch.equal(shown[2], shown[3])


def test_showings_are_the_pictures_with_their_labels() -> None:
    store = store_of(8)
    shown = store.showings(torch.tensor([6, 1, 6]), torch.tensor([0, 0, 2**31 - 1]))
    assert torch.equal(shown.take(torch.arange(3)), store.take(torch.tensor([6, 1, 6])))
    assert torch.equal(shown.labels, store.labels[[6, 1, 6]])
    assert shown.sources[:2].tolist() == [6, 1] and len(set(shown.sources.tolist())) == 3
    assert shown.size == PREPROCESS.input_size[1:]
