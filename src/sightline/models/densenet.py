"""DenseNet: for ImageNet (121 to 264 layers) and, without a large stem, for CIFAR (40 to 250 layers)."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models.base import Classifier, OutputStride, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.dense import DenseBlock, DenseBottleneck, DenseLayer, DenseUnit, Transition
from sightline.nn.init import kaiming_normal_
from sightline.nn.pool import GlobalAvgPool2d


class DenseNet(Classifier):
    """Dense blocks, in which every layer sees all layers before it, with transitions between; torchvision's names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        unit: the layer; `DenseBottleneck` is the B of DenseNet-BC.
        growth_rate: channels that each layer adds, k in the paper.
        num_layers: layers in each dense block.
        stem_channels: of the first convolution.
        compression: channels that a transition leaves, in parts of those that it is given, θ in the paper; below 1 it
            is the C of DenseNet-BC.
        stem: "imagenet", the paper's 7x7 convolution of stride 2 and 3x3 max pool of stride 2; "small", the paper's
            stem for CIFAR, a 3x3 convolution of stride 1 alone, for pictures under about 96 px.
        dropout: after each convolution but the first, in [0, 1); 0.2 in the paper where CIFAR is not augmented.
        output_stride: how much smaller than the picture the last map is, with the ImageNet stem. Below 32 the last
            transitions do not pool, and the blocks after them dilate their 3x3 convolutions instead.
        memory_efficient: compute concatenations again in the backward pass instead of keeping them; the gradients are
            the same to the bit.

    Shape:
        (N, in_channels, H, W), H and W >= output_stride (small stem: a quarter of it; the CIFAR networks, of three
        blocks: 4) -> (N, num_classes).

    Reference:
        Huang, Liu, van der Maaten and Weinberger 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993,
        Sec. 3, Tables 1 and 2. Memory: Pleiss et al. 2017, arXiv:1707.06990. Dilation: Chen et al. 2017, "Rethinking
        Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, Sec. 3.1.

    Deviation:
        Dropout is off by default. Where it is on, it follows every convolution but the first, as in the paper;
        torchvision has it at the end of each layer only. For ImageNet the "small" stem is not in the paper; with it,
        `densenet121` is the network of kuangliu/pytorch-cifar. `densenet264` has the paper's blocks and its name, but
        265 layers by the count of the others.

    Example:
        >>> net = DenseNet(num_classes=1000, **VARIANTS["densenet121"]._asdict())
        >>> sum(parameter.numel() for parameter in net.parameters())
        7978856
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        unit: DenseUnit,
        growth_rate: int,
        num_layers: Sequence[int],
        stem_channels: int,
        compression: float,
        stem: StemName = "imagenet",
        dropout: float = 0.0,
        output_stride: OutputStride = 32,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        shrinking = min(output_stride // 4, 2 ** (len(num_layers) - 1))  # by the transitions
        smallest = shrinking if stem == "small" else 4 * shrinking
        self.min_size = (smallest, smallest)
        self.features = nn.ModuleDict()
        if stem == "small":
            self.features["conv0"] = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        else:
            self.features["conv0"] = nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
            self.features["norm0"] = nn.BatchNorm2d(stem_channels)
            self.features["relu0"] = relu()
            self.features["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        channels, dilation = stem_channels, 1
        for number, count in enumerate(num_layers, start=1):
            if number > 1:
                stride = min(shrinking, 2)  # small enough already: the next block dilates instead
                shrinking, dilation = shrinking // stride, dilation * 2 // stride
                compressed = int(compression * channels)
                transition = Transition(channels, compressed, stride=stride, dropout=dropout)
                self.features[f"transition{number - 1}"], channels = transition, compressed
            block = DenseBlock(
                unit,
                channels,
                growth_rate,
                count,
                dilation=dilation,
                dropout=dropout,
                memory_efficient=memory_efficient,
            )
            self.features[f"denseblock{number}"], channels = block, block.out_channels
        self.features["norm5"] = nn.BatchNorm2d(channels)
        self.num_features = channels
        self.avgpool = GlobalAvgPool2d()
        self.classifier = nn.Linear(channels, num_classes)
        kaiming_normal_(self, mode="fan_in")
        nn.init.zeros_(self.classifier.bias)

    def named_stages(self) -> dict[str, Stage]:
        blocks = {name: part for name, part in self.features.items() if name.startswith(("denseblock", "transition"))}
        return {  # densenet121 with the ImageNet stem | densenet40_k12
            "stem": self.stem,  # (N, 64, H/4, W/4) | (N, 16, H, W)
            # denseblock1  (N, 256, H/4, W/4)       | (N, 160, H, W)
            # transition1  (N, 128, H/8, W/8)       | (N, 160, H/2, W/2)
            # denseblock2  (N, 512, H/8, W/8)       | (N, 304, H/2, W/2)
            # transition2  (N, 256, H/16, W/16)     | (N, 304, H/4, W/4)
            # denseblock3  (N, 1024, H/16, W/16)    | (N, 448, H/4, W/4)
            # transition3  (N, 512, H/32, W/32)     |
            # denseblock4  (N, 1024, H/32, W/32)    |
            **blocks,
            "norm5": self.norm5,  # as the last block
            "head": self.head,  # (N, num_classes)
        }

    def stem(self, x: Tensor) -> Tensor:
        """What comes before the first dense block."""
        for name in ("conv0", "norm0", "relu0", "pool0"):
            if name in self.features:  # the small one is conv0 alone
                x = self.features[name](x)
        return x

    def norm5(self, x: Tensor) -> Tensor:
        """The norm and ReLU after the last dense block, whose layers begin with theirs."""
        return F.relu(self.features["norm5"](x), inplace=True)

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.classifier(self.avgpool(x))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.classifier


class Variant(NamedTuple):
    """What tells networks of the family apart: arguments of `DenseNet`."""

    unit: DenseUnit
    growth_rate: int
    num_layers: tuple[int, ...]
    stem_channels: int
    compression: float


VARIANTS = {  # Table 1; the stem has 2 k channels
    "densenet121": Variant(DenseBottleneck, 32, (6, 12, 24, 16), 64, 0.5),
    "densenet161": Variant(DenseBottleneck, 48, (6, 12, 36, 24), 96, 0.5),  # in the paper's first version alone
    "densenet169": Variant(DenseBottleneck, 32, (6, 12, 32, 32), 64, 0.5),
    "densenet201": Variant(DenseBottleneck, 32, (6, 12, 48, 32), 64, 0.5),
    "densenet264": Variant(DenseBottleneck, 32, (6, 12, 64, 48), 64, 0.5),
}
CIFAR_VARIANTS = {  # Table 2, with the small stem; its channels: Sec. 3, "Implementation Details"
    "densenet40_k12": Variant(DenseLayer, 12, (12, 12, 12), 16, 1.0),
    "densenet100_k12": Variant(DenseLayer, 12, (32, 32, 32), 16, 1.0),
    "densenet100_k24": Variant(DenseLayer, 24, (32, 32, 32), 16, 1.0),
    "densenet100_k12_bc": Variant(DenseBottleneck, 12, (16, 16, 16), 24, 0.5),
    "densenet250_k24_bc": Variant(DenseBottleneck, 24, (41, 41, 41), 48, 0.5),
    "densenet190_k40_bc": Variant(DenseBottleneck, 40, (31, 31, 31), 80, 0.5),
}
