"""A file of short records that is only ever appended to: what a killed program or a bad disk leaves is told apart."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
"""(N, 2): 16 bytes of a digest each."""
Records = npt.NDArray[np.void]

_ODD = np.uint32(2654435761)  # the golden ratio of 2**32 (Knuth): consecutive multiples of it differ in many bits


class Ledger:
    """Records of one length, each with a key of 16 bytes and a checksum of its own.

    Args:
        path: of the file; it may be missing.
        fields: names and NumPy types of what a record holds beside its key; their bytes a multiple of four.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "ages", [("age", "<u4")])
        >>> keys = keys_of([bytes(16), bytes(range(16))])
        >>> ledger.append(keys, age=np.array([3, 4]))
        >>> ledger.read()["age"].tolist()
        [3, 4]
    """

    def __init__(self, path: Path, fields: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]]) -> None:
        self.path = path
        self._type = np.dtype([("key", "<u8", (2,)), *fields, ("check", "<u4")])

    def read(self) -> Records:
        """Every record that is whole, in the order in which they came; none where there is no file.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        whole = len(content) - len(content) % self._type.itemsize  # a program may end while it writes
        records = np.frombuffer(content[:whole], self._type)
        whole_records: npt.NDArray[np.void] = records[records["check"] == _checks(records)]
        return whole_records

    def append(self, keys: Keys, **fields: npt.NDArray[Any]) -> None:
        """Add records. One program at a time may: see `FileLock`.

        Args:
            keys: uint64 (N, 2).
            fields: N values of each field.

        Raises:
            OSError: the file cannot be written; what is there is as before, or longer by a part that `read` leaves out.
        """
        records = np.zeros(len(keys), self._type)
        records["key"] = keys
        for name, values in fields.items():
            records[name] = values
        records["check"] = _checks(records)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            write_at(descriptor, records.tobytes(), size - size % self._type.itemsize)
        finally:
            os.close(descriptor)


def latest(records: Records, keys: Keys) -> npt.NDArray[np.int64]:
    """Where the last record of each key is.

    Args:
        records: of a ledger.
        keys: uint64 (N, 2).

    Returns:
        int64 (N,), places in `records`; -1 where there is none.

    Example:
        >>> records = np.zeros(3, [("key", "<u8", (2,))])
        >>> records["key"] = [[5, 1], [7, 1], [5, 1]]
        >>> latest(records, np.array([[5, 1], [7, 2]], np.uint64)).tolist()
        [2, -1]
    """
    if not len(records):
        return np.full(len(keys), -1, np.int64)
    known = records["key"]
    order = np.lexsort((known[:, 1], known[:, 0]))  # stable: of equal keys the last record comes last
    # Of two different keys the first halves are equal once in 10**19: such a one counts as not there.
    places = np.searchsorted(known[order, 0], keys[:, 0], side="right") - 1
    found = order[np.maximum(places, 0)]
    return np.where((places >= 0) & (known[found] == keys).all(axis=1), found, -1).astype(np.int64)


def keys_of(digests: list[bytes]) -> Keys:
    """The first 16 bytes of each digest: uint64 (N, 2)."""
    joined = b"".join([digest[:16] for digest in digests])
    return np.frombuffer(joined, "<u8").reshape(-1, 2).astype(np.uint64)


def key_of(digest: bytes) -> tuple[int, ...]:
    """The key of one digest, as `keys_of` makes it."""
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of it: an unbuffered file may take a part only.

    Args:
        descriptor: of the open file.
        content: bytes.
        offset: where they go.

    Raises:
        OSError: the disk is full, for example.
    """
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _checks(records: Records) -> npt.NDArray[np.uint32]:
    """A number of each record but its last four bytes: another one for any bit that flips, and not 0 for zeros."""
    num_words = records.dtype.itemsize // 4
    words = np.ascontiguousarray(records).view("<u4").reshape(-1, num_words)[:, :-1]
    weights = _ODD * np.arange(1, 2 * words.shape[1], 2, dtype=np.uint32)
    sums: npt.NDArray[np.uint32] = (words * weights).sum(axis=1, dtype=np.uint32) + _ODD
    return sums
