"""Where the training pictures are kept: on the device that trains, where they fit, else where they were decoded."""

import torch

from sightline.data.augment import Augment
from sightline.data.store import Store

# Of the device's memory that is free now. Not from a paper: the rest is for the network, its gradients and activations.
DEVICE_FRACTION = 0.25


def resident(store: Store, augment: Augment, device: torch.device) -> Store:
    """The store with its pictures on the device, where they are augmented there; else the store itself.

    Pictures of one size move if they fit in a quarter of the free memory. With a random resized crop they stay: that
    goes picture by picture, in many small operations, which are the CPU's kind of work.

    Args:
        store: the training pictures.
        augment: what will be done to them.
        device: where the network is.
    """
    if store.device == device or not isinstance(store.pictures, torch.Tensor) or augment.scale is not None:
        return store
    fits = store.pictures.nbytes <= DEVICE_FRACTION * free_bytes(device)
    return store.to(device) if fits else store


def free_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device; 0 for any other, which share theirs with the CPU or cannot tell."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
