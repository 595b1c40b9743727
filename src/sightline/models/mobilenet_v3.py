"""MobileNet v3: the inverted residual with squeeze-and-excitation, each unit's numbers found by search."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import Norm, relu
from sightline.nn.init import kaiming_normal_, normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.separable import InvertedResidual, conv_norm, keep_size_, round_channels
from sightline.nn.sequence import in_turn
from sightline.nn.squeeze import SqueezeExcite

STEM_CHANNELS = 16


class Bneck(NamedTuple):
    """A row of Tables 1 and 2, in their columns' order and letters."""

    kernel_size: int
    exp_size: int
    out: int
    se: Literal["SE", ""]
    nl: Literal["RE", "HS"]  # ReLU or hard-swish
    s: int


LARGE = [  # Table 1
    Bneck(3, 16, 16, "", "RE", 1),
    Bneck(3, 64, 24, "", "RE", 2),
    Bneck(3, 72, 24, "", "RE", 1),
    Bneck(5, 72, 40, "SE", "RE", 2),
    Bneck(5, 120, 40, "SE", "RE", 1),
    Bneck(5, 120, 40, "SE", "RE", 1),
    Bneck(3, 240, 80, "", "HS", 2),
    Bneck(3, 200, 80, "", "HS", 1),
    Bneck(3, 184, 80, "", "HS", 1),
    Bneck(3, 184, 80, "", "HS", 1),
    Bneck(3, 480, 112, "SE", "HS", 1),
    Bneck(3, 672, 112, "SE", "HS", 1),
    Bneck(5, 672, 160, "SE", "HS", 2),
    Bneck(5, 960, 160, "SE", "HS", 1),
    Bneck(5, 960, 160, "SE", "HS", 1),
]
SMALL = [  # Table 2
    Bneck(3, 16, 16, "SE", "RE", 2),
    Bneck(3, 72, 24, "", "RE", 2),
    Bneck(3, 88, 24, "", "RE", 1),
    Bneck(5, 96, 40, "SE", "HS", 2),
    Bneck(5, 240, 40, "SE", "HS", 1),
    Bneck(5, 240, 40, "SE", "HS", 1),
    Bneck(5, 120, 48, "SE", "HS", 1),
    Bneck(5, 144, 48, "SE", "HS", 1),
    Bneck(5, 288, 96, "SE", "HS", 2),
    Bneck(5, 576, 96, "SE", "HS", 1),
    Bneck(5, 576, 96, "SE", "HS", 1),
]


class MobileNetV3(Classifier):
    """The networks of Tables 1 and 2, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        units: the table's rows.
        hidden: features of the dense layer before the last.
        stem: "imagenet", the paper's; "small" keeps stride 1 in the first convolution and in the first strided unit,
            for pictures under about 96 px. The weights have the same shapes with both.
        dropout: before the last dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, Tables 1 and 2; hard-swish Sec. 5.2,
        squeeze-and-excitation Sec. 5.3, the last layers Sec. 5.1.

    Deviation:
        The narrow part of squeeze-and-excitation is a quarter of the wide one, rounded to a multiple of 8, as in the
        authors' code. Padding is alike on both sides, as in torchvision; the authors' code pads as TensorFlow does
        ("same"). Of the small network torchvision, timm and Keras all have 56.5 million multiplications and 2.54
        million parameters, as here, where the authors' page of checkpoints lists 66 and 2.9. The "small" stem is not in
        the paper.

    Example:
        >>> net = MobileNetV3(num_classes=1000, units=LARGE, hidden=1280)
        >>> sum(parameter.numel() for parameter in net.parameters())
        5483032
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        units: Sequence[Bneck],
        hidden: int,
        stem: StemName = "imagenet",
        dropout: float = 0.2,  # torchvision and the authors' code
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, hidden
        self.min_size = (8, 8) if stem == "small" else (32, 32)
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        channels = [STEM_CHANNELS, *(row.out for row in units)]
        last = units[-1]
        self.features = nn.Sequential(
            conv_norm(in_channels, STEM_CHANNELS, 3, stride=2, norm=norm, act=_hard_swish),
            *(_bneck(before, row, norm) for before, row in zip(channels, units, strict=False)),
            conv_norm(last.out, last.exp_size, 1, norm=norm, act=_hard_swish),
        )
        runs = [len(list(run)) for _, run in itertools.groupby(channels[1:])]
        self._stage_ends = list(itertools.accumulate(runs, initial=0))
        self.avgpool = GlobalAvgPool2d()
        self.classifier = nn.Sequential(
            nn.Linear(last.exp_size, hidden), _hard_swish(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )
        kaiming_normal_(self)
        normal_(self.classifier, std=0.01)
        if stem == "small":
            keep_size_(self)

    def named_stages(self) -> dict[str, Stage]:
        """A stage is a run of units of one width; sizes with the ImageNet stem, large / small network."""
        stem, *units, conv_head = self.features
        stages = [in_turn(units[start:end]) for start, end in itertools.pairwise(self._stage_ends)]
        return {
            "stem": stem,  # (N, 16, H/2, W/2)
            # stage1: (N, 16, H/2, W/2) / (N, 16, H/4, W/4)
            # stage2: (N, 24, H/4, W/4) / (N, 24, H/8, W/8)
            # stage3: (N, 40, H/8, W/8) / (N, 40, H/16, W/16)
            # stage4: (N, 80, H/16, W/16) / (N, 48, H/16, W/16)
            # stage5: (N, 112, H/16, W/16) / (N, 96, H/32, W/32)
            # stage6: (N, 160, H/32, W/32) / none
            **{f"stage{number}": stage for number, stage in enumerate(stages, start=1)},
            "conv_head": conv_head,  # (N, 960, H/32, W/32) / (N, 576, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the two dense layers: cheaper than another convolution on the map (Sec. 5.1)."""
        logits: Tensor = self.classifier(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[3]


def _hard_swish() -> nn.Hardswish:
    return nn.Hardswish(inplace=True)


def _bneck(in_channels: int, row: Bneck, norm: Norm) -> InvertedResidual:
    """The unit of Fig. 4."""
    narrow = round_channels(row.exp_size / 4)
    return InvertedResidual(
        in_channels,
        row.out,
        expanded_channels=row.exp_size,
        kernel_size=row.kernel_size,
        stride=row.s,
        norm=norm,
        act=_hard_swish if row.nl == "HS" else relu,
        squeeze=SqueezeExcite(row.exp_size, narrow, gate=nn.Hardsigmoid) if row.se else None,
    )


VARIANTS: dict[str, dict[str, Any]] = {  # hidden: features of the dense layer before the last
    "mobilenet_v3_small": {"units": SMALL, "hidden": 1024},
    "mobilenet_v3_large": {"units": LARGE, "hidden": 1280},
}
