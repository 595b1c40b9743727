"""What torchrun tells a process that it starts, by environment variables."""

import os
from dataclasses import dataclass

import torch

from sightline.errors import ConfigError

_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """A process's place among those of its run.

    Args:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number among those on its machine.
        address: where they meet, "host:port"; empty for a process alone.
    """

    rank: int
    size: int
    local_rank: int
    address: str

    def own_device(self, device: torch.device) -> torch.device:
        """This process's own among the devices of its machine; its GPU becomes torch's current one.

        Args:
            device: what was chosen for the run.

        Raises:
            ConfigError: there is no GPU for this process, or the device is one and the processes several.
        """
        if self.size == 1 or device.type == "cpu":
            return device
        if device != torch.device("cuda"):
            raise ConfigError(
                f"device is {device}, one device for {self.size} processes. "
                "Give --device cuda, of which each process gets its own, or --device cpu."
            )
        count = torch.cuda.device_count()
        if self.local_rank >= count:
            raise ConfigError(
                f"torchrun started more processes than the {count} GPUs of this machine: this is number "
                f"{self.local_rank}, from 0. Give it --nproc-per-node {count}, or train with --device cpu."
            )
        own = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(own)
        return own


def read_place() -> Place:
    """This process's place, from the environment; that of a process alone where nothing is set.

    Raises:
        ConfigError: half of what torchrun sets is there, or it makes no sense.
    """
    given = [name for name in (*_NUMBERS, *_ADDRESS) if os.environ.get(name)]
    if not set(given) & set(_NUMBERS):  # an address alone is no run
        return Place(rank=0, size=1, local_rank=0, address="")
    if missing := [name for name in (*_NUMBERS, *_ADDRESS) if name not in given]:
        raise ConfigError(
            f"the environment holds {', '.join(given)} and lacks {', '.join(missing)}: half of what torchrun sets. "
            f"Start with torchrun --nproc-per-node N -m sightline train ..., or alone after: unset {' '.join(given)}"
        )
    rank, size, local_rank = (_whole_number(name) for name in _NUMBERS)
    if rank >= size or local_rank >= size:
        raise ConfigError(
            f"RANK is {rank} and LOCAL_RANK {local_rank}; both must be below WORLD_SIZE, which is {size}. "
            f"Let torchrun set them, or train alone after: unset {' '.join(_NUMBERS)}"
        )
    return Place(rank, size, local_rank, ":".join(os.environ[name] for name in _ADDRESS))


def _whole_number(name: str) -> int:
    value = os.environ[name]
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}; it must be a whole number. Let torchrun set it, or unset it.")
    return int(value)
