"""Splits: stratified, seeded, stable, and never without a training picture."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import ConfigError, DataError


def made(**counts: tuple[int, ...]) -> Catalog:
    """A catalog with, for each split, so many pictures of each class."""
    labels, splits = [], []
    for split, numbers in counts.items():
        for label, number in enumerate(numbers):
            labels += [label] * number
            splits += [SPLITS.index(split)] * number
    size = len(next(iter(counts.values())))
    return Catalog(
        "made",
        None,
        tuple("abcdefghij"[:size]),
        ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8), (("image", len(labels)),)),
        np.array(labels, np.int64),
        np.array(splits, np.uint8),
    )


def test_flat_set_is_divided_70_15_15_in_each_class() -> None:
    catalog, said = assign_splits(made(unassigned=(100, 40)), seed=3)
    assert catalog.counts() == {"train": {"a": 70, "b": 28}, "val": {"a": 15, "b": 6}, "test": {"a": 15, "b": 6}}
    assert said == [
        "98 of 140 pictures are for training, 21 for validation and 21 for test: drawn with seed 3, "
        "in each class alike."
    ]


def test_official_test_split_is_kept_and_5000_held_out_at_most() -> None:
    # He et al. 2015, Sec. 4.2: CIFAR-10's 50,000 training pictures as 45k/5k.
    catalog, said = assign_splits(made(train=(5000,) * 10, test=(1000,) * 10))
    assert set(catalog.counts()["val"].values()) == {500}
    assert {split: sum(row.values()) for split, row in catalog.counts().items()} == {
        "train": 45_000,
        "val": 5_000,
        "test": 10_000,
    }
    assert said[0] == "The test split is the data's own: 10,000 pictures."
    larger, _ = assign_splits(made(train=(6000,) * 10, test=(1000,) * 10))
    assert len(larger.select("val")) == 5000
    smaller, _ = assign_splits(made(train=(60,) * 10, test=(10,) * 10))
    assert len(smaller.select("val")) == 60


def test_own_validation_split_is_kept() -> None:
    before = made(train=(20, 20), val=(5, 5))
    catalog, said = assign_splits(before)
    assert catalog.splits.tolist() == before.splits.tolist()
    assert said == ["The validation split is the data's own: 10 pictures."]
    assert len(assign_splits(before, test_fraction=0.5)[0].select("test")) == 20


def test_training_folder_alone_is_divided_like_a_flat_one() -> None:
    assert assign_splits(made(train=(100, 40)))[0].counts() == assign_splits(made(unassigned=(100, 40)))[0].counts()


def test_fractions_can_be_chosen_and_can_be_nothing() -> None:
    catalog, _ = assign_splits(made(unassigned=(50, 50)), val_fraction=0.2, test_fraction=0)
    assert catalog.counts() == {"train": {"a": 40, "b": 40}, "val": {"a": 10, "b": 10}}
    catalog, said = assign_splits(made(unassigned=(50, 50)), val_fraction=0, test_fraction=0)
    assert (catalog.counts(), said) == ({"train": {"a": 50, "b": 50}}, [])


def test_seed_decides() -> None:
    first, again, other = (assign_splits(made(unassigned=(60, 60)), seed=seed)[0].splits for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_draw_is_pinned() -> None:
    # By hand, with sha256sum: of the digests of "0:image/00000" to "0:image/00009" those of 7 and 0 are the least, and
    # of the other ten that of 13; a change would move every user's splits.
    catalog, _ = assign_splits(made(unassigned=(10, 10)), seed=0)
    assert catalog.select("test").tolist() == [0, 7, 13]


def test_place_depends_on_the_name_and_not_on_the_order_or_the_neighbours(photos: Path) -> None:
    def places(folder: Path) -> dict[str, str]:
        catalog, _ = assign_splits(open_data(folder), seed=5)
        return {catalog.images.name(index): SPLITS[catalog.splits[index]] for index in range(len(catalog))}

    before = places(photos)
    (photos / "cat" / "00.png").unlink()
    after = places(photos)
    moved = [name for name in after if name.startswith("dog/") and after[name] != before[name]]
    assert len(moved) <= 1  # only the totals can move by one


def test_small_classes_keep_their_training_picture_and_it_is_said() -> None:
    catalog, said = assign_splits(made(unassigned=(100, 3, 2, 1)))
    assert catalog.counts()["train"] == {"a": 70, "b": 1, "c": 1, "d": 1}
    assert catalog.counts()["val"]["b"] == catalog.counts()["test"]["b"] == 1
    assert said[-2:] == [
        "Too few pictures to give any to the validation split: d.",
        "Too few pictures to give any to the test split: c, d.",
    ]


@given(
    numbers=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    val=st.floats(0, 0.49),
    test=st.floats(0, 0.49),
    seed=st.integers(0, 2**32),
)
def test_every_picture_has_one_split_and_every_class_one_for_training(
    numbers: list[int], val: float, test: float, seed: int
) -> None:
    catalog, _ = assign_splits(made(unassigned=tuple(numbers)), val_fraction=val, test_fraction=test, seed=seed)
    assert len(catalog.select("unassigned")) == 0
    assert min(catalog.counts()["train"].values()) >= 1
    for split, fraction in (("val", val), ("test", test)):
        got = np.bincount(catalog.labels[catalog.select(split)], minlength=len(numbers))
        assert np.all(np.abs(got - np.array(numbers) * fraction) <= 2)  # rounding, and at least one


@pytest.mark.parametrize(
    ("catalog", "options", "message"),
    [
        (made(unassigned=(9, 9)), {"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1, got 1.0"),
        (made(unassigned=(9, 9)), {"test_fraction": -0.1}, "test_fraction must be at least 0 and below 1, got -0.1"),
        (made(train=(9, 9), val=(2, 2)), {"val_fraction": 0.1}, "made brings that split along, and it is kept"),
        (made(train=(9, 9), test=(2, 2)), {"test_fraction": 0.1}, "test_fraction is 0.1, but made brings that split"),
        (made(unassigned=(9, 9)), {"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
    ],
)
def test_fractions_that_cannot_work(catalog: Catalog, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assign_splits(catalog, **options)


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match=r"made has no training pictures. Put them into train/CLASS/ folders"):
        assign_splits(made(test=(2, 2)))
