"""Small bundles with weights that were never trained but are all in use, and their exports, made once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline.bundle import Bundle, save_bundle
from sightline.data.preprocess import Preprocess
from sightline.exporting import export
from sightline.models import zoo

CLASSES = ("Käfer 🪲", "cat", "dog")

Exported = tuple[Bundle, Path]


def _weights_in_use(net: nn.Module, seed: int) -> None:
    """Random weights, and batch-norm statistics far from the neutral 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, (1.5 / module.weight[0].numel()) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2, generator=generator)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Bundle]:
    """Makes a bundle: a folder, a name of the zoo, channels, side, provenance."""

    def make(
        folder: Path,
        name: str = "simple_cnn",
        *,
        channels: int = 3,
        side: int = 32,
        data: dict[str, object] | None = None,
    ) -> Bundle:
        torch.manual_seed(0)
        net = zoo.build(name, num_classes=len(CLASSES), in_channels=channels, image_size=(side, side))
        _weights_in_use(net, seed=7)
        return save_bundle(
            folder,
            net=net,
            model_name=name,
            classes=CLASSES,
            preprocess=Preprocess(
                (channels, side, side), mean=(0.49, 0.4, 0.3)[:channels], std=(0.25, 0.2, 0.3)[:channels]
            ),
            temperature=1.7,
            provenance={} if data is None else {"data": data},
        )

    return make


@pytest.fixture(scope="session")
def exported(make_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """The bundle of a network and its ONNX file, which no test changes."""
    done: dict[str, Exported] = {}

    def get(name: str = "simple_cnn", *, channels: int = 3, side: int = 32) -> Exported:
        if name not in done:
            bundle = make_bundle(tmp_path_factory.mktemp(name), name, channels=channels, side=side)
            done[name] = bundle, export(bundle.path)
        return done[name]

    return get


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A flat folder of pictures, 20 of each class, of several sizes."""
    generator = np.random.default_rng(5)
    for name in CLASSES:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = generator.integers(0, 256, (30 + index, 50 - index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return tmp_path / "photos"
