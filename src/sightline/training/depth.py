"""How deep each parameter lies: the ladder on which layer-wise learning rates stand."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from sightline.training.phase import auxiliary_heads, head_of

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)  # and nn.Sequential itself: its subclasses are units


def depth_of_parameters(net: nn.Module) -> dict[str, int]:
    """The depth of every parameter: 0 in the first layer, one more in each layer or unit after it, most in the head.

    A layer is a convolution or a dense layer with the norm that belongs to it; a unit is whatever has a class of its
    own: a residual block, a layer of DenseNet with its bottleneck, an inception unit. Plain containers (nn.Sequential,
    nn.ModuleList, nn.ModuleDict) are looked into, and so is a network that another one wraps. Layers come in the order
    in which they were registered, which in every network of the zoo is that of their use.

    A norm goes with the layer before it in its container, or, where it is the first there, with the one after it. What
    has no place in the order, auxiliary heads and parameters that belong to no layer, lies as deep as the last layer
    under the head.

    Args:
        net: any module. Its head is `classifier_head`, else the last nn.Linear, else the last layer.

    Returns:
        From the name of each parameter to its depth; no depth between 0 and the largest is left out.

    Reference:
        Bao et al. 2021, "BEiT", arXiv:2106.08254, in the published code: one depth a block. timm's
        `param_groups_layer_decay` with the networks' `group_matcher`.

    Deviation:
        timm puts the transitions of DenseNet and the last convolution of EfficientNet onto the unit before them. Here
        a convolution between units is a layer of its own.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        >>> depth_of_parameters(net)
        {'0.weight': 0, '0.bias': 0, '1.weight': 0, '1.bias': 0, '3.weight': 1, '3.bias': 1}
    """
    head = head_of(net)
    of_head = set() if head is None else {id(parameter) for parameter in head.parameters()}
    layers = _layers_of(net, of_head)
    body = [layer for layer in layers if not layer.parameters & of_head]
    if head is None and body:
        of_head = body.pop().parameters
    depths = dict.fromkeys(of_head, len(body))
    for layer in layers:
        if layer.parameters & of_head:
            depths |= dict.fromkeys(layer.parameters, len(body))
    for depth, layer in reversed([*enumerate(body)]):  # a shared parameter lies where it is used first
        depths |= dict.fromkeys(layer.parameters - of_head, depth)
    placeless = max(len(body) - 1, 0)
    return {name: depths.get(id(parameter), placeless) for name, parameter in net.named_parameters()}


@dataclass
class _Layer:
    """A layer or a unit.

    Args:
        parameters: the identities of its parameters.
        has_weights: whether one of them has two dimensions or more; norms and scales have none such.
        unit: the module, where it could be looked into.
    """

    parameters: set[int]
    has_weights: bool
    unit: nn.Module | None


def _layers_of(net: nn.Module, of_head: Collection[int]) -> list[_Layer]:
    """The layers in order, but for auxiliary heads; what merely wraps all others is opened."""
    apart = {id(part) for part in auxiliary_heads(net)}
    opened = {id(net)}
    while True:
        layers = _layers_in(net, opened, apart)
        body = [layer for layer in layers if layer.parameters - set(of_head)]
        if len(body) != 1 or body[0].unit is None:
            return layers
        opened.add(id(body[0].unit))


def _layers_in(container: nn.Module, opened: Collection[int], apart: Collection[int]) -> list[_Layer]:
    layers: list[_Layer] = []
    leading: set[int] = set()  # norms that no layer has come before
    for part in container.children():
        if id(part) in apart:
            continue
        if id(part) in opened or type(part) is nn.Sequential or isinstance(part, _CONTAINERS):
            found = _layers_in(part, opened, apart)
        else:
            found = _as_layer(part)
        for layer in found:
            if not layer.has_weights and layers:
                layers[-1].parameters |= layer.parameters
            elif not layer.has_weights:
                leading |= layer.parameters
            else:
                layer.parameters |= leading
                leading = set()
                layers.append(layer)
    return [*layers, *([_Layer(leading, False, None)] if leading else [])]


def _as_layer(part: nn.Module) -> list[_Layer]:
    """A module as one layer; nothing where it has no parameters."""
    parameters = list(part.parameters())
    if not parameters:
        return []
    is_leaf = not any(True for _ in part.children())
    has_weights = any(parameter.dim() >= 2 for parameter in parameters)
    return [_Layer({id(each) for each in parameters}, has_weights, None if is_leaf else part)]
