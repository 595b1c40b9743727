"""Several processes as one run, started by torchrun: who this one is, and how they add up, agree and wait.

The training loop knows a `World` and nothing else of this. Alone, every method of it gives back what it got, so that
there is one loop for one process and for many.

The gradient: DistributedDataParallel takes the mean over the processes of each one's gradient. The loop wants the sum
of all pictures' losses over the number of them all, so each process computes

    loss = sum(losses of its own pictures) * world.size / pictures of all processes

and the mean of these has the right gradient, however unevenly the pictures are shared. A process that has no picture in
a step runs its empty batch through the network like any other: the sum of no losses is a zero that depends on every
parameter, so it takes part in the exchange with a gradient of zeros.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sightline.errors import TrainingError
from sightline.training.failure import first_sentence, named_failures
from sightline.training.full_state import is_sharded
from sightline.training.meeting import fresh_store
from sightline.training.torchrun import read_place

# How long a process waits for the others in a step. One that ends closes its connections, which is noticed at once; so
# this is for a machine that vanished and a process that hangs.
TIMEOUT = timedelta(minutes=10)
# And at a barrier, where it may wait for what one of them does alone: reading, evaluating, writing the report.
PATIENCE = timedelta(days=1)

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them.

    What `total`, `highest` and the other methods are given is exchanged between all processes, so all of them must call
    the same methods in the same order.

    Args:
        rank: number of this process, from 0.
        size: how many there are.
        device: where this process computes; each has a GPU of its own.
        patient: the group whose exchanges may wait for `PATIENCE`.

    Example:
        >>> SINGLE.total(torch.tensor([1.5, 2.0])), SINGLE.highest(3), SINGLE.is_main
        (tensor([1.5000, 2.0000]), 3, True)
    """

    rank: int
    size: int
    device: torch.device = _CPU
    patient: Any = field(default=None, repr=False, compare=False)

    def __deepcopy__(self, memo: dict[int, object]) -> "World":
        """Itself: the copy of a network is in the same world."""
        return self

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """The values of all processes.

        Args:
            values: of one shape and dtype everywhere.

        Returns:
            (size, *values.shape), by rank, without a gradient.
        """
        if self.size == 1:
            return values.detach()[None]
        parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(parts, values.detach().contiguous())
        return torch.stack(parts)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, added in the order of the ranks: the same bits everywhere and every time.

        Args:
            values: of one shape and dtype everywhere; float64 for sums over many pictures.
        """
        sums = torch.zeros_like(values)
        for part in self.gather(values):
            sums += part
        return sums

    def highest(self, value: int) -> int:
        """The highest of the processes' numbers.

        For agreement: a stop signal reaches the processes at different moments, and all must stop after the same step.
        """
        if self.size == 1:
            return value
        agreed = torch.tensor(value)
        distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
        return int(agreed)

    def barrier(self) -> None:
        """Waits until every process has come here, however long one of them works alone before."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(()), group=self.patient)  # which ends when all have given their part

    def from_main(self, text: str) -> str:
        """The main process's text, in every process: the folder that it chose, say. Waits like `barrier`."""
        if self.size == 1:
            return text
        self.barrier()
        data = list(text.encode()) if self.is_main else []
        content = torch.zeros(self.highest(len(data)), dtype=torch.uint8)
        if self.is_main:
            content = torch.tensor(data, dtype=torch.uint8)
        distributed.broadcast(content, src=0)
        return bytes(content.tolist()).decode()

    @torch.no_grad()
    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with those of the main process.

        Batch norm's running statistics are each process's own unless they are synchronised, and the main process's are
        kept: `copy_from_main(net.buffers())` before the processes validate together.

        Args:
            tensors: in one order and of the same shapes everywhere.
        """
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def wrap(self, runner: nn.Module) -> nn.Module:
        """Makes every backward pass through a module exchange gradients.

        Call it again after parameters were frozen or freed: it exchanges those that are trainable now. Let go of the
        module that it gave before, whose hooks would exchange them as well.

        Args:
            runner: its forward pass must use every trainable parameter, whatever the pictures.

        Returns:
            A DistributedDataParallel of it; the module itself where there is nothing to exchange, or where it is
            sharded and does so by itself.
        """
        is_trainable = any(parameter.requires_grad for parameter in runner.parameters())
        if self.size == 1 or not is_trainable or is_sharded(runner):
            return runner
        return DistributedDataParallel(
            runner,
            device_ids=None if self.device.type == "cpu" else [self.device],
            forward_sync_buffers=True,  # running statistics start each step as the main process's, so a resume is exact
            gradient_as_bucket_view=True,  # gradients lie where they are exchanged: no second copy of them
            find_unused_parameters=False,  # frozen parameters are known beforehand, and the others are all used
            static_graph=False,  # with auxiliary heads and phases the graph is not the same in every step
        )

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """While it lasts, backward passes add to the gradient of this process alone.

        For all micro-batches of a step but the last, forward pass included. A sharded network exchanges every time all
        the same: a whole gradient is what it has no room for.

        Args:
            wrapped: what `wrap` gave.
        """
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


SINGLE = World(rank=0, size=1)


@contextmanager
def join_world(device: torch.device, *, timeout: timedelta = TIMEOUT) -> Iterator[World]:
    """Meets the other processes that torchrun started; alone where it started none.

    Args:
        device: "cpu" or "cuda". With "cuda" each process takes the GPU of its number on its machine.
        timeout: how long a process waits for another, here and in every exchange.

    Yields:
        The world. `world.device` is where this process computes.

    Raises:
        ConfigError: the environment holds half of what torchrun sets, or there is no GPU for this process.
        TrainingError: the processes do not meet, or another one was lost.
    """
    place = read_place()
    with named_failures(place.rank, place.size):
        world = World(place.rank, place.size, place.own_device(device))
        if place.size == 1:
            yield world
            return
        try:
            yield replace(world, patient=_meet(world, place.address, timeout))
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()


def is_restart() -> bool:
    """Whether torchrun has started this process again after a failure (`--max-restarts`).

    Its command line is that of the first start; so a run that finds itself restarted goes on from what it saved. On
    several machines torchrun says so only on the one that had the failure: ask `world.highest(is_restart())`.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _meet(world: World, address: str, timeout: timedelta) -> Any:
    """Connects the processes; the group for barriers."""
    # numbers that steer a run travel between CPUs even where gradients travel between GPUs: no GPU waits for them
    backend = "gloo" if world.device.type == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        store = fresh_store(world.rank, world.size, timeout)
        distributed.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=timeout)
        return distributed.new_group(backend="gloo", timeout=PATIENCE)
    except RuntimeError as error:
        raise TrainingError(
            f"process {world.rank} of {world.size} did not meet the others at {address} within "
            f"{timeout.total_seconds():.0f} s ({first_sentence(error)}). Start all of them with the same address, and "
            "see that no firewall stands between the machines."
        ) from error
