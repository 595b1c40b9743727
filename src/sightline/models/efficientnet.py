"""EfficientNet: one network found by search (B0), and seven scaled up from it by a rule (B1 to B7)."""

import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import Norm
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.separable import (
    InvertedResidual,
    StageRow,
    conv_norm,
    inverted_residual_stages,
    keep_size_,
    round_channels,
)
from sightline.nn.squeeze import SqueezeExcite

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280  # Table 1, stages 1 and 9
TABLE_1 = [  # stages 2 to 8 of B0: expansion, kernel, stride of the first unit, channels, units
    StageRow(1, 3, 1, 16, 1),
    StageRow(6, 3, 2, 24, 2),
    StageRow(6, 5, 2, 40, 2),
    StageRow(6, 3, 2, 80, 3),
    StageRow(6, 5, 1, 112, 3),
    StageRow(6, 5, 2, 192, 4),
    StageRow(6, 3, 1, 320, 1),
]


class EfficientNet(Classifier):
    """The networks B0 to B7, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        width: times the channels of B0, rounded to multiples of 8.
        depth: times the units of each stage of B0, rounded up.
        norm_eps: added to the variances that the batch norms divide by.
        norm_momentum: how much of the running statistics a training step replaces.
        stem: "imagenet", the paper's; "small" keeps stride 1 in the first convolution and in the first strided stage,
            for pictures under about 96 px. The weights have the same shapes with both.
        dropout: before the dense layer, in [0, 1).
        drop_path: probability with which the last unit that can be is left out of a training step; earlier ones in
            proportion. A unit can be where its input is added to its output.

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946,
        Table 1 and Sec. 3.3. The multipliers of B1 to B7 are those of the published code; the paper gives the rule.

    Deviation:
        Strided convolutions are padded alike on both sides, as in torchvision and timm. The authors' code pads one
        pixel less before than after ("same"), so that their weights see pictures shifted by a pixel. Its batch norms
        have an eps of 1e-3 and a momentum of 0.01; here, as in torchvision, B0 to B4 have torch's 1e-5 and 0.1.
        The dense layer begins as torch makes it, by its inputs: the authors spread it by its outputs, which is the same
        for 1000 classes, and for two makes the first logits 20 times as large. The "small" stem is not in the paper.

    Example:
        >>> net = EfficientNet(num_classes=1000, width=1.0, depth=1.0, dropout=0.2)
        >>> sum(parameter.numel() for parameter in net.parameters())
        5288548
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float,
        depth: float,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        stem: StemName = "imagenet",
        dropout: float,
        drop_path: float = 0.2,  # the published code
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_features = round_channels(width * HEAD_CHANNELS)
        self.min_size = (8, 8) if stem == "small" else (32, 32)
        stem_channels = round_channels(width * STEM_CHANNELS)
        rows = scaled(width, depth)
        norm = partial(nn.BatchNorm2d, eps=norm_eps, momentum=norm_momentum)
        self.features = nn.Sequential(
            conv_norm(in_channels, stem_channels, 3, stride=2, norm=norm, act=_silu),
            *(
                nn.Sequential(*units)
                for units in inverted_residual_stages(rows, stem_channels, partial(_mbconv, norm=norm))
            ),
            conv_norm(rows[-1].channels, self.num_features, 1, norm=norm, act=_silu),
        )
        self.avgpool = GlobalAvgPool2d()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.num_features, num_classes))
        kaiming_normal_(self)
        stochastic_depth_(self, drop_path)
        if stem == "small":
            keep_size_(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # channels of B0; sizes with the ImageNet stem, four times as large with the small one
            "stem": self.features[0],  # (N, 32, H/2, W/2)
            "stage1": self.features[1],  # (N, 16, H/2, W/2)
            "stage2": self.features[2],  # (N, 24, H/4, W/4)
            "stage3": self.features[3],  # (N, 40, H/8, W/8)
            "stage4": self.features[4],  # (N, 80, H/16, W/16)
            "stage5": self.features[5],  # (N, 112, H/16, W/16)
            "stage6": self.features[6],  # (N, 192, H/32, W/32)
            "stage7": self.features[7],  # (N, 320, H/32, W/32)
            "conv_head": self.features[8],  # (N, 1280, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.classifier(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[1]


def scaled(width: float, depth: float) -> list[StageRow]:
    """Table 1 with more channels and more units.

    Args:
        width: times the channels, rounded to multiples of 8.
        depth: times the units of each stage, rounded up.

    Reference:
        Tan and Le 2019, arXiv:1905.11946, Sec. 3.3.
    """
    return [
        row._replace(channels=round_channels(width * row.channels), num_units=math.ceil(depth * row.num_units))
        for row in TABLE_1
    ]


def _silu() -> nn.SiLU:
    return nn.SiLU(inplace=True)


def _mbconv(
    in_channels: int, out_channels: int, *, expanded_channels: int, norm: Norm, **numbers: Any
) -> InvertedResidual:
    """The inverted residual with squeeze-and-excitation, whose narrow part has a quarter of the unit's *input*."""
    return InvertedResidual(
        in_channels,
        out_channels,
        expanded_channels=expanded_channels,
        norm=norm,
        act=_silu,
        squeeze=SqueezeExcite(expanded_channels, in_channels // 4, act=_silu),
        **numbers,
    )


# Side of the pictures, px, and the arguments, both from the published code.
VARIANTS: dict[str, tuple[int, dict[str, float]]] = {
    "efficientnet_b0": (224, {"width": 1.0, "depth": 1.0, "dropout": 0.2}),
    "efficientnet_b1": (240, {"width": 1.0, "depth": 1.1, "dropout": 0.2}),
    "efficientnet_b2": (260, {"width": 1.1, "depth": 1.2, "dropout": 0.3}),
    "efficientnet_b3": (300, {"width": 1.2, "depth": 1.4, "dropout": 0.3}),
    "efficientnet_b4": (380, {"width": 1.4, "depth": 1.8, "dropout": 0.4}),
    # From here on torchvision's weights were trained with TensorFlow's numbers for the batch norms.
    "efficientnet_b5": (456, {"width": 1.6, "depth": 2.2, "dropout": 0.4, "norm_eps": 1e-3, "norm_momentum": 0.01}),
    "efficientnet_b6": (528, {"width": 1.8, "depth": 2.6, "dropout": 0.5, "norm_eps": 1e-3, "norm_momentum": 0.01}),
    "efficientnet_b7": (600, {"width": 2.0, "depth": 3.1, "dropout": 0.5, "norm_eps": 1e-3, "norm_momentum": 0.01}),
}
