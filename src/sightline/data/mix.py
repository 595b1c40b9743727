"""Mixup and CutMix: a picture and a part of another one, with a label that says how much of each.

What is mixed with what, and how much, is drawn for the batch of all processes, as a pure function of (seed, epoch,
step). A process then takes the rows of its own pictures, so that the number of processes changes no picture.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.transfer import sent
from sightline.errors import ConfigError

_WORD = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, eq=False)
class Pairing:
    """What is mixed with what in one batch.

    Args:
        partners: int64 (N,), for each picture the position, in the batch of all processes, of the one mixed into it.
        weight: float32 (N,), the share of each picture itself, in [0, 1]; its partner has the rest.
        boxes: CutMix: int64 (N, 4), the part (top, left, height, width) px that comes from the partner; None: Mixup,
            which blends the whole pictures.
    """

    partners: Tensor
    weight: Tensor
    boxes: Tensor | None

    def of(self, positions: Tensor) -> "Pairing":
        """The rows of some pictures; their partners are still counted in the whole batch.

        Args:
            positions: int64 (n,), where the pictures are in the batch of all processes.
        """
        boxes = None if self.boxes is None else self.boxes[positions]
        return Pairing(self.partners[positions], self.weight[positions], boxes)

    def apply(
        self, images: Tensor, partner_images: Tensor, targets: Tensor, partner_targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mix, on whatever device the images are.

        Args:
            images: float (N, C, H, W), normalised; left as they are.
            partner_images: the same of the partners, row by row.
            targets: float (N, K), such as one-hot labels, or the ones and zeros of several labels a picture.
            partner_targets: the same of the partners.

        Returns:
            The mixed images and targets. Where rows of the targets sum to one, they still do; those of several labels
            have each label in the shares of the pictures that have it.

        Example:
            >>> pairing = Pairing(torch.tensor([1, 0]), torch.tensor([0.75, 1.0]), None)
            >>> images = torch.tensor([0.0, 8.0]).view(2, 1, 1, 1)
            >>> images, targets = pairing.apply(images, images.flip(0), torch.eye(2), torch.eye(2).flip(0))
            >>> images.flatten().tolist(), targets.tolist()
            ([2.0, 8.0], [[0.75, 0.25], [0.0, 1.0]])
        """
        weight = sent(self.weight, images.device)
        if self.boxes is None:
            mixed = _blended(images, partner_images, weight)
        else:
            inside = _inside(sent(self.boxes, images.device), images.shape[2], images.shape[3])
            mixed = torch.where(inside[:, None], partner_images, images)
        return mixed, _blended(targets, partner_targets, weight)


@dataclass(frozen=True)
class Mix:
    """How training pictures are mixed with each other.

    Every picture has a share of its own, drawn from Beta(alpha, alpha). Whether a batch is mixed at all, and whether by
    Mixup or by CutMix, is drawn for the batch.

    Args:
        mixup: alpha of Mixup; 0 for none. A small one leaves most pictures nearly whole, 1 draws shares uniformly.
        cutmix: alpha of CutMix; 0 for none.
        prob: share of the batches that are mixed.
        switch_prob: share of these that get CutMix, where both are on.

    Raises:
        ConfigError: a number lies outside its range, or both alphas are 0.

    Reference:
        Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412, Eq. 2.
        CutMix: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        arXiv:1905.04899, Sec. 3.1.

    Several labels a picture:
        Each label of a mixed picture has the sum of the shares of those that have it, as Eq. 2 says of any vector of
        labels; Kong et al. 2020, "PANNs", arXiv:1912.10211, train so, on sounds with several labels each.

    Deviation:
        The papers draw one share for a batch; here each picture has its own (timm's mode "elem"), which makes a batch
        less alike. The papers shuffle for partners; here a picture's partner is a fixed number of places further on: a
        batch is in random order already, and so no picture meets itself. CutMix's box may reach over the picture's
        edge, as in the authors' code; the share is that of the part inside, and not the one drawn.

    Example:
        >>> pairing = Mix(mixup=0.2).pairing(4, image_size=(8, 8), seed=0, epoch=0, step=0)
        >>> pairing.partners
        tensor([2, 3, 0, 1])
        >>> pairing.weight
        tensor([2.9978e-04, 9.5100e-01, 7.8866e-01, 9.9979e-01])
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 1.0
    switch_prob: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; alpha must be 0 (for none) or more, and finite.")
        for name in ("prob", "switch_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a probability must be from 0 to 1.")
        if self.mixup == 0 and self.cutmix == 0:
            raise ConfigError("mixup and cutmix are both 0, which mixes nothing. Set one of them, or give no Mix.")

    def pairing(self, size: int, *, image_size: tuple[int, int], seed: int, epoch: int, step: int) -> Pairing:
        """What is mixed with what in one step: a pure function of the arguments.

        Args:
            size: pictures in the batch of all processes.
            image_size: their (height, width) px, for the boxes.
            seed: of the run.
            epoch: of the run.
            step: in the epoch.
        """
        key = np.array([seed & _WORD, (epoch << 32 | step) & _WORD], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        chance, switch = random.random(2)
        if chance >= self.prob:  # each picture with itself
            return Pairing(torch.arange(size), torch.ones(size), None)
        partners = torch.arange(size).roll(-_distance(size))
        if self.cutmix == 0 or (self.mixup > 0 and switch >= self.switch_prob):
            return Pairing(partners, _float32(random.beta(self.mixup, self.mixup, size)), None)
        share = random.beta(self.cutmix, self.cutmix, size)
        boxes = cutmix_boxes(share, random.random((size, 2)), image_size)
        area = boxes[:, 2] * boxes[:, 3]
        return Pairing(partners, _float32(1 - area / math.prod(image_size)), torch.from_numpy(boxes))


def cutmix_boxes(
    share: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64], image_size: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Where CutMix cuts: boxes of the picture's shape around random centres, as far as they lie inside.

    Args:
        share: (N,), how much of the picture is to stay, in [0, 1].
        numbers: (N, 2), uniform in [0, 1), for the centres (down, right).
        image_size: (height, width) px.

    Returns:
        int64 (N, 4): (top, left, height, width) px.

    Example:
        >>> cutmix_boxes(np.array([0.75, 0.75]), np.array([[0.5, 0.5], [0.0, 0.9]]), (8, 16)).tolist()
        [[2, 4, 4, 8], [0, 10, 2, 6]]
    """
    size = np.array(image_size)
    cut = (size * np.sqrt(1 - share)[:, None]).astype(np.int64)  # (N, 2)
    start = (size * numbers).astype(np.int64) - cut // 2
    inside = np.clip(start, 0, size), np.clip(start + cut, 0, size)
    return np.concatenate([inside[0], inside[1] - inside[0]], axis=1)


def _distance(size: int) -> int:
    """How many places further on a picture's partner is: the largest power of two within half the batch.

    Processes take every second, fourth, ... picture, so that with 2, 4 or 8 of them a partner lies in the same process
    (but for those beyond the batch's end, where the processes do not divide it), and nothing is augmented twice. In a
    small last batch, which fewer processes share, it may lie elsewhere.
    """
    return 1 << ((size // 2).bit_length() - 1) if size > 1 else 0


def _blended(own: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    # Two products and a sum, each rounded: `lerp` may fuse them in some places of a tensor and not in others.
    share = weight.to(own.dtype).view(-1, *[1] * (own.dim() - 1))
    return (own * share).add_(other * (1 - share))


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in each picture's box: bool (N, height, width)."""
    lines = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    top, left, box_height, box_width = boxes[:, :, None].unbind(dim=1)  # (N, 1) each
    in_lines = (lines >= top) & (lines < top + box_height)  # (N, height)
    in_columns = (columns >= left) & (columns < left + box_width)  # (N, width)
    return in_lines[:, :, None] & in_columns[:, None, :]


def _float32(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
