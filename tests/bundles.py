"""A small bundle to ask things of: seeded weights, never trained, but all in use and far from certain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline.bundle import save_bundle
from sightline.data.preprocess import Preprocess
from sightline.models import zoo
from sightline.models.base import Classifier

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


def tiny_bundle(
    folder: Path,
    *,
    model: str = "simple_cnn",
    classes: tuple[str, ...] = CLASSES,
    channels: int = 3,
    side: int = 32,
    temperature: float = 1.4,
    crop_fraction: float = 1.0,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a bundle into a folder and returns the folder.

    Args:
        folder: where to.
        model: "simple_cnn", "lenet5" or another name of the zoo.
        classes: names in index order.
        channels: 3 or 1.
        side: height and width of its pictures, px.
        temperature: of its probabilities.
        crop_fraction: of its preprocessing.
        seed: of the weights.
        provenance: to store.
    """
    torch.manual_seed(seed)
    net = zoo.build(model, num_classes=len(classes), in_channels=channels, image_size=(side, side))
    fill(net, side, seed)
    save_bundle(
        folder,
        net=net,
        model_name=model,
        classes=classes,
        preprocess=Preprocess(
            (channels, side, side),
            mean=(0.49, 0.45, 0.4)[:channels],
            std=(0.25, 0.22, 0.27)[:channels],
            crop_fraction=crop_fraction,
        ),
        temperature=temperature,
        provenance=provenance,
    )
    return folder


def fill(net: Classifier, side: int, seed: int) -> None:
    """Gives every weight a part in the answer, and centres the answers so that pictures are of different classes."""
    generator = torch.Generator().manual_seed(seed)
    head = net.classifier_head
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
        net.eval()
        coarse = (torch.rand(256, net.in_channels, 6, 6, generator=generator) - 0.45) / 0.25  # as if normalised
        logits = net(nn.functional.interpolate(coarse, size=(side, side), mode="bicubic"))
        spread = 2 / logits.std(dim=0)
        head.bias.sub_(logits.mean(dim=0)).mul_(spread)
        head.weight.mul_(spread[:, None])
