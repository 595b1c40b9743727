"""Counts of a network's parameters and multiplications, by the sums of nn.arithmetic."""

import torch
from torch import Tensor, nn

from sightline.nn.arithmetic import conv_macs, conv_parameters, linear_macs, linear_parameters


def parameters(net: nn.Module) -> int:
    """Trained numbers; and the sums agree with what the layers hold."""
    for module in net.modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        bias = getattr(module, "bias", None) is not None
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            size = (height, width)
            channels = module.in_channels, module.out_channels
            assert own == conv_parameters(*channels, size, groups=module.groups, bias=bias)
        elif isinstance(module, nn.Linear):
            assert own == linear_parameters(module.in_features, module.out_features, bias=bias)
    return sum(parameter.numel() for parameter in net.parameters())


def multiplications(net: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates for one picture of (channels, height, width): convolutions and dense layers only."""
    counts: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            kernel_size, size = (module.kernel_size[0], module.kernel_size[1]), (output.shape[2], output.shape[3])
            counts.append(conv_macs(module.in_channels, module.out_channels, kernel_size, size, groups=module.groups))
        elif isinstance(module, nn.Linear):
            places = output[..., 0].numel()  # more than one where it works along the channels of a map
            counts.append(places * linear_macs(module.in_features, module.out_features))

    hooks = [module.register_forward_hook(count) for module in net.modules() if not list(module.children())]
    net(torch.zeros(1, *input_size, device=next(net.parameters()).device))
    for hook in hooks:
        hook.remove()
    return sum(counts)
