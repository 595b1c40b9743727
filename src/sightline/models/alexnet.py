"""AlexNet: in the form that torchvision has, and as the paper of 2012 describes it."""

from collections.abc import Sequence

from torch import nn

from sightline.errors import ShapeError
from sightline.models.base import Classifier, Stage
from sightline.nn.arithmetic import conv_size, pool_size
from sightline.nn.conv import relu
from sightline.nn.init import normal_
from sightline.nn.norm import local_response_norm
from sightline.nn.sequence import in_turn


class AlexNet(Classifier):
    """One tower of the paper's two, wider, without response normalisation; with torchvision's state-dict names.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        dropout: before each of the two hidden dense layers, in [0, 1).

    Shape:
        (N, in_channels, H, W), H and W >= 63 -> (N, num_classes).

    Reference:
        Krizhevsky 2014, "One Weird Trick for Parallelizing Convolutional Neural Networks", arXiv:1404.5997, Sec. 5, the
        single-column network; torchvision.

    Deviation:
        All as in torchvision: 256 channels in the fourth convolution for the paper's 384, no response normalisation,
        dropout before the hidden dense layers instead of after them, first weights as torch makes them, and an
        adaptive average pool to 6x6, which changes nothing at 224 px and lets the network take other sizes.

    Example:
        >>> net = AlexNet(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        61100840
    """

    min_size = (63, 63)

    def __init__(self, *, num_classes: int, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 4096
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            relu(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            relu(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            relu(),
            nn.Conv2d(384, 256, 3, padding=1),
            relu(),
            nn.Conv2d(256, 256, 3, padding=1),
            relu(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            relu(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            relu(),
            nn.Linear(4096, num_classes),
        )

    def named_stages(self) -> dict[str, Stage]:
        layers, dense = list(self.features), list(self.classifier)
        fc6 = in_turn(dense[:3])
        return {  # for 224x224 px
            "conv1": in_turn(layers[:3]),  # (N, 64, 27, 27)
            "conv2": in_turn(layers[3:6]),  # (N, 192, 13, 13)
            "conv3": in_turn(layers[6:8]),  # (N, 384, 13, 13)
            "conv4": in_turn(layers[8:10]),  # (N, 256, 13, 13)
            "conv5": in_turn(layers[10:]),  # (N, 256, 6, 6)
            "fc6": lambda x: fc6(self.avgpool(x).flatten(1)),  # (N, 4096)
            "fc7": in_turn(dense[3:6]),  # (N, 4096)
            "head": self.classifier[6],  # (N, num_classes)
        }

    @property
    def classifier_head(self) -> nn.Module:
        return self.classifier[6]


class AlexNet2012(Classifier):
    """Five convolutions and three dense layers, with response normalisation and overlapping pools.

    The paper's two processors see each other's maps only in the third convolution and in the dense layers: the second,
    fourth and fifth have two groups. Response normalisation sums over all kernels of a layer (Sec. 3.3), so that where
    the groups meet it sees a few maps of both.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        dropout: after each of the two hidden dense layers, in [0, 1).
        image_size: (height, width) px, which the first dense layer is made for; at least 67x67.

    Shape:
        (N, in_channels, *image_size) -> (N, num_classes).

    Reference:
        Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
        NeurIPS, Sec. 3 and Fig. 2; dropout, Sec. 4.2; first weights, Sec. 5.

    Deviation:
        Pictures of 227x227 px, not 224x224: only so does the first convolution, which has no padding, give 55x55 maps.

    Example:
        >>> net = AlexNet2012(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        60965224
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        image_size: Sequence[int] = (227, 227),
    ) -> None:
        super().__init__()
        if min(image_size) < 67:
            raise ShapeError(
                f"AlexNet2012 needs images of at least 67x67 px, got {image_size[0]}x{image_size[1]} px. "
                "Enlarge --img-size."
            )
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 4096
        self.fixed_size = self.min_size = (image_size[0], image_size[1])
        height, width = (_last_size(side) for side in image_size)
        self.conv1 = nn.Conv2d(in_channels, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * height * width, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.relu = relu()
        self.norm = local_response_norm()
        self.pool = nn.MaxPool2d(3, stride=2)  # Sec. 3.4: windows overlap
        self.dropout = nn.Dropout(dropout)
        normal_(self, std=0.01)
        for layer in (self.conv2, self.conv4, self.conv5, self.fc6, self.fc7):
            nn.init.ones_(layer.bias)  # type: ignore[arg-type]  # the ReLU after it passes nearly everything at first

    def named_stages(self) -> dict[str, Stage]:
        return {  # for 227x227 px
            "conv1": lambda x: self.pool(self.norm(self.relu(self.conv1(x)))),  # (N, 96, 27, 27)
            "conv2": lambda x: self.pool(self.norm(self.relu(self.conv2(x)))),  # (N, 256, 13, 13)
            "conv3": lambda x: self.relu(self.conv3(x)),  # (N, 384, 13, 13)
            "conv4": lambda x: self.relu(self.conv4(x)),  # (N, 384, 13, 13)
            "conv5": lambda x: self.pool(self.relu(self.conv5(x))),  # (N, 256, 6, 6)
            "fc6": lambda x: self.dropout(self.relu(self.fc6(x.flatten(1)))),  # (N, 4096)
            "fc7": lambda x: self.dropout(self.relu(self.fc7(x))),  # (N, 4096)
            "head": self.fc8,  # (N, num_classes)
        }

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc8


def _last_size(size: int) -> int:
    """The side of the last map: 6 for the paper's 227 px."""
    conv2 = pool_size(conv_size(size, 11, stride=4), 3, stride=2)
    conv3 = pool_size(conv2, 3, stride=2)  # conv2 to conv5 keep the size
    return pool_size(conv3, 3, stride=2)
