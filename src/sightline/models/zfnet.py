"""ZFNet: AlexNet, improved after looking at what its layers respond to."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from sightline.errors import ShapeError
from sightline.models.base import Classifier, Stage
from sightline.nn.arithmetic import conv_size, pool_size
from sightline.nn.conv import relu
from sightline.nn.init import normal_
from sightline.nn.norm import local_response_norm


class ZFNet(Classifier):
    """Five convolutions and three dense layers; smaller kernels and strides in the first two than AlexNet.

    AlexNet's 11x11 kernels at stride 4 saw hardly any middle frequencies and gave aliases; 7x7 at stride 2 mend both.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        dropout: after each of the two hidden dense layers, in [0, 1).
        image_size: (height, width) px, which the first dense layer is made for; at least 47x47.

    Shape:
        (N, in_channels, *image_size) -> (N, num_classes).

    Reference:
        Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, Fig. 3;
        dropout and first weights, Sec. 3.

    Deviation:
        The paper gives no padding and no numbers of its contrast normalisation. A padding of 1 in the first
        convolution, and pools that count a last window which only partly fits, give the maps of Fig. 3: 110, 55, 26,
        13, 13, 6. The normalisation is AlexNet's. First weights are drawn with a standard deviation of 0.01, as
        AlexNet's; the paper says "initialized to 10^-2".

    Example:
        >>> net = ZFNet(num_classes=1000)
        >>> sum(parameter.numel() for parameter in net.parameters())
        62357608
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        image_size: Sequence[int] = (224, 224),
    ) -> None:
        super().__init__()
        if min(image_size) < 47:
            raise ShapeError(
                f"ZFNet needs images of at least 47x47 px, got {image_size[0]}x{image_size[1]} px. Enlarge --img-size."
            )
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 4096
        self.fixed_size = self.min_size = (image_size[0], image_size[1])
        height, width = (_last_size(side) for side in image_size)
        self.conv1 = nn.Conv2d(in_channels, 96, 7, stride=2, padding=1)
        self.conv2 = nn.Conv2d(96, 256, 5, stride=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.fc6 = nn.Linear(256 * height * width, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.relu = relu()
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm = local_response_norm()
        self.dropout = nn.Dropout(dropout)
        normal_(self, std=0.01)

    def named_stages(self) -> dict[str, Stage]:
        return {  # for 224x224 px; unlike AlexNet, Fig. 3 pools before it normalises
            "conv1": lambda x: self.norm(self.pool(self.relu(self.conv1(x)))),  # (N, 96, 55, 55)
            "conv2": lambda x: self.norm(self.pool(self.relu(self.conv2(x)))),  # (N, 256, 13, 13)
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
    """The side of the last map: 6 for the paper's 224 px."""
    pool = partial(pool_size, kernel_size=3, stride=2, ceil_mode=True)
    conv2 = pool(conv_size(size, 7, stride=2, padding=1))
    conv3 = pool(conv_size(conv2, 5, stride=2))  # conv3 to conv5 keep the size
    return pool(conv3)
