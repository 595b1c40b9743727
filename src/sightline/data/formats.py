"""The file formats of the known sets: idx, CIFAR's binary records and sprite sheets. None of them can carry code."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sightline.data.decode import decode
from sightline.data.modes import Pixels
from sightline.errors import DataError

Labels = npt.NDArray[np.int64]

_GZIP = b"\x1f\x8b"
_IDX_UINT8 = b"\x00\x00\x08"  # two zeros and the type; the number of dimensions follows


def read_idx(path: Path, sha256: str | None = None) -> Pixels:
    """Read an idx file of bytes, gzipped or not.

    Args:
        path: of the file.
        sha256: of the content as it is when unpacked, where it is known.

    Returns:
        uint8, of the shape that the file states: (N, H, W) for images, (N,) for labels.

    Raises:
        DataError: it cannot be read, is no such file, or has another content.

    Reference:
        The format is described at yann.lecun.com/exdb/mnist: big-endian, a magic number 00 00 08 and the number of
        dimensions, then the dimensions as 32-bit integers, then the bytes.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Delete it and fetch it again."
        ) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} has another content than the published file. Delete it and fetch it again.")
    if len(content) < 4 or not content.startswith(_IDX_UINT8):
        raise DataError(f"{path} is no idx file of bytes: it begins with {content[:4].hex(' ') or 'nothing'}.")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist()
    if len(shape) != content[3] or len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path} states the shape {tuple(shape)} but holds {len(content) - start:,} bytes.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_cifar_binary(
    paths: Sequence[Path], *, label_bytes: int, sha256: Sequence[str | None] | None = None
) -> tuple[Pixels, Labels]:
    """Read files of CIFAR's binary version: records of the label's bytes and 3 x 32 x 32 bytes of red, green, blue.

    Args:
        paths: of the files, in order.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100, whose second one, the fine label, is taken.
        sha256: of each file, None where it is not known.

    Returns:
        uint8 (N, 32, 32, 3) and int64 (N,).

    Raises:
        DataError: a file cannot be read, does not consist of whole records, or has another content.
    """
    length = label_bytes + 3 * 32 * 32
    parts = []
    for number, path in enumerate(paths):
        try:
            content = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({type(error).__name__}: {error.strerror}).") from error
        if len(content) == 0 or len(content) % length:
            raise DataError(
                f"{path} has {len(content):,} bytes, which is no whole number of records of {length:,} bytes. "
                "Delete it and fetch it again."
            )
        expected = None if sha256 is None else sha256[number]
        if expected is not None and hashlib.sha256(content.data).hexdigest() != expected:
            raise DataError(f"{path} has another content than the published file. Delete it and fetch it again.")
        parts.append(content.reshape(-1, length))
    records = np.concatenate(parts)
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    images = np.empty((len(records), 32, 32, 3), np.uint8)
    for channel in range(3):  # three times faster than a transposed copy
        images[..., channel] = planes[:, channel]
    return images, records[:, label_bytes - 1].astype(np.int64)


def write_cifar_binary(path: Path, images: Pixels, labels: Labels) -> None:
    """Write a file of CIFAR-10's binary version.

    Args:
        path: of the new file.
        images: uint8 (N, 32, 32, 3).
        labels: int64 (N,), below 256.
    """
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tofile(path)


def read_sprite_sheets(paths: Sequence[Path], labels: Path, *, size: int = 32) -> tuple[Pixels, Labels]:
    """Read sheets whose every row of pixels is one square RGB picture laid out flat, and the JSON list of their labels.

    Args:
        paths: of the sheets, in order; a sheet of N pictures is N px high and size * size px wide.
        labels: of the JSON file.
        size: the height and width of a picture in px.

    Returns:
        uint8 (N, size, size, 3) and int64 (N,).

    Raises:
        DataError: a file cannot be read, a sheet has another width, or there are more or fewer labels than pictures.
    """
    parts = []
    with ThreadPoolExecutor() as threads:
        sheets = list(threads.map(decode, paths))
    for path, sheet in zip(paths, sheets, strict=True):
        if sheet.shape[1] != size * size:
            raise DataError(f"{path} is {sheet.shape[1]} px wide; a sheet of {size}x{size} pictures is {size * size}.")
        parts.append(sheet.reshape(-1, size, size, 3))
    pictures = np.concatenate(parts)
    numbers = _read_label_list(labels)
    if len(numbers) != len(pictures):
        raise DataError(f"{labels} has {len(numbers):,} labels for {len(pictures):,} pictures.")
    return pictures, numbers


def _read_label_list(path: Path) -> Labels:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({type(error).__name__}: {error}).") from error
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DataError(f"{path} must hold one list of whole numbers.")
    return np.array(values, dtype=np.int64)
