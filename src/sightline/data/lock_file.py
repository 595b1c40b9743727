"""`data.lock.json` on the disk, written and read row by row: of a million files, only the hashes are kept in memory."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, overload

from sightline.atomic import replacing
from sightline.data.json_reader import JsonReader

Row = Mapping[str, str]

FILES = "files"  # the one long list of a lock
_DIGEST_BYTES = 32


class FileRows(Sequence[Row]):
    """The rows of a lock's files, in 140 bytes each instead of 500.

    Args:
        rows: path, split, label and sha256 of each, and the group where there are groups.

    Raises:
        KeyError, TypeError, ValueError: a row is damaged.

    Example:
        >>> rows = FileRows([{"path": "a.png", "split": "train", "label": "cat", "sha256": "0f" * 32}])
        >>> rows[0]["label"], rows.paths
        ('cat', ['a.png'])
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.paths: list[str] = []
        self._splits: list[str] = []
        self._labels: list[str] = []
        self._groups: dict[int, str] = {}
        self._digests = bytearray()
        for row in rows:
            digest = bytes.fromhex(row["sha256"])
            if len(digest) != _DIGEST_BYTES:
                raise ValueError(f"the SHA-256 of {row['path']} has {len(digest)} bytes")
            if "group" in row:
                self._groups[len(self.paths)] = sys.intern(row["group"])
            self._digests += digest
            self.paths.append(row["path"])
            self._splits.append(sys.intern(row["split"]))
            self._labels.append(sys.intern(row["label"]))

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        """A row; of a slice, a list of them."""
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        at = range(len(self))[place]
        group = self._groups.get(at)
        return {
            "path": self.paths[at],
            "split": self._splits[at],
            "label": self._labels[at],
            "sha256": self._digests[_DIGEST_BYTES * at : _DIGEST_BYTES * (at + 1)].hex(),
            **({} if group is None else {"group": group}),
        }


def read_lock(path: Path) -> dict[str, Any]:
    """What a file holds; `files`, where there are some, as `FileRows`.

    Raises:
        OSError: it cannot be read.
        KeyError, TypeError, ValueError: it is damaged.
    """
    lock: dict[str, Any] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = JsonReader(file)
        for key in reader.names():
            lock[key] = FileRows(reader.elements()) if key == FILES and reader.is_list() else reader.value()
        reader.end()
    return lock


def write_lock(path: Path, lock: Mapping[str, Any]) -> str:
    """Write a file that is either whole or as it was before.

    Args:
        path: of the file.
        lock: JSON; `files` may be an iterator of rows, which are then never in memory all at once.

    Returns:
        The digest, as `lock_digest` gives it.
    """
    digest = _Digest(lock)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, (key, part) in enumerate(lock.items()):
            file.write(f"{',' if number else '{'}\n {quoted(key)}: ")
            if key == FILES:
                file.writelines(_list_of(part, digest))
            else:
                file.write(json.dumps(part, indent=1).replace("\n", "\n "))
        file.write("\n}\n")
    return digest.hexdigest()


def lock_digest(lock: Mapping[str, Any]) -> str:
    """The SHA-256 of a lock's compact JSON with sorted keys, which tells whether two locks are the same.

    Args:
        lock: JSON; `files` may be any sequence of rows.

    Example:
        >>> lock_digest({"version": 1, "files": []}) == lock_digest({"files": [], "version": 1})
        True
    """
    digest = _Digest(lock)
    for row in lock.get(FILES, ()):
        digest.add(row)
    return digest.hexdigest()


def _list_of(rows: Iterable[Row], digest: "_Digest") -> Iterator[str]:
    """The text of the rows, as `json.dumps(lock, indent=1)` would write it, which takes ten times as long."""
    start = "[\n  {\n   "
    for row in rows:
        digest.add(row)
        yield start + ",\n   ".join([f"{quoted(key)}: {quoted(value)}" for key, value in row.items()])
        start = "\n  },\n  {\n   "
    yield "[]" if start.startswith("[") else "\n  }\n ]"


class _Digest:
    """The SHA-256 of `json.dumps(lock, sort_keys=True)`, row by row."""

    def __init__(self, lock: Mapping[str, Any]) -> None:
        others = sorted(lock.keys() - {FILES})
        members = {key: f"{quoted(key)}: {json.dumps(lock[key], sort_keys=True)}" for key in others}
        has_files = FILES in lock
        before = [members[key] for key in others if not has_files or key < FILES]
        after = [members[key] for key in others if has_files and key > FILES]
        start = [*before, f"{quoted(FILES)}: ["] if has_files else before
        self._sha256 = hashlib.sha256(("{" + ", ".join(start)).encode())
        self._end = ", ".join([*(["]"] if has_files else []), *after]) + "}"
        self._between = ""

    def add(self, row: Row) -> None:
        """The next row."""
        text = ", ".join([f"{quoted(key)}: {quoted(row[key])}" for key in sorted(row)])
        self._sha256.update(f"{self._between}{{{text}}}".encode())
        self._between = ", "

    def hexdigest(self) -> str:
        """Of all of it."""
        whole = self._sha256.copy()
        whole.update(self._end.encode())
        return whole.hexdigest()
