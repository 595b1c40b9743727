"""What a recipe knows of a run before it chooses, and the rules that several recipes share."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sightline.recipes.settings import Settings

if TYPE_CHECKING:
    from sightline.pretrained import Source

AIRBENCH_PX = 16  # three poolings leave the last group of airbench 2x2 px; under that resnet20, which halves twice
_STEPS = 30  # the least steps that an epoch should have, so that the schedule has steps to move over


class Default(NamedTuple):
    """What a setting is where nobody asked for another, and why."""

    value: Any
    reason: str


Defaults = dict[str, Default]  # from the name of a setting


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The data, the machine and the wishes that a recipe chooses from.

    Args:
        class_counts: training pictures of each class, in the order of the classes.
        typical_size: the pictures' median (height, width) in px.
        channels: 1 (grey) or 3 (RGB).
        hflip_ok: whether a mirrored picture is still of its class.
        is_small: whether the pictures that the network sees are under 96 px.
        device: "cpu", "cuda" or "mps".
        cores: of the CPU, that this process may use.
        model: the network, where it was asked for or is that of the weights; None where it is to be chosen.
        img_size: likewise, the network's input in px.
        weights: trained ones to begin with; None from scratch.
        num_layers: of their network: layers and units on the way to the head, the head among them.
        has_batch_norm: whether their network has any.
        num_multilabel: training pictures of multi-label data, to which the class counts do not add up; None where each
            has one class.
        asked: the user's settings. They win over every default; a recipe reads them where one default follows from
            another, as the learning rate does from the batch size.
    """

    class_counts: tuple[int, ...]
    typical_size: tuple[int, int]
    channels: Literal[1, 3]
    hflip_ok: bool
    is_small: bool
    device: str
    cores: int
    model: str | None = None
    img_size: int | None = None
    weights: "Source | None" = None
    num_layers: int = 1
    has_batch_norm: bool = False
    num_multilabel: int | None = None
    asked: Settings

    @property
    def num_train(self) -> int:
        """Training pictures."""
        return sum(self.class_counts) if self.num_multilabel is None else self.num_multilabel

    @property
    def is_multilabel(self) -> bool:
        """Whether a picture may have several classes, or none."""
        return self.num_multilabel is not None

    @property
    def num_classes(self) -> int:
        """Classes, also those without a training picture."""
        return len(self.class_counts)

    def photograph_px(self, most: int) -> int:
        """A side for a network for photographs: a multiple of 32 that enlarges them little.

        Args:
            most: px.
        """
        return min(most, 32 * math.ceil(min(self.typical_size) / 32))

    @property
    def input_px(self) -> int:
        """The shorter side of what a network for small pictures sees."""
        return self.img_size or min(self.typical_size)

    @property
    def pictures(self) -> str:
        """Their size, in words."""
        return f"pictures of {px(self.typical_size)}"


def epochs_for(facts: Facts, *, pictures: int, least: int, most: int) -> Default:
    """As many epochs as make a number of pictures: few pictures are seen often, many seldom.

    Args:
        facts: of the run.
        pictures: that the network sees in the whole run, about.
        least: epochs, however many pictures there are.
        most: epochs, however few.

    Example:
        >>> facts = Facts(class_counts=(150, 150), typical_size=(480, 640), channels=3, hflip_ok=True, is_small=False,
        ...               device="cpu", cores=2, asked=Settings())
        >>> epochs_for(facts, pictures=12_000, least=8, most=60)
        Default(value=40, reason='300 training pictures: about 12,000 pictures in all')
    """
    epochs = max(least, min(most, round(pictures / max(facts.num_train, 1))))
    told = f"{facts.num_train:,} training pictures: about {epochs * facts.num_train:,} pictures in all"
    return Default(epochs, told)


def batch_for(facts: Facts, *, largest: int) -> Default:
    """The largest batch, halved until an epoch has 30 steps.

    Args:
        facts: of the run.
        largest: pictures in a batch of a large data set.

    Example:
        >>> facts = Facts(class_counts=(150, 150), typical_size=(480, 640), channels=3, hflip_ok=True, is_small=False,
        ...               device="cpu", cores=2, asked=Settings())
        >>> batch_for(facts, largest=32).value
        8
    """
    size = largest
    while size > 8 and facts.num_train < _STEPS * size:
        size = max(8, size // 2)
    return Default(
        size,
        f"{facts.num_train:,} training pictures: large enough to use the machine, small enough for {_STEPS} steps an "
        "epoch",
    )


def in_proportion(facts: Facts, rate: float, *, of: int, batch: Default) -> Default:
    """A learning rate in proportion to the batch, as suits SGD (Goyal et al. 2017, arXiv:1706.02677, Sec. 2.1).

    Args:
        facts: of the run.
        rate: for a batch of `of` pictures.
        of: see `rate`.
        batch: the recipe's batch size; that which was asked for wins.

    Example:
        >>> facts = Facts(class_counts=(9, 9), typical_size=(32, 32), channels=3, hflip_ok=True, is_small=True,
        ...               device="cpu", cores=2, asked=Settings(batch_size=256))
        >>> in_proportion(facts, 0.5, of=512, batch=batch_for(facts, largest=512))
        Default(value=0.25, reason='0.5 for a batch of 512, in proportion (Goyal et al. 2017, Sec. 2.1)')
    """
    size = facts.asked.batch_size or batch.value
    return Default(
        round(rate * size / of, 6), f"{rate} for a batch of {of}, in proportion (Goyal et al. 2017, Sec. 2.1)"
    )


def px(size: tuple[int, int]) -> str:
    """A size in words.

    Example:
        >>> px((32, 32))
        '32x32 px'
    """
    return f"{size[0]}x{size[1]} px"
