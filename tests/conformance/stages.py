"""What follows each stage of the zoo's networks, without the batch and without the head.

For a picture of 3x32x32, or of the size in SIZES where a network needs a larger one; with the paper's stem. A new
network adds its row.
"""

Shapes = dict[str, tuple[int, ...]]

_CIFAR_RESNET: Shapes = {"stem": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8)}


def _resnet(expansion: int) -> Shapes:
    channels = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    sizes = {"layer1": 8, "layer2": 4, "layer3": 2, "layer4": 1}
    layers = {layer: (expansion * channels[layer], sizes[layer], sizes[layer]) for layer in channels}
    return {"stem": (64, 8, 8), **layers}


def _cifar_preresnet(width: int) -> Shapes:
    layers = {"layer1": (16 * width, 32, 32), "layer2": (32 * width, 16, 16), "layer3": (64 * width, 8, 8)}
    return {"stem": (16, 32, 32), **layers, "norm": (64 * width, 8, 8)}


def _inverted_residuals(
    stem: int, stages: list[int], conv_head: int, sizes: tuple[int, ...] = (16, 8, 4, 2, 2, 1, 1)
) -> Shapes:
    shapes = {f"stage{i}": (c, size, size) for i, (c, size) in enumerate(zip(stages, sizes, strict=True), start=1)}
    return {"stem": (stem, 16, 16), **shapes, "conv_head": (conv_head, 1, 1)}


def _densenet(sizes: tuple[int, ...], channels: list[int]) -> Shapes:
    parts = [f"{kind}{i}" for i in range(1, 5) for kind in ("denseblock", "transition")]
    names = ["stem", *parts[: len(channels) - 1], "norm5"]
    return {n: (c, size, size) for n, c, size in zip(names, [*channels, channels[-1]], sizes, strict=True)}


_FOUR_BLOCKS, _THREE_BLOCKS = (8, 8, 4, 4, 2, 2, 1, 1, 1), (32, 32, 16, 16, 8, 8, 8)


def _convnext(stages: list[int]) -> Shapes:
    shapes: Shapes = {"stem": (stages[0], 8, 8), "stage1": (stages[0], 8, 8)}
    for number, channels, size in zip((2, 3, 4), stages[1:], (4, 2, 1), strict=True):
        shapes |= dict.fromkeys((f"downsample{number}", f"stage{number}"), (channels, size, size))
    return shapes


def _alexnet(convolutions: list[tuple[int, int]]) -> Shapes:
    shapes: Shapes = {f"conv{i}": (c, size, size) for i, (c, size) in enumerate(convolutions, start=1)}
    return {**shapes, "fc6": (4096,), "fc7": (4096,)}


_VGG: Shapes = {
    **{"block1": (64, 16, 16), "block2": (128, 8, 8), "block3": (256, 4, 4), "block4": (512, 2, 2)},
    **{"block5": (512, 1, 1), "fc6": (4096,), "fc7": (4096,)},
}
_GOOGLENET: Shapes = {
    **{"conv1": (64, 16, 16), "conv3": (192, 8, 8), "inception3a": (256, 4, 4), "inception3b": (480, 4, 4)},
    **{f"inception4{unit}": (512, 2, 2) for unit in "abc"},
    **{"inception4d": (528, 2, 2), "inception4e": (832, 2, 2)},
    **{"inception5a": (832, 1, 1), "inception5b": (1024, 1, 1)},
}


def _squeezenet(conv1: int, sizes: tuple[int, ...]) -> Shapes:
    channels = (conv1, 128, 128, 256, 256, 384, 384, 512, 512)
    names = ["conv1", *(f"fire{number}" for number in range(2, 10))]
    return {name: (c, size, size) for name, c, size in zip(names, channels, sizes, strict=True)}


STAGES: dict[str, Shapes] = {
    "simple_cnn": {"block1": (32, 16, 16), "block2": (64, 8, 8), "block3": (128, 4, 4)},
    "lenet5": {"s2": (6, 14, 14), "s4": (16, 5, 5), "c5": (120,), "f6": (84,)},
    "lenet5_1998": {
        **{"c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5)},
        **{"c5": (120,), "f6": (84,)},
    },
    "alexnet": _alexnet([(64, 7), (192, 3), (384, 3), (256, 3), (256, 1)]),
    "alexnet_2012": _alexnet([(96, 7), (256, 3), (384, 3), (384, 3), (256, 1)]),
    "zfnet": _alexnet([(96, 11), (256, 2), (384, 2), (384, 2), (256, 1)]),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), _VGG),
    **dict.fromkeys(("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), _VGG),
    **dict.fromkeys(("googlenet", "googlenet_2014"), _GOOGLENET),
    **dict.fromkeys(("resnet18", "resnet34"), _resnet(1)),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"), _resnet(4)),
    **dict.fromkeys(("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"), _resnet(4)),
    **{key: {**_resnet(1), "norm": (512, 1, 1)} for key in ("resnetv2_18", "resnetv2_34")},
    **{key: {**_resnet(4), "norm": (2048, 1, 1)} for key in ("resnetv2_50", "resnetv2_101", "resnetv2_152")},
    **dict.fromkeys(("plain18", "plain34"), _resnet(1)),
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"), _CIFAR_RESNET),
    **dict.fromkeys(("plain20", "plain32", "plain44", "plain56", "plain110"), _CIFAR_RESNET),
    "preresnet110": _cifar_preresnet(1),
    **dict.fromkeys(("preresnet164", "preresnet1001"), _cifar_preresnet(4)),
    **{f"wrn40_{width}": _cifar_preresnet(width) for width in (1, 2, 4, 8)},
    **{f"wrn28_{width}": _cifar_preresnet(width) for width in (10, 12)},
    **{f"wrn22_{width}": _cifar_preresnet(width) for width in (8, 10)},
    **{f"wrn16_{width}": _cifar_preresnet(width) for width in (8, 10)},
    "densenet121": _densenet(_FOUR_BLOCKS, [64, 256, 128, 512, 256, 1024, 512, 1024]),
    "densenet161": _densenet(_FOUR_BLOCKS, [96, 384, 192, 768, 384, 2112, 1056, 2208]),
    "densenet169": _densenet(_FOUR_BLOCKS, [64, 256, 128, 512, 256, 1280, 640, 1664]),
    "densenet201": _densenet(_FOUR_BLOCKS, [64, 256, 128, 512, 256, 1792, 896, 1920]),
    "densenet264": _densenet(_FOUR_BLOCKS, [64, 256, 128, 512, 256, 2304, 1152, 2688]),
    "densenet40_k12": _densenet(_THREE_BLOCKS, [16, 160, 160, 304, 304, 448]),
    "densenet100_k12": _densenet(_THREE_BLOCKS, [16, 400, 400, 784, 784, 1168]),
    "densenet100_k24": _densenet(_THREE_BLOCKS, [16, 784, 784, 1552, 1552, 2320]),
    "densenet100_k12_bc": _densenet(_THREE_BLOCKS, [24, 216, 108, 300, 150, 342]),
    "densenet250_k24_bc": _densenet(_THREE_BLOCKS, [48, 1032, 516, 1500, 750, 1734]),
    "densenet190_k40_bc": _densenet(_THREE_BLOCKS, [80, 1320, 660, 1900, 950, 2190]),
    "squeezenet1_0": _squeezenet(96, (13, 6, 6, 6, 3, 3, 3, 3, 1)),
    "squeezenet1_1": _squeezenet(64, (15, 7, 7, 3, 3, 1, 1, 1, 1)),
    "xception": {
        **{"stem": (64, 13, 13), "block1": (128, 7, 7), "block2": (256, 4, 4)},
        **{f"block{number}": (728, 2, 2) for number in range(3, 12)},
        **{"block12": (1024, 1, 1), "conv3": (1536, 1, 1), "conv4": (2048, 1, 1)},
    },
    "mobilenet_v1": {
        **{"stem": (32, 16, 16), "stage1": (64, 16, 16), "stage2": (128, 8, 8), "stage3": (256, 4, 4)},
        **{"stage4": (512, 2, 2), "stage5": (1024, 1, 1)},
    },
    "mobilenet_v2": _inverted_residuals(32, [16, 24, 32, 64, 96, 160, 320], 1280),
    "mobilenet_v3_small": _inverted_residuals(16, [16, 24, 40, 48, 96], 576, (8, 4, 2, 2, 1)),
    "mobilenet_v3_large": _inverted_residuals(16, [16, 24, 40, 80, 112, 160], 960, (16, 8, 4, 2, 2, 1)),
    "efficientnet_b0": _inverted_residuals(32, [16, 24, 40, 80, 112, 192, 320], 1280),
    "efficientnet_b1": _inverted_residuals(32, [16, 24, 40, 80, 112, 192, 320], 1280),
    "efficientnet_b2": _inverted_residuals(32, [16, 24, 48, 88, 120, 208, 352], 1408),
    "efficientnet_b3": _inverted_residuals(40, [24, 32, 48, 96, 136, 232, 384], 1536),
    "efficientnet_b4": _inverted_residuals(48, [24, 32, 56, 112, 160, 272, 448], 1792),
    "efficientnet_b5": _inverted_residuals(48, [24, 40, 64, 128, 176, 304, 512], 2048),
    "efficientnet_b6": _inverted_residuals(56, [32, 40, 72, 144, 200, 344, 576], 2304),
    "efficientnet_b7": _inverted_residuals(64, [32, 48, 80, 160, 224, 384, 640], 2560),
    "efficientnet_lite0": _inverted_residuals(32, [16, 24, 40, 80, 112, 192, 320], 1280),
    "efficientnet_lite1": _inverted_residuals(32, [16, 24, 40, 80, 112, 192, 320], 1280),
    "efficientnet_lite2": _inverted_residuals(32, [16, 24, 48, 88, 120, 208, 352], 1280),
    "efficientnet_lite3": _inverted_residuals(32, [24, 32, 48, 96, 136, 232, 384], 1280),
    "efficientnet_lite4": _inverted_residuals(32, [24, 32, 56, 112, 160, 272, 448], 1280),
    "convnext_tiny": _convnext([96, 192, 384, 768]),
    "convnext_small": _convnext([96, 192, 384, 768]),
    "convnext_base": _convnext([128, 256, 512, 1024]),
    "convnext_large": _convnext([192, 384, 768, 1536]),
    "airbench94": {"stem": (24, 31, 31), "group1": (64, 15, 15), "group2": (256, 7, 7), "group3": (256, 3, 3)},
    "airbench_small": {"stem": (24, 31, 31), "group1": (32, 15, 15), "group2": (64, 7, 7), "group3": (128, 3, 3)},
}

# These take minutes even without weights, and differ from resnet110 and preresnet164 in depth alone: in `make proofs`.
DEEPEST = ("resnet1202", "preresnet1001")

SIZES: dict[str, tuple[int, int]] = {  # (height, width) of networks that need more than 32x32 px
    **{"alexnet": (64, 64), "alexnet_2012": (67, 67), "zfnet": (47, 47)},
}
