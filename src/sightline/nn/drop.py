"""Units that leave a part of the network out of a training step, by chance."""

import torch
from torch import Tensor, nn

from sightline.errors import ConfigError


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


def stochastic_depth_(net: nn.Module, p: float) -> None:
    """Sets the probability with which each unit's branch is left out of a training step, in proportion to its depth.

    Args:
        net: its `StochasticDepth` are set in place, in order: the l-th of L to p l / L.
        p: of the last unit, in [0, 1).

    Raises:
        ConfigError: there is no branch to leave out.

    Reference:
        Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382, Eq. 4, "linear decay": his ResNets
        with 110 and 1202 layers take p = 0.5. He skips a unit's work for a whole batch; `StochasticDepth` chooses for
        each picture, which saves no time. torchvision and timm begin with 0 at the first unit.
    """
    branches = [module for module in net.modules() if isinstance(module, StochasticDepth)]
    if p > 0 and not branches:
        raise ConfigError(f"drop_path is {p}, but {type(net).__name__} has no residual branch to leave out. Take 0.")
    for depth, branch in enumerate(branches, start=1):
        branch.p = p * depth / len(branches)
