"""The network of `peers.py` for all who have torch: the same modules, so that what differs is the training."""

from pathlib import Path

import torch
from peer_task import Task, require_same_network, weights
from torch import nn

from sightline.models.zoo import build


def network(folder: Path, task: Task) -> nn.Module:
    """The task's network with the task's weights."""
    given = weights(folder)
    probe, expected = given.pop("probe"), given.pop("logits")
    net = build(task.network, num_classes=expected.shape[1], in_channels=probe.shape[1])
    net.load_state_dict({name: torch.as_tensor(value) for name, value in given.items()})
    net.eval()
    with torch.inference_mode():
        logits = net(torch.from_numpy(probe)).numpy()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    require_same_network(logits, expected, parameters=parameters, task=task, precision="float32")
    return net.train()
