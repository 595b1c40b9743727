"""Running somebody's network without leaving a mark on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sightline.errors import ConfigError

Enter = Callable[[str, nn.Module | None, str], None]  # name, layer (None: a stage that is a function), stage
Leave = Callable[[str, str, Any], None]  # name, stage, output


@contextmanager
def borrowed(net: nn.Module) -> Iterator[None]:
    """Puts every attribute of every module back when the block ends, whatever happened in it.

    That is the mode, the hooks, the entries of parameters and buffers, and what a module keeps in plain attributes,
    lists, dicts and sets: counters, caches. Tensors that are written in place stay written; run in evaluation mode, or
    on twins (`swap_in_twins`).

    Args:
        net: nothing else may use it in the meantime.

    Example:
        >>> net = nn.BatchNorm2d(3)
        >>> with borrowed(net):
        ...     net = net.eval()
        ...     handle = net.register_forward_hook(print)
        >>> net.training, len(net._forward_hooks)
        (True, 0)
    """
    states = []
    for module in net.modules():
        attributes = dict(vars(module))
        contents = {key: value.copy() for key, value in attributes.items() if isinstance(value, list | dict | set)}
        states.append((module, attributes, contents))
    try:
        yield
    finally:
        for module, attributes, contents in states:
            vars(module).clear()
            vars(module).update(attributes)
            for key, content in contents.items():
                holder = attributes[key]  # the same object as before: handles of hooks refer to it
                holder.clear()
                holder.extend(content) if isinstance(holder, list) else holder.update(content)


def swap_in_twins(net: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Replaces parameters and buffers by twins on the meta device: shape and type, no values, no memory.

    To be called in a `borrowed` block, which takes the twins out again. A parameter that several modules share has one
    twin. Buffers of a single number, such as a batch norm's count of batches, are copied, since networks read them.

    Args:
        net: changed in place.

    Returns:
        Each tensor with its twin.

    Raises:
        ConfigError: a parameter of a lazy module has no shape yet.
    """
    twins: dict[int, tuple[Tensor, Tensor]] = {}
    for name, module in net.named_modules():
        for entries in (module._parameters, module._buffers):
            for key, tensor in entries.items():
                if tensor is None:
                    continue
                if is_lazy(tensor):
                    raise ConfigError(
                        f"{name or type(net).__name__} is a lazy module: its {key} has no shape yet. "
                        "Run the network on one batch first."
                    )
                if id(tensor) not in twins:
                    twins[id(tensor)] = tensor, _twin(tensor)
                entries[key] = twins[id(tensor)][1]
    return list(twins.values())


def watch(net: nn.Module, enter: Enter, leave: Leave) -> None:
    """Calls `enter` and `leave` around every run of a layer, and of the stages of a network that names them.

    A network names its stages with a method `named_stages()` that returns {name: callable}, and follows it in its
    forward. A stage that is a layer is not told twice: the layer's own call carries the stage's name.

    To be called in a `borrowed` block, which takes the hooks off again.

    Args:
        net: hooks are put on all its modules.
        enter: called with (name, layer, stage); the name of a layer is its qualified one, that of the network empty.
        leave: called with (name, stage, output).
    """
    pending: list[str] = []  # the stage that is about to begin

    def hook(name: str, layer: nn.Module) -> None:
        running: list[str] = []  # a layer may run inside itself

        def entering(layer: nn.Module, _: Any) -> None:
            running.append(pending.pop() if pending else "")
            enter(name, layer, running[-1])

        def leaving(layer: nn.Module, _: Any, output: Any) -> None:
            leave(name, running.pop(), output)

        layer.register_forward_pre_hook(entering, prepend=True)
        layer.register_forward_hook(leaving)

    def around(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            if isinstance(stage, nn.Module):
                pending.append(name)
                return stage(*args)
            enter(name, None, name)
            output = stage(*args)
            leave(name, name, output)
            return output

        return run

    for name, layer in net.named_modules():
        hook(name, layer)
    stages = getattr(net, "named_stages", None)
    if callable(stages) and not isinstance(stages, nn.Module):

        def watched(*args: Any, **kwargs: Any) -> Any:
            found = stages(*args, **kwargs)
            if not isinstance(found, Mapping) or not all(callable(stage) for stage in found.values()):
                return found  # something else of the same name
            return {name: around(name, stage) for name, stage in found.items()}

        vars(net)["named_stages"] = watched


def title(net: nn.Module) -> str:
    """What to call a network in messages: the name that it goes by, else its class.

    Args:
        net: the network.
    """
    name = getattr(net, "name", "")
    return name if isinstance(name, str) and name else type(net).__name__


def _twin(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(torch.empty_like(tensor, device="meta"), requires_grad=tensor.requires_grad)
    if tensor.dim() == 0 and not tensor.is_meta:
        return tensor.detach().cpu().clone()
    return torch.empty_like(tensor, device="meta")
