"""Files of torch.save: what they declare, worked out without running anything that they name.

A pickle is a small program. What follows knows only the operations that torch.save writes, and calls nothing that the
file names: a tensor becomes a `Declared`, everything else stays plain data. So a file can be refused by its sizes
before a byte is allocated for them, and a name that is no part of dense tensors is refused before torch sees the file.
"""

import io
import math
import mmap
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from sightline.errors import BundleError

# The first bytes of what torch.save wrote before version 1.6, and still writes when asked to: a magic number, pickled.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
ZIP_MAGIC = b"PK\x03\x04"

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_REBUILT = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
_PARAMETER = ("torch._utils _rebuild_parameter", "torch.nn.parameter Parameter")
_ORDERED_DICT = "collections OrderedDict"
_OTHER_KINDS = {  # part of a name -> what kind of tensor it means
    "sparse": "sparse",
    "qtensor": "quantized",
    "QInt": "quantized",
    "meta_tensor": "meta",
    "nested": "nested",
    "Complex": "complex",
    "rebuild_wrapper_subclass": "subclassed",
    "rebuild_from_type": "subclassed",
    "rebuild_device_tensor": "foreign",
    "rebuild_tensor_v3": "unusual",
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_MAX_DIMENSIONS = 8  # of a tensor; a convolution in space and time has 5
_MAX_QUOTED = 200  # characters of a file's text in a message
# whatever a program that is none can raise in the interpreter
_NONSENSE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, RuntimeError, struct.error)


class Declared(NamedTuple):
    """A tensor that a file says it holds."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def quoted(text: str) -> str:
    """Text of a file for a message: cut where it is long.

    Args:
        text: of any length.

    Example:
        >>> len(quoted(10**6 * "a"))
        203
    """
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


class _Name(str):
    """A name in the file: "module name". It stays a name."""

    __slots__ = ()


class _Storage(NamedTuple):
    dtype: torch.dtype
    numel: int


def read_checkpoint(path: Path) -> Any:
    """What a file of torch.save holds, with a `Declared` in the place of each tensor.

    Args:
        path: the file, of either format.

    Raises:
        BundleError: it is damaged, declares more than it holds, or holds more than dense tensors and plain data.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        try:
            return _read_zip(path, file) if is_zip else _read_legacy(path, file)
        except (*_NONSENSE, zipfile.BadZipFile) as error:
            reason = quoted(str(error)) or type(error).__name__
            raise BundleError(f"{path} is damaged, or no file of torch.save: {reason}. Fetch it again.") from error


def _read_zip(path: Path, file: IO[bytes]) -> Any:
    """An archive: the pickle in data.pkl, each storage a record of its own, uncompressed."""
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        if len(records) != len(archive.infolist()):
            raise ValueError("it has two records of one name")
        pickles = [name for name in records if name.endswith("/data.pkl")]
        if any(name.endswith("/constants.pkl") for name in records):
            raise BundleError(f"{path} is a TorchScript program. Give weights: torch.save(net.state_dict(), FILE).")
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} records are called data.pkl")
        packed = [name for name, info in records.items() if info.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise ValueError(f"{packed[0]} is compressed, which torch.save does not do")
        program = _Program(path)
        root = program.run(io.BytesIO(archive.read(pickles[0])))
    folder = pickles[0].removesuffix("data.pkl")
    size = path.stat().st_size
    for key, storage in program.storages.items():
        info = records.get(f"{folder}data/{key}")
        if info is None:
            raise ValueError(f"storage {key} is missing")
        declared = storage.numel * storage.dtype.itemsize
        if declared != info.file_size or info.header_offset + info.file_size > size:
            raise ValueError(f"storage {key} is declared as {declared:,} bytes, and the file has fewer")
    return root


def _read_legacy(path: Path, file: IO[bytes]) -> Any:
    """Five pickles and then the storages, each after its number of elements."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # read() of it ends where the file does
        program = _Program(path)
        program.run(content)  # the magic number
        version = program.run(content)
        if version != 1001:
            raise ValueError("its protocol version is not 1001")
        program.run(content)  # the byte order and sizes of the machine that wrote it
        root = program.run(content)
        keys = program.run(content)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("its storages have no list of names")
        declared = sum(8 + program.storages[key].numel * program.storages[key].dtype.itemsize for key in keys)
        held = len(content) - content.tell()
        if set(keys) != set(program.storages) or declared != held:
            raise ValueError(f"its storages are declared as {declared:,} bytes, and the file has {held:,}")
    return root


class _Program:
    """Interprets pickles of torch.save.

    Args:
        path: the file, for messages.

    Attributes:
        storages: those that the pickles name, by key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.storages: dict[str, _Storage] = {}

    def run(self, content: Any) -> Any:
        """Interprets the next pickle of a file; what it is made of, in plain data.

        Raises:
            BundleError: it names something that is no part of dense tensors.
            ValueError and others of `_NONSENSE`: it is none.
        """
        stack: list[Any] = []
        below: list[list[Any]] = []  # what was on the stack at each mark that is still open
        memo: dict[int, Any] = {}
        argument: Any
        pairs_left = 0  # that calls may still take; each has had operations of its own, unless one list is taken often
        for operation, argument, _ in pickletools.genops(content):
            pairs_left += 1
            match operation.name:
                case "PROTO":
                    if argument != 2:
                        raise ValueError(f"torch.save writes protocol 2, not {argument}")
                case name if name in _CONSTANTS:
                    stack.append(_CONSTANTS[name]())
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                    stack.append(argument)
                case "GLOBAL":
                    stack.append(self._allowed(str(argument)))
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "MARK":
                    below.append(stack)
                    stack = []
                case "TUPLE":
                    items, stack = stack, below.pop()
                    stack.append(tuple(items))
                case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                    count = int(name[-1])
                    stack[-count:] = [_last(stack, count)]
                case "APPEND":
                    item = stack.pop()
                    _list(stack[-1]).append(item)
                case "APPENDS":
                    items, stack = stack, below.pop()
                    _list(stack[-1]).extend(items)
                case "SETITEM":
                    items = [*_last(stack, 2)]
                    del stack[-2:]
                    _set(stack[-1], items)
                case "SETITEMS":
                    items, stack = stack, below.pop()
                    _set(stack[-1], items)
                case "BINPERSID":
                    stack[-1] = self._storage(stack[-1])
                case "REDUCE":
                    arguments = stack.pop()
                    stack[-1] = made = _called(stack[-1], arguments, pairs_left)
                    pairs_left -= len(arguments[0]) if isinstance(made, OrderedDict) and arguments else 0
                case "BUILD":
                    attributes = stack.pop()
                    _require_attributes(stack[-1], attributes)  # version numbers of modules, which nothing here reads
                case "STOP":
                    return stack.pop()
                case name:
                    raise ValueError(f"torch.save writes no operation {name}")
        raise ValueError("it ends too early")

    def _allowed(self, name: str) -> _Name:
        """A name that belongs to dense tensors; every other one is refused here."""
        module, _, attribute = name.partition(" ")
        is_storage = module == "torch" and attribute in _DTYPES
        if is_storage or name in (*_REBUILT, *_PARAMETER, _ORDERED_DICT):
            return _Name(name)
        for part, kind in _OTHER_KINDS.items():
            if module.startswith("torch") and part in name:
                raise BundleError(
                    f"{self.path} holds a {kind} tensor ({quoted(attribute)}); weights must be dense tensors of plain "
                    "numbers. Convert it where it was made."
                )
        raise BundleError(
            f"{self.path} names {quoted(f'{module}.{attribute}')}, which is no part of weights and could be code; "
            "nothing of it was run. Save the weights alone where they were made: torch.save(net.state_dict(), FILE)."
        )

    def _storage(self, identity: Any) -> _Storage:
        """A storage from its persistent id: ("storage", type, key, device, number of elements[, view])."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("it has an object of unknown form outside of the pickle")
        kind, storage_type, key, _, numel, *view = identity
        if kind != "storage" or not isinstance(storage_type, _Name) or not isinstance(key, str | int):
            raise ValueError("it has an object outside of the pickle that is no storage")
        if any(view) or not _is_count(numel):
            raise ValueError(f"storage {key} has no number of elements, or is a view of another")
        storage = _Storage(_DTYPES[storage_type.partition(" ")[2]], numel)
        if self.storages.setdefault(str(key), storage) != storage:
            raise ValueError(f"storage {key} is declared twice and differently")
        return storage


def _called(name: Any, arguments: Any, max_pairs: int) -> Any:
    """What a call in the file stands for; a dictionary is made of no more than so many pairs."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that has no name")
    if name in _REBUILT:
        return _tensor(*arguments[:4])
    if name in _PARAMETER:
        return arguments[0]
    if name == _ORDERED_DICT:
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list) or len(pairs) > max_pairs:
            raise ValueError("it makes a dictionary of no list, or of one list again and again")
        made: OrderedDict[Any, Any] = OrderedDict()
        for key, value in pairs:
            _set(made, [key, value])
        return made
    raise ValueError(f"it calls {name.replace(' ', '.')}")


def _require_attributes(target: Any, attributes: Any) -> None:
    """Refuses what is no attribute of a state dict: torch would let it change a tensor, or hide a method."""
    if not isinstance(target, OrderedDict) or not isinstance(attributes, dict):
        raise ValueError(f"it sets attributes of a {type(target).__name__}")
    if any(not isinstance(name, str) or hasattr(OrderedDict, name) for name in attributes):
        raise ValueError("it sets an attribute that every dictionary has")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Declared:
    """A view of a storage; it must lie inside."""
    if not all(isinstance(sizes, tuple | list) and len(sizes) <= _MAX_DIMENSIONS for sizes in (size, stride)):
        raise ValueError(f"a tensor has more than {_MAX_DIMENSIONS} dimensions, or none are given")
    if not isinstance(storage, _Storage) or not all(map(_is_count, (offset, *size, *stride))):
        raise ValueError("a tensor has no storage or no sizes")
    # of an empty tensor no element lies anywhere
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True)) if all(size) else -1
    if last >= storage.numel:
        raise ValueError(f"a tensor of shape {tuple(size)} reaches beyond its storage of {storage.numel:,} elements")
    if math.prod(size) > storage.numel:
        raise ValueError(f"a tensor of shape {tuple(size)} repeats its storage of {storage.numel:,} elements")
    return Declared(tuple(size), storage.dtype)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _last(stack: list[Any], count: int) -> tuple[Any, ...]:
    if len(stack) < count:
        raise ValueError("its stack is empty")
    return tuple(stack[-count:])


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"it appends to a {type(value).__name__}")
    return value


def _set(target: Any, items: list[Any]) -> None:
    """Keys and values in turn into a dictionary; keys of tuples could take forever to hash."""
    if not isinstance(target, dict) or not all(isinstance(key, str | int) for key in items[::2]):
        raise ValueError("it has a dictionary with keys that are neither text nor numbers")
    target.update(zip(items[::2], items[1::2], strict=True))
