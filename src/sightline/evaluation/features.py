"""What the head of a network sees."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sightline.data.loader import Batch
from sightline.errors import ConfigError
from sightline.predict.precision import full_float32
from sightline.training.phase import head_of


class Features(NamedTuple):
    """What the head is given for some pictures.

    Args:
        values: float32 (N, D), on the CPU.
        labels: int64 (N,).
    """

    values: Tensor
    labels: Tensor


def features(net: nn.Module, loader: Iterable[Batch]) -> Features:
    """What the head is given, in evaluation mode and in full float32; the network is left as it was.

    A map that the head, a convolution, would answer place by place is averaged over its places.

    Args:
        net: any module with an attribute `classifier_head` or an nn.Linear, the last of which is taken.
        loader: batches; their order is that of the rows.

    Raises:
        ConfigError: the network has no head.
    """
    head = head_of(net)
    if head is None:
        raise ConfigError(
            f"{type(net).__name__} has no head to take the input of: neither an attribute classifier_head nor an "
            "nn.Linear. Give it the attribute."
        )
    modes = {module: module.training for module in net.modules()}
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    values, labels = [torch.zeros(0, 0)], [torch.zeros(0, dtype=torch.int64)]
    try:
        net.eval()
        for batch in loader:
            seen.clear()
            with torch.inference_mode(), full_float32(batch.images.device):
                net(batch.images)
            given = torch.stack(seen).mean(dim=0)  # of two, where mirror images are asked about, too
            values.append(given.flatten(2).mean(dim=2).cpu() if given.dim() > 2 else given.cpu())
            labels.append(batch.labels.cpu())
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return Features(torch.cat(values[1:] or values), torch.cat(labels))
