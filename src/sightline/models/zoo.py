"""The one table of networks: name -> how it is built and where it is from."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sightline.errors import ConfigError, nearest
from sightline.models import airbench, resnet
from sightline.models.airbench import Airbench
from sightline.models.base import Classifier
from sightline.models.lenet import LeNet5
from sightline.models.resnet import CifarResNet, ResNet, StemName
from sightline.models.simple import SimpleCNN

SMALL_STEM_BELOW_PX = 96  # under this the paper's stem and stages leave the last stage 3x3 px or less

Option = Literal["stem", "dropout", "image_size"]


@dataclass(frozen=True)
class Entry:
    """A row of the zoo.

    Args:
        builder: the network's class.
        row: what tells this variant from its family, as keyword arguments of the class.
        paper: authors, year, arXiv id where there is one.
        year: of the paper.
        input_size: (channels, height, width) of the paper.
        options: what may be asked of it besides classes and channels.
    """

    builder: Callable[..., Classifier]
    row: Mapping[str, Any]
    paper: str
    year: int
    input_size: tuple[int, int, int]
    options: tuple[Option, ...] = ()


def names(pattern: str = "*") -> list[str]:
    """The names that match a pattern with wildcards, in the order of the table.

    Example:
        >>> names("resnet1?")
        ['resnet18']
    """
    return [name for name in ZOO if fnmatch.fnmatchcase(name, pattern)]


def build(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    stem: StemName | None = None,
    dropout: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> Classifier:
    """Builds a network with fresh weights.

    Args:
        name: a name of `names()`.
        num_classes: outputs, at least 1.
        in_channels: channels of the pictures, at least 1.
        stem: of a ResNet; None takes "small" when `image_size` says that pictures are under 96 px.
        dropout: before the last layer, in [0, 1); None keeps the network's own.
        image_size: (height, width) px of the pictures to come; needed by networks with dense layers on the map.

    Returns:
        The network, in training mode; its `model_args` make the same one again.

    Raises:
        ConfigError: the name is unknown, a number is out of range, or the network has no such option.

    Example:
        >>> net = build("resnet18", num_classes=5, image_size=(64, 64))
        >>> net.stem_reason
        'stem small: pictures of 64x64 px are under 96 px; the 7x7 stem would leave the last stage 2x2 px'
        >>> dict(net.model_args)
        {'num_classes': 5, 'in_channels': 3, 'stem': 'small'}
    """
    if name not in ZOO:
        raise ConfigError(f"there is no network {name!r}.{nearest(name, ZOO)} `sightline models` lists all.")
    for label, count in (("num_classes", num_classes), ("in_channels", in_channels)):
        if count < 1:
            raise ConfigError(f"{label} is {count}; it must be 1 or more.")
    if dropout is not None and not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout}; it must be at least 0 and below 1.")
    if stem is not None and stem not in get_args(StemName):
        raise ConfigError(f"stem is {stem!r}; it must be one of {', '.join(get_args(StemName))}.")
    entry = ZOO[name]
    for option, value in (("stem", stem), ("dropout", dropout)):
        if value is not None and option not in entry.options:
            having = [other for other, row in ZOO.items() if option in row.options]
            raise ConfigError(
                f"{name} has no {option} to choose, got {value!r}. Leave it out, or take {', '.join(having[:4])}."
            )

    args: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    reason = ""
    if "stem" in entry.options:
        args["stem"], reason = (stem, f"stem {stem}: as asked") if stem else _choose_stem(image_size)
    if dropout is not None:
        args["dropout"] = dropout
    if "image_size" in entry.options and image_size is not None:
        args["image_size"] = list(image_size)  # a list, as JSON gives it back
    net = entry.builder(**args, **entry.row)
    net.name, net.model_args, net.stem_reason = name, args, reason
    return net


def _choose_stem(image_size: tuple[int, int] | None) -> tuple[StemName, str]:
    if image_size is None:
        return "imagenet", ""
    size = f"{image_size[0]}x{image_size[1]} px"
    if min(image_size) >= SMALL_STEM_BELOW_PX:
        return "imagenet", f"stem imagenet: pictures of {size} are large enough for the paper's 7x7 stem"
    last = [-(-side // 32) for side in image_size]
    return (
        "small",
        f"stem small: pictures of {size} are under {SMALL_STEM_BELOW_PX} px; "
        f"the 7x7 stem would leave the last stage {last[0]}x{last[1]} px",
    )


_HE = "He et al. 2015, arXiv:1512.03385"
ZOO: dict[str, Entry] = {
    "simple_cnn": Entry(SimpleCNN, {}, "tutorials", 2015, (3, 32, 32), ("dropout",)),
    "lenet5": Entry(LeNet5, {}, "LeCun et al. 1998", 1998, (1, 32, 32), ("image_size",)),
    **{
        name: Entry(ResNet, {"block": block, "num_blocks": blocks}, _HE, 2015, (3, 224, 224), ("stem", "dropout"))
        for name, (block, blocks) in resnet.VARIANTS.items()
    },
    **{
        name: Entry(CifarResNet, {"num_blocks": count}, _HE, 2015, (3, 32, 32), ("dropout",))
        for name, count in resnet.CIFAR_VARIANTS.items()
    },
    **{
        name: Entry(Airbench, {"widths": widths, "act": act}, "Jordan 2024, arXiv:2404.00498", 2024, (3, 32, 32))
        for name, (widths, act) in airbench.VARIANTS.items()
    },
}
