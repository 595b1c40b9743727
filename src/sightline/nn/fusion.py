"""Batch norms folded into the convolutions before them: the same answers with half of the layers.

In evaluation a batch norm is one multiplication and one addition a channel, which the weights of a convolution can do
as well as it does its own. What is saved is a pass over the memory of every map.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.errors import ShapeError, SightlineError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# These alone, and no subclass: one that does more in its forward, such as an activation, cannot be left out.
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fused_for_evaluation(net: nn.Module, input_size: Sequence[int]) -> nn.Module:
    """A copy of a network in evaluation mode, with batch norms folded into convolutions where that changes nothing.

    Args:
        net: any module that takes one tensor; it is left as it is.
        input_size: of a picture that it takes, without the batch: (channels, height, width). A small one is enough.

    Raises:
        ShapeError: the network cannot take such a picture.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> fused_for_evaluation(net, (3, 8, 8))
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    return FusedForEvaluation(net, input_size).net


class FusedForEvaluation:
    """A fused copy of a network that follows it through its training, at the cost of one copy of its weights.

    Which batch norm follows which convolution is not read off the names: one picture is run through the network, and
    every operation is looked at. A pair is folded where the batch norm takes exactly what the convolution put out,
    nothing else takes it, and each of the two runs once. All others stay: batch norms before their convolution, or
    with a pool between.

    Args:
        net: any module that takes one tensor; it is left as it is.
        input_size: of a picture that it takes, without the batch: (channels, height, width). A small one is enough.

    Attributes:
        net: the copy, in evaluation mode.
        pairs: names of each convolution and of the batch norm that is folded into it, in the order of the run.

    Raises:
        ShapeError: the network cannot take such a picture.

    Reference:
        Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference", arXiv:1712.05877, Sec. 3.2, Eq. 14.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))
        >>> fused = FusedForEvaluation(net, (3, 8, 8))
        >>> fused.pairs
        (('0', '1'),)
        >>> images = torch.randn(2, 3, 8, 8)
        >>> _ = nn.init.constant_(net[1].weight, 2.0)  # as a step of training would
        >>> torch.allclose(fused.update(net)(images), net.eval()(images), atol=1e-6)
        True
    """

    def __init__(self, net: nn.Module, input_size: Sequence[int]) -> None:
        copied = copy.deepcopy(net).eval().requires_grad_(False)
        self.pairs = _foldable_pairs(copied, input_size)
        # What deepcopy finds here it takes for copied. So every reference to a layer, wherever the network keeps it,
        # turns to what stands in for the layer, and the other tensors are handed over.
        stand_ins: dict[int, Any] = {id(each): each for each in (*copied.parameters(), *copied.buffers())}
        for conv_name, norm_name in self.pairs:
            conv, norm = _layers(copied, conv_name, norm_name)
            stand_ins[id(conv)] = fuse_conv_bn_eval(conv, norm)
            stand_ins[id(norm)] = nn.Identity()
        self.net: nn.Module = copy.deepcopy(copied, stand_ins).eval()

    @torch.no_grad()
    def update(self, net: nn.Module) -> nn.Module:
        """Takes over the weights and statistics of a network, in place.

        Args:
            net: the one that this was made of, later in its training, or a copy of it.

        Returns:
            `self.net`.
        """
        values: dict[str, Tensor] = {
            **dict(net.named_parameters(remove_duplicate=False)),
            **dict(net.named_buffers(remove_duplicate=False)),
        }
        for conv_name, norm_name in self.pairs:
            conv, norm = _layers(net, conv_name, norm_name)
            values[f"{conv_name}.weight"], values[f"{conv_name}.bias"] = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
        for entries in (self.net.named_parameters(), self.net.named_buffers()):
            for name, value in entries:
                value.copy_(values[name])
        return self.net


def _layers(net: nn.Module, conv_name: str, norm_name: str) -> tuple[Any, Any]:
    return net.get_submodule(conv_name), net.get_submodule(norm_name)


@torch.no_grad()
def _foldable_pairs(net: nn.Module, input_size: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Names of convolutions and of the batch norms to fold into them.

    Args:
        net: in evaluation mode. Convolutions without a bias are lent one for the run: a folded one needs it, and not
            every subclass would look at it.
        input_size: of a picture.
    """
    example = next(net.parameters(), torch.empty(0))
    convs = {name: each for name, each in net.named_modules() if isinstance(each, _CONVOLUTIONS)}
    bare = [conv for conv in convs.values() if conv.bias is None]
    for conv in bare:
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels), requires_grad=False)
    recorder = _Recorder(net, convs)
    try:
        with torch.inference_mode(False), _without_autocast(example.device), recorder:
            output = net(torch.zeros(1, *input_size, dtype=example.dtype, device=example.device))
    except SightlineError:
        raise
    except RuntimeError as error:
        raise ShapeError(
            f"{type(net).__name__} cannot take an input of {(1, *input_size)}, batch first: {error}. "
            "Give the input_size of a picture that it was built for: (channels, height, width)."
        ) from error
    finally:
        for conv in bare:
            conv.bias = None
    recorder.read(output)
    return recorder.pairs()


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keeps weights what they are on their way into a convolution: under autocast it takes a copy."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd: who makes a tensor, and how often it is read.

    Layers are told by their tensors. So a weight that is computed from others (weight standardisation, spectral
    norm) belongs to no layer, and a layer whose forward does more than its name says is not mistaken for another.
    """

    def __init__(self, net: nn.Module, convs: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._conv_of: dict[int, str] = {}  # by the identity of the weight
        self._norm_of: dict[int, str] = {}  # by that of the running mean
        self._bias_of = {name: conv._parameters["bias"] for name, conv in convs.items()}
        self._made: dict[int, tuple[str, Tensor]] = {}  # an output and its convolution; kept, so that its id stays its
        self._found: list[tuple[str, str, tuple[int, int]]] = []  # a pair, and what must be read once
        self._reads: dict[int, int] = {}  # of those tensors alone
        for name, conv in convs.items():
            self._own(self._conv_of, conv._parameters.get("weight"), name)
        for name, norm in net.named_modules():
            if type(norm) in _BATCH_NORMS and not norm._forward_hooks:  # somebody watches what a hooked one puts out
                self._own(self._norm_of, norm._buffers["running_mean"], name)

    def _own(self, owners: dict[int, str], tensor: Tensor | None, name: str) -> None:
        if tensor is None:
            return
        if id(tensor) in self._reads:  # shared by two layers: it belongs to neither
            owners.pop(id(tensor), None)
            return
        owners[id(tensor)] = name
        self._reads[id(tensor)] = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.read((args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        given = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | (kwargs or {})
        if func is torch.ops.aten.convolution.default:
            self._convolved(given, result)
        elif "batch_norm" in str(func):  # each kind of device has its own
            self._normalised(given)
        return result

    def _convolved(self, given: Mapping[str, Any], output: Tensor) -> None:
        name = self._conv_of.get(id(given["weight"]))
        if name is not None and given["bias"] is self._bias_of[name] and not given["transposed"]:
            self._made[id(output)] = name, output
            self._reads[id(output)] = 0

    def _normalised(self, given: Mapping[str, Any]) -> None:
        norm_name = self._norm_of.get(id(given["running_mean"]))
        if norm_name is None or id(given["input"]) not in self._made or given.get("training"):
            return
        conv_name, output = self._made[id(given["input"])]
        read_once = id(output), id(given["running_mean"])
        self._found.append((conv_name, norm_name, read_once))

    def read(self, value: Any) -> None:
        """Counts every tensor in it as read once more."""
        for tensor in _tensors(value):
            if id(tensor) in self._reads:
                self._reads[id(tensor)] += 1

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What was found in the whole run."""
        weight_of = {name: weight for weight, name in self._conv_of.items()}
        return tuple(
            (conv, norm)
            for conv, norm, read_once in self._found
            if all(self._reads[each] == 1 for each in (*read_once, weight_of[conv]))
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
