"""Random brightness, contrast, saturation and hue, with torchvision's meaning of the four numbers."""

from collections.abc import Callable

from torch import Tensor

from sightline.data import colour
from sightline.data.operation import on_chosen

JITTER_COLUMNS = 8  # four amounts, then four keys whose order is the order of the operations

_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    colour.brightness,
    colour.contrast,
    colour.saturation,
    colour.hue,
)


def jittered(pictures: Tensor, numbers: Tensor, widths: tuple[float, float, float, float]) -> Tensor:
    """Change brightness, contrast, saturation and hue of each picture, in a random order of its own.

    Args:
        pictures: uint8 (N, H, W, C); with C = 1 saturation and hue leave them alone.
        numbers: float (N, 8), uniform in [0, 1).
        widths: of brightness, contrast and saturation: factors are uniform in [max(0, 1 - width), 1 + width]; of hue:
            shifts are uniform in [-width, width], parts of the circle. 0 leaves out.

    Returns:
        uint8 (N, H, W, C), new.

    Example:
        >>> import torch
        >>> grey = torch.full((1, 1, 1, 3), 100, dtype=torch.uint8)
        >>> jittered(grey, torch.full((1, 8), 0.75), (0.4, 0, 0, 0)).flatten()
        tensor([120, 120, 120], dtype=torch.uint8)
    """
    result = pictures.clone()
    uniform = numbers[:, :4].double()
    order = numbers[:, 4:].argsort(dim=1, stable=True)  # of each picture: which operation comes first, second, ...
    for turn in range(4):
        for number, (operation, width) in enumerate(zip(_OPERATIONS, widths, strict=True)):
            if width:
                low, high = (-width, width) if operation is colour.hue else (max(0.0, 1 - width), 1 + width)
                amounts = low + (high - low) * uniform[:, number]
                on_chosen(result, order[:, turn] == number, amounts, operation)
    return result
