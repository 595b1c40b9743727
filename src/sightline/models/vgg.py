"""VGG: nothing but 3x3 convolutions and pools, up to 19 layers deep."""

import itertools
from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import Norm, relu
from sightline.nn.init import kaiming_normal_, normal_
from sightline.nn.sequence import in_turn

WIDTHS = (64, 128, 256, 512, 512)  # Table 1: channels of the five blocks


class VGG(Classifier):
    """Five blocks of 3x3 convolutions, each with a max pool at its end, and three dense layers.

    Two 3x3 kernels see as much as one 5x5, with fewer weights and a ReLU more.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        num_convs: convolutions in each of the five blocks.
        norm: after each convolution, from its number of channels; None for none, as in the paper.
        dropout: after each of the two hidden dense layers, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 -> (N, num_classes). The last block sees 1/32.

    Reference:
        Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        arXiv:1409.1556, Table 1, configurations A, B, D and E.

    Deviation:
        An adaptive average pool to 7x7 before the dense layers, as in torchvision, changes nothing at the paper's 224
        px and lets the network take other sizes. First weights are torchvision's, He's and in the dense layers
        N(0, 0.01^2), so that all layers can be trained at once; the paper draws them with a variance of 0.01 (Sec. 3.1)
        and starts the deep networks from the shallow ones. The `_bn` variants are torchvision's.

    Example:
        >>> net = VGG(num_classes=1000, num_convs=(1, 1, 2, 2, 2))
        >>> sum(parameter.numel() for parameter in net.parameters())
        132863336
    """

    min_size = (32, 32)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        num_convs: Sequence[int],
        norm: Norm | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 4096
        layers: list[nn.Module] = []
        self._block_ends = [0]
        before = in_channels
        for width, count in zip(WIDTHS, num_convs, strict=True):
            for channels in [before] + [width] * (count - 1):
                layers += [nn.Conv2d(channels, width, 3, padding=1), *([] if norm is None else [norm(width)]), relu()]
            layers.append(nn.MaxPool2d(2))
            self._block_ends.append(len(layers))
            before = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            relu(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            relu(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        kaiming_normal_(self)
        normal_(self.classifier, std=0.01)

    def named_stages(self) -> dict[str, Stage]:
        layers, dense = list(self.features), list(self.classifier)
        blocks = [in_turn(layers[start:end]) for start, end in itertools.pairwise(self._block_ends)]
        return {
            "block1": blocks[0],  # (N, 64, H/2, W/2)
            "block2": blocks[1],  # (N, 128, H/4, W/4)
            "block3": blocks[2],  # (N, 256, H/8, W/8)
            "block4": blocks[3],  # (N, 512, H/16, W/16)
            "block5": blocks[4],  # (N, 512, H/32, W/32)
            "fc6": self.fc6,  # (N, 4096), named as in the paper's AlexNet: the sixth level with weights
            "fc7": in_turn(dense[3:6]),  # (N, 4096)
            "head": self.classifier[6],  # (N, num_classes)
        }

    def fc6(self, x: Tensor) -> Tensor:
        """The average pool to 7x7 and the first dense layer."""
        out: Tensor = in_turn(list(self.classifier)[:3])(self.avgpool(x).flatten(1))
        return out

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[6]


class _Row(TypedDict):
    num_convs: tuple[int, int, int, int, int]
    norm: Norm | None


_CONFIGURATIONS = {  # Table 1
    "vgg11": (1, 1, 2, 2, 2),  # A
    "vgg13": (2, 2, 2, 2, 2),  # B
    "vgg16": (2, 2, 3, 3, 3),  # D
    "vgg19": (2, 2, 4, 4, 4),  # E
}
VARIANTS: dict[str, _Row] = {
    **{name: {"num_convs": num_convs, "norm": None} for name, num_convs in _CONFIGURATIONS.items()},
    **{f"{name}_bn": {"num_convs": num_convs, "norm": nn.BatchNorm2d} for name, num_convs in _CONFIGURATIONS.items()},
}
