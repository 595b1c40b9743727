"""A batch is a pure function of (seed, epoch, step), and not of workers, processes, micro-batches or restarts."""

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.data.augment import Augment
from sightline.data.draw import epoch_order
from sightline.data.loader import Batch, EvalLoader, TrainLoader
from sightline.data.mix import Mix
from sightline.data.prefetch import THREAD_NAME
from sightline.data.preprocess import Preprocess
from sightline.data.sampling import balanced
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError
from tests.data.stores import PREPROCESS, numbers_of, store_of

MIXES = {"plain": None, "mixup": Mix(mixup=1.0), "cutmix": Mix(cutmix=1.0), "both": Mix(0.8, 1.0, prob=0.7)}
SAMPLERS = ["shuffle", "balanced"]


def loader_of(
    count: int, batch_size: int, *, seed: int = 0, augment: Augment | None = None, **fields: Any
) -> TrainLoader:
    augment = augment or Augment(crop_padding=2)
    return TrainLoader(store_of(count), PREPROCESS, augment, batch_size, seed, num_classes=5, **fields)


def same(first: Batch, second: Batch) -> bool:
    """Whether two batches are equal bit for bit."""
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("images", "labels", "rows", "targets")]
    return first.global_size == second.global_size and all(torch.equal(*pair) for pair in pairs)


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


# -------------------------------------------------------------------------------------- workers, processes and restarts


def test_the_order_changes_with_the_epoch_and_depends_on_nothing_else() -> None:
    """There is no set_epoch to forget: what was iterated before, and where an epoch is entered, change nothing."""
    orders = [epoch_order(5, epoch, 40).tolist() for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    loader = loader_of(40, 8, seed=5)
    for epoch in (2, 0, 0, 3, 1, 2):
        rows = [row for batch in loader.epoch(epoch) for row in batch.rows.tolist()]
        assert rows == orders[epoch]
        for start in (1, 4):  # as after a restart: a new loader, entered in the middle
            rest = loader_of(40, 8, seed=5).epoch(epoch, start_step=start)
            assert [row for batch in rest for row in batch.rows.tolist()] == orders[epoch][8 * start :]


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batches_are_the_same_with_any_number_of_workers(sampler: str, mix: Mix | None) -> None:
    """Random numbers belong to pictures and steps; a worker has none of its own."""
    augment = Augment(scale=(0.3, 1.0))
    expected = list(loader_of(35, 4, augment=augment, sampler=sampler, mix=mix).epoch(1))
    for workers in (1, 2, 4):
        for start in (0, 3):
            loader = loader_of(35, 4, augment=augment, sampler=sampler, mix=mix, workers=workers)
            batches = list(loader.epoch(1, start_step=start))
            assert len(batches) == len(expected) - start
            assert all(same(*pair) for pair in zip(batches, expected[start:], strict=True))


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("augment", [Augment(crop_padding=2), Augment(scale=(0.3, 1.0))], ids=["padded", "resized"])
@pytest.mark.parametrize(
    ("last", "sharers"), [(3, {2: 1, 3: 1, 5: 1}), (7, {2: 2, 3: 3, 5: 3})], ids=["last of 3", "last of 7"]
)
def test_picture_i_of_a_step_is_the_same_in_any_number_of_processes(
    last: int, sharers: dict[int, int], augment: Augment, sampler: str, mix: Mix | None
) -> None:
    count, batch_size = 24 + last, 12
    given: dict[str, Any] = {"augment": augment, "sampler": sampler, "mix": mix}
    whole = list(loader_of(count, batch_size, **given).epoch(2))
    assert [len(batch) for batch in whole] == [12, 12, last]
    for world_size in (2, 3, 5):
        ranks = [
            list(loader_of(count, batch_size, rank=rank, world_size=world_size, workers=rank % 2, **given).epoch(2))
            for rank in range(world_size)
        ]
        for step, batch in enumerate(whole):
            shares = [shares[step] for shares in ranks]
            assert sum(map(len, shares)) == len(batch) == batch.global_size
            turns = world_size if len(batch) == 12 else sharers[world_size]
            for rank, share in enumerate(shares):
                assert share.global_size == len(batch) and share.sharers == turns
                for name in ("images", "labels", "rows", "targets"):
                    expected = getattr(batch, name)[rank::turns] if rank < turns else getattr(batch, name)[:0]
                    assert torch.equal(getattr(share, name), expected)


@pytest.mark.parametrize("mix", [None, Mix(mixup=1.0)], ids=["plain", "mixup"])
def test_a_process_without_a_picture_gets_an_empty_batch(mix: Mix | None) -> None:
    for workers in (0, 2):
        loader = loader_of(14, 6, rank=2, world_size=3, mix=mix, workers=workers)
        batches = list(loader.epoch(0))
        assert [len(batch) for batch in batches] == [2, 2, 0]
        last = batches[-1]
        assert last.images.shape == (0, 3, 8, 8) and last.images.dtype == torch.float32
        assert last.labels.shape == last.rows.shape == (0,)
        assert last.targets.shape == ((0,) if mix is None else (0, 5))
        assert last.targets.dtype == (torch.int64 if mix is None else torch.float32)
        assert last.global_size == 2 and last.names() == []


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_last_picture_joins_its_neighbour_in_every_process(world_size: int) -> None:
    shares = [list(loader_of(13, 6, rank=rank, world_size=world_size).epoch(0)) for rank in range(world_size)]
    assert [[batch.global_size for batch in batches] for batches in shares] == [[6, 7]] * world_size
    rows = [row for batches in shares for batch in batches for row in batch.rows.tolist()]
    assert sorted(rows) == list(range(13))


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("last", range(2, 9))
def test_a_process_has_two_pictures_of_a_step_or_none_and_all_have_as_many_parts(last: int, world_size: int) -> None:
    """Batch norm cannot take one; and those that train together wait for each other in every part."""
    shares = [list(loader_of(8 + last, 8, rank=rank, world_size=world_size).epoch(0)) for rank in range(world_size)]
    for together in zip(*shares, strict=True):
        sizes = [len(share) for share in together]
        assert sum(sizes) == together[0].global_size and 1 not in sizes
        busy = [size for size in sizes if size]
        assert max(busy) - min(busy) <= 1 and (len(busy) == world_size or together[0].global_size < 2 * world_size)
        for count in range(1, 6):
            parts = [share.parts(count) for share in together]
            assert {len(each) for each in parts} == {max(1, min(count, min(busy) // 2))}
            for share, each in zip(together, parts, strict=True):
                assert all(len(part) >= 2 for part in each) or not any(map(len, each))
                assert torch.equal(torch.cat([part.images for part in each]), share.images)
                assert all((part.global_size, part.sharers) == (share.global_size, len(busy)) for part in each)


def test_an_error_in_a_worker_is_raised_at_its_batch() -> None:
    @dataclasses.dataclass(frozen=True)
    class Torn(Augment):
        def batch(self, store: Store, rows: Tensor, *, seed: int, epoch: int) -> Tensor:
            if 11 in rows:
                raise DataError("picture 11 is torn.")
            return super().batch(store, rows, seed=seed, epoch=epoch)

    step = epoch_order(0, 0, 24).tolist().index(11) // 4
    for workers in (0, 1, 2, 4):
        batches = loader_of(24, 4, augment=Torn(), workers=workers).epoch(0)
        assert [len(next(batches)) for _ in range(step)] == [4] * step
        with pytest.raises(DataError, match=r"^picture 11 is torn\.$"):
            next(batches)
        assert _prefetching() == 0


def test_leaving_an_epoch_early_leaves_no_thread() -> None:
    def first(error: type[BaseException] | None) -> None:
        for _ in loader_of(40, 4, workers=3).epoch(0):
            assert _prefetching() == 3
            if error is not None:
                raise error
            break

    first(None)
    assert _prefetching() == 0
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            first(error)
        assert _prefetching() == 0
    list(loader_of(40, 4, workers=3).epoch(0))
    assert _prefetching() == 0


def _prefetching() -> int:
    return sum(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate())


# --------------------------------------------------------------------------------------------------- mixing, balancing


def test_without_mixing_the_targets_are_the_labels() -> None:
    for batch in loader_of(9, 4).epoch(0):
        assert torch.equal(batch.targets, batch.labels)


def test_mixed_pictures_and_targets_are_what_the_pairing_makes_of_the_plain_ones() -> None:
    mix = Mix(mixup=0.8, cutmix=1.0, prob=0.7)
    plain, mixed = loader_of(60, 4, seed=3), loader_of(60, 4, seed=3, mix=mix)
    num_mixed = 0
    for step, (before, after) in enumerate(zip(plain.epoch(2), mixed.epoch(2), strict=True)):
        pairing = mix.pairing(4, image_size=(8, 8), seed=3, epoch=2, step=step)
        one_hot = torch.eye(5)[before.labels]
        images, targets = pairing.apply(
            before.images, before.images[pairing.partners], one_hot, one_hot[pairing.partners]
        )
        assert torch.equal(after.images, images) and torch.equal(after.targets, targets)
        assert torch.equal(after.labels, before.labels) and torch.equal(after.rows, before.rows)
        assert after.images.is_contiguous(memory_format=torch.channels_last)
        is_mixed = not torch.equal(after.images, before.images)
        assert is_mixed or torch.equal(after.targets, one_hot)  # float in any batch of the run
        num_mixed += is_mixed
    assert 0 < num_mixed < 15


@pytest.mark.parametrize(("world_size", "extra"), [(1, 0), (2, 0), (4, 0), (3, 4)])
def test_only_partners_of_other_processes_are_augmented_once_more(world_size: int, extra: int) -> None:
    augmented: list[int] = []

    @dataclasses.dataclass(frozen=True)
    class Counting(Augment):
        def batch(self, store: Store, rows: Tensor, *, seed: int, epoch: int) -> Tensor:
            augmented.append(len(rows))
            return super().batch(store, rows, seed=seed, epoch=epoch)

    loader = loader_of(24, 12, augment=Counting(), mix=Mix(mixup=1.0), world_size=world_size)
    own = [len(batch) for batch in loader.epoch(0)]
    assert own == [12 // world_size] * 2
    # Partners are 4 places further on. Of 0, 3, 6, 9 they are 4, 7, 10, 1: with three processes, all of them elsewhere.
    assert augmented == [each + extra for each in own]


def test_a_balanced_epoch_shows_every_class_as_often_and_each_showing_differently() -> None:
    store = store_of(30)
    labels = torch.tensor([0] * 26 + [1] * 4)
    store = dataclasses.replace(store, labels=labels)
    loader = TrainLoader(store, PREPROCESS, Augment(scale=(0.2, 0.9)), 8, 0, sampler="balanced")
    expected = balanced(labels, seed=0, epoch=4)
    batches = list(loader.epoch(4))
    rows, images = torch.cat([batch.rows for batch in batches]), torch.cat([batch.images for batch in batches])
    assert torch.equal(rows, expected.rows) and [len(batch) for batch in batches] == [8, 8, 8, 6]
    assert torch.bincount(torch.cat([batch.labels for batch in batches])).tolist() == [15, 15]
    for row in range(26, 30):
        showings = images[rows == row].flatten(1)
        assert len(showings) >= 3 and len(showings.unique(dim=0)) == len(showings)


# ------------------------------------------------------------------------------------------------------- micro-batches


@pytest.mark.parametrize(
    ("size", "count", "sizes"),
    [
        (8, 1, [8]), (8, 2, [4, 4]), (8, 3, [3, 3, 2]), (8, 4, [2, 2, 2, 2]), (8, 5, [2, 2, 2, 2]),
        (5, 2, [3, 2]), (5, 4, [3, 2]), (3, 2, [3]), (2, 2, [2]), (7, 100, [3, 2, 2]),
    ],
)  # fmt: skip
def test_micro_batches_are_nearly_equal_and_never_of_one(size: int, count: int, sizes: list[int]) -> None:
    (batch,) = loader_of(size, size, mix=Mix(mixup=1.0)).epoch(0)
    parts = batch.parts(count)
    assert [len(part) for part in parts] == sizes
    for name in ("images", "labels", "rows", "targets"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    for part in parts:
        assert part.global_size == size and part.store is batch.store
        assert part.images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_of_one_is_one_micro_batch() -> None:
    batch = next(loader_of(4, 1).epoch(0))
    assert [len(part) for part in batch.parts(4)] == [1]


def test_an_empty_batch_has_as_many_empty_parts_as_the_others_have() -> None:
    shares = [list(loader_of(11, 8, rank=rank, world_size=4).epoch(0))[-1] for rank in range(4)]
    assert [[len(part) for part in share.parts(3)] for share in shares] == [[3], [0], [0], [0]]
    many = dataclasses.replace(shares[1], global_size=9)
    assert [len(part) for part in many.parts(3)] == [0, 0, 0]
    for part in many.parts(3):
        assert part.images.shape == (0, 3, 8, 8) and part.targets.dtype == torch.int64


# ---------------------------------------------------------------------------------------------------------- evaluation


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


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 7, 25, 26, 50, 200])
def test_processes_share_an_evaluation_and_pad_nothing(world_size: int, batch_size: int) -> None:
    store = store_of(101)
    loaders = [
        EvalLoader(store, PREPROCESS, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shares = [list(loader) for loader in loaders]
    rows = [row for batches in shares for batch in batches for row in batch.rows.tolist()]
    assert sorted(rows) == list(range(101))
    assert len({len(batches) for batches in shares}) == 1 == len({len(loader) for loader in loaders})
    assert max(map(len, shares[0])) <= batch_size
    for together in zip(*shares, strict=True):
        assert {batch.global_size for batch in together} == {sum(map(len, together))}
        for batch in together:
            assert torch.equal(batch.images, PREPROCESS.tensor(store.take(batch.rows)))
            assert torch.equal(batch.labels, store.labels[batch.rows])
            assert torch.equal(batch.targets, batch.labels)
        assert {batch.sharers for batch in together} == {sum(len(batch) > 0 for batch in together)}


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": -1}, "workers is -1; it must be 0 or more."),
        ({"sampler": "weighted"}, "sampler is 'weighted'; it must be one of shuffle, balanced."),
        ({"rank": 2, "world_size": 2}, "rank is 2 of 2 processes; they are numbered from 0 to 1."),
        ({"rank": -1}, "rank is -1 of 1 processes; they are numbered from 0 to 0."),
        (
            {"world_size": 3},
            "a batch of 4 pictures is too small for 3 processes: each needs two, since batch norm cannot take one. "
            "Set --batch-size to 6 or more: it counts the pictures of all processes.",
        ),
        (
            {"mix": Mix(mixup=1.0), "num_classes": 4},
            "mixing needs num_classes, above the greatest label, 4; got 4.",
        ),
        ({"mix": Mix(mixup=1.0), "num_classes": 0}, "mixing needs num_classes, above the greatest label, 4; got 0."),
    ],
)
def test_numbers_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainLoader(store_of(8), PREPROCESS, Augment(), 4, 0, **fields)
    assert str(caught.value) == message


def test_an_evaluation_checks_its_share() -> None:
    with pytest.raises(ConfigError) as caught:
        EvalLoader(store_of(8), PREPROCESS, 4, rank=1)
    assert str(caught.value) == "rank is 1 of 1 processes; they are numbered from 0 to 0."


def test_a_batch_has_one_part_or_more() -> None:
    (batch,) = loader_of(4, 4).epoch(0)
    with pytest.raises(ConfigError) as caught:
        batch.parts(0)
    assert str(caught.value) == "a batch is split into 1 part or more, got 0."
