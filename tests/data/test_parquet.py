"""Parquet: tables that name pictures, and files that hold them as the Hub stores data sets."""

import builtins
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sightline.data.catalog import SPLITS, Images
from sightline.data.decode import BadImage
from sightline.data.lock import data_lock, verify_lock
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import DataError, MissingExtraError

MakePicture = Callable[..., Path]


def png(level: int, size: tuple[int, int] = (8, 12)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size[::-1], (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write_hub(
    path: Path, levels: list[int], labels: list[Any], *, names: tuple[str, ...] = (),
    paths: list[str | None] | None = None, group_size: int = 3, **columns: list[str],
) -> Path:  # fmt: skip
    """As `datasets` writes a split with an image and a label."""
    pictures = [
        {"bytes": png(level), "path": path} for level, path in zip(levels, paths or [None] * len(levels), strict=True)
    ]
    table = pa.table({"image": pictures, "label": labels, **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group_size)
    return path


def test_a_table_is_the_csv_with_the_same_rows(photos: Path) -> None:
    found = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    pq.write_table(pa.table({"path": found, "label": [name[:3] for name in found]}), photos / "t.parquet")
    (photos / "t.csv").write_text("path,label\n" + "".join(f"{name},{name[:3]}\n" for name in found))
    one, other = open_data(photos / "t.parquet"), open_data(photos / "t.csv")
    assert (one.classes, one.labels.tolist()) == (other.classes, other.labels.tolist())
    assert [one.images.name(each) for each in range(30)] == [other.images.name(each) for each in range(30)] == found


def test_numbers_and_lists_as_labels(photos: Path) -> None:
    names = ["cat/00.png", "dog/00.png", "dog/01.png"]
    pq.write_table(pa.table({"file_name": names, "label": [2.0, 10.0, None]}), photos / "t.parquet")
    catalog = open_data(photos / "t.parquet")
    assert (catalog.classes, catalog.class_numbers.tolist()) == (("10", "2"), [1, 0])
    assert [str(problem) for problem in catalog.problems] == ["dog/01.png: has no label (t.parquet row 2)"]
    pq.write_table(pa.table({"file_name": names, "label": [["a", "b"], [], ["b"]]}), photos / "t.parquet")
    assert open_data(photos / "t.parquet").labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_files_of_the_hub_with_splits_and_class_names(tmp_path: Path) -> None:
    names = ("wolf", "ant", "bee")  # not sorted: the numbers are the data set's own
    write_hub(
        tmp_path / "p/data/train-00000-of-00002-abc.parquet", [0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 0, 1, 2, 0], names=names
    )
    write_hub(tmp_path / "p/data/train-00001-of-00002-def.parquet", [1, 2], [1, 2], names=names)
    write_hub(tmp_path / "p/data/validation-00000-of-00001.parquet", [2, 0], [2, 0], names=names)
    catalog = open_data(tmp_path / "p")
    assert isinstance(catalog.images, Images)
    assert catalog.classes == names
    assert catalog.counts() == {"train": {"wolf": 3, "ant": 3, "bee": 3}, "val": {"wolf": 1, "ant": 0, "bee": 1}}
    for index in range(len(catalog)):  # the picture knows its class, in whatever order it is asked for
        place = len(catalog) - 1 - index
        assert catalog.images.read(place)[0, 0, 0] == catalog.class_numbers[place]
    assert catalog.images.name(7) == "data/train-00001-of-00002-def.parquet/000000"
    assert catalog.images.content(7) == png(1)
    assert (catalog.channels, catalog.typical_size) == (3, (8, 12))
    assert open_data(tmp_path / "p", channels=1).images.read(0).shape == (8, 12, 1)


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    levels = [n % 251 for n in range(300)]
    path = write_hub(tmp_path / "p.parquet", levels, [f"c{n % 2}" for n in levels], group_size=7)
    catalog = open_data(path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda index: int(catalog.images.read(index)[0, 0, 0]), range(300)))
    assert read == levels


def test_paths_name_the_pictures_where_they_tell_them_apart(tmp_path: Path) -> None:
    paths = [f"p{n // 4}/{n}.png" for n in range(20)]
    labels = [f"c{n % 2}" for n in range(20)]
    order = np.random.default_rng(0).permutation(20).tolist()

    def splits(order: list[int]) -> dict[str, str]:
        picked = [paths[n] for n in order]
        path = write_hub(tmp_path / "p.parquet", order, [labels[n] for n in order], paths=list(picked))
        catalog, _ = assign_splits(open_data(path, group_by=r"^(p\d)/"), seed=2)
        return {catalog.images.name(i): SPLITS[catalog.splits[i]] for i in range(20)}

    assert splits(list(range(20))) == splits(order)
    path = write_hub(tmp_path / "q.parquet", [1, 2], ["a", "b"], paths=["same.png", "same.png"])
    assert open_data(path).images.name(1) == "q.parquet/000001"


def test_other_columns_group_and_split(tmp_path: Path) -> None:
    path = write_hub(
        tmp_path / "p.parquet", [1, 2, 3], ["a", "b", "a"], patient=["x", "y", "x"], split=["train", "train", "test"]
    )
    catalog = open_data(path, group_by="Patient")
    assert catalog.groups is not None
    assert (catalog.groups.tolist(), catalog.group_names) == ([0, 1, 0], ("x", "y"))
    assert catalog.counts() == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 0}}


def test_the_lock_is_of_the_pictures(tmp_path: Path) -> None:
    catalog = open_data(write_hub(tmp_path / "p.parquet", [1, 2], ["a", "b"]))
    lock = data_lock(catalog)
    assert [row["path"] for row in lock["files"]] == ["p.parquet/000000", "p.parquet/000001"]
    changed = open_data(write_hub(tmp_path / "p.parquet", [1, 3], ["a", "b"]))
    assert verify_lock(lock, changed) == ["p.parquet/000001 has another content"]


def test_rows_without_bytes_or_label(tmp_path: Path) -> None:
    names = ("a", "b")
    path = write_hub(tmp_path / "p.parquet", [1, 2, 3, 4], [0, 1, -1, None], names=names)
    catalog = open_data(path)
    assert [str(each) for each in catalog.problems] == [
        "p.parquet/000002: has no label",
        "p.parquet/000003: has no label",
    ]
    struct = pa.array([{"bytes": png(1), "path": None}, {"bytes": None, "path": "x.png"}, None])
    pq.write_table(pa.table({"image": struct, "label": ["a", "b", "a"]}), path)
    catalog = open_data(path)
    for index in (1, 2):
        with pytest.raises(BadImage, match=r"p.parquet/00000\d: the row has no bytes"):
            catalog.images.read(index)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [([0, 5], ("a", "b"), "a label is 5, and the file names 2 classes"), (["a", "a"], (), "has one class only, 'a'")],
)
def test_labels_that_cannot_work(tmp_path: Path, labels: list[Any], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(write_hub(tmp_path / "p.parquet", [1, 2], labels, names=names))


def test_files_that_cannot_be_read(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"bad.parquet cannot be read as Parquet"):
        open_data(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"label": ["a"]}), tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"needs a column path .* Found: label"):
        open_data(tmp_path / "none.parquet")
    (photos / "features.parquet").write_bytes(b"of something else")  # beside class folders
    assert len(open_data(photos)) == 30


def test_without_pyarrow_the_error_names_the_extra(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "t.parquet").touch()
    real = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pyarrow is needed to read Parquet files .* 'sightline\[parquet\]'"):
        open_data(photos / "t.parquet")
    assert len(open_data(photos)) == 30
