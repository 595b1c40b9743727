"""Pre-activation ResNet for CIFAR, 110 to 1001 layers: nothing but sums on the way from the first unit to the last."""

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import relu
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.preactivation import PreActBasicBlock, PreActBottleneck
from sightline.nn.residual import Block, residual_stage, zero_padding

UNIT = partial(PreActBasicBlock, shortcut=zero_padding)  # Sec. 3: ResNet-110 "as presented in [1]", so with option A


class CifarPreResNet(Classifier):
    """The thin residual network for CIFAR with norm and activation before each convolution.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        block: the unit.
        num_blocks: units in each of the three stages.
        out_channels: of the first stage's output: 16, or 64 with bottlenecks; each further stage has twice as many.
        dropout: before the dense layer, in [0, 1).
        drop_path: stochastic depth: probability with which the last unit's branch is left out of a training step, in
            [0, 1); see `stochastic_depth_`.

    Shape:
        (N, in_channels, H, W), H and W >= 4 -> (N, num_classes).

    Reference:
        He, Zhang, Ren and Sun 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027, Sec. 4 and Tables
        2 and 4.

    Deviation:
        Dropout, off by default, is not in the paper. See `PreActBottleneck` for the place of the stride: it makes
        preresnet164 1.3 % dearer than the authors' code. The paper does not say whether a padded shortcut takes its
        input before or after the activation; here after, as the paper has it for projections.

    Example:
        >>> net = CifarPreResNet(num_classes=10, **VARIANTS["preresnet164"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        1703258
    """

    min_size = (4, 4)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        block: Block,
        num_blocks: int,
        out_channels: int,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        out = out_channels
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 4 * out
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = residual_stage(block, 16, 16, out, num_blocks)
        self.layer2 = residual_stage(block, out, 32, 2 * out, num_blocks, stride=2)
        self.layer3 = residual_stage(block, 2 * out, 64, 4 * out, num_blocks, stride=2)
        first = self.layer1[0]
        if isinstance(first, PreActBasicBlock):  # Sec. 4: the first activation comes "before splitting into two paths"
            first.downsample = nn.Identity()  # of what is activated; a bottleneck's projection takes that anyhow
        self.norm = nn.BatchNorm2d(4 * out)
        self.relu = relu()
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4 * out, num_classes)
        kaiming_normal_(self)
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
        return {  # out = 16, 64 with bottlenecks
            "stem": self.conv1,  # (N, 16, H, W)
            "layer1": self.layer1,  # (N, out, H, W)
            "layer2": self.layer2,  # (N, 2 out, H/2, W/2)
            "layer3": self.layer3,  # (N, 4 out, H/4, W/4)
            "norm": self.last_activation,  # as layer3
            "head": self.head,  # (N, num_classes)
        }

    def last_activation(self, x: Tensor) -> Tensor:
        """What the units begin with, once more after the last of them."""
        out: Tensor = self.relu(self.norm(x))
        return out

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `CifarPreResNet`."""

    block: Block
    num_blocks: int
    out_channels: int


VARIANTS = {
    "preresnet110": Variant(UNIT, 18, 16),
    "preresnet164": Variant(PreActBottleneck, 18, 64),
    "preresnet1001": Variant(PreActBottleneck, 111, 64),
}
