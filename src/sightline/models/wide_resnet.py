"""Wide ResNet for CIFAR: fewer layers, each many times as wide."""

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import relu
from sightline.nn.drop import stochastic_depth_
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d
from sightline.nn.preactivation import PreActBasicBlock
from sightline.nn.residual import residual_stage


class WideResNet(Classifier):
    """The pre-activation network with k times the channels: WRN-(6n + 4)-k.

    Its 6n + 4 layers are the first convolution, 2n in each of the three stages, and the three on the stages' shortcuts.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        num_blocks: n, the units in each of the three stages.
        width: k; 1 is the width of the CIFAR ResNets.
        dropout: between the convolutions of each unit, in [0, 1); 0.3 where the paper takes it on CIFAR.
        drop_path: stochastic depth: probability with which the last unit's branch is left out of a training step, in
            [0, 1); see `stochastic_depth_`.

    Shape:
        (N, in_channels, H, W), H and W >= 4 -> (N, num_classes).

    Reference:
        Zagoruyko and Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146, Tables 1 and 4.

    Example:
        >>> net = WideResNet(num_classes=10, **VARIANTS["wrn16_8"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        10961370
    """

    min_size = (4, 4)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        num_blocks: int,
        width: int,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        block, (c1, c2, c3) = partial(PreActBasicBlock, dropout=dropout), (16 * width, 32 * width, 64 * width)
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, c3
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = residual_stage(block, 16, c1, c1, num_blocks)
        self.layer2 = residual_stage(block, c1, c2, c2, num_blocks, stride=2)
        self.layer3 = residual_stage(block, c2, c3, c3, num_blocks, stride=2)
        self.norm = nn.BatchNorm2d(c3)
        self.relu = relu()
        self.avgpool = GlobalAvgPool2d()
        self.fc = nn.Linear(c3, num_classes)
        kaiming_normal_(self)
        stochastic_depth_(self, drop_path)

    def named_stages(self) -> dict[str, Stage]:
        return {
            "stem": self.conv1,  # (N, 16, H, W)
            "layer1": self.layer1,  # (N, 16 k, H, W)
            "layer2": self.layer2,  # (N, 32 k, H/2, W/2)
            "layer3": self.layer3,  # (N, 64 k, H/4, W/4)
            "norm": self.last_activation,  # (N, 64 k, H/4, W/4)
            "head": self.head,  # (N, num_classes)
        }

    def last_activation(self, x: Tensor) -> Tensor:
        """What the units begin with, once more after the last of them."""
        out: Tensor = self.relu(self.norm(x))
        return out

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `WideResNet`."""

    num_blocks: int
    width: int


VARIANTS = {  # n and k of Table 4; the name is 6n + 4 and k
    "wrn40_1": Variant(6, 1),
    "wrn40_2": Variant(6, 2),
    "wrn40_4": Variant(6, 4),
    "wrn40_8": Variant(6, 8),
    "wrn28_10": Variant(4, 10),
    "wrn28_12": Variant(4, 12),
    "wrn22_8": Variant(3, 8),
    "wrn22_10": Variant(3, 10),
    "wrn16_8": Variant(2, 8),
    "wrn16_10": Variant(2, 10),
}
