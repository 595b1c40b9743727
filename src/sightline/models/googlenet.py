"""GoogLeNet: nine inception units; in the form that torchvision has, and as the paper of 2014 describes it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypedDict

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage, StemName
from sightline.nn.conv import relu
from sightline.nn.inception import AuxiliaryHead, AuxiliaryPool, Inception, InceptionWidths
from sightline.nn.init import kaiming_uniform_, normal_
from sightline.nn.norm import local_response_norm
from sightline.nn.pool import GlobalAvgPool2d

TABLE_1 = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}


class GoogLeNet(Classifier):
    """Three convolutions, nine inception units and one dense layer, with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        unit: makes a convolution with what follows it, from (in_channels, out_channels, kernel_size).
        large_kernel_size: of the inception units' third branch.
        response_norm: after the first pool and after the third convolution.
        last_pool_size: side of the window of the pool before unit 5a.
        auxiliary_pool: the first layer of an auxiliary head, to 4x4 px.
        min_sizes: the smallest side, px, by stem.
        initialise: makes the first weights.
        stem: "imagenet", the paper's; "small", a first convolution of 3x3 and stride 1 and no pool after it, for
            pictures under about 96 px.
        dropout: before the dense layer, in [0, 1).
        aux_heads: build two further classifiers, on units 4a and 4d, for `forward_with_auxiliary`.

    Shape:
        (N, in_channels, H, W), H and W >= 15 (small: 4; `googlenet_2014`: 31, small: 8) -> (N, num_classes). The last
        unit sees 1/32 (small: 1/8).

    Reference:
        Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842, Sec. 5, Table 1 and Fig. 3.

    Deviation:
        `googlenet` is torchvision's: batch norm, no response normalisation and no biases; a 3x3 kernel in the branch
        that the paper calls 5x5; a 2x2 pool before unit 5a for the paper's 3x3; dropout of 0.2 for 0.4; auxiliary heads
        that pool adaptively. `googlenet_2014` is the paper's; what the paper leaves open is chosen so: pools count a
        last window that only partly fits, which gives the sizes of Table 1; response normalisation has AlexNet's
        numbers; first weights are those with which Caffe's authors repeated the paper (bvlc_googlenet), with its biases
        of 0.2 for the classifiers, too, where a constant changes nothing. The "small" stem is not in the paper.

    Example:
        >>> net = GoogLeNet(num_classes=1000, **VARIANTS["googlenet_2014"])
        >>> sum(parameter.numel() for parameter in net.parameters())
        6998552
    """

    optional_parts = ("aux1", "aux2")
    auxiliary_weight = 0.3  # Sec. 5

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        unit: Callable[..., nn.Module],
        large_kernel_size: int,
        response_norm: Callable[[], nn.Module],
        last_pool_size: int,
        auxiliary_pool: Callable[[], nn.Module],
        min_sizes: Mapping[StemName, int],
        initialise: Callable[[nn.Module], None],
        stem: StemName = "imagenet",
        dropout: float,
        aux_heads: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_features = TABLE_1["5b"].out_channels
        self.min_size = (min_sizes[stem], min_sizes[stem])
        is_small = stem == "small"
        inception = partial(Inception, unit=unit, large_kernel_size=large_kernel_size)
        self.conv1 = unit(in_channels, 64, 3) if is_small else unit(in_channels, 64, 7, stride=2)
        self.maxpool1 = nn.Identity() if is_small else _pool(3)
        self.norm1 = response_norm()
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3)
        self.norm2 = response_norm()
        self.maxpool2 = _pool(3)
        self.inception3a = inception(192, TABLE_1["3a"])
        self.inception3b = inception(256, TABLE_1["3b"])
        self.maxpool3 = _pool(3)
        self.inception4a = inception(480, TABLE_1["4a"])
        self.inception4b = inception(512, TABLE_1["4b"])
        self.inception4c = inception(512, TABLE_1["4c"])
        self.inception4d = inception(512, TABLE_1["4d"])
        self.inception4e = inception(528, TABLE_1["4e"])
        self.maxpool4 = _pool(last_pool_size)
        self.inception5a = inception(832, TABLE_1["5a"])
        self.inception5b = inception(832, TABLE_1["5b"])
        self.aux1 = AuxiliaryHead(512, num_classes, pool=auxiliary_pool(), unit=unit) if aux_heads else None
        self.aux2 = AuxiliaryHead(528, num_classes, pool=auxiliary_pool(), unit=unit) if aux_heads else None
        self.avgpool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)
        initialise(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # sizes with the ImageNet stem; four times as large with the small one
            "conv1": self.conv1,  # (N, 64, H/2, W/2)
            "conv3": self.conv3_of_pooled,  # (N, 192, H/4, W/4)
            "inception3a": lambda x: self.inception3a(self.maxpool2(x)),  # (N, 256, H/8, W/8)
            "inception3b": self.inception3b,  # (N, 480, H/8, W/8)
            "inception4a": lambda x: self.inception4a(self.maxpool3(x)),  # (N, 512, H/16, W/16)
            "inception4b": self.inception4b,  # (N, 512, H/16, W/16)
            "inception4c": self.inception4c,  # (N, 512, H/16, W/16)
            "inception4d": self.inception4d,  # (N, 528, H/16, W/16)
            "inception4e": self.inception4e,  # (N, 832, H/16, W/16)
            "inception5a": lambda x: self.inception5a(self.maxpool4(x)),  # (N, 832, H/32, W/32)
            "inception5b": self.inception5b,  # (N, 1024, H/32, W/32)
            "head": self.head,  # (N, num_classes)
        }

    def conv3_of_pooled(self, x: Tensor) -> Tensor:
        """The first pool, the 1x1 and the 3x3 convolution, and both response normalisations."""
        x = self.norm1(self.maxpool1(x))
        out: Tensor = self.norm2(self.conv3(self.conv2(x)))
        return out

    def head(self, x: Tensor) -> Tensor:
        """Global average pool and the dense layer."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and those of the heads on units 4a and 4d; an empty list where they were not built.

        Args:
            images: (N, in_channels, H, W).
        """
        self._check_shape(images)
        heads = {"inception4a": self.aux1, "inception4d": self.aux2}
        x, auxiliary = images, []
        for name, stage in self.named_stages().items():
            x = stage(x)
            head = heads.get(name)
            if head is not None:
                auxiliary.append(head(x))
        return x, auxiliary


def _pool(kernel_size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size, stride=2, ceil_mode=True)


def _conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and ReLU, under torchvision's names."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels, eps=1e-3), relu=relu()))


def _conv_relu(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution with biases, and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
    return nn.Sequential(OrderedDict(conv=conv, relu=relu()))


def _initialise(net: nn.Module) -> None:
    """torchvision's, after Inception v3's, but with biases of 0; batch norms are as torch makes them."""
    normal_(net, std=0.01)


def _initialise_2014(net: nn.Module) -> None:
    """bvlc_googlenet: "xavier" weights, biases of 0.2."""
    kaiming_uniform_(net, gain=1.0, bias=0.2)


class _Row(TypedDict):
    unit: Callable[..., nn.Module]
    large_kernel_size: int
    response_norm: Callable[[], nn.Module]
    last_pool_size: int
    auxiliary_pool: Callable[[], nn.Module]
    min_sizes: Mapping[StemName, int]
    initialise: Callable[[nn.Module], None]
    dropout: float


VARIANTS: dict[str, _Row] = {
    "googlenet": {
        "unit": _conv_norm_relu,
        "large_kernel_size": 3,  # a slip of torchvision's, github.com/pytorch/vision/issues/906; weights fit no other
        "response_norm": nn.Identity,
        "last_pool_size": 2,
        "auxiliary_pool": partial(nn.AdaptiveAvgPool2d, 4),
        "min_sizes": {"imagenet": 15, "small": 4},
        "initialise": _initialise,
        "dropout": 0.2,
    },
    "googlenet_2014": {
        "unit": _conv_relu,
        "large_kernel_size": 5,
        "response_norm": local_response_norm,
        "last_pool_size": 3,
        "auxiliary_pool": AuxiliaryPool,
        "min_sizes": {"imagenet": 31, "small": 8},
        "initialise": _initialise_2014,
        "dropout": 0.4,  # Table 1
    },
}
