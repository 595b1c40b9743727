"""Which weights of a network Muon turns as matrices."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sightline.training.phase import auxiliary_heads, head_of

Update = Literal["adamw", "muon", "muon_normalized"]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def updates_of(net: nn.Module) -> dict[Tensor, Update]:
    """What Muon does with each weight of a network that it turns as a matrix; every other parameter is AdamW's.

    Matrices are the weights of hidden linear layers and convolutions. Not the first layer's, whose input is no output
    of a layer; not a classifier's, auxiliary ones included, whose rows are classes; not those of convolutions in
    groups, which are many small matrices or, depthwise, none.

    A batch norm is taken to follow where it is the next module of the same parent and has as many channels, pools
    between them aside: modules are registered in the order in which they run.

    Args:
        net: any module.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> updates = updates_of(net)
        >>> [updates.get(layer.weight, "adamw") for layer in net]
        ['adamw', 'muon_normalized', 'adamw', 'muon', 'adamw']
    """
    first = next((parameter for parameter in net.parameters() if parameter.ndim >= 2), None)
    heads = [head_of(part) for part in (net, *auxiliary_heads(net))]
    of_heads = [parameter for head in heads if head is not None for parameter in head.parameters()]
    excepted = {id(parameter) for parameter in (first, *of_heads)}
    normalized = _before_batch_norm(net)
    return {
        module.weight: "muon_normalized" if id(module.weight) in normalized else "muon"
        for module in net.modules()
        if (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1))
        and id(module.weight) not in excepted
    }


def _before_batch_norm(net: nn.Module) -> set[int]:
    found: set[int] = set()
    for parent in net.modules():
        children = [child for child in parent.children() if not isinstance(child, _POOLS)]
        for layer, following in pairwise(children):
            if (
                isinstance(layer, nn.Conv2d | nn.Linear)
                and isinstance(following, _BatchNorm)
                and following.num_features == len(layer.weight)
            ):
                found.add(id(layer.weight))
    return found
