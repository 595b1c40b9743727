"""What every network of the zoo has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from sightline.errors import ShapeError

Stage = Callable[[Tensor], Tensor]
StemName = Literal["imagenet", "small"]
OutputStride = Literal[8, 16, 32]
Tta = Literal["none", "flip"]


class Classifier(nn.Module, ABC):
    """A network from pictures to logits, made of named stages.

    A subclass sets the attributes and says once, in `named_stages`, what runs in which order; `forward` and
    `endpoints` both follow that.

    Attributes:
        num_classes: outputs.
        in_channels: channels of the pictures.
        num_features: width of the features that the last linear layer takes.
        min_size: smallest (height, width) that works, px: under it some stage would see nothing but padding.
        fixed_size: the only (height, width) that works, px; None where any from `min_size` on does.
        name: the zoo's name of the variant, for messages; set by `zoo.build`.
        tta: test-time augmentation: with "flip" a network in evaluation mode answers with the mean of the logits of the
            picture and of its mirror image; set by `zoo.build`. `endpoints` are those of the picture alone.
        stem_reason: why the stem is as it is, in a sentence; empty where there was nothing to choose.
        optional_parts: names of the parts that this network may be built without, such as auxiliary heads: published
            weights may hold them all the same.
        model_args: plain JSON arguments with which `zoo.build` makes the same network again; set by `zoo.build`.

    Shape:
        (N, in_channels, H, W) float, normalised -> (N, num_classes) logits.
    """

    num_classes: int
    in_channels: int
    num_features: int
    min_size: tuple[int, int] = (1, 1)
    fixed_size: tuple[int, int] | None = None
    name: str = ""
    tta: Tta = "none"
    stem_reason: str = ""
    optional_parts: tuple[str, ...] = ()
    model_args: Mapping[str, Any]

    @abstractmethod
    def named_stages(self) -> dict[str, Stage]:
        """The network in order. The last stage is "head", whose output is the logits."""

    @property
    @abstractmethod
    def classifier_head(self) -> nn.Module:
        """The layer whose outputs are the classes: the one to replace for other classes. Most often an nn.Linear."""

    def forward(self, x: Tensor) -> Tensor:
        self._check_shape(x)
        logits = self._logits(x)
        if self.tta == "flip" and not self.training:
            logits = (logits + self._logits(x.flip(3))) / 2
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        for stage in self.named_stages().values():
            x = stage(x)
        return x

    def endpoints(self, images: Tensor) -> dict[str, Tensor]:
        """The output of every stage, by name and in order; the last is the logits.

        Args:
            images: (N, in_channels, H, W).
        """
        self._check_shape(images)
        outputs = {}
        x = images
        for name, stage in self.named_stages().items():
            outputs[name] = x = stage(x)
        return outputs

    def _check_shape(self, images: Tensor) -> None:
        name = self.name or type(self).__name__
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            raise ShapeError(
                f"{name} needs images of shape (N, {self.in_channels}, H, W), got {tuple(images.shape)}. "
                "Batch them, or build the network with in_channels."
            )
        self.check_size((images.shape[2], images.shape[3]))

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuses a size of pictures that the network cannot take.

        Args:
            size: (height, width) px.

        Raises:
            ShapeError: it is too small, or another than the one that the network was built for.
        """
        name = self.name or type(self).__name__
        if self.fixed_size is not None and size != self.fixed_size:
            raise ShapeError(
                f"{name} was built for images of {_px(self.fixed_size)}, got {_px(size)}: "
                "its dense layers fix the size. Resize the images, or build it with another image_size (--img-size)."
            )
        if size[0] < self.min_size[0] or size[1] < self.min_size[1]:
            raise ShapeError(
                f"{name} needs images of at least {_px(self.min_size)}, got {_px(size)}. "
                "Enlarge --img-size, or choose a network for smaller images (resnet20 takes 4x4 px)."
            )


@runtime_checkable
class HasAuxiliaryHeads(Protocol):
    """A network with further classifiers on its middle layers, which help to train it and are not used afterwards."""

    auxiliary_weight: float

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits (N, K), and those of each auxiliary head; an empty list where it was built without.

        The loss of a training step is that of the logits plus `auxiliary_weight` times that of each auxiliary head.
        """


@runtime_checkable
class InitialisesFromData(Protocol):
    """A network that sets some of its first weights from pictures, before training."""

    def initialise_from(self, images: Tensor) -> None:
        """Looks at normalised pictures (N, C, H, W), a few thousand, and sets those weights."""


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} px"
