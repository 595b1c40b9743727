"""A small plain network: what most courses build first."""

from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import ConvNormAct, relu
from sightline.nn.pool import GlobalAvgPool2d


class SimpleCNN(Classifier):
    """Three times [convolution 3x3, batch norm, ReLU, max pool], then global average pool, dropout and a dense layer.

    Use it to learn, and as the baseline that anything larger has to beat. The convolutions have a bias although a batch
    norm follows, as in the tutorials that this network comes from: 94,986 parameters for 3 channels and 10 classes.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        dropout: before the dense layer, in [0, 1).
        channels: of the three convolutions.

    Shape:
        (N, in_channels, H, W), H and W >= 8 -> (N, num_classes).

    Reference:
        No paper; the network of the common PyTorch and Keras tutorials, with batch norm and global average pooling.

    Example:
        >>> net = SimpleCNN(num_classes=10)
        >>> sum(parameter.numel() for parameter in net.parameters())
        94986
    """

    min_size = (8, 8)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        channels: tuple[int, int, int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, channels[-1]
        self.block1 = _block(in_channels, channels[0])
        self.block2 = _block(channels[0], channels[1])
        self.block3 = _block(channels[1], channels[2])
        self.pool = GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[-1], num_classes)

    def named_stages(self) -> dict[str, Stage]:
        return {
            "block1": self.block1,  # (N, 32, H/2, W/2)
            "block2": self.block2,  # (N, 64, H/4, W/4)
            "block3": self.block3,  # (N, 128, H/8, W/8)
            "head": self.head,  # (N, num_classes)
        }

    def head(self, x: Tensor) -> Tensor:
        """(N, 128, H/8, W/8) -> (N, num_classes)."""
        logits: Tensor = self.fc(self.dropout(self.pool(x)))
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution, batch norm, max pool, ReLU: ReLU and max change places, which gives the same numbers and gradients.

    After the pool, ReLU has a quarter of the values to go through.
    """
    conv = ConvNormAct(in_channels, out_channels, 3, bias=True, act=nn.Identity)
    return nn.Sequential(conv, nn.MaxPool2d(2), relu())
