"""The effective receptive field: how much each pixel really moves a unit, measured by the gradient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError, ShapeError, nearest
from sightline.inspection.borrow import borrowed, title, watch

STRONG = 1 - 0.9545  # of the strongest: what lies within two standard deviations of a bell curve (Luo et al.)


@dataclass(frozen=True)
class EffectiveField:
    """What one unit looks at, measured.

    Args:
        unit: (row, column) of the map.
        map_size: (height, width) of the map that it is in.
        influence: float (height, width) of the picture: the size of the unit's gradient at each pixel, summed over the
            picture's channels and averaged over pictures; not scaled.
    """

    unit: tuple[int, ...]
    map_size: tuple[int, ...]
    influence: Tensor

    @property
    def region(self) -> tuple[tuple[int, int], ...]:
        """The first and last pixel of any influence at all, along each axis: the receptive field within the picture."""
        touched = [self.influence.amax(dim=_others(self.influence, axis)) for axis in range(self.influence.dim())]
        places = [line.nonzero().flatten() for line in touched]
        return tuple((int(place[0]), int(place[-1])) if len(place) else (0, -1) for place in places)

    @property
    def size_px(self) -> float:
        """Side of a square of as many pixels as have at least 4.55 % of the strongest one's influence."""
        strong = self.influence >= STRONG * self.influence.max()
        return math.pow(int(strong.sum()), 1 / self.influence.dim())


def effective_receptive_field(
    net: nn.Module,
    images: Tensor | Sequence[int] = (3, 224, 224),
    *,
    endpoint: str,
    unit: Sequence[int] | None = None,
) -> EffectiveField:
    """Measures which pixels a unit depends on, and how much, with the network's own weights.

    The exact field (`receptive_field`) says which pixels may count; most of them count for next to nothing, and the
    influence falls off from the middle like a bell curve.

    Args:
        net: with weights, in the precision that counts: in deep networks float32 loses the faint edges. It runs in
            evaluation mode and is left as it was.
        images: float (N, C, H, W), normalised; or a picture's size, for one of random noise.
        endpoint: the qualified name of a layer, or of a stage of a network that names its stages.
        unit: (row, column) in that layer's map; None takes the middle one.

    Raises:
        ConfigError: there is no such endpoint, or the network has no weights.
        ShapeError: the endpoint makes no map, or has no such unit.

    Reference:
        Luo, Li, Urtasun and Zemel 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural
        Networks", arXiv:1701.04128.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        >>> effective_receptive_field(net, (3, 16, 16), endpoint="1").region
        ((6, 10), (6, 10))
    """
    weight = next(net.parameters(), torch.empty(0))
    if weight.is_meta:
        raise ConfigError(f"{title(net)} has no weights (it is on the meta device), so nothing moves its units.")
    if not isinstance(images, Tensor):
        images = torch.randn(1, *images, generator=torch.Generator().manual_seed(0))
    images = images.to(weight.device, weight.dtype if weight.is_floating_point() else torch.float32)
    outputs: dict[str, object] = {}

    def leave(name: str, stage: str, output: object) -> None:
        outputs.update({name: output, stage: output})

    with borrowed(net), torch.inference_mode(False), torch.enable_grad():
        net.eval()
        watch(net, lambda *_: None, leave)
        pixels = images.detach().clone().requires_grad_()
        net(pixels)
        if endpoint not in outputs or not endpoint:
            raise ConfigError(f"{title(net)} has no endpoint {endpoint!r}.{nearest(endpoint, filter(None, outputs))}")
        output = outputs[endpoint]
        if not isinstance(output, Tensor) or output.dim() != images.dim():
            raise ShapeError(f"{endpoint} makes no map of (N, C, H, W). Take an endpoint before the pool.")
        size = tuple(output.shape[2:])
        place = tuple(side // 2 for side in size) if unit is None else tuple(unit)
        if len(place) != len(size) or any(not 0 <= at < side for at, side in zip(place, size, strict=True)):
            raise ShapeError(
                f"unit is {place}; the map of {endpoint} is {size}, so it may be up to "
                f"{tuple(side - 1 for side in size)}."
            )
        at = int(np.ravel_multi_index(place, size))
        (gradient,) = torch.autograd.grad(output.flatten(2)[..., at].sum(), pixels)
    return EffectiveField(place, size, gradient.abs().sum(dim=1).mean(dim=0))


def _others(influence: Tensor, axis: int) -> list[int]:
    return [dim for dim in range(influence.dim()) if dim != axis]
