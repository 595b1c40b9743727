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


STAGES: dict[str, Shapes] = {
    "simple_cnn": {"block1": (32, 16, 16), "block2": (64, 8, 8), "block3": (128, 4, 4)},
    "lenet5": {"s2": (6, 14, 14), "s4": (16, 5, 5), "c5": (120,), "f6": (84,)},
    **dict.fromkeys(("resnet18", "resnet34"), _resnet(1)),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), _resnet(4)),
    **dict.fromkeys(("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), _CIFAR_RESNET),
    "airbench94": {"stem": (24, 31, 31), "group1": (64, 15, 15), "group2": (256, 7, 7), "group3": (256, 3, 3)},
    "airbench_small": {"stem": (24, 31, 31), "group1": (32, 15, 15), "group2": (64, 7, 7), "group3": (128, 3, 3)},
}

SIZES: dict[str, tuple[int, int]] = {}  # (height, width) of networks that need more than 32x32 px
