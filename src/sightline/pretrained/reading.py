"""Files of weights: what is in them, first as they declare it, then as tensors."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sightline.errors import BundleError, ConfigError
from sightline.pretrained.checkpoint import LEGACY_MAGIC, ZIP_MAGIC, Declared, quoted, read_checkpoint

WRAPPERS = ("state_dict", "model")  # under which training scripts keep the weights beside other things
PARALLEL = "module."  # what torch's DataParallel puts before every name

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights whose header was read and whose tensors were not.

    Args:
        path: the file.
        declared: each tensor's shape and kind, by name and in the file's order.
        notes: what was done to its names, a sentence each.
        load: reads the tensors, by the same names.
    """

    path: Path
    declared: Mapping[str, Declared]
    notes: tuple[str, ...]
    load: Callable[[], Mapping[str, Tensor]]


def open_weights(path: Path) -> WeightsFile:
    """Reads the header of a file of weights; nothing in it is run, and no memory is taken for its tensors.

    Args:
        path: safetensors, or what torch.save writes; told apart by their content.

    Raises:
        ConfigError: there is no such file.
        BundleError: it is of no such kind, damaged, declares more than it holds, or holds other things than weights.
    """
    try:
        with path.open("rb") as file:
            first = file.read(len(LEGACY_MAGIC))
        if first.startswith((ZIP_MAGIC, LEGACY_MAGIC)):
            return _open_checkpoint(path, is_archive=first.startswith(ZIP_MAGIC))
        if path.suffix == ".safetensors" or first[8:9] == b"{":
            return _open_safetensors(path)
    except OSError as error:
        raise ConfigError(
            f"cannot read the weights {path}: {error.strerror or error}. Give a file of weights."
        ) from None
    what = "is empty" if not first else "is a pickle of Python objects" if first[:1] == b"\x80" else "holds no weights"
    raise BundleError(f"{path} {what}. Give a safetensors file, or what torch.save(net.state_dict(), FILE) writes.")


def _open_safetensors(path: Path) -> WeightsFile:
    declared = {}
    try:
        with safe_open(path, framework="pt") as file:  # checks every size in the header against the file's
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                part = file.get_slice(name)
                declared[name] = Declared(tuple(part.get_shape()), _dtype(path, name, part.get_dtype()))
    except SafetensorError as error:
        raise BundleError(f"{path} cannot be read as safetensors: {error}. Fetch it again.") from error
    return _renamed(path, declared, (), partial(_load_safetensors, path))


def _dtype(path: Path, name: str, word: str) -> torch.dtype:
    if word not in _SAFETENSORS_DTYPES:
        raise BundleError(f"{path}: {name} is of kind {word}; weights must be plain numbers. Convert it to float32.")
    return _SAFETENSORS_DTYPES[word]


def _load_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read as safetensors: {error}. Fetch it again.") from error


def _open_checkpoint(path: Path, *, is_archive: bool) -> WeightsFile:
    root = read_checkpoint(path)
    wrapper = _wrapper(root)
    state = root if wrapper is None else root[wrapper]
    if not isinstance(state, dict) or not state:
        raise BundleError(f"{path} holds {_kind(state)} and no weights by name. {_HOW}")
    others = [name for name, value in state.items() if not isinstance(value, Declared)]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        listed = ", ".join(f"{quoted(str(name))} ({_kind(state[name])})" for name in others[:5])
        raise BundleError(f"{path} holds more than tensors: {listed}{more}. {_HOW}")
    notes = () if wrapper is None else (f"weights taken from the file's {wrapper!r}; the rest of it is not read",)
    declared = {str(name): value for name, value in state.items()}
    return _renamed(path, declared, notes, partial(_load_checkpoint, path, wrapper, declared, is_archive=is_archive))


_HOW = "Save the weights alone where they were made: torch.save(net.state_dict(), FILE)."


def _wrapper(root: Any) -> str | None:
    """The key under which the weights lie; None where they are the whole."""
    return next((key for key in WRAPPERS if isinstance(root, dict) and isinstance(root.get(key), dict)), None)


def _kind(value: object) -> str:
    return "a tensor" if isinstance(value, Declared) else f"a {type(value).__name__}"


_DAMAGED = (  # what torch.load raises of files that are no weights
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    AssertionError,
    pickle.UnpicklingError,
    OSError,
)


def _load_checkpoint(
    path: Path, wrapper: str | None, declared: Mapping[str, Declared], *, is_archive: bool
) -> Mapping[str, Tensor]:
    """The tensors, which are as they were declared; those of an archive stay in the file until they are copied."""
    try:
        root = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
        state = root if wrapper is None else root[wrapper]
        tensors = {str(name): value.detach() for name, value in state.items()}
        found = {name: Declared(tuple(value.shape), value.dtype) for name, value in tensors.items()}
    except _DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{path} is damaged: {quoted(reason)} Fetch it again.") from error
    if found != declared:
        raise BundleError(f"{path} is damaged: its tensors are not those that it declares. Fetch it again.")
    return tensors


def _renamed(
    path: Path, declared: Mapping[str, Declared], notes: tuple[str, ...], load: Callable[[], Mapping[str, Tensor]]
) -> WeightsFile:
    """Takes off the prefix that DataParallel puts before every name."""
    if not declared:
        raise BundleError(f"{path} holds no tensor. {_HOW}")
    if not all(name.startswith(PARALLEL) for name in declared):
        return WeightsFile(path, declared, notes, load)
    return WeightsFile(
        path,
        {name.removeprefix(PARALLEL): value for name, value in declared.items()},
        (*notes, f"{PARALLEL!r} taken off every name"),
        lambda: {name.removeprefix(PARALLEL): value for name, value in load().items()},
    )
