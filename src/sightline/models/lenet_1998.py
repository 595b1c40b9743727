"""LeNet-5 as the paper of 1998 describes it: trainable subsampling, a table of connections, codes for outputs."""

import itertools
import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.models.base import Classifier, Stage
from sightline.models.lenet import map_sizes
from sightline.nn.init import uniform_by_inputs_

TABLE_I = (  # the maps of S2 that each map of C3 sees
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class LeNet1998(Classifier):
    """The network of the paper, layer by layer: 60,000 parameters and 340,908 connections for 1x32x32 and 10 classes.

    The outputs are minus the squared distances of F6 from a fixed code for each class: Eq. 7. The paper trains them by
    Eq. 9, the distance from the right class's code plus log(e^-j + sum e^-distance), which for large j is the
    cross-entropy of a softmax over minus the distances. So these are logits like any other network's.

    Args:
        num_classes: outputs.
        in_channels: channels of the pictures.
        image_size: (height, width) px, which layer C5 is made for; at least 28x28. 28x28 is padded to the paper's 32x32
            by the first convolution.

    Shape:
        (N, in_channels, *image_size) -> (N, num_classes).

    Reference:
        LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", Sec. II.B,
        Fig. 2 and Table I; the loss, Sec. II.C; squashing function and first weights, Appendix A.

    Deviation:
        The codes are rows of a Hadamard matrix, any two of which differ in half of their places. The paper names
        error-correcting codes as a choice and takes pictures of the characters on 7x12 px (Fig. 3), which it gives
        nowhere as numbers and calls of no particular use for single digits.

    Example:
        >>> net = LeNet1998(num_classes=10)
        >>> sum(parameter.numel() for parameter in net.parameters())
        60000
    """

    def __init__(self, *, num_classes: int, in_channels: int = 1, image_size: Sequence[int] = (32, 32)) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.num_features = num_classes, in_channels, 84
        self.fixed_size = self.min_size = (image_size[0], image_size[1])
        padding, height, width = map_sizes("LeNet1998", image_size)
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=padding)
        self.s2 = Subsampling(6)
        self.c3 = TableConv2d(TABLE_I, 5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, (height, width))
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis(84, num_classes)
        uniform_by_inputs_(self)

    def named_stages(self) -> dict[str, Stage]:
        return {  # for 32 px
            "c1": lambda x: squash(self.c1(x)),  # (N, 6, 28, 28)
            "s2": lambda x: squash(self.s2(x)),  # (N, 6, 14, 14)
            "c3": lambda x: squash(self.c3(x)),  # (N, 16, 10, 10)
            "s4": lambda x: squash(self.s4(x)),  # (N, 16, 5, 5)
            "c5": lambda x: squash(self.c5(x)).flatten(1),  # (N, 120)
            "f6": lambda x: squash(self.f6(x)),  # (N, 84)
            "head": self.output,  # (N, num_classes)
        }

    @property
    def classifier_head(self) -> nn.Module:
        return self.output


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x): close to the identity between -1 and 1, with its greatest curvature there (Appendix A).

    Example:
        >>> squash(torch.tensor([-1.0, 1.0]))
        tensor([-1.0000,  1.0000])
    """
    return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The sum of each 2x2 window times a coefficient plus a bias, both trained, one pair a map.

    Args:
        channels: maps.

    Shape:
        (N, channels, H, W) -> (N, channels, H/2, W/2), rounded down.

    Reference:
        LeCun et al. 1998, Sec. II.B, layers S2 and S4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = 2.4 / 4  # Appendix A: a unit has four inputs
        self.weight = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        total = 4 * F.avg_pool2d(x, 2)
        return total * self.weight[:, None, None] + self.bias[:, None, None]


class TableConv2d(nn.Module):
    """A convolution each of whose maps sees only some of the maps before it.

    There are no weights for what is not seen: maps with equally many inputs share one grouped convolution, a group
    each, on the inputs laid out one after the other.

    Args:
        table: for each map, the maps that it sees; those that see equally many stand together.
        kernel_size: side of the square kernel, px.

    Shape:
        (N, C, H, W) -> (N, len(table), H - kernel_size + 1, W - kernel_size + 1).

    Reference:
        LeCun et al. 1998, Sec. II.B, Table I: so the network stays small, and maps become different because they see
        different things.
    """

    def __init__(self, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        runs = [list(run) for _, run in itertools.groupby(table, key=len)]
        self.inputs = [list(itertools.chain(*run)) for run in runs]
        self.convs = nn.ModuleList(
            nn.Conv2d(len(inputs), len(run), kernel_size, groups=len(run))
            for run, inputs in zip(runs, self.inputs, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = x.unbind(1)
        seen = (torch.stack([maps[index] for index in inputs], dim=1) for inputs in self.inputs)
        return torch.cat([conv(some) for conv, some in zip(self.convs, seen, strict=True)], dim=1)


class RadialBasis(nn.Module):
    """Minus the squared distance from each class's code, which is fixed.

    Args:
        num_features: length of a code; one more than a prime that leaves 3 when divided by 4.
        num_classes: codes.

    Shape:
        (N, num_features) -> (N, num_classes), at most 0.

    Reference:
        LeCun et al. 1998, Sec. II.B, Eq. 7.
    """

    weight: Tensor  # in the state dict, not among the parameters

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(_codes(num_features, num_classes)))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.weight).square().sum(dim=2)


def _codes(length: int, count: int) -> list[list[float]]:
    """Codes of -1 and 1, the same on every machine.

    The first `length` are the rows of a Hadamard matrix (Paley 1933, construction I); any two of them differ in half of
    their places. Each further block of as many is the matrix with some of its columns negated by chance.
    """
    prime = length - 1
    squares = {number * number % prime for number in range(1, prime)}
    matrix = [[1.0] * length]
    for row in range(prime):
        steps = [(column - row) % prime for column in range(prime)]
        matrix.append([-1.0] + [1.0 if step == 0 or step in squares else -1.0 for step in steps])
    numbers = random.Random(1998)
    codes: list[list[float]] = []
    signs = [1] * length
    while len(codes) < count:
        codes += [[sign * value for sign, value in zip(signs, row, strict=True)] for row in matrix]
        signs = [numbers.choice((-1, 1)) for _ in range(length)]
    return codes[:count]
