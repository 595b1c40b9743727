"""Random erasing: a rectangle of some pictures is filled with one colour or with noise."""

import torch
from torch import Tensor

from sightline.data.crop import BOX_COLUMNS, fitting_boxes
from sightline.data.transfer import sent

ERASE_COLUMNS = 1 + BOX_COLUMNS
AREA = (0.02, 0.33)  # torchvision's and timm's; Zhong et al. 2017, Sec. 4.3, go up to 0.4
RATIO = (0.3, 3.3)  # as they write it; the logarithm is uniform, which torchvision and timm chose


def erase_boxes(numbers: Tensor, size: tuple[int, int], *, probability: float) -> tuple[Tensor, Tensor]:
    """Which pictures lose a rectangle, and where.

    Args:
        numbers: float (N, 23), uniform in [0, 1).
        size: (height, width) px of all pictures.
        probability: of each picture to lose one. Where ten random rectangles do not fit, as may happen in a picture
            many times as long as wide, it keeps all.

    Returns:
        int64 (M,), the pictures, and int64 (M, 4), the (top, left, height, width) of their rectangles.

    Example:
        >>> erase_boxes(torch.full((2, 23), 0.5), (10, 10), probability=0.6)
        (tensor([0, 1]), tensor([[3, 3, 4, 4],
                [3, 3, 4, 4]]))
    """
    sizes = torch.tensor([size]).expand(len(numbers), 2)
    boxes, fits = fitting_boxes(sizes, numbers[:, 1:], scale=AREA, ratio=RATIO)
    rows = ((numbers[:, 0] < probability) & fits).nonzero()[:, 0]
    return rows, boxes[rows]


def noise(numbers: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Pictures of even noise, every level of every channel equally likely.

    Args:
        numbers: float32 (M, height * width), uniform multiples of 2**-24, which are three levels of 8 bits each.
        size: (height, width) px.
        channels: 1 to 3.

    Returns:
        uint8 (M, height, width, channels).

    Example:
        >>> noise(torch.tensor([[(7 + 8 * 256 + 9 * 65536) / 2**24]]), (1, 1), 3)
        tensor([[[[7, 8, 9]]]], dtype=torch.uint8)
    """
    bits = (numbers * 2**24).to(torch.int32).view(-1, *size, 1)
    return (bits >> (8 * torch.arange(channels, dtype=torch.int32))).bitwise_and_(255).to(torch.uint8)


def erased(pictures: Tensor, rows: Tensor, boxes: Tensor, content: Tensor) -> Tensor:
    """Fill a rectangle of some pictures.

    Args:
        pictures: uint8 (N, H, W, C).
        rows: int64 (M,), which of them.
        boxes: int64 (M, 4), (top, left, height, width) px.
        content: uint8, what is seen in the rectangles; anything that broadcasts to (M, H, W, C).

    Returns:
        uint8 (N, H, W, C), new.

    Example:
        >>> white = torch.full((1, 2, 3, 1), 255, dtype=torch.uint8)
        >>> black = torch.zeros(1, dtype=torch.uint8)
        >>> erased(white, torch.tensor([0]), torch.tensor([[0, 1, 2, 1]]), black)[0, :, :, 0]
        tensor([[255,   0, 255],
                [255,   0, 255]], dtype=torch.uint8)
    """
    device = pictures.device
    rows = sent(rows, device)
    top, left, height, width = sent(boxes, device).T[:, :, None]
    y, x = torch.arange(pictures.shape[1], device=device), torch.arange(pictures.shape[2], device=device)
    lines = (top <= y) & (y < top + height)  # (M, H)
    columns = (left <= x) & (x < left + width)  # (M, W)
    inside = (lines[:, :, None] & columns[:, None, :])[..., None]
    result = pictures.clone()
    result[rows] = torch.where(inside, sent(content, device), pictures[rows])
    return result
