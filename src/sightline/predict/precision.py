"""Full float32, whatever the process has chosen for its training."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Multiplies in float32 as IEEE 754 means it, whatever this process has chosen for its training.

    Without it, convolutions on a GPU of 2020 or later would be computed in TF32, with 10 bits of mantissa, and a
    training script's `torch.set_float32_matmul_precision("medium")` or autocast would reach into the answers. The
    settings are the process's own, hence the lock and the way back.

    Args:
        device: where the network lies.
    """
    places = (
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    )
    with _LOCK, torch.autocast(device.type, enabled=False):
        before = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, precision in zip(places, before, strict=True):
                place.fp32_precision = precision
