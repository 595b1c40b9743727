"""How pictures and numbers come to the device; the meta device stands in for a GPU."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.data import transfer
from sightline.data.augment import Augment
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.mix import Mix
from sightline.data.transfer import constant, sent, with_number
from sightline.errors import DataError
from tests.data.stores import PREPROCESS, store_of
from tests.data.watched import CPU, META, WatchedGpu

AUGMENT = Augment(crop_padding=1)


def test_a_store_on_a_device() -> None:
    store = store_of(6)
    assert store.device == CPU and store.to(CPU) is store
    moved = store.to(META)
    assert moved.device == META and moved.take(torch.tensor([1, 5])).device == META
    assert moved.location == "on meta (0 MB)"
    assert len(moved) == 6 and moved.name(3) == store.name(3)
    assert torch.equal(moved.labels, store.labels) and np.array_equal(moved.sources, store.sources)
    assert store.device == CPU  # as it was


def test_rows_follow_the_pictures_to_their_device() -> None:
    """The meta device takes rows from anywhere; a GPU does not."""
    asked: list[torch.device] = []
    pictures = SimpleNamespace(device=META, index_select=lambda dim, rows: asked.append(rows.device))
    dataclasses.replace(store_of(4), pictures=pictures).take(torch.tensor([1, 2]))  # type: ignore[arg-type]
    assert asked == [META]


def test_pictures_of_different_sizes_stay_in_the_memory_of_the_cpu() -> None:
    store = store_of(4, keep_margin=1.0)
    assert store.device == CPU
    with pytest.raises(DataError) as caught:
        store.to(META)
    assert str(caught.value) == (
        "pictures of different sizes cannot be stacked. Crop them with Augment(scale=...), "
        "or build the store with keep_margin=None."
    )


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("count", [10, 40], ids=["kept there", "sent there"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mix", [None, Mix(mixup=1.0), Mix(cutmix=1.0)], ids=["plain", "mixup", "cutmix"])
def test_batches_arrive_whole_on_the_device(count: int, workers: int, mix: Mix | None) -> None:
    loader = TrainLoader(
        store_of(count), PREPROCESS, AUGMENT, 6, 0, META, mix=mix, num_classes=5, workers=workers, rank=1, world_size=3
    )
    batches = list(loader.epoch(0))
    assert len(batches) == loader.steps_per_epoch
    for batch in batches:
        assert batch.images.device == batch.labels.device == batch.targets.device == META
        assert batch.images.shape == (len(batch), 3, 8, 8)
        assert batch.rows.device == CPU  # of the store, to look up names
        assert len(batch.names()) == len(batch)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_repeated_pictures_are_augmented_where_they_are_kept(sampler: str) -> None:
    loader = TrainLoader(store_of(8), PREPROCESS, AUGMENT, 4, 0, META, sampler=sampler)  # type: ignore[arg-type]
    assert [batch.images.device for batch in loader.epoch(0)] == [META, META]


def test_evaluation_follows_the_device() -> None:
    for store in (store_of(5), store_of(5).to(META)):
        batches = list(EvalLoader(store, PREPROCESS, 2, META))
        assert [batch.images.device for batch in batches] == [META] * 3
        assert [batch.labels.device for batch in batches] == [META] * 3


class Copy:
    """Stands in for a tensor and notes how it is copied."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.calls: list[object] = []

    def pin_memory(self) -> "Copy":
        self.calls.append("pin_memory")
        return self

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Copy":
        self.calls.append((str(device), non_blocking))
        return self


@pytest.mark.parametrize(
    ("here", "there", "calls"),
    [
        ("cpu", "cuda:1", ["pin_memory", ("cuda:1", True)]),
        ("cuda:1", "cuda:1", [("cuda:1", False)]),  # kept there: nothing to pin
        ("cpu", "cpu", [("cpu", False)]),
        ("cpu", "mps", [("mps", False)]),  # pinned memory is CUDA's
    ],
)
def test_a_gpu_fetches_from_pinned_memory_and_nobody_waits(here: str, there: str, calls: list[object]) -> None:
    tensor = Copy(torch.device(here))
    sent(tensor, torch.device(there))  # type: ignore[arg-type]
    assert tensor.calls == calls


def test_a_device_without_a_number_gets_that_of_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_number(CPU) == CPU
    asked: list[torch.device] = []

    def empty(size: int, *, device: torch.device) -> Copy:
        asked.append(device)
        return Copy(torch.device("cuda:2"))

    monkeypatch.setattr(torch, "empty", empty)
    assert with_number(torch.device("cuda")) == torch.device("cuda:2")
    assert asked == [torch.device("cuda")]


# ---------------------------------------------------------------------------------------------------- nobody may wait

_EVERYTHING = Augment(
    crop_padding=1, vflip=0.5, alternating_flip=True, rotation=20, color_jitter=(0.4, 0.4, 0.4, 0.1), reprob=0.9
)
_AUGMENTS = {
    "plain": Augment(),
    "everything": _EVERYTHING,
    "noise": Augment(reprob=0.9, remode="pixel"),
    "rand": Augment(aa="rand-m9-n10-mstd0.5"),  # a hundred operations a batch, of fourteen kinds
    "trivial": Augment(aa="trivial", fill=(1, 2, 3)),
    "augmix": Augment(aa="augmix-m3-w3"),
    "resized": Augment(scale=(0.3, 1.0)),  # on the CPU
}


@pytest.fixture
def pinning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device fetches from pinned memory, as CUDA does."""
    monkeypatch.setattr(transfer, "FETCH_PINNED", ("meta",))


@pytest.mark.usefixtures("room", "pinning")
@pytest.mark.parametrize("augment", _AUGMENTS.values(), ids=_AUGMENTS)
@pytest.mark.parametrize("count", [10, 40], ids=["kept there", "sent there"])
@pytest.mark.parametrize("mix", [None, Mix(mixup=1.0), Mix(cutmix=1.0)], ids=["plain", "mixup", "cutmix"])
def test_nobody_waits_for_a_batch(count: int, mix: Mix | None, augment: Augment) -> None:
    loader = TrainLoader(store_of(count), PREPROCESS, augment, 5, 0, META, mix=mix, num_classes=5)
    with WatchedGpu():
        list(loader.epoch(0))  # the pictures move, and what is the same in every batch
    with WatchedGpu() as gpu:
        batches = list(loader.epoch(1))
    assert all(batch.images.device == META for batch in batches)
    assert gpu.num_sent >= 2 * len(batches)
    assert gpu.faults == []


@pytest.mark.usefixtures("room", "pinning")
@pytest.mark.parametrize("count", [10, 40], ids=["kept there", "sent there"])
def test_nobody_waits_for_repeated_pictures(count: int) -> None:
    loader = TrainLoader(store_of(count), PREPROCESS, _EVERYTHING, 5, 0, META, sampler="balanced")
    with WatchedGpu():
        list(loader.epoch(0))
    with WatchedGpu() as gpu:
        assert len(list(loader.epoch(1))) == count // 5
    assert gpu.num_sent and gpu.faults == []


@pytest.mark.usefixtures("pinning")
@pytest.mark.parametrize("place", [CPU, META], ids=["sent there", "kept there"])
def test_nobody_waits_for_an_evaluation(place: torch.device) -> None:
    loader = EvalLoader(store_of(9).to(place), PREPROCESS, 4, META)
    with WatchedGpu():
        list(loader)
    with WatchedGpu() as gpu:
        assert len(list(loader)) == 3
    assert gpu.num_sent == 2 * 3 and gpu.faults == []


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda own, there: own.to(META), "to copies memory that is not pinned"),
        (lambda own, there: own.to(META, non_blocking=True), "to copies memory that is not pinned"),
        (lambda own, there: own.pin_memory().to(META), "to waits for the copy"),
        (lambda own, there: there.copy_(own), "copy_ takes tensors of the CPU and of the device"),
        (lambda own, there: there[own], "__getitem__ takes tensors of the CPU and of the device"),
        (lambda own, there: there.__setitem__(own, 1), "__setitem__ takes tensors of the CPU and of the device"),
        (lambda own, there: there.index_select(0, own), "index_select takes tensors of the CPU and of the device"),
        (lambda own, there: torch.tensor([1, 2], device=META), "tensor copies a list to the device"),
        (lambda own, there: there / there.double(), "double makes float64 on the device, which MPS does not have"),
        (lambda own, there: own.pin_memory().to(META, non_blocking=True), None),
        (lambda own, there: there * torch.tensor(2), None),  # a single number goes with the call
        (lambda own, there: own[own], None),
    ],
)
def test_what_the_stand_in_notes(call: Callable[[Tensor, Tensor], Any], fault: str | None) -> None:
    own, there = torch.tensor([1, 0]), torch.empty(2, dtype=torch.int64, device=META)
    with WatchedGpu() as gpu:
        call(own, there)
    assert gpu.faults[:1] == ([] if fault is None else [fault])


def test_a_constant_is_sent_once_and_serves_training_as_well() -> None:
    constant.cache_clear()
    with torch.inference_mode():
        first = constant((0.5, 2.0), torch.float32, CPU)
    assert first.tolist() == [0.5, 2.0] and first.dtype == torch.float32
    assert constant((0.5, 2.0), torch.float32, CPU) is first
    assert constant((0.5, 2.0), torch.float32, META).device == META
    weight = torch.ones(2, requires_grad=True)
    (weight * first).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [0.5, 2.0]
