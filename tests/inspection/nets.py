"""Small networks that do what real ones do, one trick each."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Function(nn.Module):
    """A network from layers and what to do with them.

    Args:
        forward: from (the module, x) to the output; layers are attributes of the module.
        layers: by name.
    """

    def __init__(self, forward: Callable[["Function", Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._do = forward

    def forward(self, x: Tensor) -> object:
        return self._do(self, x)


class Staged(nn.Module):
    """A network that names its stages: one is a function, one is a layer of another name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(8, 2)

    def named_stages(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {
            "stem": lambda x: self.relu(self.conv(x)),
            "body": self.blocks,
            "head": lambda x: self.fc(x.mean(dim=(2, 3))),
        }

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.named_stages().values():
            x = stage(x)
        return x


class Gate(nn.Module):
    """Squeeze and excitation: a factor for each channel, made from the whole map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))


def conv(*args: int, **kwargs: object) -> nn.Conv2d:
    """A convolution of one channel, whose arguments are kernel, stride and padding."""
    return nn.Conv2d(1, 1, *args, **kwargs)  # type: ignore[arg-type]


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def positive(net: nn.Module, seed: int = 0) -> nn.Module:
    """The same with positive weights, so that no two influences cancel and no ReLU cuts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(0.1, 1, generator=generator)
    return net


def rows_that_depend_on(net: nn.Module, size: Sequence[int], axis: int, place: int) -> list[int]:
    """Which rows (columns, ...) of the output map change with one row of the picture.

    By a NaN in that row, which every sum, product and maximum passes on: exact, and asks nothing of gradients.
    """
    images = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    images.select(axis + 2, place).fill_(torch.nan)
    with torch.no_grad():
        output = net.eval()(images)
    return output.isnan().movedim(axis + 2, 0).flatten(1).any(dim=1).nonzero().flatten().tolist()
