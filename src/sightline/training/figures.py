"""The figures of the steps, read from the device now and then, since each reading waits for the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.loader import Batch
from sightline.data.store import Store
from sightline.training.distributed import World
from sightline.training.task import SINGLE_LABEL, Task

READ_EVERY = {"cpu": 1}  # steps; there the figures are at hand
READ_EVERY_ELSEWHERE = 50  # a GPU works on while the figures of its last steps wait


def sum_dtype(device: torch.device) -> torch.dtype:
    """What sums over many pictures are kept in: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass(frozen=True)
class StepFigures:
    """One step's figures, over all processes.

    Args:
        step: its number, from 0.
        store: where this process's pictures of it are from.
        rows: int64, which they are.
        loss_sum: over the pictures of the global batch, in nats.
        num_correct: of them, as the task counts: the upper part of its score.
        num_asked: the lower part: the pictures, or what the task counts of them.
        num_pictures: in the global batch.
        gradient_norm: of the whole batch's gradient, before it was clipped.
        is_at_fault: whether this process's part of the loss is not finite.
    """

    step: int
    store: Store
    rows: Tensor
    loss_sum: float
    num_correct: int
    num_asked: int
    num_pictures: int
    gradient_norm: float
    is_at_fault: bool

    def names(self) -> list[str]:
        """This process's pictures."""
        return [self.store.name(row) for row in self.rows.tolist()]


class Figures:
    """Collects the sums of steps on the device, and reads those of several steps at once.

    Args:
        device: where the sums lie.
        world: the processes, whose sums are added up.
        task: what is asked of the pictures, and counted.
        read_every: steps between two readings; None for what suits the device.
    """

    def __init__(
        self, device: torch.device, world: World, *, task: Task = SINGLE_LABEL, read_every: int | None = None
    ) -> None:
        self._world = world
        self._task = task
        self._read_every = read_every or READ_EVERY.get(device.type, READ_EVERY_ELSEWHERE)
        self._waiting: list[tuple[int, Store, Tensor, int, Tensor, Tensor]] = []  # no images: they would fill a GPU
        self._sums = torch.zeros(3, dtype=sum_dtype(device), device=device)  # loss, and the two parts of the score

    def add(self, losses: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Adds a micro-batch to the step under way.

        Args:
            losses: (n,), in nats.
            logits: (n, K).
            targets: int64 (n,), the labels; or float (n, K), a share for each class.
        """
        loss = losses.detach().sum(dtype=self._sums.dtype)
        counts = self._task.tally(logits.detach(), targets).to(self._sums.dtype)
        self._sums = self._sums + torch.cat((loss[None], counts))

    def end_step(self, step: int, batch: Batch, *, gradient_norm: Tensor) -> None:
        """Closes the step under way."""
        self._waiting.append((step, batch.store, batch.rows, batch.global_size, self._sums, gradient_norm))
        self._sums = torch.zeros_like(self._sums)

    def is_due(self) -> bool:
        """Whether enough steps wait to be read: the same answer in every process."""
        return len(self._waiting) >= self._read_every

    def read(self) -> list[StepFigures]:
        """The figures of every closed step that has not been read, in order."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        own = torch.stack([sums for *_, sums, _ in waiting])
        norms = torch.stack([norm for *_, norm in waiting]).tolist()
        everyone = self._world.total(own.clone()).tolist()
        is_finite = own[:, 0].isfinite().tolist()
        return [
            StepFigures(step, store, rows, loss_sum, int(num_correct), int(num_asked), size, norm, not finite)
            for (step, store, rows, size, *_), (loss_sum, num_correct, num_asked), norm, finite in zip(
                waiting, everyone, norms, is_finite, strict=True
            )
        ]

    def forget(self) -> None:
        """Drops what has not been read, and the step under way."""
        self._waiting.clear()
        self._sums = torch.zeros_like(self._sums)
