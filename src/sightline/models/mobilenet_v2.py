"""MobileNet v2: residual units that are wide inside and thin where they are added."""

import itertools
from functools import partial

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.init import kaiming_normal_, normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.separable import (
    InvertedResidual,
    StageRow,
    conv_norm,
    inverted_residual_stages,
    keep_size_,
    relu6,
    round_channels,
    torchvision_v2_names,
)
from sightline.nn.sequence import in_turn

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280  # Table 2
TABLE_2 = [  # expansion, kernel, stride of the first unit, channels, units
    StageRow(1, 3, 1, 16, 1),
    StageRow(6, 3, 2, 24, 2),
    StageRow(6, 3, 2, 32, 3),
    StageRow(6, 3, 2, 64, 4),
    StageRow(6, 3, 1, 96, 3),
    StageRow(6, 3, 2, 160, 3),
    StageRow(6, 3, 1, 320, 1),
]


class MobileNetV2(Classifier):
    """The network of Table 2, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        width: the paper's width multiplier: times all channels, rounded to multiples of 8; the head's 1280 only grow.
        stem: "imagenet", the paper's; "small" keeps stride 1 in the first convolution and in the first strided unit,
            for pictures under about 96 px. The weights have the same shapes with both.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Sandler, Howard, Zhu, Zhmoginov and Chen 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        arXiv:1801.04381, Table 2.

    Deviation:
        Dropout of 0.2 is torchvision's, as in the authors' code; the paper has none. Padding is alike on both sides and
        the norms' eps is 1e-5, as in torchvision; the authors' code pads as TensorFlow does ("same") and has 1e-3. The
        "small" stem is not in the paper.

    Example:
        >>> net = MobileNetV2(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        3504872
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        stem: StemName = "imagenet",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_features = round_channels(max(1.0, width) * HEAD_CHANNELS)
        self.min_size = (8, 8) if stem == "small" else (32, 32)
        stem_channels = round_channels(width * STEM_CHANNELS)
        rows = [row._replace(channels=round_channels(width * row.channels)) for row in TABLE_2]
        norm = nn.BatchNorm2d
        unit = partial(InvertedResidual, norm=norm, act=relu6, names=torchvision_v2_names)
        stages = list(inverted_residual_stages(rows, stem_channels, unit))
        self.features = nn.Sequential(
            conv_norm(in_channels, stem_channels, 3, stride=2, norm=norm, act=relu6),
            *itertools.chain(*stages),
            conv_norm(rows[-1].channels, self.num_features, 1, norm=norm, act=relu6),
        )
        self._stage_ends = list(itertools.accumulate(map(len, stages), initial=0))
        self.avgpool = GlobalAvgPool2d()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.num_features, num_classes))
        kaiming_normal_(self)
        normal_(self.classifier, std=0.01)
        if stem == "small":
            keep_size_(self)

    def named_stages(self) -> dict[str, Stage]:
        stem, *units, conv_head = self.features
        stages = [in_turn(units[start:end]) for start, end in itertools.pairwise(self._stage_ends)]
        return {  # sizes with the ImageNet stem, four times as large with the small one
            "stem": stem,  # (N, 32, H/2, W/2)
            "stage1": stages[0],  # (N, 16, H/2, W/2)
            "stage2": stages[1],  # (N, 24, H/4, W/4)
            "stage3": stages[2],  # (N, 32, H/8, W/8)
            "stage4": stages[3],  # (N, 64, H/16, W/16)
            "stage5": stages[4],  # (N, 96, H/16, W/16)
            "stage6": stages[5],  # (N, 160, H/32, W/32)
            "stage7": stages[6],  # (N, 320, H/32, W/32)
            "conv_head": conv_head,  # (N, 1280, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.classifier(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[1]


VARIANTS = {"mobilenet_v2": {"width": 1.0}}
