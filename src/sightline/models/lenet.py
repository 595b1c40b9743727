"""LeNet-5, the network that read cheques, as it is commonly written today; `lenet_1998.py` has the paper's."""

from collections.abc import Sequence

from torch import nn

from sightline.errors import ShapeError
from sightline.models.base import Classifier, Stage
from sightline.nn.arithmetic import conv_size, pool_size


class LeNet5(Classifier):
    """Two convolutions with pooling, then three dense layers: 61,706 parameters for 1x32x32 and 10 classes.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        image_size: (height, width) px, which the first dense layer is made for; at least 28x28. 28x28 is padded to the
            paper's 32x32 by the first convolution.

    Shape:
        (N, in_channels, *image_size) -> (N, num_classes).

    Reference:
        LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document
        Recognition", Sec. II.B, Fig. 2.

    Deviation:
        ReLU for the scaled tanh, max pooling for the trainable subsampling, a full connection table in C3 and a linear
        output layer for the radial basis functions: the form in which the field teaches it, with 61,706 parameters for
        60,000.

    Example:
        >>> net = LeNet5(num_classes=10, in_channels=1)
        >>> sum(parameter.numel() for parameter in net.parameters())
        61706
    """

    def __init__(self, *, num_classes: int, in_channels: int = 1, image_size: Sequence[int] = (32, 32)) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 84
        self.fixed_size = self.min_size = (image_size[0], image_size[1])
        padding, height, width = map_sizes("LeNet5", image_size)
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=padding)  # C1
        self.conv2 = nn.Conv2d(6, 16, 5)  # C3
        self.pool = nn.MaxPool2d(2)  # S2 and S4
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(16 * height * width, 120)  # C5
        self.fc2 = nn.Linear(120, 84)  # F6
        self.fc3 = nn.Linear(84, num_classes)

    def named_stages(self) -> dict[str, Stage]:
        return {
            "s2": lambda x: self.pool(self.relu(self.conv1(x))),  # (N, 6, 14, 14) for 32 px
            "s4": lambda x: self.pool(self.relu(self.conv2(x))),  # (N, 16, 5, 5)
            "c5": lambda x: self.relu(self.fc1(x.flatten(1))),  # (N, 120)
            "f6": lambda x: self.relu(self.fc2(x)),  # (N, 84)
            "head": self.fc3,  # (N, num_classes)
        }

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc3


def map_sizes(name: str, image_size: Sequence[int]) -> tuple[int, int, int]:
    """The padding of C1, and the height and the width of the maps of S4.

    Args:
        name: of the network, for the message.
        image_size: (height, width) px.

    Raises:
        ShapeError: so little would be left that C5 sees nothing.
    """
    if min(image_size) < 28:
        raise ShapeError(
            f"{name} needs images of at least 28x28 px, got {image_size[0]}x{image_size[1]} px. Enlarge --img-size."
        )
    padding = 2 if min(image_size) < 32 else 0  # MNIST's 28 px stand in the middle of 32, Sec. II.B
    height, width = (_s4_size(side, padding) for side in image_size)
    return padding, height, width


def _s4_size(size: int, padding: int) -> int:
    s2 = pool_size(conv_size(size, 5, padding=padding), 2)
    return pool_size(conv_size(s2, 5), 2)
