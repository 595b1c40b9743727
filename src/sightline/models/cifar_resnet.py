"""ResNet for CIFAR, 20 to 1202 layers, and the plain networks that it is compared with."""

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import relu
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.residual import BasicBlock, Block, PlainBlock, residual_stage, zero_padding

UNIT = partial(BasicBlock, shortcut=zero_padding)  # Sec. 4.2: "identity shortcuts in all cases (i.e., option A)"


class CifarResNet(Classifier):
    """The thin residual network for CIFAR: 6n + 2 layers, 16, 32 and 64 channels.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        block: the unit; `PlainBlock` makes the plain network.
        num_blocks: n, the units in each of the three stages.
        dropout: before the dense layer, in [0, 1).
        drop_path: stochastic depth: probability with which the last unit's branch is left out of a training step, in
            [0, 1); see `stochastic_depth_`. Not for plain networks, which have no other way round.

    Shape:
        (N, in_channels, H, W), H and W >= 4 -> (N, num_classes).

    Reference:
        He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Sec. 4.2, Table 6 and Fig. 6.

    Deviation:
        Dropout, off by default, is not in the paper.

    Example:
        >>> net = CifarResNet(num_classes=10, **VARIANTS["resnet20"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        269722
    """

    min_size = (4, 4)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        block: Block,
        num_blocks: int,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 64
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = relu()
        self.layer1 = residual_stage(block, 16, 16, 16, num_blocks)
        self.layer2 = residual_stage(block, 16, 32, 32, num_blocks, stride=2)
        self.layer3 = residual_stage(block, 32, 64, 64, num_blocks, stride=2)
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(64, num_classes)
        kaiming_normal_(self)
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
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


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `CifarResNet`."""

    block: Block
    num_blocks: int


VARIANTS = {  # n of Sec. 4.2; the name is 6n + 2
    "resnet20": Variant(UNIT, 3),
    "resnet32": Variant(UNIT, 5),
    "resnet44": Variant(UNIT, 7),
    "resnet56": Variant(UNIT, 9),
    "resnet110": Variant(UNIT, 18),
    "resnet1202": Variant(UNIT, 200),
}
PLAIN_VARIANTS = {  # Fig. 6, left
    "plain20": Variant(PlainBlock, 3),
    "plain32": Variant(PlainBlock, 5),
    "plain44": Variant(PlainBlock, 7),
    "plain56": Variant(PlainBlock, 9),
    "plain110": Variant(PlainBlock, 18),
}
