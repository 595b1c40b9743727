"""EfficientNet-Lite: EfficientNet without what phones and 8-bit arithmetic handle badly."""

from functools import partial

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.models.efficientnet import HEAD_CHANNELS, STEM_CHANNELS, scaled
from sightline.nn.conv import SameConv2d
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_by_group_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.separable import InvertedResidual, inverted_residual_stages, keep_size_, relu6, timm_names


class EfficientNetLite(Classifier):
    """The networks Lite0 to Lite4, with timm's state-dict names.

    EfficientNet with no squeeze-and-excitation, and ReLU6 for SiLU. The stem, the head and the number of units in the
    first and the last stage are not scaled.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        width: times the channels of B0, rounded to multiples of 8.
        depth: times the units of each stage of B0 but the first and the last, rounded up.
        stem: as in `EfficientNet`.
        dropout: before the dense layer, in [0, 1).
        drop_path: as in `EfficientNet`.

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, and its code.
        The network is that of Tan and Le 2019, arXiv:1905.11946.

    Deviation:
        The "small" stem and the dense layer's first weights: as in `EfficientNet`. Padding and the batch norms' eps of
        1e-3 are the authors', under which their weights were trained: what timm calls `tf_efficientnet_lite0`. timm's
        `efficientnet_lite0` has the same names and shapes, is padded alike on both sides, and has torch's 1e-5. The
        momentum of the norms is torch's 0.1, the authors' 0.01: it matters to training alone.

    Example:
        >>> net = EfficientNetLite(num_classes=1000, width=1.0, depth=1.0, dropout=0.2)
        >>> sum(parameter.numel() for parameter in net.parameters())
        4652008
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float,
        depth: float,
        stem: StemName = "imagenet",
        dropout: float,
        drop_path: float = 0.2,  # the published code
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, HEAD_CHANNELS
        self.min_size = (8, 8) if stem == "small" else (32, 32)
        first, *middle, last = scaled(width, depth)
        rows = [first._replace(num_units=1), *middle, last._replace(num_units=1)]
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        unit = partial(InvertedResidual, conv=SameConv2d, norm=norm, act=relu6, names=timm_names)
        self.conv_stem = SameConv2d(in_channels, STEM_CHANNELS, 3, stride=2, bias=False)
        self.bn1 = norm(STEM_CHANNELS)
        self.blocks = nn.Sequential(
            *(nn.Sequential(*units) for units in inverted_residual_stages(rows, STEM_CHANNELS, unit))
        )
        self.conv_head = nn.Conv2d(last.channels, HEAD_CHANNELS, 1, bias=False)
        self.bn2 = norm(HEAD_CHANNELS)
        self.act = relu6()
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)
        kaiming_normal_by_group_(self)
        stochastic_depth_(self, drop_path)
        if stem == "small":
            keep_size_(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # channels of Lite0; sizes with the ImageNet stem, four times as large with the small one
            "stem": lambda x: self.act(self.bn1(self.conv_stem(x))),  # (N, 32, H/2, W/2)
            "stage1": self.blocks[0],  # (N, 16, H/2, W/2)
            "stage2": self.blocks[1],  # (N, 24, H/4, W/4)
            "stage3": self.blocks[2],  # (N, 40, H/8, W/8)
            "stage4": self.blocks[3],  # (N, 80, H/16, W/16)
            "stage5": self.blocks[4],  # (N, 112, H/16, W/16)
            "stage6": self.blocks[5],  # (N, 192, H/32, W/32)
            "stage7": self.blocks[6],  # (N, 320, H/32, W/32)
            "conv_head": lambda x: self.act(self.bn2(self.conv_head(x))),  # (N, 1280, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.classifier(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.classifier


# Side of the pictures, px, and the arguments, both from the published code.
VARIANTS: dict[str, tuple[int, dict[str, float]]] = {
    "efficientnet_lite0": (224, {"width": 1.0, "depth": 1.0, "dropout": 0.2}),
    "efficientnet_lite1": (240, {"width": 1.0, "depth": 1.1, "dropout": 0.2}),
    "efficientnet_lite2": (260, {"width": 1.1, "depth": 1.2, "dropout": 0.3}),
    "efficientnet_lite3": (280, {"width": 1.2, "depth": 1.4, "dropout": 0.3}),
    "efficientnet_lite4": (300, {"width": 1.4, "depth": 1.8, "dropout": 0.3}),
}
