"""Where the training pictures are kept; the meta device stands in for a GPU."""

import pytest
import torch

from sightline.data.augment import Augment
from sightline.data.residence import free_bytes, resident
from tests.data.stores import store_of

CPU, META = torch.device("cpu"), torch.device("meta")
AUGMENT = Augment(crop_padding=1)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(("count", "moves"), [(10, True), (11, False)])
def test_pictures_that_fit_in_a_quarter_of_the_free_memory_are_kept_on_the_device(count: int, moves: bool) -> None:
    store = store_of(count)
    kept = resident(store, AUGMENT, META)
    assert kept.device == (META if moves else CPU)
    assert (kept is store) == (not moves)


@pytest.mark.usefixtures("room")
def test_pictures_that_the_cpu_crops_stay() -> None:
    resized = Augment(scale=(0.3, 1.0))
    for store in (store_of(4), store_of(4, keep_margin=1.0)):
        assert resident(store, resized, META) is store


def test_nothing_moves_to_where_it_is_or_to_a_device_that_shares_the_memory() -> None:
    store = store_of(4)
    assert resident(store, AUGMENT, CPU) is store
    assert free_bytes(META) == free_bytes(CPU) == 0
    assert resident(store, AUGMENT, META) is store


def test_the_free_memory_is_that_of_the_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (device.index * 100, 10**6))
    assert free_bytes(torch.device("cuda:3")) == 300
