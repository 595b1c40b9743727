"""The one table of networks: name -> how it is built and where it is from."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Unpack, get_args

from typing_extensions import TypedDict  # pydantic reads the plan, and wants this one before Python 3.12

from sightline.errors import ConfigError, nearest
from sightline.models import (
    airbench,
    cifar_preresnet,
    cifar_resnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_lite,
    googlenet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    resnetv2,
    squeezenet,
    vgg,
    wide_resnet,
)
from sightline.models.airbench import Airbench
from sightline.models.alexnet import AlexNet, AlexNet2012
from sightline.models.base import Classifier, OutputStride, StemName, Tta
from sightline.models.cifar_preresnet import CifarPreResNet
from sightline.models.cifar_resnet import CifarResNet
from sightline.models.convnext import ConvNeXt
from sightline.models.densenet import DenseNet
from sightline.models.efficientnet import EfficientNet
from sightline.models.efficientnet_lite import EfficientNetLite
from sightline.models.googlenet import GoogLeNet
from sightline.models.lenet import LeNet5
from sightline.models.lenet_1998 import LeNet1998
from sightline.models.mobilenet_v1 import MobileNetV1
from sightline.models.mobilenet_v2 import MobileNetV2
from sightline.models.mobilenet_v3 import MobileNetV3
from sightline.models.resnet import ResNet
from sightline.models.resnetv2 import ResNetV2
from sightline.models.simple import SimpleCNN
from sightline.models.squeezenet import SqueezeNet
from sightline.models.vgg import VGG
from sightline.models.wide_resnet import WideResNet
from sightline.models.xception import Xception
from sightline.models.zfnet import ZFNet

SMALL_STEM_BELOW_PX = 96  # under this the papers' stems and stages leave the last stage 3x3 px or less

Option = Literal["stem", "dropout", "drop_path", "image_size", "output_stride", "memory_efficient", "aux_heads"]


class Options(TypedDict, total=False):
    """What may be asked of a network besides classes and channels; None, or nothing, leaves the choice to the zoo."""

    stem: StemName | None
    dropout: float | None
    drop_path: float | None
    image_size: tuple[int, int] | None
    output_stride: OutputStride | None
    memory_efficient: bool | None
    aux_heads: bool | None
    tta: Tta | None


@dataclass(frozen=True)
class Entry:
    """A row of the zoo.

    Args:
        builder: the network's class.
        row: what tells this variant from its family, as keyword arguments of the class; an option among them is the
            variant's own default.
        paper: authors, year, arXiv id where there is one.
        year: of the paper.
        input_size: (channels, height, width) of the paper.
        options: what may be asked of it besides classes and channels.
        num_classes: of the paper's task: 1000 of ImageNet, 10 of CIFAR-10 and MNIST.
    """

    builder: Callable[..., Classifier]
    row: Mapping[str, Any]
    paper: str
    year: int
    input_size: tuple[int, int, int]
    options: tuple[Option, ...] = ()
    num_classes: int = 1000


def names(pattern: str = "*") -> list[str]:
    """The names that match a pattern with wildcards, in the order of the table.

    Example:
        >>> names("resnet1?")
        ['resnet18']
    """
    return [name for name in ZOO if fnmatch.fnmatchcase(name, pattern)]


def build(
    name: str, *, num_classes: int | None = None, in_channels: int | None = None, **options: Unpack[Options]
) -> Classifier:
    """Builds a network with fresh weights.

    Args:
        name: a name of `names()`.
        num_classes: outputs, at least 1; None takes those of the paper's task.
        in_channels: channels of the pictures, at least 1; None takes those of the paper.
        stem: "imagenet", the paper's, or "small" for small pictures; None takes "small" when `image_size` says that
            pictures are under 96 px.
        dropout: before the last layers, in [0, 1).
        drop_path: probability with which the last residual unit is left out of a training step, in [0, 1)
            (stochastic depth, arXiv:1603.09382); earlier units in proportion to their depth.
        image_size: (height, width) px of the pictures to come; needed by networks with dense layers on the map.
        output_stride: 8, 16 or 32: how much smaller than the picture the last map is. Below 32, late stages keep the
            size and dilate their kernels (arXiv:1706.05587, Sec. 3.1), so that weights fit as they are.
        memory_efficient: compute concatenations again in the backward pass instead of keeping them.
        aux_heads: build the auxiliary classifiers, for `forward_with_auxiliary`.
        tta: test-time augmentation, of every network: "flip" answers with the mean of the picture and its mirror image,
            at twice the cost; "none" with the picture alone.

    Returns:
        The network, in training mode; its `model_args` make the same one again.

    Raises:
        ConfigError: the name or an option is unknown, a number is out of range, or the network has no such option.
        ShapeError: the network cannot take pictures of `image_size`.

    Example:
        >>> net = build("resnet18", num_classes=5, image_size=(64, 64))
        >>> net.stem_reason
        "stem small: pictures of 64x64 px are under 96 px, too small for the paper's stem, made for 224x224 px"
        >>> dict(net.model_args)
        {'num_classes': 5, 'in_channels': 3, 'stem': 'small'}
    """
    if not isinstance(name, str) or name not in ZOO:
        raise ConfigError(f"there is no network {name!r}.{nearest(str(name), ZOO)} `sightline models` lists all.")
    entry = ZOO[name]
    counts = {
        "num_classes": entry.num_classes if num_classes is None else num_classes,
        "in_channels": entry.input_size[0] if in_channels is None else in_channels,
    }
    for label, count in counts.items():
        if type(count) is not int or count < 1:
            raise ConfigError(f"{label} is {count}; it must be a whole number, 1 or more.")
    asked: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    image_size = _size(asked.pop("image_size", None))
    tta: Tta = _tta(asked.pop("tta", "none"))
    for option, value in asked.items():
        _check_option(name, option, value)

    args: dict[str, Any] = {**counts, **asked}
    reason = ""
    if "stem" in entry.options:
        args["stem"], reason = _choose_stem(asked, entry, image_size)
    if "image_size" in entry.options and image_size is not None:
        args["image_size"] = list(image_size)  # a list, as JSON gives it back
    net = entry.builder(**{**entry.row, **args})
    net.name, net.stem_reason, net.tta = name, reason, tta
    net.model_args = args if tta == "none" else {**args, "tta": tta}
    if image_size is not None:
        net.check_size(image_size)
    return net


def _size(image_size: object) -> tuple[int, int] | None:
    """(height, width) as it was given, or refused."""
    if image_size is None:
        return None
    if isinstance(image_size, list | tuple) and len(image_size) == 2 and all(type(side) is int for side in image_size):
        return image_size[0], image_size[1]
    raise ConfigError(f"image_size is {image_size!r}; it must be (height, width) in px, such as (224, 224).")


def _tta(tta: object) -> Tta:
    if tta not in get_args(Tta):
        raise ConfigError(f"tta is {tta!r}; it must be one of {', '.join(get_args(Tta))}.")
    return tta  # type: ignore[return-value]


def _check_option(name: str, option: str, value: object) -> None:
    """Refuses what would be ignored or cannot be."""
    if option in _OTHER_WORDS:
        raise ConfigError(f"networks have no option {option!r}. Here it is {_OTHER_WORDS[option]}.")
    if option not in get_args(Option):
        known = ("num_classes", "in_channels", "tta", *get_args(Option))
        raise ConfigError(f"networks have no option {option!r}.{nearest(option, known)}")
    if option not in ZOO[name].options:
        having = [other for other, row in ZOO.items() if option in row.options]
        raise ConfigError(
            f"{name} has no {option} to choose, got {value!r}. Leave it out, or take {', '.join(having[:4])}."
        )
    if option in _CHOICES and value not in _CHOICES[option]:
        raise ConfigError(f"{option} is {value!r}; it must be one of {', '.join(map(str, _CHOICES[option]))}.")
    if option in ("dropout", "drop_path") and not (isinstance(value, int | float) and 0 <= value < 1):
        raise ConfigError(f"{option} is {value}; it must be at least 0 and below 1.")


_OTHER_WORDS = {  # timm's
    "in_chans": "in_channels",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
    "img_size": "image_size=(height, width)",
    "pretrained": 'weights="auto", or a file',
    "features_only": "net.endpoints(images), of any network",
}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "stem": get_args(StemName),
    "output_stride": get_args(OutputStride),
    "memory_efficient": (False, True),
    "aux_heads": (False, True),
}


def _choose_stem(asked: Mapping[str, Any], entry: Entry, image_size: tuple[int, int] | None) -> tuple[StemName, str]:
    stem: StemName | None = asked.get("stem")
    if "output_stride" in asked:
        if stem == "small":
            raise ConfigError("the small stem already keeps 1/8 of the size: leave output_stride out, or the stem.")
        return "imagenet", "stem imagenet: output_stride counts from it"
    if stem is not None:
        return stem, f"stem {stem}: as asked"
    if image_size is None:
        return "imagenet", ""
    size = f"{image_size[0]}x{image_size[1]} px"
    made_for = f"{entry.input_size[1]}x{entry.input_size[2]} px"
    if min(image_size) >= SMALL_STEM_BELOW_PX:
        return "imagenet", f"stem imagenet: pictures of {size} are large enough for the paper's, made for {made_for}"
    return (
        "small",
        f"stem small: pictures of {size} are under {SMALL_STEM_BELOW_PX} px, too small for the paper's stem, made for "
        f"{made_for}",
    )


_IMAGENET = (3, 224, 224)
_CIFAR = (3, 32, 32)


def _family(
    builder: Callable[..., Classifier],
    variants: Mapping[str, Any],
    paper: str,
    year: int,
    options: tuple[Option, ...] = (),
    *,
    input_size: tuple[int, int, int] = _IMAGENET,
    num_classes: int = 1000,
) -> dict[str, Entry]:
    """The rows of a family whose variants differ in nothing but their arguments, given as mappings or named tuples."""
    rows = {name: row if isinstance(row, Mapping) else row._asdict() for name, row in variants.items()}
    return {name: Entry(builder, row, paper, year, input_size, options, num_classes) for name, row in rows.items()}


_of_cifar = partial(_family, input_size=_CIFAR, num_classes=10)
_LECUN = partial(Entry, row={}, paper="LeCun et al. 1998", year=1998, input_size=(1, 32, 32), num_classes=10)
_HE = "He et al. 2015, arXiv:1512.03385", 2015
_HE_2016 = "He et al. 2016, arXiv:1603.05027", 2016
_ZAGORUYKO = "Zagoruyko and Komodakis 2016, arXiv:1605.07146", 2016
_HUANG = "Huang et al. 2016, arXiv:1608.06993", 2016
_TAN = "Tan and Le 2019, arXiv:1905.11946", 2019
_RESNET: tuple[Option, ...] = ("stem", "dropout", "drop_path", "output_stride")
_EFFICIENTNET: tuple[Option, ...] = ("stem", "dropout", "drop_path")
ZOO: dict[str, Entry] = {
    # of no paper; the year is that of batch norm, the youngest of its parts
    **_of_cifar(SimpleCNN, {"simple_cnn": {}}, "tutorials", 2015, ("dropout",)),
    "lenet5": _LECUN(LeNet5, options=("image_size",)),
    "lenet5_1998": _LECUN(LeNet1998, options=("image_size",)),
    "alexnet": Entry(AlexNet, {}, "Krizhevsky 2014, arXiv:1404.5997", 2014, _IMAGENET, ("dropout",)),
    "alexnet_2012": Entry(AlexNet2012, {}, "Krizhevsky et al. 2012", 2012, (3, 227, 227), ("dropout", "image_size")),
    "zfnet": Entry(ZFNet, {}, "Zeiler and Fergus 2013, arXiv:1311.2901", 2013, _IMAGENET, ("dropout", "image_size")),
    **_family(VGG, vgg.VARIANTS, "Simonyan and Zisserman 2014, arXiv:1409.1556", 2014, ("dropout",)),
    **_family(
        GoogLeNet,
        googlenet.VARIANTS,
        "Szegedy et al. 2014, arXiv:1409.4842",
        2014,
        ("stem", "dropout", "aux_heads"),
    ),
    **_family(ResNet, resnet.VARIANTS, *_HE, _RESNET),
    **_family(ResNet, resnet.WIDE_VARIANTS, *_ZAGORUYKO, _RESNET),
    **_family(ResNet, resnet.RESNEXT_VARIANTS, "Xie et al. 2016, arXiv:1611.05431", 2016, _RESNET),
    **_family(ResNetV2, resnetv2.VARIANTS, *_HE_2016, _RESNET),
    **_family(ResNet, resnet.PLAIN_VARIANTS, *_HE, ("stem", "dropout", "output_stride")),
    **_of_cifar(CifarResNet, cifar_resnet.VARIANTS, *_HE, ("dropout", "drop_path")),
    **_of_cifar(CifarResNet, cifar_resnet.PLAIN_VARIANTS, *_HE, ("dropout",)),
    **_of_cifar(CifarPreResNet, cifar_preresnet.VARIANTS, *_HE_2016, ("dropout", "drop_path")),
    **_of_cifar(WideResNet, wide_resnet.VARIANTS, *_ZAGORUYKO, ("dropout", "drop_path")),
    **_family(DenseNet, densenet.VARIANTS, *_HUANG, ("stem", "dropout", "output_stride", "memory_efficient")),
    **_of_cifar(partial(DenseNet, stem="small"), densenet.CIFAR_VARIANTS, *_HUANG, ("dropout", "memory_efficient")),
    **_family(SqueezeNet, squeezenet.VARIANTS, "Iandola et al. 2016, arXiv:1602.07360", 2016, ("stem", "dropout")),
    "xception": Entry(Xception, {}, "Chollet 2016, arXiv:1610.02357", 2016, (3, 299, 299), ("stem", "dropout")),
    **_family(MobileNetV1, mobilenet_v1.VARIANTS, "Howard et al. 2017, arXiv:1704.04861", 2017, ("stem", "dropout")),
    **_family(MobileNetV2, mobilenet_v2.VARIANTS, "Sandler et al. 2018, arXiv:1801.04381", 2018, ("stem", "dropout")),
    **_family(MobileNetV3, mobilenet_v3.VARIANTS, "Howard et al. 2019, arXiv:1905.02244", 2019, ("stem", "dropout")),
    **{
        name: Entry(EfficientNet, row, *_TAN, (3, px, px), _EFFICIENTNET)
        for name, (px, row) in efficientnet.VARIANTS.items()
    },
    **{
        name: Entry(EfficientNetLite, row, "Liu 2020", 2020, (3, px, px), _EFFICIENTNET)
        for name, (px, row) in efficientnet_lite.VARIANTS.items()
    },
    **_family(ConvNeXt, convnext.VARIANTS, "Liu et al. 2022, arXiv:2201.03545", 2022, _EFFICIENTNET),
    **_of_cifar(Airbench, airbench.VARIANTS, "Jordan 2024, arXiv:2404.00498", 2024),
}
