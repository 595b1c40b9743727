"""What the operations of a recorded run cost: multiplications, and the memory of their outputs."""

from dataclasses import dataclass
from math import prod

from sightline.inspection.trace import Operation, Trace


@dataclass(frozen=True)
class Window:
    """The kernel of a convolution or the window of a pool; every tuple is in the order of the map's axes.

    Args:
        kernel: values along each axis.
        stride: distance of neighbouring places, px.
        padding: on each of the two sides, px.
        dilation: distance of neighbouring values, px.
        groups: parts that channels are split into; None for a pool.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int | None

    def __str__(self) -> str:
        """As in "3x3/2 p1 d2 g32": kernel, stride, padding, dilation, groups; what is 1 (or no padding) is left out."""
        text = "x".join(map(str, self.kernel))
        for sign, values, usual in (("/", self.stride, 1), (" p", self.padding, 0), (" d", self.dilation, 1)):
            if any(value != usual for value in values):
                text += sign + (str(values[0]) if len(set(values)) == 1 else ",".join(map(str, values)))
        return text + (f" g{self.groups}" if self.groups and self.groups > 1 else "")


def window(operation: Operation) -> Window | None:
    """The kernel or window of an operation, as it ran; None where it has none.

    Args:
        operation: of a recorded run.
    """
    given = operation.arguments
    if operation.name == "convolution":
        kernel, groups = tuple(given["weight"].shape[2:]), int(given["groups"])
    elif "kernel_size" in given and "pool" in operation.name:
        kernel, groups = tuple(given["kernel_size"]), None
    else:
        return None
    count = len(kernel)
    stride, padding = (_each(given.get(key), count) for key in ("stride", "padding"))
    dilation = _each(given.get("dilation") or 1, count)
    return Window(kernel, stride or kernel, padding or (0,) * count, dilation, groups)


def macs(operation: Operation) -> int:
    """Multiply-accumulates of one operation for the whole batch: convolutions and products of matrices, nothing else.

    Biases, norms, activations and pools count as nothing, as in the literature and in torchvision's tables.

    Args:
        operation: of a recorded run.
    """
    given, name = operation.arguments, operation.name
    if name == "convolution":
        # every weight meets every place once: of the output, or of the input where the convolution is transposed
        places = given["input"].shape if given["transposed"] else operation.outputs[0].shape
        return int(places[0] * prod(places[2:]) * prod(given["weight"].shape))
    factors = _FACTORS.get(name)
    if factors is None:
        return 0
    left, right = (given[key].shape for key in factors)
    return int(prod(left) * prod(right[-1:] if len(right) > 1 else ()))


def output_bytes(trace: Trace) -> list[int]:
    """The memory that each operation's output takes; none where it wrote in place or made a view.

    Args:
        trace: the run.
    """
    known = {trace.images.storage, *(ref.storage for ref in trace.parameters.values())}
    found = []
    for operation in trace.operations:
        known.update(ref.storage for ref in operation.inputs)
        first = operation.outputs[0].storage if operation.outputs else None
        found.append(0 if first is None or first in known else trace.num_bytes[first])
    return found


def _each(value: int | list[int] | None, count: int) -> tuple[int, ...]:
    """A setting for each axis; a single number holds for all."""
    values = [value] if isinstance(value, int) else list(value or ())
    return tuple(values * count if len(values) == 1 else values)


_FACTORS = {  # the two matrices of a product: (..., M, K) and (..., K, N), or (K,)
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "mv": ("self", "vec"),
    "addmv": ("mat", "vec"),
    "dot": ("self", "tensor"),
}
