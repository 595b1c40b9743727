"""ResNet: for ImageNet (18 to 152 layers) and, in a thinner form, for CIFAR (20 to 110 layers)."""

from collections.abc import Sequence

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.residual import BasicBlock, Block, Bottleneck, PaddedShortcut, residual_stage


class ResNet(Classifier):
    """The residual network for photographs, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        block: the residual unit.
        num_blocks: units in each of the four stages.
        stem: "imagenet", the paper's 7x7 convolution of stride 2 and 3x3 max pool of stride 2; "small", a 3x3
            convolution of stride 1 and no pool, for pictures under about 96 px, of which the paper's stem leaves
            little.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stage sees 1/32 (small: 1/8).

    Reference:
        He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Table 1.

    Deviation:
        Dropout, off by default, is not in the paper. The "small" stem is the field's custom for CIFAR; the paper has
        the networks of Sec. 4.2 instead (`CifarResNet`). See `Bottleneck` for the place of the stride.

    Example:
        >>> net = ResNet(num_classes=1000, block=BasicBlock, num_blocks=(2, 2, 2, 2))
        >>> sum(parameter.numel() for parameter in net.parameters())
        11689512
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        block: Block,
        num_blocks: Sequence[int],
        stem: StemName = "imagenet",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 512 * block.expansion
        is_small = stem == "small"
        self.min_size = (8, 8) if is_small else (32, 32)
        kernel_size, stride, padding = (3, 1, 1) if is_small else (7, 2, 3)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = relu()
        self.maxpool = nn.Identity() if is_small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = residual_stage(block, 64, 64, num_blocks[0], stride=1)
        self.layer2 = residual_stage(block, 64 * block.expansion, 128, num_blocks[1], stride=2)
        self.layer3 = residual_stage(block, 128 * block.expansion, 256, num_blocks[2], stride=2)
        self.layer4 = residual_stage(block, 256 * block.expansion, 512, num_blocks[3], stride=2)
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)
        kaiming_normal_(self)

    def stages(self) -> dict[str, Stage]:
        return {  # sizes with the ImageNet stem; four times as large with the small one
            "stem": self.stem,  # (N, 64, H/4, W/4)
            "layer1": self.layer1,  # (N, 64 e, H/4, W/4), e = 1 for BasicBlock, 4 for Bottleneck
            "layer2": self.layer2,  # (N, 128 e, H/8, W/8)
            "layer3": self.layer3,  # (N, 256 e, H/16, W/16)
            "layer4": self.layer4,  # (N, 512 e, H/32, W/32)
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


class CifarResNet(Classifier):
    """The thin residual network for CIFAR: 6n + 2 layers, 16, 32 and 64 channels.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        num_blocks: n, the units in each of the three stages.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 4 -> (N, num_classes).

    Reference:
        He et al. 2015, arXiv:1512.03385, Sec. 4.2 and Table 6; shortcuts without parameters (option A).

    Deviation:
        Dropout, off by default, is not in the paper.

    Example:
        >>> net = CifarResNet(num_classes=10, num_blocks=3)
        >>> sum(parameter.numel() for parameter in net.parameters())
        269722
    """

    min_size = (4, 4)

    def __init__(self, *, num_classes: int, in_channels: int = 3, num_blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 64
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = relu()
        self.layer1 = residual_stage(BasicBlock, 16, 16, num_blocks, stride=1)
        self.layer2 = residual_stage(BasicBlock, 16, 32, num_blocks, stride=2, shortcut=PaddedShortcut)
        self.layer3 = residual_stage(BasicBlock, 32, 64, num_blocks, stride=2, shortcut=PaddedShortcut)
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(64, num_classes)
        kaiming_normal_(self)

    def stages(self) -> dict[str, Stage]:
        return {
            "stem": self.stem,  # (N, 16, H, W)
            "layer1": self.layer1,  # (N, 16, H, W)
            "layer2": self.layer2,  # (N, 32, H/2, W/2)
            "layer3": self.layer3,  # (N, 64, H/4, W/4)
            "head": self.head,  # (N, num_classes)
        }

    def stem(self, x: Tensor) -> Tensor:
        """The first convolution."""
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        return out

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


VARIANTS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {  # Table 1
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
CIFAR_VARIANTS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}  # n of Sec. 4.2
