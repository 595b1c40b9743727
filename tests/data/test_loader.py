"""A batch is a pure function of (seed, epoch, step); every picture comes once; a batch of one never comes."""

import numpy as np
import pytest
import torch

from sightline.data.augment import Augment
from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.draw import epoch_order
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError

PREPROCESS = Preprocess((3, 8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))


def store_of(count: int, *, keep_margin: float | None = None) -> Store:
    """Pictures whose first channel is their own number."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    pixels[..., 0] = np.arange(count)[:, None, None]
    labels = np.arange(count, dtype=np.int64) * 7 % 5
    catalog = Catalog(
        "test",
        None,
        tuple("abcde"),
        ArrayImages(pixels, (("train", count),)),
        labels,
        np.zeros(count, np.uint8),
    )
    store, _ = Store.build(
        catalog, range(count), preprocess=PREPROCESS, keep_margin=keep_margin, threads=1, skip_bad=False
    )
    return store


def loader_of(count: int, batch_size: int, *, seed: int = 0, augment: Augment | None = None) -> TrainLoader:
    return TrainLoader(store_of(count), PREPROCESS, augment or Augment(crop_padding=2), batch_size, seed)


def numbers_of(images: torch.Tensor) -> list[int]:
    """Which pictures these are, from their first channel."""
    return (images[:, 0, 0, 0] * 0.5 + 0.1).mul(255).round().long().tolist()


@pytest.mark.parametrize("count", [2, 3, 15, 16, 17, 18, 31, 33])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 16, 100])
def test_every_picture_comes_once_an_epoch(count: int, batch_size: int) -> None:
    loader = loader_of(count, batch_size)
    batches = list(loader.epoch(3))
    assert len(batches) == loader.steps_per_epoch
    numbers = [number for batch in batches for number in numbers_of(batch.images)]
    assert sorted(numbers) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert batch_size == 1 or min(sizes) > 1  # no batch of one, unless that is asked for
    assert max(sizes) <= batch_size + 1
    for batch in batches:
        assert batch.labels.tolist() == [number * 7 % 5 for number in numbers_of(batch.images)]
        assert batch.names() == [f"train/{number:05d}" for number in numbers_of(batch.images)]
        assert batch.rows.tolist() == numbers_of(batch.images)


@pytest.mark.parametrize(
    ("count", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (12, [4, 4, 4]), (4, [4]), (3, [3]), (5, [5])]
)
def test_a_last_batch_of_one_joins_its_neighbour(count: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in loader_of(count, 4).epoch(0)] == sizes


def test_batches_are_what_order_augmentation_and_normalisation_make() -> None:
    loader = loader_of(13, 5, seed=21)
    order = epoch_order(21, 4, 13)
    for step, batch in enumerate(loader.epoch(4)):
        rows = order[5 * step : 5 * step + 5]
        assert torch.equal(batch.rows, rows)
        pictures = loader.augment.batch(loader.store, rows, seed=21, epoch=4).numpy()
        mean, std = np.array(PREPROCESS.mean), np.array(PREPROCESS.std)
        expected = ((pictures / 255 - mean) / std).transpose(0, 3, 1, 2)
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(batch.images.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("augment", [Augment(crop_padding=2), Augment(scale=(0.3, 1.0))], ids=["padded", "resized"])
@pytest.mark.parametrize("count", [33, 37])
def test_an_epoch_goes_on_at_any_step_bit_for_bit(augment: Augment, count: int) -> None:
    whole = list(loader_of(count, 8, augment=augment).epoch(6))
    assert len(whole) == 4 + (count == 37)
    for start in range(len(whole) + 1):
        rest = list(loader_of(count, 8, augment=augment).epoch(6, start_step=start))
        assert len(rest) == len(whole) - start
        for batch, expected in zip(rest, whole[start:], strict=True):
            assert torch.equal(batch.images, expected.images)
            assert torch.equal(batch.labels, expected.labels)
            assert torch.equal(batch.rows, expected.rows)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    loader = loader_of(64, 32)
    first = [batch.images for batch in loader.epoch(0)]
    for again in (loader.epoch(0), loader_of(64, 32).epoch(0)):
        assert all(torch.equal(batch.images, images) for batch, images in zip(again, first, strict=True))
    for other in (loader.epoch(1), loader_of(64, 32, seed=1).epoch(0)):
        batch = next(iter(other))
        assert numbers_of(batch.images) != numbers_of(first[0])


def test_a_picture_is_augmented_alike_in_batches_of_any_size() -> None:
    def pictures(batch_size: int) -> dict[int, torch.Tensor]:
        batches = loader_of(40, batch_size).epoch(2)
        return {row: image for batch in batches for row, image in zip(batch.rows.tolist(), batch.images, strict=True)}

    small, large = pictures(3), pictures(40)
    assert all(torch.equal(small[row], large[row]) for row in range(40))


def test_memory_format() -> None:
    loader = loader_of(8, 4)
    plain = TrainLoader(
        loader.store, PREPROCESS, loader.augment, 4, 0, torch.device("cpu"), memory_format=torch.contiguous_format
    )
    for batch, expected in zip(plain.epoch(0), loader.epoch(0), strict=True):
        assert batch.images.is_contiguous()
        assert torch.equal(batch.images, expected.images)


@pytest.mark.parametrize(("count", "sizes"), [(10, [4, 4, 2]), (9, [4, 4, 1]), (8, [4, 4]), (1, [1]), (0, [])])
def test_evaluation_sees_every_picture_once_in_order(count: int, sizes: list[int]) -> None:
    loader = EvalLoader(store_of(count), PREPROCESS, 4)
    batches = list(loader)
    assert [len(batch) for batch in batches] == sizes
    assert len(loader) == len(sizes)
    assert [row for batch in batches for row in batch.rows.tolist()] == list(range(count))
    for batch in batches:
        assert torch.equal(batch.images, PREPROCESS.tensor(loader.store.take(batch.rows)))
        assert torch.equal(batch.labels, loader.store.labels[batch.rows])
    assert [len(batch) for batch in loader] == sizes  # and again


# ------------------------------------------------------------------------------------------------------------ errors


def test_training_needs_two_pictures() -> None:
    for count in (0, 1):
        with pytest.raises(DataError) as caught:
            loader_of(count, 4)
        assert str(caught.value) == (
            f"training needs at least two pictures, got {count}: batch norm cannot take a batch of one. "
            "Add pictures, or look at how they were split."
        )


def test_the_batch_size_is_at_least_one() -> None:
    for make in (lambda: loader_of(4, 0), lambda: EvalLoader(store_of(4), PREPROCESS, 0)):
        with pytest.raises(ConfigError) as caught:
            make()
        assert str(caught.value) == "the batch size must be 1 or more, got 0."


@pytest.mark.parametrize("start_step", [-1, 4])
def test_an_epoch_cannot_go_on_after_its_end(start_step: int) -> None:
    with pytest.raises(ConfigError) as caught:
        loader_of(10, 4).epoch(0, start_step=start_step)
    assert str(caught.value) == (
        "an epoch of 10 pictures in batches of 4 has 3 steps, "
        f"and cannot go on after step {start_step}. Use the batch size and the data of the run's start."
    )


def test_store_and_network_must_agree_on_the_size() -> None:
    other = Preprocess((3, 8, 9), mean=(0.5,) * 3, std=(0.5,) * 3)
    for make in (
        lambda: TrainLoader(store_of(4), other, Augment(), 2, 0),
        lambda: EvalLoader(store_of(4), other, 2),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert str(caught.value) == (
            "the store makes pictures of 8x8 px, and the network takes 8x9. Build the store for the same input_size."
        )


def test_an_augmentation_that_does_not_suit_the_pictures_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="crop_padding=8 reflects more than there is"):
        loader_of(4, 2, augment=Augment(crop_padding=8))


def test_evaluation_needs_pictures_of_one_size() -> None:
    with pytest.raises(ConfigError) as caught:
        EvalLoader(store_of(4, keep_margin=1.25), PREPROCESS, 2)
    assert str(caught.value) == (
        "evaluation needs pictures at the network's size, and the store keeps sizes of their own. "
        "Build it with keep_margin=None."
    )
