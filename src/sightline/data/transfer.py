"""The way of numbers to the device that trains, without anybody waiting for it.

A plain `tensor.to("cuda")` waits until the GPU has done all that it was told before, and then for the copy. A batch
takes some twenty small tensors there, such as where each picture is cropped; so they go through pinned memory, and
what is the same in every batch goes once.
"""

from functools import cache

import torch
from torch import Tensor

FETCH_PINNED = ("cuda",)  # devices that fetch pinned memory by themselves, while the CPU goes on


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from the CPU to CUDA through pinned memory, so that nobody waits for the copy."""
    if device.type in FETCH_PINNED and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers on a device, sent there once and kept; not to be changed in place.

    Example:
        >>> constant((1, 2), torch.uint8, torch.device("cpu"))
        tensor([1, 2], dtype=torch.uint8)
    """
    with torch.inference_mode(False):  # the first to ask may never train, and others do
        return torch.tensor(values, dtype=dtype, device=device)


def with_number(device: torch.device) -> torch.device:
    """The device with its number: "cuda" alone is the current one of whichever thread asks, and threads differ.

    Example:
        >>> with_number(torch.device("cpu"))
        device(type='cpu')
    """
    return torch.empty(0, device=device).device
