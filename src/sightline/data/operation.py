"""The fourteen operations of the augmentation policies, how far each may go, and how a batch is shared out among them.

Reference:
    Ranges: torchvision 0.28, transforms/autoaugment.py, `_augmentation_space` of RandAugment and TrivialAugmentWide;
    google-research/augmix, augmentations.py, for AugMix.

Deviation:
    "Solarize" goes from 256 to 0 and not from 255, so that magnitude 0 leaves pure white alone. Rotations, shears and
    translations are bilinear, where torchvision takes the nearest pixel unless told otherwise, and show `fill` outside.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from sightline.data import colour, warp
from sightline.data.transfer import sent
from sightline.data.warp import Fill


class Span(NamedTuple):
    """What the magnitudes of an operation mean.

    Args:
        none: the amount at magnitude 0, which changes nothing.
        most: the amount at the greatest magnitude.
        is_signed: whether the amount lies as often on the other side of `none`.
    """

    none: float = 0.0
    most: float = 0.0
    is_signed: bool = False

    def amounts(self, levels: Tensor, signs: Tensor) -> Tensor:
        """The amount of each picture.

        Args:
            levels: float64 (N,), 0 to 1: its magnitude, as a part of the greatest.
            signs: float64 (N,), 1 or -1.

        Example:
            >>> import torch
            >>> Span(1.0, 1.9, is_signed=True).amounts(torch.tensor([1.0, 0.5]), torch.tensor([1, -1]))
            tensor([1.9000, 0.5500])
        """
        changes = (self.most - self.none) * levels
        return self.none + (signs * changes if self.is_signed else changes)


Spans = dict[str, Span]

MOVES: dict[str, Callable[..., Tensor]] = {
    "ShearX": warp.shear_x,
    "ShearY": warp.shear_y,
    "TranslateX": warp.translate_x,
    "TranslateY": warp.translate_y,
    "Rotate": warp.rotate,
}
RECOLOURS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": colour.brightness,
    "Color": colour.saturation,
    "Contrast": colour.contrast,
    "Sharpness": colour.sharpness,
    "Posterize": lambda pictures, bits: colour.posterize(pictures, bits.round().clamp(min=1)),
    "Solarize": colour.solarize,
    "AutoContrast": lambda pictures, _: colour.autocontrast(pictures),
    "Equalize": lambda pictures, _: colour.equalize(pictures),
}


def rand_spans(height: int, width: int) -> Spans:
    """RandAugment's operations: torchvision's, at magnitude 30."""
    return _spans(shear=0.3, shift=(150 / 331 * width, 150 / 331 * height), degrees=30, enhance=0.9, bits=(8, 4))


def trivial_spans(height: int, width: int) -> Spans:
    """TrivialAugment Wide's operations; its translations are in px whatever the picture's size."""
    return _spans(shear=0.99, shift=(32, 32), degrees=135, enhance=0.99, bits=(8, 2))


def augmix_spans(height: int, width: int) -> Spans:
    """AugMix's operations, at severity 10: without those that ImageNet-C tests with, so that its score stays honest."""
    spans = _spans(shear=0.3, shift=(width / 3, height / 3), degrees=30, enhance=0, bits=(4, 0))
    left_out = ("Identity", "Brightness", "Color", "Contrast", "Sharpness")  # Hendrycks et al. 2019, Sec. 3
    return {name: span for name, span in spans.items() if name not in left_out}


def _spans(
    *, shear: float, shift: tuple[float, float], degrees: float, enhance: float, bits: tuple[float, float]
) -> Spans:
    factor = Span(1, 1 + enhance, is_signed=True)
    return {
        "Identity": Span(),
        "ShearX": Span(0, shear, is_signed=True),
        "ShearY": Span(0, shear, is_signed=True),
        "TranslateX": Span(0, shift[0], is_signed=True),
        "TranslateY": Span(0, shift[1], is_signed=True),
        "Rotate": Span(0, degrees, is_signed=True),
        "Brightness": factor,
        "Color": factor,
        "Contrast": factor,
        "Sharpness": factor,
        "Posterize": Span(*bits),
        "Solarize": Span(256, 0),
        "AutoContrast": Span(),
        "Equalize": Span(),
    }


def operate(pictures: Tensor, spans: Spans, choices: Tensor, levels: Tensor, signs: Tensor, *, fill: Fill) -> Tensor:
    """Apply one operation to each picture; those that share one go through it together.

    Args:
        pictures: uint8 (N, H, W, C).
        spans: the operations to choose from.
        choices: int64 (N,), which of them; -1 for none.
        levels: float64 (N,), 0 to 1, the magnitude as a part of the greatest.
        signs: float64 (N,), 1 or -1.
        fill: the colour around a moved picture.

    Returns:
        uint8 (N, H, W, C), new.

    Example:
        >>> import torch
        >>> pair = torch.tensor([10, 20], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> spans = {"Identity": Span(), "Brightness": Span(1, 2)}
        >>> one = torch.ones(2)
        >>> operate(pair, spans, torch.tensor([0, 1]), one, one, fill=(0,)).flatten()
        tensor([10, 40], dtype=torch.uint8)
    """
    result = pictures.clone()
    for number, (name, span) in enumerate(spans.items()):
        if name in MOVES:
            on_chosen(result, choices == number, span.amounts(levels, signs), partial(MOVES[name], fill=fill))
        elif name in RECOLOURS:
            on_chosen(result, choices == number, span.amounts(levels, signs), RECOLOURS[name])
    return result


def on_chosen(pictures: Tensor, chosen: Tensor, amounts: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Put some pictures of a batch through an operation, in place.

    Args:
        pictures: uint8 (N, H, W, C); changed.
        chosen: bool (N,), on the CPU, so that nothing has to wait for the pictures' device.
        amounts: (N,), on the CPU.
        operation: from (pictures, amounts) of the chosen ones to their new pictures.
    """
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        places = sent(rows, pictures.device)
        pictures[places] = operation(pictures[places], amounts[rows])
