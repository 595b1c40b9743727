"""Smoke runs: what is left of the settings and of the data, the same every time."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.data.catalog import ArrayImages, Catalog, FileImages, Images
from sightline.recipes.plan import facts_of, make_plan
from sightline.recipes.recipe import RECIPES
from sightline.recipes.settings import Settings
from sightline.recipes.smoke import smoke_catalog, smoke_settings
from tests.recipes.catalogs import CIFAR, CPU, PHOTOS, catalog_of, weights_of


def smoked(recipe: str = "fast", catalog: Catalog = CIFAR, weights: Any = None, **asked: Any) -> tuple[Any, Any]:
    facts = facts_of(Settings(recipe=recipe, smoke=True, **asked), catalog, CPU, weights)
    return smoke_settings(facts, RECIPES[recipe].defaults(facts))


def test_what_was_not_asked_for_is_cut_down() -> None:
    settings, reasons = smoked()
    assert settings == Settings(recipe="fast", smoke=True, epochs=2, batch_size=32)
    assert reasons == dict.fromkeys(("epochs", "batch_size"), "of a smoke run")
    larger, _ = smoked(catalog=catalog_of({"train": 100}, size=(64, 64)))
    assert (larger.img_size, larger.batch_size) == (32, 8)  # a hundred pictures come in batches of eight


def test_what_was_asked_for_is_cut_down_and_said() -> None:
    settings, reasons = smoked(
        epochs=30, batch_size=512, head_epochs=5, swa_epochs=4, warmup_epochs=5.0, decay_epochs=10.0, img_size=64,
        decay_milestones=(10.0, 20.0, 25.0), lr=0.3, opt="sgd", mixup=0.2,
    )  # fmt: skip
    assert settings == Settings(
        recipe="fast", smoke=True, epochs=2, batch_size=32, head_epochs=1, swa_epochs=1, warmup_epochs=0.5,
        decay_epochs=0.5, decay_milestones=(0.25, 0.5, 0.75), img_size=32, lr=0.3, opt="sgd", mixup=0.2,
    )  # fmt: skip
    assert reasons["epochs"] == "of a smoke run, where 30 was asked for"
    assert "lr" not in reasons
    plan = make_plan(Settings(smoke=True, epochs=30, lr=0.3), CIFAR, CPU)
    told = {choice.name: (choice.value, choice.reason) for choice in plan.choices}
    assert told["epochs"] == (2, "of a smoke run, where 30 was asked for")
    assert told["lr"] == (0.3, "as asked")
    assert told["smoke"][0] is True


def test_less_than_that_stays_as_asked() -> None:
    settings, reasons = smoked(epochs=1, batch_size=8, img_size=16, warmup_epochs=0.25, head_epochs=0, swa_epochs=0)
    assert settings == Settings(
        recipe="fast", smoke=True, epochs=1, batch_size=8, img_size=16, warmup_epochs=0.25, head_epochs=0, swa_epochs=0
    )
    assert reasons == {}


def test_photographs_keep_the_stem_for_photographs() -> None:
    from sightline.models.zoo import build

    plan = make_plan(Settings(smoke=True), PHOTOS, CPU)
    assert plan.preprocess.input_size == (3, 96, 96)
    assert build("resnet18", image_size=(96, 96)).stem_reason.startswith("stem imagenet")


@pytest.mark.parametrize("recipe", ["fast", "best", "finetune"])
def test_the_head_phase_is_tried_where_the_recipe_has_one(recipe: str) -> None:
    settings, _ = smoked(recipe, PHOTOS, weights_of("resnet18"))
    assert (settings.epochs, settings.head_epochs) == (2, 1)
    assert smoked("textbook", PHOTOS, weights_of("resnet18"))[0].head_epochs is None


def test_networks_of_one_size_keep_it() -> None:
    plan = make_plan(Settings(smoke=True), PHOTOS, CPU, weights_of("zfnet"))
    assert plan.preprocess.input_size == (3, 224, 224)
    assert make_plan(Settings(smoke=True), PHOTOS, CPU, weights_of("resnet50")).preprocess.input_size == (3, 96, 96)


def test_every_schedule_and_average_can_be_tried() -> None:
    for asked in (
        {"sched": "step"}, {"sched": "multistep", "epochs": 180, "decay_milestones": (90.0, 135.0)},
        {"swa_epochs": 20, "epochs": 30}, {"patience": 5}, {"recipe": "best"},
        {"sched": "linear", "warmup_epochs": 10.0, "epochs": 30},
        {"sched": "multistep", "epochs": 180, "decay_milestones": (90.0,), "head_epochs": 9},
    ):  # fmt: skip
        plan = make_plan(Settings(smoke=True, **asked), CIFAR, CPU)  # type: ignore[arg-type]
        assert plan.options.epochs == 2, asked
    assert plan.options.decay_milestones == (0.5,)  # halfway through the one epoch after the head phase
    rising = Settings(smoke=True, sched="linear", warmup_epochs=10.0, epochs=30)
    assert make_plan(rising, CIFAR, CPU).options.warmup_epochs == 0.5


# ---------------------------------------------------------------------------------------------------------- the data


def test_at_most_256_training_64_validation_and_64_test_pictures_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    splits = np.tile(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2], np.uint8), 100)
    catalog = Catalog(
        "uneven",
        None,
        ("a", "b", "c"),
        ArrayImages(np.zeros((1000, 1, 1, 1), np.uint8), (("all", 1000),)),
        labels,
        splits,
    )
    counts = smoke_catalog(catalog).counts()
    assert {split: sum(row.values()) for split, row in counts.items()} == {"train": 256, "val": 64, "test": 64}
    assert counts["train"] == {"a": 229, "b": 24, "c": 3}  # of 720, 72 and 8
    assert counts["val"] == {"a": 57, "b": 6, "c": 1}


def test_a_small_catalog_stays_whole() -> None:
    catalog = catalog_of({"train": 200, "val": 30, "test": 64}, size=(32, 32))
    small = smoke_catalog(catalog)
    assert small.counts() == catalog.counts()
    assert [small.images.name(index) for index in range(len(small))] == [
        catalog.images.name(index) for index in range(len(catalog))
    ]


def test_it_is_the_same_every_time_and_each_label_stays_with_its_picture() -> None:
    total = 3_000
    pixels = np.arange(total, dtype=np.uint16).view(np.uint8).reshape(total, 1, 2, 1)  # each picture its own number
    rng = np.random.default_rng(0)
    labels, splits = rng.integers(0, 7, total), rng.integers(0, 3, total).astype(np.uint8)
    catalog = Catalog("many", None, tuple("abcdefg"), ArrayImages(pixels, (("x", 1000), ("y", 2000))), labels, splits)
    first, second = smoke_catalog(catalog), smoke_catalog(catalog)
    numbers = [int(first.images.read(index).reshape(-1).view(np.uint16).item()) for index in range(len(first))]
    assert numbers == [
        int(second.images.read(index).reshape(-1).view(np.uint16).item()) for index in range(len(second))
    ]
    assert numbers == sorted(set(numbers))
    assert (first.labels == labels[numbers]).all()
    assert (first.splits == splits[numbers]).all()
    assert isinstance(first.images, ArrayImages)
    assert first.images.sections == (("x", sum(n < 1000 for n in numbers)), ("y", sum(n >= 1000 for n in numbers)))
    of_one = np.array([n for n in numbers if labels[n] == 3 and splits[n] == 0])
    assert np.diff(of_one).max() < 250  # spread over the whole set, not its beginning


def test_of_more_than_256_classes_256_are_learned_and_only_these_are_scored() -> None:
    catalog = catalog_of({"train": 3_000, "val": 60}, size=(32, 32), num_classes=300)
    labels = catalog.labels.copy()
    labels[3_000:] = np.arange(240, 300)
    counts = smoke_catalog(dataclasses.replace(catalog, labels=labels)).counts()
    learned = {name for name, count in counts["train"].items() if count}
    scored = {name for name, count in counts["val"].items() if count}
    assert sum(counts["train"].values()) == len(learned) == 256
    assert scored == learned & set(map(str, range(240, 300)))
    assert len(scored) < 60
    assert len(counts["train"]) == 300


def test_files_keep_their_names() -> None:
    paths = [f"{'ab'[number % 2]}/{number:04d}.png" for number in range(600)]
    labels = np.array([number % 2 for number in range(600)])
    catalog = Catalog("f", Path("x"), ("a", "b"), FileImages(Path("x"), paths), labels, np.zeros(600, np.uint8))
    small = smoke_catalog(catalog)
    assert isinstance(small.images, FileImages)
    assert small.images.root == Path("x")
    assert all(small.images.name(index)[0] == small.classes[small.labels[index]] for index in range(len(small)))


def test_pictures_of_an_unknown_kind_are_passed_on() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 600

        def read(self, index: int) -> Any:
            return np.full((1, 1, 1), index % 251, np.uint8)

        def content(self, index: int) -> bytes:
            return bytes([index % 251])

        def name(self, index: int) -> str:
            return f"number {index}"

    images: Images = Numbers()
    small = smoke_catalog(Catalog("n", None, ("a",), images, np.zeros(600, np.int64), np.zeros(600, np.uint8)))
    assert len(small.images) == len(small) == 256
    numbers = [int(small.images.name(index).split()[1]) for index in range(256)]
    assert [small.images.read(index).item() for index in range(256)] == [number % 251 for number in numbers]
    assert small.images.content(5) == bytes([numbers[5] % 251])


@pytest.mark.parametrize("count", [257, 300, 511, 513, 10_000])
def test_no_picture_comes_twice_whatever_the_counts(count: int) -> None:
    small = smoke_catalog(catalog_of({"train": count}, size=(32, 32), num_classes=7))
    assert sum(small.counts()["train"].values()) == 256
