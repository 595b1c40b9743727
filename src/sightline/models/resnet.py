"""ResNet for ImageNet, 18 to 152 layers, and what grew from it: wide ResNet, ResNeXt, and plain networks to compare."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, OutputStride, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.residual import LATE_STAGES, BasicBlock, Bottleneck, PlainBlock, residual_stage

ImageNetBlock = type[BasicBlock] | type[Bottleneck] | type[PlainBlock]


class ResNet(Classifier):
    """The residual network for photographs, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        block: the unit.
        num_blocks: units in each of the four stages.
        channels: of the 3x3 convolutions in the first stage; each further stage has twice as many.
        out_channels: of the first stage's output; each further stage has twice as many.
        groups: parts that the channels of each 3x3 convolution are split into; ResNeXt's cardinality.
        stem: "imagenet", the paper's 7x7 convolution of stride 2 and 3x3 max pool of stride 2; "small", a 3x3
            convolution of stride 1 and no pool, for pictures under about 96 px, of which the paper's stem leaves
            little.
        output_stride: how much smaller than the picture the last map is, with the ImageNet stem. Below 32 the last
            stages keep the size and dilate their 3x3 convolutions instead. Each then still meets the values that it was
            trained on, so that weights fit as they are: see `LATE_STAGES`.
        dropout: before the dense layer, in [0, 1).
        drop_path: stochastic depth: probability with which the last unit's branch is left out of a training step, in
            [0, 1); see `stochastic_depth_`. Not for plain networks, which have no other way round.

    Shape:
        (N, in_channels, H, W), H and W >= output_stride (small stem: a quarter of it) -> (N, num_classes).

    Reference:
        He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Table 1; plain
        networks: Sec. 3.3. Zagoruyko and Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146, Table 8. Xie,
        Girshick, Dollár, Tu and He 2016, "Aggregated Residual Transformations for Deep Neural Networks",
        arXiv:1611.05431, Table 1. Dilation: Chen et al. 2017, arXiv:1706.05587, Sec. 3.1.

    Deviation:
        Dropout, off by default, is not in the papers. The "small" stem is the field's custom for CIFAR; the paper has
        the networks of Sec. 4.2 instead (`CifarResNet`). See `Bottleneck` for the place of the stride.

    Example:
        >>> net = ResNet(num_classes=1000, **VARIANTS["resnet18"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        11689512
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        block: ImageNetBlock,
        num_blocks: Sequence[int],
        channels: int,
        out_channels: int,
        groups: int = 1,
        stem: StemName = "imagenet",
        output_stride: OutputStride = 32,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 8 * out_channels
        is_small = stem == "small"
        smallest = output_stride // 4 if is_small else output_stride
        self.min_size = (smallest, smallest)
        kernel_size, stride, padding = (3, 1, 1) if is_small else (7, 2, 3)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = relu()
        self.maxpool = nn.Identity() if is_small else nn.MaxPool2d(3, stride=2, padding=1)
        unit, (third, fourth) = partial(block, groups=groups), LATE_STAGES[output_stride]
        c, out = channels, out_channels
        self.layer1 = residual_stage(unit, 64, c, out, num_blocks[0])
        self.layer2 = residual_stage(unit, out, 2 * c, 2 * out, num_blocks[1], stride=2)
        self.layer3 = residual_stage(unit, 2 * out, 4 * c, 4 * out, num_blocks[2], **third._asdict())
        self.layer4 = residual_stage(unit, 4 * out, 8 * c, 8 * out, num_blocks[3], **fourth._asdict())
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)
        kaiming_normal_(self)
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
        return {  # sizes with the ImageNet stem; four times as large with the small one
            "stem": self.stem,  # (N, 64, H/4, W/4)
            "layer1": self.layer1,  # (N, out, H/4, W/4), out = 64 with BasicBlock, 256 with Bottleneck
            "layer2": self.layer2,  # (N, 2 out, H/8, W/8)
            "layer3": self.layer3,  # (N, 4 out, H/16, W/16), at an output_stride of 8: H/8, W/8
            "layer4": self.layer4,  # (N, 8 out, H/32, W/32), at an output_stride of s: H/s, W/s
            "head": self.head,  # (N, num_classes)
        }

    def stem(self, x: Tensor) -> Tensor:
        """The first convolution and the max pool."""
        pooled: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return pooled

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `ResNet`."""

    block: ImageNetBlock
    num_blocks: tuple[int, int, int, int]
    channels: int
    out_channels: int
    groups: int = 1


VARIANTS = {  # He et al., Table 1
    "resnet18": Variant(BasicBlock, (2, 2, 2, 2), 64, 64),
    "resnet34": Variant(BasicBlock, (3, 4, 6, 3), 64, 64),
    "resnet50": Variant(Bottleneck, (3, 4, 6, 3), 64, 256),
    "resnet101": Variant(Bottleneck, (3, 4, 23, 3), 64, 256),
    "resnet152": Variant(Bottleneck, (3, 8, 36, 3), 64, 256),
}
WIDE_VARIANTS = {  # Zagoruyko and Komodakis, Table 8: twice the channels in the middle
    "wide_resnet50_2": Variant(Bottleneck, (3, 4, 6, 3), 128, 256),
    "wide_resnet101_2": Variant(Bottleneck, (3, 4, 23, 3), 128, 256),  # not in the paper: torchvision's
}
RESNEXT_VARIANTS = {  # Xie et al., Tables 1 and 4: the channels are those of the name, groups x width
    "resnext50_32x4d": Variant(Bottleneck, (3, 4, 6, 3), 32 * 4, 256, groups=32),
    "resnext101_32x8d": Variant(Bottleneck, (3, 4, 23, 3), 32 * 8, 256, groups=32),  # not in the paper: torchvision's
    "resnext101_64x4d": Variant(Bottleneck, (3, 4, 23, 3), 64 * 4, 256, groups=64),
}
PLAIN_VARIANTS = {  # He et al., Table 2: without shortcuts
    "plain18": Variant(PlainBlock, (2, 2, 2, 2), 64, 64),
    "plain34": Variant(PlainBlock, (3, 4, 6, 3), 64, 64),
}
