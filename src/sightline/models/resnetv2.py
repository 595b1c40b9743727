"""Pre-activation ResNet for ImageNet, 18 to 152 layers."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, OutputStride, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.preactivation import PreActBasicBlock, PreActBottleneck
from sightline.nn.residual import LATE_STAGES, residual_stage


class ResNetV2(Classifier):
    """The residual network with norm and activation before each convolution, with timm's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        block: the unit.
        num_blocks: units in each of the four stages.
        out_channels: of the first stage's output: 64, or 256 with bottlenecks; each further stage has twice as many.
        stem: "imagenet", the paper's 7x7 convolution of stride 2 and 3x3 max pool of stride 2; "small", a 3x3
            convolution of stride 1 and no pool, for pictures under about 96 px.
        output_stride: how much smaller than the picture the last map is, with the ImageNet stem; see `ResNet`.
        dropout: before the dense layer, in [0, 1).
        drop_path: stochastic depth: probability with which the last unit's branch is left out of a training step, in
            [0, 1); see `stochastic_depth_`.

    Shape:
        (N, in_channels, H, W), H and W >= output_stride (small stem: a quarter of it) -> (N, num_classes).

    Reference:
        He, Zhang, Ren and Sun 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027, Sec. 4 and 5.

    Deviation:
        As in timm, the stem is a convolution and a pool alone: the paper's first activation, between the two and before
        both paths of the first unit, comes after the pool and, where that unit's shortcut is the identity (18 and 34
        layers), on its branch only. Parameters are the same. Dropout and the "small" stem are not in the paper; with
        the latter, `resnetv2_18` is kuangliu/pytorch-cifar's PreActResNet18 with the paper's last activation, which
        that leaves out. See `PreActBottleneck` for the place of the stride.

    Example:
        >>> net = ResNetV2(num_classes=1000, **VARIANTS["resnetv2_18"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        11687720
        >>> [name for name in net.state_dict() if name.startswith("stages.0.blocks.0.conv")]
        ['stages.0.blocks.0.conv1.weight', 'stages.0.blocks.0.conv2.weight']
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        block: type[PreActBasicBlock] | type[PreActBottleneck],
        num_blocks: Sequence[int],
        out_channels: int,
        stem: StemName = "imagenet",
        output_stride: OutputStride = 32,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        out = out_channels
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 8 * out
        is_small = stem == "small"
        smallest = output_stride // 4 if is_small else output_stride
        self.min_size = (smallest, smallest)
        kernel_size, stride, padding = (3, 1, 1) if is_small else (7, 2, 3)
        conv = nn.Conv2d(in_channels, 64, kernel_size, stride=stride, padding=padding, bias=False)
        pool = nn.Identity() if is_small else nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(OrderedDict(conv=conv, pool=pool))
        third, fourth = LATE_STAGES[output_stride]
        self.stages = nn.Sequential(
            _stage(residual_stage(block, 64, 64, out, num_blocks[0])),
            _stage(residual_stage(block, out, 128, 2 * out, num_blocks[1], stride=2)),
            _stage(residual_stage(block, 2 * out, 256, 4 * out, num_blocks[2], **third._asdict())),
            _stage(residual_stage(block, 4 * out, 512, 8 * out, num_blocks[3], **fourth._asdict())),
        )
        self.norm = nn.BatchNorm2d(8 * out)
        self.relu = relu()
        kaiming_normal_(self)
        self.head = _Head(8 * out, num_classes, dropout)  # after the first weights: a dense layer has torch's default
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
        return {  # sizes with the ImageNet stem; four times as large with the small one
            "stem": self.stem,  # (N, 64, H/4, W/4)
            "layer1": self.stages[0],  # (N, out, H/4, W/4), out = 64 with PreActBasicBlock, 256 with PreActBottleneck
            "layer2": self.stages[1],  # (N, 2 out, H/8, W/8)
            "layer3": self.stages[2],  # (N, 4 out, H/16, W/16), at an output_stride of 8: H/8, W/8
            "layer4": self.stages[3],  # (N, 8 out, H/32, W/32), at an output_stride of s: H/s, W/s
            "norm": self.last_activation,  # as layer4
            "head": self.head,  # (N, num_classes)
        }

    def last_activation(self, x: Tensor) -> Tensor:
        """What the units begin with, once more after the last of them."""
        out: Tensor = self.relu(self.norm(x))
        return out

    @property
    def classifier_head(self) -> nn.Conv2d:
        return self.head.fc


def _stage(blocks: nn.Module) -> nn.Sequential:
    """A run of units under timm's name for it."""
    return nn.Sequential(OrderedDict(blocks=blocks))


class _Head(nn.Module):
    """Global average pool and the dense layer, which timm writes as a 1x1 convolution."""

    def __init__(self, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Conv2d(num_features, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits.flatten(1)


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `ResNetV2`."""

    block: type[PreActBasicBlock] | type[PreActBottleneck]
    num_blocks: tuple[int, int, int, int]
    out_channels: int


VARIANTS = {
    "resnetv2_18": Variant(PreActBasicBlock, (2, 2, 2, 2), 64),
    "resnetv2_34": Variant(PreActBasicBlock, (3, 4, 6, 3), 64),
    "resnetv2_50": Variant(PreActBottleneck, (3, 4, 6, 3), 256),
    "resnetv2_101": Variant(PreActBottleneck, (3, 4, 23, 3), 256),
    "resnetv2_152": Variant(PreActBottleneck, (3, 8, 36, 3), 256),
}
