"""Units that leave a part of the network out of a training step, by chance."""

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Leaves a residual branch out for some pictures of a batch, and scales the others so that the mean stays.

    In evaluation nothing is left out and nothing scaled.

    Args:
        p: probability with which a picture loses the branch, in [0, 1).

    Shape:
        (N, ...) -> (N, ...).

    Reference:
        Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382, Sec. 3; a picture at a time, as
        EfficientNet and ConvNeXt use it.

    Deviation:
        The paper leaves a branch out for a whole batch and scales in evaluation instead; by picture the gradient is
        less noisy, and the network in evaluation is the plain one.

    Example:
        >>> StochasticDepth(0.5).eval()(torch.ones(2, 1, 1, 1)).flatten()
        tensor([1., 1.])
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        kept = torch.empty(x.shape[0], *(1,) * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * kept.div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def depth_decay(p: float, num_blocks: int) -> list[float]:
    """The probability of each residual unit, rising linearly from 0 at the first to `p` at the last.

    Args:
        p: of the last unit.
        num_blocks: how many units there are.

    Reference:
        Huang et al. 2016, arXiv:1603.09382, Sec. 3, "linear decay"; from 0 as ConvNeXt and timm have it.

    Example:
        >>> depth_decay(0.2, 5)
        [0.0, 0.05, 0.1, 0.15, 0.2]
    """
    return [round(p * block / max(num_blocks - 1, 1), 6) for block in range(num_blocks)]
