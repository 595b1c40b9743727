"""What a network really does with a picture: every operation and every layer of one run, on tensors without values.

Nothing is read off the source or guessed from layers: the network runs, so control flow, operations in place, views,
layers used twice and plain functions all show. It runs on the meta device, where a tensor is a shape and a type: no
weight is read or copied, and a run takes milliseconds for a network of any size.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.errors import ConfigError, ShapeError, SightlineError
from sightline.inspection.borrow import borrowed, swap_in_twins, title, watch

READS_VALUES = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select")


@dataclass(frozen=True)
class TensorRef:
    """A piece of memory, seen in a shape. Two that are equal are the same numbers, whatever object stood for them.

    Args:
        storage: number of the memory; views of one tensor share it.
        offset: of the first number in it.
        shape: of the tensor.
        stride: of the tensor.
        dtype: of the tensor.
    """

    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Operation:
    """One call into torch's own operations (aten).

    Args:
        overload: which.
        arguments: by the names of its schema, defaults included; tensors are `TensorRef`.
        inputs: every tensor among the arguments, in order.
        outputs: its tensors.
        call: index of the innermost layer that was running, in `Trace.calls`.
    """

    overload: OpOverload
    arguments: Mapping[str, Any]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    call: int

    @property
    def name(self) -> str:
        """As in `torch.ops.aten`, without the underscore of the form that works in place.

        An underscore in front stays: `_softmax`.
        """
        return str(self.overload.overloadpacket.__name__).removesuffix("_")

    @property
    def written(self) -> list[TensorRef]:
        """The tensors that are changed in place."""
        names = [each.name for each in self.overload._schema.arguments if each.alias_info and each.alias_info.is_write]
        return [self.arguments[name] for name in names if isinstance(self.arguments[name], TensorRef)]


@dataclass
class Call:
    """One run of a layer, or of a stage of a network that names its stages.

    Args:
        name: the layer's qualified name, or the stage's; empty for the network itself.
        layer: the module; None for a stage that is a plain function.
        parent: index of the call that it ran in; None for the network itself.
        index: of this call in `Trace.calls`.
        depth: number of calls that it ran in.
        first: index of the first operation that ran in it, here or further in.
        last: index behind the last one.
        place: how many calls had ended before this one.
        stage: the stage whose output this is, or nothing.
        outputs: the tensors that it returned.
    """

    name: str
    layer: nn.Module | None
    parent: int | None
    index: int
    depth: int
    first: int
    last: int = -1
    place: int = -1
    stage: str = ""
    outputs: tuple[TensorRef, ...] = ()


@dataclass(frozen=True)
class Saved:
    """Memory that is kept for the backward pass.

    Args:
        storage: number of the memory.
        num_bytes: of it.
        call: index of the call whose operation was the first to keep it.
    """

    storage: int
    num_bytes: int
    call: int


@dataclass(frozen=True)
class Trace:
    """A recorded run.

    Args:
        net: the network's name for messages.
        images: what went in.
        operations: in order.
        calls: in the order in which they began; the first is the network itself.
        parameters: by qualified name; names of one shared parameter have equal values.
        num_bytes: of each memory, by its number.
        saved: what a training run keeps for the backward pass, besides parameters and buffers.
    """

    net: str
    images: TensorRef
    operations: Sequence[Operation]
    calls: Sequence[Call]
    parameters: Mapping[str, TensorRef]
    num_bytes: Sequence[int]
    saved: Sequence[Saved]

    def calls_as_they_ended(self) -> list[Call]:
        """Inner ones before outer ones."""
        return sorted(self.calls, key=lambda call: call.place)

    def name_of(self, call: int) -> str:
        """A call's name for messages."""
        return self.calls[call].name or self.net


def record(
    net: nn.Module, input_size: Sequence[int] = (3, 224, 224), *, batch_size: int = 1, training: bool = False
) -> Trace:
    """Runs a network once on a picture without values and records what happens.

    The network is left as it was, bit for bit, also its mode, hooks and buffers. Hooks of its own run as they always
    do: they may be part of what it computes.

    Args:
        net: any module that takes one tensor.
        input_size: of a picture, without the batch: (channels, height, width).
        batch_size: pictures.
        training: whether to run as a training step does, and record what it keeps for the backward pass.

    Raises:
        ShapeError: the network cannot take such an input; its own message is passed on.
        ConfigError: the network does something that needs values, or no such size can be.

    Example:
        >>> run = record(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 8, 8))
        >>> [operation.name for operation in run.operations]
        ['convolution', 'relu']
        >>> [call.name for call in run.calls]
        ['', '0', '1']
    """
    size = (batch_size, *input_size)
    if any(side < 1 for side in size):
        raise ConfigError(f"the input is {size}, batch first; every number must be 1 or more.")
    with borrowed(net), torch.inference_mode(False), torch.set_grad_enabled(training):
        net.train(training)
        recorder = _Recorder(net, swap_in_twins(net))
        images = torch.empty(size, dtype=_dtype(net), device="meta")
        watch(net, recorder.enter, recorder.leave)
        kept = torch.autograd.graph.saved_tensors_hooks(recorder.keep, _never)
        try:
            with torch.device("meta"), recorder, kept:
                net(images)
        except SightlineError:
            raise
        except Exception as error:
            raise recorder.explain(error, size) from error
        return recorder.trace(images)


def _dtype(net: nn.Module) -> torch.dtype:
    """What the network computes in."""
    return next((each.dtype for each in net.parameters() if each.is_floating_point()), torch.get_default_dtype())


def _never(_: object) -> Tensor:
    raise AssertionError("nothing is run backward here")


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, and is told which layer runs."""

    def __init__(self, net: nn.Module, own: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.net = net
        self.calls: list[Call] = []
        self.operations: list[Operation] = []
        self.saved: list[Saved] = []
        self._running: list[int] = []
        self._num_ended = 0
        self._failed: OpOverload | None = None
        self._storages: dict[int, int] = {}  # address of the memory -> its number
        self._num_bytes: list[int] = []
        self._alive: list[Tensor] = []  # so that no address is used twice
        self._twins = {id(tensor): twin for tensor, twin in own}
        self._not_counted = {self._number(tensor) for pair in own for tensor in pair}

    def enter(self, name: str, layer: nn.Module | None, stage: str) -> None:
        """A layer begins to run."""
        parent = self._running[-1] if self._running else None
        call = Call(name, layer, parent, len(self.calls), len(self._running), len(self.operations), stage=stage)
        self._running.append(call.index)
        self.calls.append(call)

    def leave(self, name: str, stage: str, output: Any) -> None:
        """The layer that began last has run."""
        call = self.calls[self._running.pop()]
        call.last, call.place = len(self.operations), self._num_ended
        call.outputs = self._refs(output)
        self._num_ended += 1

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = _mapped(self._on_meta, args), _mapped(self._on_meta, kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        schema = func._schema.arguments
        given = {each.name: args[place] for place, each in enumerate(schema[: len(args)])}
        arguments = {each.name: each.default_value for each in schema} | given | kwargs
        inputs = self._refs(tuple(arguments.values()))  # as they were: `squeeze_` and the like change them
        as_refs = _mapped(self._ref, arguments)
        try:
            result = _fast_batch_norm(args) if func in _BATCH_NORMS and not args[5] else func(*args, **kwargs)
        except Exception:
            self._failed = func
            raise
        call = self._running[-1] if self._running else 0
        self.operations.append(Operation(func, as_refs, inputs, self._refs(result), call))
        return result

    def keep(self, tensor: Tensor) -> None:
        """Notes what autograd saves; a memory counts once, however often it is saved."""
        number = self._number(tensor)
        if number not in self._not_counted:
            self._not_counted.add(number)
            self.saved.append(Saved(number, self._num_bytes[number], self._running[-1]))

    def trace(self, images: Tensor) -> Trace:
        """The run so far, sealed."""
        parameters = {name: self._ref(each) for name, each in self.net.named_parameters(remove_duplicate=False)}
        return Trace(
            title(self.net), self._ref(images), self.operations, self.calls, parameters, self._num_bytes, self.saved
        )

    def explain(self, error: Exception, size: tuple[int, ...]) -> SightlineError:
        """Why the network did not run through, in one message."""
        where = self.calls[self._running[-1]] if self._running else None
        name = f"; in {where.name} ({type(where.layer).__name__})" if where and where.name and where.layer else ""
        said = textwrap.shorten(str(error).strip().split("\n")[0], 200) or type(error).__name__
        failed = str(self._failed or "")
        if isinstance(error, NotImplementedError) or any(each in failed for each in READS_VALUES) or "meta" in said:
            return ConfigError(
                f"{title(self.net)} cannot be followed{name}: {failed or 'it'} needs the values of a tensor, and this "
                f"run has shapes alone ({said}). Take that step out of forward, or inspect the parts before it."
            )
        if isinstance(error, TypeError):
            return ConfigError(f"{title(self.net)} does not take one tensor of pictures{name}: {said}.")
        return ShapeError(
            f"{title(self.net)} cannot take an input of {size}, batch first{name}: {said}. "
            "Give it the input_size (--input) that it was built for."
        )

    def _on_meta(self, tensor: Tensor) -> Tensor:
        """The twin of a tensor with values that is no parameter or buffer: an attribute, a constant."""
        if tensor.is_meta or tensor.dim() == 0:
            return tensor
        if id(tensor) not in self._twins:
            self._alive.append(tensor)
            self._twins[id(tensor)] = torch.empty_like(tensor, device="meta")
        return self._twins[id(tensor)]

    def _number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._storages:
            self._storages[address] = len(self._storages)
            self._num_bytes.append(storage.nbytes())
            self._alive.append(tensor)
        return self._storages[address]

    def _ref(self, tensor: Tensor) -> TensorRef:
        return TensorRef(
            self._number(tensor), int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), tensor.dtype
        )

    def _refs(self, value: Any) -> tuple[TensorRef, ...]:
        found: list[TensorRef] = []
        _mapped(lambda tensor: found.append(self._ref(tensor)), value)
        return tuple(found)


def _fast_batch_norm(args: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """What batch norm in evaluation puts out: torch's own shapes, which take it longer than all else in a run."""
    images = args[0]
    return torch.empty_like(images), images.new_empty(0), images.new_empty(0)


_BATCH_NORMS = (torch.ops.aten.native_batch_norm.default,)  # (input, weight, bias, mean, variance, training, ...)


def _mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """A value of tensors, lists, tuples and dicts with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        changed = [_mapped(change, each) for each in value]
        return changed if isinstance(value, list) else tuple(changed)
    if isinstance(value, Mapping):
        return {key: _mapped(change, each) for key, each in value.items()}
    return value
