"""Dense connections: every layer sees the concatenated outputs of all layers before it."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sightline.nn.conv import relu


class DenseLayer(nn.Module):
    """Norm, ReLU, 3x3 convolution: looks at everything so far and adds a few channels to it.

    Args:
        in_channels: channels of all inputs together.
        growth_rate: channels that the layer adds, k in the paper.
        dilation: of the 3x3 convolution.
        dropout: after the convolution, in [0, 1).
        memory_efficient: compute the concatenation and its norm again in the backward pass instead of keeping them.

    Shape:
        any number of (N, C, H, W), `in_channels` together -> (N, growth_rate, H, W).

    Reference:
        Huang et al. 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993, Sec. 3, "Composite function".

    Example:
        >>> DenseLayer(24, 12)(torch.zeros(1, 12, 8, 8), torch.zeros(1, 12, 8, 8)).shape
        torch.Size([1, 12, 8, 8])
    """

    num_convolutions = 1

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        *,
        dilation: int = 1,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = relu()
        self.conv1 = nn.Conv2d(in_channels, growth_rate, 3, padding=dilation, dilation=dilation, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        x = _conv_of_all(features, self.norm1, self.relu1, self.conv1, recompute=self.memory_efficient)
        out: Tensor = self.dropout(x)
        return out


class DenseBottleneck(nn.Module):
    """A dense layer that first reduces all it sees to 4 k channels by a 1x1 convolution: DenseNet-B.

    Args:
        in_channels: channels of all inputs together.
        growth_rate: channels that the layer adds, k in the paper.
        dilation: of the 3x3 convolution.
        dropout: after each convolution, in [0, 1).
        memory_efficient: compute the concatenation and its norm again in the backward pass instead of keeping them.

    Shape:
        any number of (N, C, H, W), `in_channels` together -> (N, growth_rate, H, W).

    Reference:
        Huang et al. 2016, arXiv:1608.06993, Sec. 3, "Bottleneck layers".
    """

    num_convolutions = 2
    expansion = 4

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        *,
        dilation: int = 1,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        channels = self.expansion * growth_rate
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = relu()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu2 = relu()
        self.conv2 = nn.Conv2d(channels, growth_rate, 3, padding=dilation, dilation=dilation, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        x = _conv_of_all(features, self.norm1, self.relu1, self.conv1, recompute=self.memory_efficient)
        x = self.dropout(x)
        out: Tensor = self.dropout(self.conv2(self.relu2(self.norm2(x))))
        return out


DenseUnit = type[DenseLayer] | type[DenseBottleneck]


class DenseBlock(nn.ModuleDict):
    """A run of dense layers on maps of one size; the output is the input and what every layer added.

    Each layer copies what came before it into one tensor, so time and the memory for gradients grow with the square of
    the number of layers: with `memory_efficient` the time still does, but the memory grows in proportion.

    Args:
        unit: the layer.
        in_channels: channels of the input.
        growth_rate: channels that each layer adds.
        num_layers: how many.
        dilation: of the 3x3 convolutions.
        dropout: after each convolution, in [0, 1).
        memory_efficient: see the layer.

    Shape:
        (N, in_channels, H, W) -> (N, in_channels + num_layers growth_rate, H, W).

    Reference:
        Huang et al. 2016, arXiv:1608.06993, Sec. 3, Eq. 2.

    Example:
        >>> block = DenseBlock(DenseBottleneck, 64, 32, 6)
        >>> block.out_channels, list(block)[:2]
        (256, ['denselayer1', 'denselayer2'])
    """

    def __init__(
        self,
        unit: DenseUnit,
        in_channels: int,
        growth_rate: int,
        num_layers: int,
        *,
        dilation: int = 1,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = in_channels + num_layers * growth_rate
        for layer in range(num_layers):
            self[f"denselayer{layer + 1}"] = unit(
                in_channels + layer * growth_rate,
                growth_rate,
                dilation=dilation,
                dropout=dropout,
                memory_efficient=memory_efficient,
            )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(*features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    """Norm, ReLU, 1x1 convolution and a 2x2 average pool, between two dense blocks.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; fewer than come in make the network compress, DenseNet-C.
        stride: 2 pools; 1 keeps the size.
        dropout: after the convolution, in [0, 1).

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded down.

    Reference:
        Huang et al. 2016, arXiv:1608.06993, Sec. 3, "Pooling layers" and "Compression".

    Example:
        >>> Transition(256, 128)(torch.zeros(1, 256, 7, 7)).shape
        torch.Size([1, 128, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 2, dropout: float = 0.0) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(in_channels),
                relu=relu(),
                conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
                dropout=nn.Dropout(dropout),
                pool=nn.Identity() if stride == 1 else nn.AvgPool2d(stride),
            )
        )


def _conv_of_all(
    features: tuple[Tensor, ...], norm: nn.BatchNorm2d, act: nn.Module, conv: nn.Conv2d, *, recompute: bool
) -> Tensor:
    """Convolution of activation of norm of the concatenated features.

    With `recompute` only the features are kept for the backward pass, not their concatenation nor its norm, which
    every layer of a block would have of its own. These are cheap to compute again. The convolution is not: what it
    needs for its gradient is there again before it would start, and torch stops then.

    Reference:
        Pleiss et al. 2017, "Memory-Efficient Implementation of DenseNets", arXiv:1707.06990, Sec. 3.
    """

    def forward(*features: Tensor) -> Tensor:
        out: Tensor = conv(act(norm(torch.cat(features, 1))))
        return out

    if not recompute or not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return forward(*features)
    if torch.compiler.is_compiling():
        # a compiler replays its record of the first pass, in which the statistics change once
        compiled: Tensor = checkpoint(forward, *features, use_reentrant=False)
        return compiled
    out: Tensor = checkpoint(
        forward,
        *features,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing here is left to chance
        context_fn=lambda: (nullcontext(), _statistics_kept(norm)),
    )
    return out


@contextmanager
def _statistics_kept(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Lets a batch norm run without effect on its running statistics: copies take their place meanwhile."""
    buffers = dict(norm.named_buffers(recurse=False))
    for name, buffer in buffers.items():
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for name, buffer in buffers.items():
            setattr(norm, name, buffer)
