"""A stand-in for a GPU that notes what it would have to wait for."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CPU, META = torch.device("cpu"), torch.device("meta")


class WatchedGpu(TorchFunctionMode):
    """Takes the meta device for a GPU: notes each call within that a GPU would wait for, or that one would refuse.

    The meta device itself refuses whatever would have to look at its numbers, such as `item` and `nonzero`.

    Args:
        faults: what was wrong, in words.
        num_sent: tensors that went from pinned memory to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.num_sent = 0
        self._pinned: list[Tensor] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if function is Tensor.pin_memory:
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        result = function(*args, **given)
        name = getattr(function, "__name__", str(function))
        before, after = list(_tensors([args, *given.values()])), list(_tensors([result]))
        here = [each for each in before if each.device == CPU]
        is_there = any(each.device == META for each in before + after)
        if function is Tensor.to:
            if here and is_there:
                self._note_copy(here[0], given)
        elif is_there and any(each.dim() or function is Tensor.copy_ for each in here):
            self.faults.append(f"{name} takes tensors of the CPU and of the device")
        elif is_there and not before and function in (torch.tensor, torch.as_tensor, torch.asarray):
            self.faults.append(f"{name} copies a list to the device")
        if any(each.device == META and each.dtype == torch.float64 for each in after):
            self.faults.append(f"{name} makes float64 on the device, which MPS does not have")
        return result

    def _note_copy(self, tensor: Tensor, given: dict[str, Any]) -> None:
        self.num_sent += 1
        if not any(tensor is each for each in self._pinned):
            self.faults.append("to copies memory that is not pinned")
        elif not given.get("non_blocking"):
            self.faults.append("to waits for the copy")


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
