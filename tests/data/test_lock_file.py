"""The lock on the disk: the same text and digest as from the whole, however it is laid out, and nothing half read."""

import hashlib
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sightline.data import json_reader
from sightline.data.json_reader import JsonReader
from sightline.data.lock import data_lock, lock_parts, verify_lock
from sightline.data.lock_file import FileRows, lock_digest, read_lock, write_lock
from sightline.data.sources import open_data


def row(number: int, **more: str) -> dict[str, str]:
    digest = hashlib.sha256(bytes([number % 256])).hexdigest()
    return {"path": f"a/{number}.png", "split": "train", "label": "a", "sha256": digest, **more}


ODD = row(1, path='é"\\\n\udcff\u2028.png', label="a\tb", group="Ü")  # names need not be UTF-8
LOCKS: list[dict[str, Any]] = [
    {"version": 1, "name": "n", "classes": ["a"], "splits": {"train": {"pictures": 2}}, "files": [row(0), row(1)],
     "sources": [{"path": "t.csv", "sha256": "0"}], "skipped": []},
    {"version": 1, "files": [ODD], "skipped": [{"path": "x", "reason": "y"}]},
    {"files": []},
    {"files": [row(2)]},
    {"version": 1, "name": "arrays", "pixels": "00", "skipped": []},
]  # fmt: skip


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_written_row_by_row_is_what_json_writes(tmp_path: Path, lock: dict[str, Any]) -> None:
    rows = {"files": iter(lock["files"])} if "files" in lock else {}
    digest = write_lock(tmp_path / "lock.json", {**lock, **rows})
    assert (tmp_path / "lock.json").read_text(encoding="utf-8") == json.dumps(lock, indent=1) + "\n"
    assert digest == hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()
    found = read_lock(tmp_path / "lock.json")
    assert lock_digest(found) == lock_digest(lock) == digest
    assert list(found) == list(lock)
    assert {key: list(part) if key == "files" else part for key, part in found.items()} == lock


def test_the_lock_of_a_folder_goes_to_the_disk_and_back(photos: Path, tmp_path: Path) -> None:
    catalog = open_data(photos)
    grouped = replace(catalog, groups=np.arange(len(catalog)) // 2)
    for data in (catalog, grouped):
        lock = data_lock(data)
        digest = write_lock(tmp_path / "lock.json", lock_parts(data))
        assert json.loads((tmp_path / "lock.json").read_text()) == lock
        assert digest == lock_digest(lock)
        assert verify_lock(read_lock(tmp_path / "lock.json"), data) == []
    differences = verify_lock(read_lock(tmp_path / "lock.json"), catalog)
    assert differences[0] == "cat/00.png had the group 0 and has now none"


def test_a_file_that_cannot_be_read_leaves_no_lock(photos: Path, tmp_path: Path) -> None:
    catalog = open_data(photos)
    (photos / "dog/03.png").unlink()
    with pytest.raises(Exception, match=r"03.png: cannot be opened"):
        write_lock(tmp_path / "lock.json", lock_parts(catalog))
    assert list(tmp_path.glob("*lock*")) == []


def test_a_million_rows_are_not_in_memory_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "_PIECE", 10_000)
    count = 4000
    tracemalloc.start()
    write_lock(tmp_path / "lock.json", {"files": (row(number) for number in range(count))})
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.reset_peak()
    lock = read_lock(tmp_path / "lock.json")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(lock["files"]) == count
    assert held < 200 * count
    assert peak < held + 8 * json_reader._PIECE


@pytest.mark.parametrize("layout", [{}, {"indent": 3}, {"separators": (",", ":")}, {"ensure_ascii": False}])
@pytest.mark.parametrize("piece", [1, 3, 50])
def test_any_layout_is_read_in_any_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any], piece: int
) -> None:
    monkeypatch.setattr(json_reader, "_PIECE", piece)
    lock = {**LOCKS[0], "files": [row(0), row(1, path="é.png")]}
    (tmp_path / "lock.json").write_text(json.dumps(lock, **layout), encoding="utf-8")
    found = read_lock(tmp_path / "lock.json")
    assert {key: list(part) if key == "files" else part for key, part in found.items()} == lock


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.sampled_from([None, 2]), st.integers(1, 9))
@example({"a": 0.5, "b": [-1e9, 12]}, None, 1)  # a number goes on behind what is one already
@settings(max_examples=25, deadline=None, database=None)
def test_the_reader_reads_as_json_does(value: dict[str, Any], indent: int | None, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "_PIECE", piece)
        reader = JsonReader(io.StringIO(json.dumps(value, indent=indent)))
        found = {key: list(reader.elements()) if reader.is_list() else reader.value() for key in reader.names()}
        reader.end()
    assert found == value


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}}", '{"files"', '{"files": [', '{"files": [{}', '{"files": [{}]}', '{"files": [3]}', "{3: 4}",
     '{"a": 1,}', '{"a" 1}', '{"a": 1 "b": 2}', '{"a": 1}{',
     '{"files": [{"path": "a", "split": "b", "label": "c", "sha256": "0f"}]}',
     '{"files": [{"path": "a", "split": "b", "label": "c", "sha256": "not hex"}]}', '{"a": tru}'],
)  # fmt: skip
def test_what_is_damaged_is_never_half_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_lock(tmp_path / "lock.json")


def test_rows_by_number_and_by_slice() -> None:
    rows = [row(0), row(1, group="g"), row(2)]
    kept = FileRows(rows)
    assert (kept[1], kept[-1], list(kept[1:]), list(kept)) == (rows[1], rows[2], rows[1:], rows)
    with pytest.raises(IndexError):
        kept[3]
