"""Figures are added up over micro-batches, read in order, and wait on the device until then."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sightline.training.distributed import SINGLE
from sightline.training.figures import Figures, sum_dtype

NORM = torch.tensor(0.25)
LOGITS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])


def batch(*rows: int) -> Any:
    store = SimpleNamespace(name=lambda row: f"picture {row}")
    return SimpleNamespace(store=store, rows=torch.tensor(rows), global_size=len(rows))


def test_micro_batches_add_up_to_their_step() -> None:
    figures = Figures(torch.device("cpu"), SINGLE, read_every=2)
    figures.add(torch.tensor([1.0, 2.0]), LOGITS[:2], torch.tensor([0, 0]))
    figures.add(torch.tensor([4.0]), LOGITS[2:], torch.tensor([0]))
    figures.end_step(7, batch(3, 4, 5), gradient_norm=NORM)
    assert not figures.is_due()
    figures.add(torch.tensor([0.5, 0.5]), LOGITS[:2], torch.tensor([0, 1]))
    figures.end_step(8, batch(6, 7), gradient_norm=NORM)
    assert figures.is_due()
    read = figures.read()
    assert [(each.step, each.loss_sum, each.num_correct, each.num_pictures) for each in read] == [
        (7, 7.0, 2, 3),
        (8, 1.0, 2, 2),
    ]
    assert [each.gradient_norm for each in read] == [0.25, 0.25]
    assert read[0].names() == ["picture 3", "picture 4", "picture 5"]
    assert not figures.is_due() and figures.read() == []


def test_of_mixed_pictures_the_class_of_the_larger_share_counts() -> None:
    figures = Figures(torch.device("cpu"), SINGLE)
    figures.add(torch.zeros(2), LOGITS[:2], torch.tensor([[0.6, 0.4], [0.6, 0.4]]))
    figures.end_step(0, batch(0, 1), gradient_norm=NORM)
    assert figures.read()[0].num_correct == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_found_when_it_is_read(loss: float) -> None:
    figures = Figures(torch.device("cpu"), SINGLE, read_every=3)
    for step, value in enumerate([1.0, loss, 1.0]):
        figures.add(torch.tensor([value]), LOGITS[:1], torch.tensor([0]))
        figures.end_step(step, batch(step), gradient_norm=NORM)
    assert [each.is_at_fault for each in figures.read()] == [False, True, False]


def test_what_is_forgotten_is_not_read() -> None:
    figures = Figures(torch.device("cpu"), SINGLE, read_every=2)
    figures.add(torch.tensor([1.0]), LOGITS[:1], torch.tensor([0]))
    figures.end_step(0, batch(0), gradient_norm=NORM)
    figures.add(torch.tensor([8.0]), LOGITS[:1], torch.tensor([0]))
    figures.forget()
    figures.add(torch.tensor([2.0]), LOGITS[:1], torch.tensor([0]))
    figures.end_step(0, batch(0), gradient_norm=NORM)
    assert [each.loss_sum for each in figures.read()] == [2.0]


def test_a_gpu_is_not_waited_for_in_every_step() -> None:
    figures = Figures(torch.device("meta"), SINGLE)
    for step in range(49):
        figures.end_step(step, batch(step), gradient_norm=NORM)
        assert not figures.is_due()
    figures.end_step(49, batch(49), gradient_norm=NORM)
    assert figures.is_due()


def test_sums_are_kept_in_what_the_device_has() -> None:
    assert sum_dtype(torch.device("cpu")) == sum_dtype(torch.device("cuda")) == torch.float64
    assert sum_dtype(torch.device("mps")) == torch.float32  # it has no float64
