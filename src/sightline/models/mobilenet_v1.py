"""MobileNet v1: every 3x3 convolution but the first split into a depthwise and a 1x1, for phones."""

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.init import kaiming_normal_by_group_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.separable import DepthwiseSeparable, keep_size_, relu6, round_channels

STEM_CHANNELS = 32  # Table 1
TABLE_1 = [(1, 64, 1), (2, 128, 2), (2, 256, 2), (6, 512, 2), (2, 1024, 2)]  # units, channels, stride of the first


class MobileNetV1(Classifier):
    """The network of Table 1, with timm's state-dict names (torchvision has none).

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        width: the paper's width multiplier α: times all channels, rounded to multiples of 8.
        stem: "imagenet", the paper's; "small" keeps stride 1 in the first convolution and in the first strided unit,
            for pictures under about 96 px. The weights have the same shapes with both.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
        arXiv:1704.04861, Table 1; first weights as in the published code of EfficientNet and in timm.

    Deviation:
        ReLU6 for ReLU, as in the authors' code, Keras and timm: it loses nothing and suits 8-bit arithmetic. The last
        unit has stride 1; Table 1 prints 2, which its own sizes contradict. Dropout, off by default (0.001 in the
        authors' code), and the "small" stem are not in the paper. Padding is alike on both sides and the norms' eps is
        1e-5, as in timm; the authors' code pads as TensorFlow does ("same") and has 1e-3.

    Example:
        >>> net = MobileNetV1(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        4231976
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        stem: StemName = "imagenet",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.min_size = (8, 8) if stem == "small" else (32, 32)
        channels = round_channels(width * STEM_CHANNELS)
        self.conv_stem = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = relu6()
        self.blocks = nn.Sequential()
        for num_units, wider, stride in TABLE_1:
            out_channels = round_channels(width * wider)
            first = DepthwiseSeparable(channels, out_channels, stride=stride, act=relu6)
            others = (DepthwiseSeparable(out_channels, out_channels, act=relu6) for _ in range(num_units - 1))
            self.blocks.append(nn.Sequential(first, *others))
            channels = out_channels
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.num_features = channels
        self.classifier = nn.Linear(channels, num_classes)
        kaiming_normal_by_group_(self)
        if stem == "small":
            keep_size_(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # sizes with the ImageNet stem, four times as large with the small one
            "stem": lambda x: self.act(self.bn1(self.conv_stem(x))),  # (N, 32, H/2, W/2)
            "stage1": self.blocks[0],  # (N, 64, H/2, W/2)
            "stage2": self.blocks[1],  # (N, 128, H/4, W/4)
            "stage3": self.blocks[2],  # (N, 256, H/8, W/8)
            "stage4": self.blocks[3],  # (N, 512, H/16, W/16)
            "stage5": self.blocks[4],  # (N, 1024, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.classifier(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.classifier


VARIANTS = {"mobilenet_v1": {"width": 1.0}}
