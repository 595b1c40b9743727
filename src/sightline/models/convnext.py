"""ConvNeXt: a residual network modernised step by step until it meets the vision transformers (tiny to large)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.drop import StochasticDepth, stochastic_depth_
from sightline.nn.init import trunc_normal_
from sightline.nn.norm import LayerNorm2d

LAYER_SCALE = 1e-6  # Table 5
NORM_EPS = 1e-6  # the published code


class ConvNeXt(Classifier):
    """Four stages of wide depthwise convolutions and dense layers on the channels; torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        channels: of each of the four stages.
        num_blocks: units in each of the four stages.
        drop_path: probability with which the last unit is left out of a training step; earlier ones in proportion.
        stem: "imagenet", the paper's 4x4 patches that touch; "small", a 3x3 convolution of stride 1, for pictures
            under about 96 px.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Liu, Mao, Wu, Feichtenhofer, Darrell and Xie 2022, "A ConvNet for the 2020s", arXiv:2201.03545, Sec. 3,
        Tables 5 and 9.

    Deviation:
        Dropout, off by default, and the "small" stem are not in the paper.

    Example:
        >>> net = ConvNeXt(num_classes=1000, channels=(96, 192, 384, 768), num_blocks=(3, 3, 9, 3), drop_path=0.1)
        >>> sum(parameter.numel() for parameter in net.parameters())
        28589128
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: Sequence[int],
        num_blocks: Sequence[int],
        drop_path: float,
        stem: StemName = "imagenet",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, channels[-1]
        is_small = stem == "small"
        self.min_size = (8, 8) if is_small else (32, 32)
        kernel_size, stride, padding = (3, 1, 1) if is_small else (4, 4, 0)
        patches = nn.Conv2d(in_channels, channels[0], kernel_size, stride=stride, padding=padding)
        self.features = nn.Sequential(nn.Sequential(patches, LayerNorm2d(channels[0], NORM_EPS)))
        for stage, (width, count) in enumerate(zip(channels, num_blocks, strict=True)):
            if stage > 0:
                before = channels[stage - 1]
                halve = nn.Conv2d(before, width, 2, stride=2)
                self.features.append(nn.Sequential(LayerNorm2d(before, NORM_EPS), halve))
            self.features.append(nn.Sequential(*(_Block(width) for _ in range(count))))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            LayerNorm2d(self.num_features, NORM_EPS),
            nn.Sequential(nn.Flatten(), nn.Dropout(dropout)),
            nn.Linear(self.num_features, num_classes),
        )
        trunc_normal_(self, std=0.02)
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
        return {  # channels of convnext_tiny; sizes with the ImageNet stem, four times as large with the small one
            "stem": self.features[0],  # (N, 96, H/4, W/4)
            "stage1": self.features[1],  # (N, 96, H/4, W/4)
            "downsample2": self.features[2],  # (N, 192, H/8, W/8)
            "stage2": self.features[3],  # (N, 192, H/8, W/8)
            "downsample3": self.features[4],  # (N, 384, H/16, W/16)
            "stage3": self.features[5],  # (N, 384, H/16, W/16)
            "downsample4": self.features[6],  # (N, 768, H/32, W/32)
            "stage4": self.features[7],  # (N, 768, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool, norm and the dense layer."""
        logits: Tensor = self.classifier(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[2]


class _Block(nn.Module):
    """Depthwise 7x7, norm, and two dense layers on the channels of each place; Fig. 4 of the paper.

    The branch begins at a millionth of its size, so that a deep network is at first nearly the identity.

    Args:
        channels: of the input and the output; four times as many between the dense layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _Permute(0, 2, 3, 1),  # (N, H, W, C): dense layers take the last axis
            nn.LayerNorm(channels, eps=NORM_EPS),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            _Permute(0, 3, 1, 2),  # (N, C, H, W)
        )
        self.drop_path = StochasticDepth(0.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop_path(self.layer_scale * self.block(x))
        out += x  # in place: no layer needs its own output again
        return out


class _Permute(nn.Module):
    """Another order of the axes, without moving anything in memory."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.axes)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.axes))


VARIANTS: dict[str, dict[str, object]] = {  # Sec. 3; stochastic depth as in Table 5
    "convnext_tiny": {"channels": (96, 192, 384, 768), "num_blocks": (3, 3, 9, 3), "drop_path": 0.1},
    "convnext_small": {"channels": (96, 192, 384, 768), "num_blocks": (3, 3, 27, 3), "drop_path": 0.4},
    "convnext_base": {"channels": (128, 256, 512, 1024), "num_blocks": (3, 3, 27, 3), "drop_path": 0.5},
    "convnext_large": {"channels": (192, 384, 768, 1536), "num_blocks": (3, 3, 27, 3), "drop_path": 0.5},
}
