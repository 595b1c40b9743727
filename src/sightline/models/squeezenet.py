"""SqueezeNet: as right as AlexNet with a fiftieth of its parameters."""

import itertools
from collections.abc import Collection
from typing import TypedDict

import torch
from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.init import kaiming_uniform_, normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.sequence import in_turn

FIRES = {  # Table 1: channels of the squeezing 1x1, and of each of the two expanding convolutions
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}


class SqueezeNet(Classifier):
    """A convolution, eight fire modules, and a convolution to the classes; with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        conv1: channels and kernel size of the first convolution.
        pooled: the fire modules that a max pool stands before.
        min_sizes: the smallest side, px, by stem.
        stem: "imagenet", the paper's; "small", a first convolution of 3x3 and stride 1, for pictures under about 96 px.
        dropout: before the last convolution, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 21 (1.1: 17; small: 8) -> (N, num_classes). The last module sees 1/16 (small:
        1/8).

    Reference:
        Iandola et al. 2016, "SqueezeNet: AlexNet-level Accuracy with 50x Fewer Parameters and <0.5MB Model Size",
        arXiv:1602.07360, Table 1. `squeezenet1_1` is the authors' later release with 2.4 times fewer multiplications.

    Deviation:
        First weights are He's, and N(0, 0.01^2) in the last convolution, as in torchvision; the paper gives none. Table
        1 starts with 224 px and goes on with 111 px, which needs 227 px: here 224 px give 109. The "small" stem is not
        in the paper.

    Example:
        >>> net = SqueezeNet(num_classes=1000, **VARIANTS["squeezenet1_0"])
        >>> sum(parameter.numel() for parameter in net.parameters())
        1248424
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        conv1: tuple[int, int],
        pooled: Collection[int],
        min_sizes: dict[StemName, int],
        stem: StemName = "imagenet",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 512
        self.min_size = (min_sizes[stem], min_sizes[stem])
        channels, kernel_size = conv1
        is_small = stem == "small"
        first = (
            nn.Conv2d(in_channels, channels, 3, padding=1)
            if is_small
            else nn.Conv2d(in_channels, channels, kernel_size, stride=2)
        )
        layers: list[nn.Module] = [first, relu()]
        self._ends = [0, len(layers)]
        for number, (squeezed, expanded) in FIRES.items():
            if number in pooled:
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            layers.append(Fire(channels, squeezed, expanded))
            self._ends.append(len(layers))
            channels = 2 * expanded
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(self.num_features, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, relu(), GlobalAvgPool2d())
        kaiming_uniform_(self)
        normal_(last, std=0.01)

    def named_stages(self) -> dict[str, Stage]:
        layers = list(self.features)
        conv1, *fires = (in_turn(layers[start:end]) for start, end in itertools.pairwise(self._ends))
        return {
            "conv1": conv1,  # (N, 96, H/2, W/2), 1.1: 64; small stem: H, W
            # ends in (N, 512, H/16, W/16)
            **{f"fire{number}": fire for number, fire in zip(FIRES, fires, strict=True)},
            "head": self.classifier,  # (N, num_classes)
        }

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[1]


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side.

    The 3x3 kernels see few channels, and half of the outputs need none.

    Args:
        in_channels: channels of the input.
        squeezed: channels of the first convolution.
        expanded: channels of each of the other two.

    Shape:
        (N, in_channels, H, W) -> (N, 2 expanded, H, W).

    Reference:
        Iandola et al. 2016, arXiv:1602.07360, Sec. 3.2.
    """

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        out: Tensor = self.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))
        return out


class _Row(TypedDict):
    conv1: tuple[int, int]
    pooled: tuple[int, int, int]
    min_sizes: dict[StemName, int]


VARIANTS: dict[str, _Row] = {
    "squeezenet1_0": {"conv1": (96, 7), "pooled": (2, 5, 9), "min_sizes": {"imagenet": 21, "small": 8}},
    "squeezenet1_1": {"conv1": (64, 3), "pooled": (2, 4, 6), "min_sizes": {"imagenet": 17, "small": 8}},
}
