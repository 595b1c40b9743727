"""Files of weights, whole and hostile, written byte by byte where torch would not write them."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py


def small_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return OrderedDict(
        [
            ("conv.weight", torch.randn(4, 3, 3, 3, generator=generator)),
            ("bn.running_mean", torch.randn(4, generator=generator)),
            ("bn.num_batches_tracked", torch.tensor(7)),
        ]
    )


class Storage:
    """Becomes a persistent id in a pickle: a storage that is elsewhere in the file."""

    def __init__(self, key: str, numel: int, kind: Any = torch.FloatStorage) -> None:
        self.identity = ("storage", kind, key, "cpu", numel)


class View:
    """Becomes a call of torch's rebuild function, whatever its numbers."""

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.arguments = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.identity if isinstance(value, Storage) else None


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def archive(path: Path, program: bytes, storages: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """A file in torch's present format."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", "3\n")
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
    return path


def legacy(path: Path, program: bytes, storages: dict[str, bytes], *, numel: int | None = None) -> Path:
    """A file in torch's first format; of each storage `numel` is what it says to have."""
    header = [LEGACY_MAGIC, 1001, {"little_endian": True, "protocol_version": 1001}]
    parts = [*map(pickled, header), program, pickled(list(storages))]
    for content in storages.values():
        parts += [struct.pack("<q", len(content) // 4 if numel is None else numel), content]
    path.write_bytes(b"".join(parts))
    return path


def safetensors(path: Path, header: str, body: bytes = b"", *, length: int | None = None) -> Path:
    text = header.encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path
