"""airbench: a small plain network that learns CIFAR-10 in very few epochs."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sightline.models.base import Classifier, Stage
from sightline.nn.conv import Activation, relu
from sightline.nn.init import partial_identity_, patch_whitening_filters
from sightline.nn.pool import GlobalMaxPool2d

LOGIT_SCALE = 1 / 9  # Listing 1


class Airbench(Classifier):
    """A frozen whitening layer, then three groups of two convolutions each, and a dense layer on the largest values.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        widths: channels of the three groups.
        act: makes the activation.

    Shape:
        (N, in_channels, H, W), H and W >= 9 -> (N, num_classes).

    Reference:
        Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, Sec. 3 and Listing 1.

    Deviation:
        The last max pool takes the whole map instead of 3x3, which is the same at the paper's 32 px and works at any
        size; of equal values all get a share of the gradient. Batch norms have the usual eps, momentum and trained
        scales, and the whitening's biases are trained to the end. `airbench_small` has half the width or less and ReLU
        for GELU, which costs a CPU a fifth of the step.

    Example:
        >>> net = Airbench(num_classes=10, widths=(32, 64, 128))
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    min_size = (9, 9)

    def __init__(
        self, *, num_classes: int, in_channels: int = 3, widths: Sequence[int], act: Activation = relu
    ) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, widths[-1]
        self.register_load_state_dict_post_hook(_freeze_whitening)  # type: ignore[no-untyped-call]
        num_filters = 2 * in_channels * 4  # every direction of a 2x2 patch and its negative
        self.whiten = nn.Conv2d(in_channels, num_filters, 2)
        self.act = act()
        self.group1 = _group(num_filters, widths[0], act)
        self.group2 = _group(widths[0], widths[1], act)
        self.group3 = _group(widths[1], widths[2], act)
        partial_identity_(nn.ModuleList([self.group1, self.group2, self.group3]))
        self.pool = GlobalMaxPool2d()
        self.fc = nn.Linear(widths[2], num_classes, bias=False)

    def initialise_from(self, images: Tensor) -> None:
        """Sets the first layer to whiten 2x2 patches, and freezes its filters; the biases are trained.

        Args:
            images: float32 (N, C, H, W), normalised; 5000 in the paper.
        """
        self._check_shape(images)
        with torch.no_grad():
            self.whiten.weight.copy_(patch_whitening_filters(images, 2))
            nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        self.whiten.weight.requires_grad_(False)

    def named_stages(self) -> dict[str, Stage]:
        return {
            "stem": self.stem,  # (N, 24, H-1, W-1) for 3 channels
            "group1": self.group1,  # (N, 64, H/2, W/2), rounded down
            "group2": self.group2,  # (N, 256, H/4, W/4)
            "group3": self.group3,  # (N, 256, H/8, W/8)
            "head": self.head,  # (N, num_classes)
        }

    def stem(self, x: Tensor) -> Tensor:
        """The whitening convolution."""
        out: Tensor = self.act(self.whiten(x))
        return out

    def head(self, x: Tensor) -> Tensor:
        """The largest value of each channel, and the dense layer."""
        logits: Tensor = self.fc(self.pool(x)) * LOGIT_SCALE
        return logits

    @property
    def classifier_head(self) -> nn.Linear:
        return self.fc


def _freeze_whitening(net: nn.Module, _: Any) -> None:
    """Freezes the first layer after weights were loaded that whitening made, and only then.

    They are told by their pairs: each filter of the first half has its exact negative in the second, which no training
    of both would leave. So a network whose weights are loaded trains on as the one that was saved would have.
    """
    weight = cast(Airbench, net).whiten.weight
    positive, negative = weight.detach().chunk(2)
    weight.requires_grad_(not torch.equal(positive, -negative))


def _group(in_channels: int, channels: int, act: Activation) -> nn.Sequential:
    """Convolution, pool, norm, activation; convolution, norm, activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(channels),
        act(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        act(),
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "airbench94": {"widths": (64, 256, 256), "act": nn.GELU},  # Listing 1
    # not in the paper: 88 % after 8 epochs, in minutes on two CPU cores
    "airbench_small": {"widths": (32, 64, 128), "act": relu},
}
