"""The whole tensors of a network and its optimiser, also where each process keeps a part of them (FSDP).

For a network that is not sharded these are its plain state dicts: one way to save and load both, and the files are the
same.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sightline.errors import BundleError


@runtime_checkable
class Sharded(Protocol):
    """A tensor of which each process keeps a part: torch's DTensor, told by what it can do.

    Its own module takes a second to import, which most runs need not wait.
    """

    device_mesh: Any
    placements: Any

    def full_tensor(self) -> Tensor:
        """The whole, put together from all processes."""


def is_sharded(net: nn.Module) -> bool:
    """Whether a network's weights are split over the processes."""
    return any(isinstance(parameter, Sharded) for parameter in net.parameters())


def full_state_dict(net: nn.Module) -> dict[str, Tensor]:
    """A network's state dict with whole tensors on the CPU, under the names that it has in one process.

    Where the network is sharded every process must call this, and gets the same. Else the tensors may be the network's
    own, as those of its state dict are.
    """
    return {name: whole(value).cpu() for name, value in net.state_dict().items()}


def load_full_state_dict(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fills a network from whole tensors; where it is sharded each process takes its part of them.

    Args:
        net: sharded or not.
        state: the same in every process.

    Raises:
        RuntimeError: torch's, where names or shapes differ.
    """
    own = net.state_dict()
    net.load_state_dict(
        {name: _split_like(own[name], value) if name in own else value for name, value in state.items()}
    )


def full_optimizer_state(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """What an optimiser keeps for each parameter, by the parameter's number: whole tensors on the CPU.

    Where the network is sharded every process must call this, and gets the same.
    """
    state = optimizer.state_dict()["state"]
    return {
        number: {slot: whole(value).cpu() for slot, value in slots.items() if isinstance(value, Tensor)}
        for number, slots in state.items()
    }


def load_full_optimizer_state(optimizer: Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Fills an optimiser from whole tensors, each laid out in memory like its parameter.

    Files hold tensors in plain order, and channels_last weights lie otherwise: torch's fused optimisers walk both by
    address, and with two layouts would pair the wrong elements, silently.

    Args:
        optimizer: over the parameters in the order of the saved one.
        state: what `full_optimizer_state` gave, the same in every process.

    Raises:
        BundleError: it is that of other parameters; torch's kernels would write beyond their ends.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, slots in state.items():
        for slot, value in slots.items():
            if number >= len(parameters) or (value.dim() and value.shape != parameters[number].shape):
                raise BundleError(
                    f"the saved optimiser's {slot} of parameter {number} has the shape {tuple(value.shape)}, which is "
                    "no parameter's here. The checkpoint is that of another network: start the run again."
                )
    split = {
        number: {slot: _split_like(parameters[number], value) for slot, value in slots.items()}
        for number, slots in state.items()
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": split})
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[slot] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def whole(value: Tensor) -> Tensor:
    """A tensor without its gradient, put together where each process keeps a part of it."""
    return (value.full_tensor() if isinstance(value, Sharded) else value).detach()


def _split_like(target: Tensor, value: Tensor) -> Tensor:
    """This process's part of a tensor that is laid out over the processes as the target; else the tensor itself."""
    if not isinstance(target, Sharded) or value.shape != target.shape:
        return value
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - a second, and only sharded runs need it

    here = value.to(target.device_mesh.device_type)
    return distribute_tensor(here, target.device_mesh, target.placements, src_data_rank=None)  # None: all have it
