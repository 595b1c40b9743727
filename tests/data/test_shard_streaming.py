"""Pictures decoded as they are needed: the batches of an in-memory run, bit for bit, with nothing held."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.data import streaming
from sightline.data.augment import Augment
from sightline.data.catalog import Catalog, FileImages
from sightline.data.draw import epoch_order
from sightline.data.loader import Batch, EvalLoader, TrainLoader
from sightline.data.mix import Mix
from sightline.data.preprocess import Preprocess
from sightline.data.sampling import windowed
from sightline.data.shard_images import ShardImages
from sightline.data.sources import open_data
from sightline.data.store import Store
from sightline.data.streaming import window_of
from sightline.errors import DataError
from tests.data.shard_files import picture, sample, shard_folder, write_tar

PREPROCESS = Preprocess((3, 8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))
AUGMENTS = {"padded": (None, Augment(crop_padding=2)), "resized": (1.25, Augment(scale=(0.3, 1.0)))}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """31 pictures in 5 shards."""
    folder = shard_folder(tmp_path / "photos", shards=4, each=7)
    write_tar(folder / "train-004.tar", sample(28, 0) + sample(29, 1) + sample(30, 0))
    return open_data(folder)


def store_of(catalog: Catalog, *, stream: bool, margin: float | None = None, skip_bad: bool = False) -> Store:
    store, _ = Store.build(
        catalog, np.arange(len(catalog)), preprocess=PREPROCESS, keep_margin=margin, threads=2, skip_bad=skip_bad,
        stream=stream,
    )  # fmt: skip
    return store


def loader_of(store: Store, augment: Augment, **fields: object) -> TrainLoader:
    return TrainLoader(store, PREPROCESS, augment, 6, seed=3, num_classes=2, **{"window": 2, **fields})  # type: ignore[arg-type]


def equal(first: Batch, second: Batch) -> bool:
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("images", "labels", "rows", "targets")]
    return first.global_size == second.global_size and all(torch.equal(*pair) for pair in pairs)


# -------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_a_window_holds_whole_shards(window: int) -> None:
    shards = np.repeat(np.arange(5), [3, 1, 4, 2, 6])
    for epoch in range(4):
        rows = windowed(shards, window=window, seed=7, epoch=epoch).rows
        assert sorted(rows.tolist()) == list(range(16))
        seen: set[int] = set()
        rest = shards[rows.numpy()].tolist()
        while rest:
            here = list(dict.fromkeys(rest))
            # the window: as many shards as come before its pictures are all shown
            group = next(set(here[:count]) for count in range(1, 6)
                         if set(rest[: sum(np.isin(shards, here[:count]))]) == set(here[:count]))  # fmt: skip
            assert len(group) <= window and not group & seen
            seen |= group
            rest = rest[sum(np.isin(shards, list(group))) :]


def test_a_window_of_all_shards_is_a_full_shuffle() -> None:
    shards = np.repeat(np.arange(5), 8)
    for window in (5, 9):
        assert torch.equal(windowed(shards, window=window, seed=2, epoch=6).rows, epoch_order(2, 6, 40))


def test_the_order_is_another_in_each_epoch_and_with_each_seed() -> None:
    shards = np.repeat(np.arange(6), 5)
    orders = [windowed(shards, window=2, seed=seed, epoch=epoch).rows for seed in range(3) for epoch in range(3)]
    assert all(not torch.equal(*pair) for pair in itertools.combinations(orders, 2))
    firsts = {shards[int(windowed(shards, window=1, seed=0, epoch=epoch).rows[0])] for epoch in range(40)}
    assert firsts == set(range(6))  # every shard comes first some time


def test_a_window_is_as_large_as_memory_allows(catalog: Catalog) -> None:
    images = catalog.images
    assert isinstance(images, ShardImages)
    mean = int(images.sizes.sum()) // 5
    for room, window in ((0, 2), (5 * 3 * mean + 5, 3), (10**12, 5)):
        assert window_of(images, room) == window
    assert window_of(FileImages(Path(), ["a.png"]), 10**12) == 0


# ------------------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("kind", AUGMENTS)
@pytest.mark.parametrize("mix", [None, Mix(mixup=0.8, cutmix=1.0)], ids=["plain", "mixed"])
def test_streamed_batches_are_those_from_memory(catalog: Catalog, kind: str, mix: Mix | None) -> None:
    margin, augment = AUGMENTS[kind]
    streamed, held = (store_of(catalog, stream=stream, margin=margin) for stream in (True, False))
    assert streamed.is_streamed and not held.is_streamed
    for workers, epoch in ((0, 0), (2, 1)):
        ours = loader_of(streamed, augment, workers=workers, mix=mix).epoch(epoch)
        theirs = loader_of(held, augment, mix=mix).epoch(epoch)
        assert all(equal(*pair) for pair in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", AUGMENTS)
@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_each_epoch_without_overlap_or_padding(catalog: Catalog, kind: str, world_size: int) -> None:
    margin, augment = AUGMENTS[kind]
    store = store_of(catalog, stream=True, margin=margin)
    alone = list(loader_of(store, augment).epoch(2))
    shares = [list(loader_of(store, augment, rank=rank, world_size=world_size).epoch(2)) for rank in range(world_size)]
    shown = [row for share in shares for batch in share for row in batch.rows.tolist()]
    assert sorted(shown) == list(range(31))
    for step, batch in enumerate(alone):
        parts = [share[step] for share in shares]
        sharers = parts[0].sharers
        for rank, part in enumerate(parts[:sharers]):
            assert torch.equal(part.images, batch.images[rank::sharers])
        assert not any(len(part) for part in parts[sharers:])


def test_a_run_goes_on_in_the_middle_of_an_epoch(catalog: Catalog) -> None:
    margin, augment = AUGMENTS["resized"]
    loader = loader_of(store_of(catalog, stream=True, margin=margin), augment, workers=2)
    whole = list(loader.epoch(1))
    for step in range(len(whole) + 1):
        again = loader_of(store_of(catalog, stream=True, margin=margin), augment).epoch(1, start_step=step)
        assert all(equal(*pair) for pair in zip(whole[step:], again, strict=True))


def test_the_balanced_sampler_streams_too(catalog: Catalog) -> None:
    _, augment = AUGMENTS["padded"]
    streamed, held = (store_of(catalog, stream=stream) for stream in (True, False))
    pairs = zip(*(loader_of(each, augment, sampler="balanced").epoch(1) for each in (streamed, held)), strict=True)
    assert all(equal(*pair) for pair in pairs)


def test_a_folder_streams_too(photos: Path) -> None:
    catalog = open_data(photos)
    _, augment = AUGMENTS["padded"]
    streamed, held = (store_of(catalog, stream=stream) for stream in (True, False))
    pairs = zip(*(loader_of(each, augment, workers=1).epoch(0) for each in (streamed, held)), strict=True)
    assert all(equal(*pair) for pair in pairs)


def test_evaluation_streams(catalog: Catalog) -> None:
    streamed, held = (store_of(catalog, stream=stream) for stream in (True, False))
    pairs = zip(*(EvalLoader(each, PREPROCESS, batch_size=4) for each in (streamed, held)), strict=True)
    assert all(equal(*pair) for pair in pairs)
    rows = torch.tensor([3, 1])
    assert torch.equal(streamed.take(rows), held.take(rows))
    assert torch.equal(streamed.picture(30), held.picture(30))
    assert torch.equal(store_of(catalog, stream=True).sizes(rows), torch.tensor([[8, 8], [8, 8]]))


def test_each_picture_is_decoded_once_an_epoch(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = loader_of(store_of(catalog, stream=True, margin=1.25), Augment(scale=(0.3, 1.0)))
    decoded: list[int] = []
    read = ShardImages.content
    monkeypatch.setattr(ShardImages, "content", lambda self, index: decoded.append(index) or read(self, index))
    rows = [row for batch in loader.epoch(0) for row in batch.rows.tolist()]
    assert sorted(decoded) == sorted(rows) == list(range(31))


def test_what_is_decoded_is_let_go(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more pictures are alive than the batches under way have, however long the epoch."""
    alive, most = 0, 0
    read = streaming.Streamed._decoded

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def counted(self: streaming.Streamed, index: int) -> torch.Tensor:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return read(self, index).as_subclass(Counted)

    monkeypatch.setattr(streaming.Streamed, "_decoded", counted)
    store = store_of(catalog, stream=True, margin=1.25)
    for epoch in range(4):
        for batch in loader_of(store, Augment(scale=(0.3, 1.0))).epoch(epoch):
            del batch
    assert alive <= 1 and most <= 7 + 1  # a batch of 6, or of 7 at the end


# -------------------------------------------------------------------------------------------------------- bad pictures


@pytest.fixture
def damaged(tmp_path: Path) -> Catalog:
    folder = shard_folder(tmp_path / "bad", shards=2)
    write_tar(folder / "train-002.tar", [("x/9.png", picture(9)[:60]), ("x/9.cls", b"1"), *sample(50, 0)])
    return open_data(folder)


def test_a_bad_picture_ends_the_epoch_by_name(damaged: Catalog) -> None:
    loader = loader_of(store_of(damaged, stream=True), Augment(crop_padding=2), workers=2)
    with pytest.raises(DataError, match=r"x/9.png cannot be read: .* \(in train-002.tar, at byte 512\)") as caught:
        list(loader.epoch(0))
    assert "none is left out without being told" in str(caught.value)
    assert "start one with --skip-bad" in str(caught.value)


def test_with_skip_bad_all_are_tried_once(damaged: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> tuple[Store, list[str]]:
        store, bad = Store.build(
            damaged, np.arange(len(damaged)), preprocess=PREPROCESS, keep_margin=None, threads=2, skip_bad=True,
            stream=True,
        )  # fmt: skip
        return store, [problem.path for problem in bad]

    store, bad = build()
    assert bad == ["x/9.png"]
    assert [store.name(row) for row in range(len(store))] == [f"{number:04d}.png" for number in (*range(12), 50)]
    assert sum(len(batch) for batch in loader_of(store, Augment(crop_padding=2)).epoch(0)) == 13
    tried: list[int] = []
    read = ShardImages.content
    monkeypatch.setattr(ShardImages, "content", lambda self, index: tried.append(index) or read(self, index))
    again, bad = build()
    assert bad == ["x/9.png"] and tried == [12]  # the good ones are known
    assert (again.sources == store.sources).all()
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    tried.clear()
    assert build()[1] == ["x/9.png"] and sorted(tried) == list(range(14))


def test_a_class_that_is_all_bad(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "bad", shards=1)
    write_tar(folder / "train-001.tar", [("9.png", b"none"), ("9.cls", b"2")])
    with pytest.raises(DataError, match="no picture of 2 can be read"):
        store_of(open_data(folder), stream=True, skip_bad=True)


def test_a_store_streams_by_itself_where_there_is_no_room(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_streamed(room: bool) -> bool:
        monkeypatch.setattr("sightline.data.store.has_room", lambda num_bytes: room)
        store, _ = Store.build(
            catalog, range(3), preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=False, stream=None
        )
        return store.is_streamed

    assert [is_streamed(room) for room in (False, True)] == [True, False]


def test_grey_and_colour_are_tried_apart(damaged: Catalog) -> None:
    images = damaged.images
    assert isinstance(images, ShardImages)
    memory = streaming._Memory(images)
    memory.remember([0, 1])
    wanted = np.arange(3)
    assert streaming._Memory(images).known(wanted).tolist() == [True, True, False]
    assert not streaming._Memory(dataclasses.replace(images, channels=1)).known(wanted).any()
