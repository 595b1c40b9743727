"""Xception: Inception's idea carried to its end, a convolution for each channel and then one across channels."""

import itertools
from collections import OrderedDict

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d

MIDDLE_CHANNELS = 728  # Fig. 5


class Xception(Classifier):
    """Twelve residual units of depthwise-separable convolutions, with the state-dict names of timm's legacy_xception.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        stem: "imagenet", the paper's; "small" keeps the size in the first two convolutions and the first unit, for
            pictures under about 96 px. The weights have the same shapes with both.
        dropout: before the dense layer, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 32 (small: 8) -> (N, num_classes). The last stages see 1/32 (small: 1/8).

    Reference:
        Chollet 2016, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv:1610.02357, Fig. 5; dropout
        Sec. 4.3.

    Deviation:
        Pools are padded alike on both sides, as in timm; the author's code pads one pixel less before than after where
        a map's size is even ("same"): the same sizes, windows shifted by a pixel. The eps of the batch norms is torch's
        1e-5, as in timm, not his 1e-3. The "small" stem is not in the paper.

    Example:
        >>> net = Xception(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        22855952
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        stem: StemName = "imagenet",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 2048
        is_small = stem == "small"
        self.min_size = (8, 8) if is_small else (32, 32)
        stride, padding = (1, 1) if is_small else (2, 0)
        width = MIDDLE_CHANNELS
        self.conv1 = nn.Conv2d(in_channels, 32, 3, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = relu()
        self.conv2 = nn.Conv2d(32, 64, 3, padding=padding, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.act2 = relu()
        self.block1 = _Block((64, 128, 128), stride=stride, begins_with_relu=False)  # act2 came before
        self.block2 = _Block((128, 256, 256), stride=2)
        self.block3 = _Block((256, width, width), stride=2)
        for number in range(4, 12):
            self.add_module(f"block{number}", _Block((width, width, width, width)))
        self.block12 = _Block((width, width, 1024), stride=2)
        self.conv3 = _SeparableConv(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.act3 = relu()
        self.conv4 = _SeparableConv(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.act4 = relu()
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        kaiming_normal_(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # sizes from the paper's 299 px; the small stem gives (H, H/2, H/4, H/8)
            "stem": self.stem,  # (N, 64, 147, 147)
            "block1": self.block1,  # (N, 128, 74, 74)
            "block2": self.block2,  # (N, 256, 37, 37)
            "block3": self.block3,  # (N, 728, 19, 19)
            **{f"block{number}": self.get_submodule(f"block{number}") for number in range(4, 12)},  # the same
            "block12": self.block12,  # (N, 1024, 10, 10)
            "conv3": lambda x: self.act3(self.bn3(self.conv3(x))),  # (N, 1536, 10, 10)
            "conv4": lambda x: self.act4(self.bn4(self.conv4(x))),  # (N, 2048, 10, 10)
            "head": self.head,  # (N, num_classes)
        }

    def stem(self, x: Tensor) -> Tensor:
        """The two plain convolutions."""
        x = self.act1(self.bn1(self.conv1(x)))
        out: Tensor = self.act2(self.bn2(self.conv2(x)))
        return out

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


class _SeparableConv(nn.Sequential):
    """A depthwise 3x3 convolution and a 1x1 across channels, with nothing between them: a factorised convolution.

    Inception's towers and the units of MobileNet have a ReLU there. Without one Xception learns faster and ends better
    (Sec. 4.7): the paper supposes that a nonlinearity loses too much of a single channel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
                pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            )
        )


class _Block(nn.Module):
    """A run of [ReLU, separable convolution, norm], then a max pool where the stride is 2; the input is added.

    Args:
        channels: of the input and after each convolution.
        stride: 2 halves the size; 1 keeps it.
        begins_with_relu: whether the first convolution has a ReLU before it.
    """

    def __init__(self, channels: tuple[int, ...], *, stride: int = 1, begins_with_relu: bool = True) -> None:
        super().__init__()
        first, last = channels[0], channels[-1]
        changes = stride != 1 or first != last
        self.skip = nn.Conv2d(first, last, 1, stride=stride, bias=False) if changes else nn.Identity()
        self.skipbn = nn.BatchNorm2d(last) if changes else nn.Identity()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            act = relu() if layers else nn.ReLU()  # the first one's input is added later: keep it
            layers += [act, _SeparableConv(before, after), nn.BatchNorm2d(after)]
        pool = [] if stride == 1 else [nn.MaxPool2d(3, stride=stride, padding=1)]
        self.rep = nn.Sequential(*layers[0 if begins_with_relu else 1 :], *pool)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rep(x)
        out += self.skipbn(self.skip(x))  # in place: no layer needs its own output again
        return out
