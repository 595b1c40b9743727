"""From the tensors of a file to those of a network: name by name, or refused with the names that differ."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sightline.errors import BundleError
from sightline.models.base import Classifier
from sightline.pretrained.checkpoint import Declared, quoted
from sightline.pretrained.reading import WeightsFile

_SHOWN = 3  # differences of each kind that a message lists
_COUNTER = "num_batches_tracked"  # of batch norms; files of torch before 0.4.1 lack it, and nothing here reads it
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# The densenets of torchvision's first years said "norm.1" where module names may have no dot any more.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class Fit:
    """How a file fits a network.

    Args:
        names: of the entries that are taken from the file.
        summed: the entry whose input channels are summed; empty for none.
        replaced: parts of the network that keep their fresh weights.
        has_new_head: whether the head is among them.
        notes: sentences about all this.
    """

    names: tuple[str, ...]
    summed: str
    replaced: tuple[str, ...]
    has_new_head: bool
    notes: tuple[str, ...]


def in_our_names(file: WeightsFile, net: Classifier, *, by_order: bool) -> WeightsFile:
    """The file under the network's own names, where its names are a known dialect.

    Args:
        file: as opened.
        net: the network; may lie on the meta device.
        by_order: the names are another library's, and the tensors lie in the order of the network's state dict.

    Raises:
        BundleError: by order, and the numbers of tensors differ.
    """
    own = list(net.state_dict())
    if by_order:
        if len(own) != len(file.declared):
            raise BundleError(
                f"{file.path} holds {len(file.declared)} tensors, {_called(net)} has {len(own)}: they cannot be told "
                "apart by their order. Choose the network that they are of."
            )
        return _translate(file, dict(zip(file.declared, own, strict=True)), "names translated by the tensors' order")
    names = {name: _OLD_DENSENET.sub(r"\1\2", name) for name in file.declared}
    if any(old != new and new in own for old, new in names.items()):
        return _translate(file, names, "names of torchvision's first densenets translated")
    return file


def _translate(file: WeightsFile, names: Mapping[str, str], note: str) -> WeightsFile:
    return replace(
        file,
        declared={names[name]: value for name, value in file.declared.items()},
        notes=(*file.notes, note),
        load=lambda: {names[name]: value for name, value in file.load().items()},
    )


def num_classes_of(file: WeightsFile, net: Classifier) -> int | None:
    """The classes of the file's head; None where it has none.

    Args:
        file: in the network's names.
        net: the network, with any number of classes.
    """
    head = _path_of(net, net.classifier_head)
    pairs = [
        (file.declared[name].shape, value.shape)
        for name, value in net.state_dict().items()
        if _lies_in(name, head) and name in file.declared
    ]
    outputs = [theirs[0] for theirs, own in pairs if theirs and theirs[1:] == own[1:]]
    if pairs and not outputs:  # a head of another form: `fit` names it
        return net.num_classes
    return min(outputs, default=None)


def fit(net: Classifier, file: WeightsFile) -> Fit:
    """Decides what goes where, by names and shapes alone.

    Args:
        net: the network to be filled; may lie on the meta device.
        file: in the network's names.

    Raises:
        BundleError: a name is missing or unexpected, or a shape differs, outside of what is replaced.
    """
    own = net.state_dict()
    head = _path_of(net, net.classifier_head)
    num_classes = num_classes_of(file, net)
    is_replaced = num_classes != net.num_classes
    names: list[str] = []
    fresh: list[str] = []
    missing: list[str] = []
    differing: list[str] = []
    summed = ""
    for name, tensor in own.items():
        there = file.declared.get(name)
        module = name.rpartition(".")[0]
        if is_replaced and _lies_in(name, head):
            fresh.append(head)
        elif there is None:
            if _is_optional(name, net):
                fresh.append(module)
            elif not name.endswith(_COUNTER):
                missing.append(name)
        elif not (difference := _difference(there, tensor)):
            names.append(name)
        elif is_replaced and _is_optional(name, net):
            fresh.append(module)
        elif _is_first_of_grey(net, name, there):
            summed = name
            names.append(name)
        else:
            differing.append(f"{name} ({difference})")
    dropped = [name for name in file.declared if name not in own]
    unexpected = [name for name in dropped if not _is_optional(name, net)]
    if missing or unexpected or differing:
        told = (_listed("missing", missing), _listed("unexpected", unexpected), _listed("different", differing))
        raise BundleError(
            f"{file.path} does not fit {_called(net)}: {'; '.join(filter(None, told))}. "
            "Choose the network and the options that the weights were made with."
        )

    notes = [*file.notes]
    replaced = tuple(dict.fromkeys(fresh))
    if replaced:
        theirs = "no head" if num_classes is None else f"{num_classes} classes"
        notes.append(f"new, untrained: {', '.join(replaced)}; the weights have {theirs}, here are {net.num_classes}")
    if dropped:
        parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in dropped))
        notes.append(f"left out: {parts} of the weights, which the network was built without")
    if summed:
        notes.append(f"{summed} summed over its three colours: the network takes grey pictures")
    kinds = {file.declared[name].dtype for name in names if own[name].is_floating_point()} - {torch.float32}
    if kinds:
        listed = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        notes.append(f"{listed} converted to float32")
    return Fit(tuple(names), summed, replaced, head in replaced, tuple(notes))


def fill(net: Classifier, plan: Fit, file: WeightsFile) -> None:
    """Copies the file's tensors into the network.

    Args:
        net: changed in place.
        plan: of `fit`.
        file: the same.

    Raises:
        BundleError: the file cannot be read, or a tensor holds numbers that are none.
    """
    tensors = file.load()
    taken = {}
    for name in plan.names:
        value = tensors[name]
        if value.is_floating_point() and not value.isfinite().all():
            raise BundleError(f"{file.path}: {name} holds NaN or infinity: the weights are spoiled. Take others.")
        taken[name] = _sum_of_channels(value) if name == plan.summed else value
    net.load_state_dict({**net.state_dict(), **taken})  # copies, and converts to the network's float32


def _sum_of_channels(kernels: Tensor) -> Tensor:
    """What a grey picture needs of kernels for colours: timm's rule.

    A grey picture is one of three equal colours, so that the sum answers it as before, but for normalisations that
    differ from colour to colour.
    """
    return kernels.float().sum(dim=1, keepdim=True)


def _listed(title: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{title}: {', '.join(map(quoted, names[:_SHOWN]))}{more}" if names else ""


def _difference(there: Declared, own: Tensor) -> str:
    """What keeps a tensor out of an entry; empty where nothing does."""
    if there.shape != own.shape:
        return f"{there.shape}, needs {tuple(own.shape)}"
    if own.is_floating_point() and there.dtype not in _FLOATS:
        return f"{str(there.dtype).removeprefix('torch.')}, needs numbers with a fraction"
    return ""


def _is_first_of_grey(net: Classifier, name: str, there: Declared) -> bool:
    """Whether an entry is the first convolution of a network for grey pictures, and the weights are of colours."""
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or net.in_channels != 1 or name != f"{_path_of(net, first)}.weight":
        return False
    outputs, _, *kernel = first.weight.shape
    return there.shape == (outputs, 3, *kernel) and there.dtype in _FLOATS


def _is_optional(name: str, net: Classifier) -> bool:
    return name.partition(".")[0] in net.optional_parts


def _lies_in(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")


def _path_of(net: nn.Module, part: nn.Module) -> str:
    paths = (name for name, module in net.named_modules() if module is part)
    return str(next(paths))


def _called(net: Classifier) -> str:
    return net.name or type(net).__name__
