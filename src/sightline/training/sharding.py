"""Weights, gradients and optimiser state split over the processes (FSDP), for networks too large for one device.

Each process keeps a part of every tensor, and has the whole weights of a unit only while the unit computes. Files know
nothing of it: see `full_state`.

Reference:
    Rajbhandari et al. 2019, "ZeRO", arXiv:1910.02054, Sec. 5; Zhao et al. 2023, "PyTorch FSDP", arXiv:2304.11277.
"""

from collections.abc import Iterator

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.models.base import HasAuxiliaryHeads
from sightline.training.distributed import World
from sightline.training.full_state import Sharded
from sightline.training.options import TrainOptions
from sightline.training.sync_norm import is_synchronised

# Parameters. A smaller unit is not worth an exchange of its own and goes with the rest. Not from a paper.
SMALLEST_UNIT = 2**16

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def shard(net: nn.Module, world: World) -> nn.Module:
    """Splits a network over the processes, in place. Build the optimiser afterwards.

    A unit, gathered and let go as one, is a block, or a layer outside of any: what is called as a whole, which a stage
    often is not (VGG's are runs of layers of one long list).

    Args:
        net: moved to `world.device`; every process begins with the main one's weights.
        world: with one process nothing changes.

    Returns:
        The network.

    Raises:
        ConfigError: it has batch norms of which each process would keep its own statistics.
    """
    if world.size == 1:
        return net
    if not is_synchronised(net):
        raise ConfigError(
            "fsdp needs the same batch norm statistics in every process, and this network's are each process's own. "
            "Add --sync-bn."
        )
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - a second, and few runs need it
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # noqa: PLC0415

    # fully_shard takes no other layout; what lies where it must stays there when the training begins
    net.to(world.device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    world.copy_from_main(net.state_dict().values())
    mesh = init_device_mesh(world.device.type, (world.size,))
    for unit in _units(net):
        fully_shard(unit, mesh=mesh)
    fully_shard(net, mesh=mesh)
    if isinstance(net, HasAuxiliaryHeads):
        register_fsdp_forward_method(net, "forward_with_auxiliary")
    return net


def require_shardable(options: TrainOptions) -> None:
    """Refuses what keeps a second whole copy of the weights: it would take the room that sharding makes.

    Raises:
        ConfigError: the options ask for averaged weights, or for those of the best epoch.
    """
    kept = {"model_ema_decay": None, "swa_epochs": 0, "patience": None}
    asked = [f"{name} {getattr(options, name)}" for name, none in kept.items() if getattr(options, name) != none]
    if asked:
        raise ConfigError(
            f"fsdp splits the weights over the processes, and {', '.join(asked)} needs a whole copy of them in each. "
            "Leave it out, or train without --fsdp."
        )


def avoid_fused_kernels(optimizer: torch.optim.Optimizer) -> None:
    """Makes an optimiser of a sharded network use kernels that know of parts; others are left alone.

    In torch 2.13 the fused kernels of Adam and AdamW do, and those of SGD and Adagrad do not.
    """
    for group in optimizer.param_groups:
        if group.get("fused") and any(isinstance(parameter, Sharded) for parameter in group["params"]):
            group["fused"] = False


def _units(net: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that are no mere lists of others and large enough."""
    for child in net.children():
        if isinstance(child, _CONTAINERS):
            yield from _units(child)
        elif sum(parameter.numel() for parameter in child.parameters()) >= SMALLEST_UNIT:
            yield child
