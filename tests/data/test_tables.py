"""CSV, JSON lines and metadata files: the same catalog as the folder's, every row accounted for, nothing written."""

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightline.data.catalog import SPLITS, Catalog
from sightline.data.class_map import order_note
from sightline.data.decode import BadImage
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import ConfigError, DataError

MakePicture = Callable[..., Path]


def write_csv(path: Path, *rows: tuple[str, ...], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def rows(catalog: Catalog) -> list[tuple[str, str, str]]:
    """(name, class, split) of every picture."""
    numbers = catalog.class_numbers
    return [
        (catalog.images.name(index), catalog.classes[numbers[index]], SPLITS[catalog.splits[index]])
        for index in range(len(catalog))
    ]


def table_of(photos: Path) -> list[tuple[str, ...]]:
    found = sorted(photos.rglob("*.png"))
    return [("path", "label"), *((path.relative_to(photos).as_posix(), path.parent.name) for path in found)]


def same(one: Catalog, other: Catalog) -> bool:
    """Equal classes, labels, splits, names and pixels."""
    pictures = all(
        np.array_equal(one.images.read(index), other.images.read(index))
        and one.images.name(index) == other.images.name(index)
        for index in range(len(one))
    )
    return (
        pictures
        and (one.classes, one.channels, one.typical_size) == (other.classes, other.channels, other.typical_size)
        and one.labels.tolist() == other.labels.tolist()
        and one.splits.tolist() == other.splits.tolist()
    )


# ----------------------------------------------------------------------------------------------------------- the rows


def test_a_csv_is_the_folder_that_it_describes(photos: Path) -> None:
    catalog = open_data(write_csv(photos / "labels.csv", *table_of(photos)))
    (photos / "labels.csv").unlink()
    assert same(catalog, open_data(photos))
    assert (catalog.problems, catalog.notes, catalog.groups) == ((), (), None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_byte_order_marks(photos: Path, delimiter: str, encoding: str) -> None:
    path = write_csv(photos / "labels.csv", *table_of(photos), delimiter=delimiter, encoding=encoding)
    assert open_data(path).counts() == {"unassigned": {"cat": 10, "dog": 20}}


def test_paths_with_commas_quotes_umlauts_and_spaces(tmp_path: Path, make_picture: MakePicture) -> None:
    names = [
        "a, b.png",
        'the "best".png',
        "Bär für Ünal.png",
        " 日本 語.png".strip(),
        "semi;colon.png",
        "it's 100%.png",
    ]
    for number, name in enumerate(names):
        make_picture(f"p/with spaces/{name}", (number, 0, 0))
    table = [("Path", "LABEL"), *((f"with spaces/{name}", f"n{number}") for number, name in enumerate(names))]
    catalog = open_data(write_csv(tmp_path / "p" / "labels.csv", *table))
    assert {catalog.images.name(each): int(catalog.images.read(each)[0, 0, 0]) for each in range(len(names))} == {
        f"with spaces/{name}": number for number, name in enumerate(names)
    }
    assert all(
        catalog.classes[label] == f"n{catalog.images.read(i)[0, 0, 0]}" for i, label in enumerate(catalog.labels)
    )


def test_labels_are_text_and_sorted_as_text(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("01", "1", "2", "10"):
        make_picture(f"p/{name}.png")
    table = [("file", "path", "label"), *(("x", f"{name}.png", name) for name in ("2", "10", "1", "01"))]
    catalog = open_data(write_csv(tmp_path / "p" / "labels.csv", *table))
    assert catalog.classes == ("01", "1", "10", "2")
    assert [row[:2] for row in rows(catalog)] == [("01.png", "01"), ("1.png", "1"), ("10.png", "10"), ("2.png", "2")]


def test_the_order_of_rows_changes_nothing(photos: Path) -> None:
    header, body = ("path", "label", "group"), [(*row, "p" + row[0][-5]) for row in table_of(photos)[1:]]
    catalogs = [
        assign_splits(open_data(write_csv(photos / "labels.csv", header, *order)), seed=3)[0]
        for order in (body, body[::-1], sorted(body, key=lambda row: hashlib.sha256(row[0].encode()).digest()))
    ]
    assert same(catalogs[0], catalogs[1])
    assert same(catalogs[0], catalogs[2])
    assert catalogs[0].groups is not None
    assert catalogs[0].groups.tolist() == catalogs[2].groups.tolist()


def test_splits_of_a_column(photos: Path) -> None:
    names = {"cat/00.png": "Train", "cat/01.png": "valid", "dog/00.png": "train", "dog/01.png": "TEST"}
    table = [("path", "label", "split"), *((name, name[:3], split) for name, split in names.items())]
    catalog = open_data(write_csv(photos / "labels.csv", *table))
    assert [row[::2] for row in rows(catalog)] == [
        ("cat/00.png", "train"), ("cat/01.png", "val"), ("dog/00.png", "train"), ("dog/01.png", "test"),
    ]  # fmt: skip
    write_csv(photos / "labels.csv", *table, ("dog/02.png", "dog", "tset"))
    with pytest.raises(DataError, match=r"labels.csv line 6 has the split 'tset'. It must be train, val"):
        open_data(photos / "labels.csv")


def test_a_class_that_val_lacks_keeps_the_numbers(photos: Path) -> None:
    table = [("path", "label", "split")]
    table += [(f"dog/0{n}.png", "abc"[n % 3], "train") for n in range(6)]
    table += [("cat/00.png", "a", "val"), ("cat/01.png", "c", "val")]
    catalog = open_data(write_csv(photos / "labels.csv", *table))
    assert catalog.classes == ("a", "b", "c")
    assert [row[1] for row in rows(catalog) if row[2] == "val"] == ["a", "c"]
    assert catalog.class_numbers[catalog.select("val")].tolist() == [0, 2]


def test_paths_that_begin_with_split_folders(tmp_path: Path, make_picture: MakePicture) -> None:
    names = ["train/1.png", "train/2.png", "test/3.png"]
    for name in names:
        make_picture(f"p/{name}")
    table = [("path", "label"), *((name, label) for name, label in zip(names, "aba", strict=True))]
    catalog = open_data(write_csv(tmp_path / "p" / "t.csv", *table))
    assert catalog.counts() == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 0}}
    assert "The split of a picture is the folder that its path begins with." in catalog.notes


# ------------------------------------------------------------------------------------------------ what cannot be used


def test_every_row_that_is_not_used_is_a_problem_with_its_reason(photos: Path) -> None:
    path = write_csv(
        photos / "labels.csv",
        ("path", "label"),
        ("cat/00.png", "cat"),
        ("dog/00.png", "dog"),
        ("dog/gone.png", "dog"),
        ("dog\\01.png", "dog"),
        ("dog/02.png", ""),
        ("", "dog"),
        ("dog/03.png", "dog", "extra"),
        ("../nowhere.png", "dog"),
        ("/no/such/file.png", "dog"),
        (),
    )
    catalog = open_data(path)
    assert [row[0] for row in rows(catalog)] == ["cat/00.png", "dog/00.png"]
    assert [str(problem) for problem in catalog.problems] == [
        "labels.csv line 8: the row has 3 columns, and the first line 2: dog/03.png,dog,extra",
        "dog/gone.png: no such file (labels.csv line 4)",
        "dog\\01.png: no such file (labels.csv line 5). Folders are separated by /",
        "dog/02.png: has no label (labels.csv line 6)",
        "labels.csv line 7: the row names no file",
        "../nowhere.png: no such file (labels.csv line 9)",
        "/no/such/file.png: no such file (labels.csv line 10)",
    ]


def test_paths_outside_the_folder_are_allowed_where_they_exist(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "tables").mkdir()
    path = write_csv(
        tmp_path / "tables" / "labels.csv",
        ("path", "label"),
        ("../photos/cat/01.png", "cat"),
        (str(photos / "dog/02.png"), "dog"),
    )
    catalog = open_data(path)
    assert {catalog.images.name(i): catalog.images.read(i)[0, 0].tolist() for i in range(2)} == {
        "../photos/cat/01.png": [1, 10, 7],
        str(photos / "dog/02.png"): [2, 20, 7],
    }


def test_rows_that_say_the_same_twice_are_one(photos: Path) -> None:
    path = write_csv(photos / "l.csv", *table_of(photos), ("cat/00.png", "cat"), ("./cat/../cat/01.png", "cat"))
    catalog = open_data(path)
    assert len(catalog) == 30
    assert catalog.notes == ("2 rows name a picture again: they say the same, and one of each is kept.",)


def test_rows_that_contradict_each_other_are_listed(photos: Path) -> None:
    path = write_csv(photos / "l.csv", *table_of(photos), ("cat/00.png", "dog"), ("cat/03.png", "dog"))
    with pytest.raises(DataError, match=r"2 pictures are named more than once and differently") as caught:
        open_data(path)
    assert "cat/00.png: has different labels: cat (l.csv line 2), dog (l.csv line 32)" in str(caught.value)
    assert "cat/03.png: has different labels" in str(caught.value)
    write_csv(
        path, ("path", "label", "split"), ("cat/00.png", "cat", "train"), ("cat/00.png", "cat", "test"),
        ("dog/00.png", "dog", "train"),
    )  # fmt: skip
    with pytest.raises(DataError, match=r"cat/00.png: has two splits or groups: l.csv line 2, l.csv line 3"):
        open_data(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat/00.png,cat\ndog/00.png,dog\n", r"must name the columns: a column path .* Found: cat/00.png, cat. Write"),
        (b"", r"the first line of .* must name the columns: .* Found: nothing"),
        (b"path,name\ncat/00.png,cat\n", r"has no labels. Needed: a column path .* Found: path, name"),
        (b"path,label,Label\ncat/00.png,a,b\n", r"names a column twice: path, label, Label"),
        (b"path,label\ncat/00.png,\xe4hre\n", r"is not UTF-8 text: line 2 has the byte 0xe4. Save it as UTF-8"),
        (b'path,label\n"cat/00.png"x,cat\n', r"is no CSV: line 2: "),
        (b"path,label\nnone.png,cat\n", r"names no picture that can be used:\n  none.png: no such file"),
    ],
)
def test_wrong_tables_say_what_was_found_and_what_is_needed(photos: Path, content: bytes, message: str) -> None:
    (photos / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_data(photos / "labels.csv")


def test_one_class_only(photos: Path) -> None:
    path = write_csv(photos / "labels.csv", ("path", "label"), ("cat/00.png", "cat"))
    with pytest.raises(DataError, match=r"labels has one class only, 'cat'"):
        open_data(path)


def test_a_picture_that_went_away_later_is_a_bad_image(photos: Path) -> None:
    catalog = open_data(write_csv(photos / "labels.csv", *table_of(photos)))
    (photos / "cat/00.png").unlink()
    with pytest.raises(BadImage, match=r"cat/00.png"):
        catalog.images.read(0)


# -------------------------------------------------------------------------------------------------------- multi-label


def test_labels_with_semicolons_between(photos: Path) -> None:
    table = [("path", "label"), ("cat/00.png", "b; a"), ("cat/01.png", "c"), ("cat/02.png", ""), ("cat/01.png", "a")]
    catalog = open_data(write_csv(photos / "labels.csv", *table))
    assert catalog.is_multilabel
    assert catalog.labels.dtype == np.uint8
    assert (catalog.classes, catalog.labels.tolist()) == (("a", "b", "c"), [[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    assert catalog.class_counts().tolist() == [2, 1, 1]
    assert catalog.counts() == {"unassigned": {"a": 2, "b": 1, "c": 1}}
    assert str(catalog) == "labels: 3 classes, 3 unassigned pictures"
    assert "1 pictures have no label: they are of none of the classes." in catalog.notes
    with pytest.raises(DataError, match=r"labels is multi-label data: a picture may have several"):
        _ = catalog.class_numbers


def test_a_column_of_0_and_1_for_each_class(photos: Path) -> None:
    table = [("path", "Split", "Zebra", "Ant", "patient"), ("cat/00.png", "train", "1", "1", "p1"),
             ("cat/01.png", "", "0", "1.0", "p2")]  # fmt: skip
    path = write_csv(photos / "labels.csv", *table)
    with pytest.raises(DataError, match=r"has no labels"):  # patient is neither
        open_data(path)
    catalog = open_data(path, group_by="patient")
    assert (catalog.classes, catalog.labels.tolist()) == (("Ant", "Zebra"), [[1, 1], [1, 0]])
    assert catalog.group_names == ("p1", "p2")


def test_columns_with_exactly_one_1_a_row_are_single_labels(photos: Path) -> None:
    table = [("path", "b", "a"), ("cat/00.png", "1", "0"), ("cat/01.png", "0", "1")]
    catalog = open_data(write_csv(photos / "labels.csv", *table))
    assert (catalog.classes, catalog.class_numbers.tolist()) == (("a", "b"), [1, 0])


# ----------------------------------------------------------------------------------------- Hugging Face's image folder


def write_jsonl(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


def test_metadata_beside_the_pictures(tmp_path: Path, make_picture: MakePicture) -> None:
    for number in range(3):
        make_picture(f"p/images/{number}.png", (number, 0, 0))
    make_picture("p/images/extra.png")
    write_csv(
        tmp_path / "p" / "metadata.csv", ("file_name", "label"), *((f"images/{n}.png", "ab"[n % 2]) for n in range(3))
    )
    catalog = open_data(tmp_path / "p")
    assert rows(catalog) == [(f"images/{n}.png", "ab"[n % 2], "unassigned") for n in range(3)]
    assert catalog.notes == ("Ignored 1 pictures that no row of the metadata names: images/extra.png",)


def test_metadata_inside_split_folders(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/1.png", "train/2.png", "validation/1.png", "test/1.png"):
        make_picture(f"p/{name}")
    write_jsonl(
        tmp_path / "p/train/metadata.jsonl", {"file_name": "1.png", "label": 10}, {"file_name": "2.png", "label": 2}
    )
    write_jsonl(tmp_path / "p/validation/metadata.jsonl", {"file_name": "1.png", "label": 2})
    write_csv(tmp_path / "p/test/metadata.csv", ("file_name", "label"), ("1.png", "10"))
    catalog = open_data(tmp_path / "p")
    assert rows(catalog) == [
        ("test/1.png", "10", "test"), ("train/1.png", "10", "train"), ("train/2.png", "2", "train"),
        ("validation/1.png", "2", "val"),
    ]  # fmt: skip
    assert catalog.classes == ("10", "2")


def test_metadata_in_parquet_is_the_same_rows_in_csv(tmp_path: Path, make_picture: MakePicture) -> None:
    names = [("1.png", "night sky"), ("deep/2.png", "sea"), ("gone.png", "sea"), ("3.png", None)]
    for folder in ("one", "other"):
        for name in ("1.png", "deep/2.png", "3.png", "extra.png"):
            make_picture(f"{folder}/train/{name}")
        make_picture(f"{folder}/test/1.png")
        write_csv(tmp_path / folder / "test" / "metadata.csv", ("file_name", "label"), ("1.png", "sea"))
    table = pa.table({"file_name": [name for name, _ in names], "label": [label for _, label in names]})
    pq.write_table(table, tmp_path / "one" / "train" / "metadata.parquet")
    write_csv(tmp_path / "other" / "train" / "metadata.csv", tuple(table.column_names),
              *((name, label or "") for name, label in names))  # fmt: skip
    one, other = open_data(tmp_path / "one"), open_data(tmp_path / "other")
    assert rows(one) == rows(other) == [
        ("test/1.png", "sea", "test"), ("train/1.png", "night sky", "train"), ("train/deep/2.png", "sea", "train")
    ]  # fmt: skip
    assert one.classes == ("night sky", "sea")
    assert [problem.path for problem in one.problems] == [problem.path for problem in other.problems]
    assert one.problems[0].reason == "no such file (metadata.parquet row 2)"
    assert one.notes == other.notes
    assert one.source_files == (tmp_path / "one/train/metadata.parquet", tmp_path / "one/test/metadata.csv")


def test_metadata_in_parquet_about_something_else_or_broken(photos: Path, tmp_path: Path) -> None:
    before = open_data(photos)
    pq.write_table(pa.table({"camera": ["x100"], "year": [2011]}), photos / "metadata.parquet")
    assert same(open_data(photos), before)  # it is about something else than the pictures
    pq.write_table(pa.table({"file_name": ["cat/00.png", "dog/00.png"], "label": [1, 2]}), photos / "metadata.parquet")
    assert rows(open_data(photos)) == [("cat/00.png", "1", "unassigned"), ("dog/00.png", "2", "unassigned")]
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "1.png").write_bytes((photos / "cat" / "00.png").read_bytes())
    (flat / "metadata.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"metadata\.parquet cannot be read as Parquet"):
        open_data(flat)


def test_lists_of_labels_in_json_lines(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("p/1.png")
    write_jsonl(tmp_path / "p/metadata.jsonl", {"file_name": "1.png", "label": ["sky", "sea"]})
    assert open_data(tmp_path / "p").labels.tolist() == [[1, 1]]
    (tmp_path / "p/metadata.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match=r"metadata.jsonl: line 1 must be an object"):
        open_data(tmp_path / "p")
    (tmp_path / "p/metadata.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"is no JSON lines: line 1"):
        open_data(tmp_path / "p")


def test_metadata_about_something_else_leaves_the_class_folders(photos: Path) -> None:
    before = open_data(photos)
    write_csv(photos / "metadata.csv", ("file_name", "camera"), ("cat/00.png", "x100"))
    assert rows(open_data(photos)) == rows(before)
    write_csv(photos / "metadata.csv", ("camera", "year"), ("x100", "2011"))
    assert rows(open_data(photos)) == rows(before)


# ---------------------------------------------------------------------------------------------------------- class map


@pytest.mark.parametrize(
    "content",
    ["1\n0\n10\n2\n11\n\n", '{"0": 1, "1": 0, "2": 3, "11": 4, "10": 2}', "\ufeff1\r\n0\r\n10\r\n2\r\n11\r\n"],
)
def test_class_map_orders_the_classes(tmp_path: Path, make_picture: MakePicture, content: str) -> None:
    for name in ("0", "1", "2", "10", "11"):
        make_picture(f"p/train/{name}/a.png", (int(name), 0, 0))
    make_picture("p/val/11/a.png", (11, 0, 0))  # and nothing of the others
    (tmp_path / "map.txt").write_text(content, encoding="utf-8")
    catalog = open_data(tmp_path / "p", class_map=tmp_path / "map.txt")
    assert catalog.classes == ("1", "0", "10", "2", "11")
    for index in range(6):  # the picture knows its class
        assert str(catalog.images.read(index)[0, 0, 0]) == catalog.classes[catalog.class_numbers[index]]
    assert catalog.class_numbers[catalog.select("val")].tolist() == [4]


def test_plain_sort_of_numbers_is_said(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("0", "1", "2", "10", "11"):
        make_picture(f"p/{name}/a.png")
    catalog = open_data(tmp_path / "p")
    assert catalog.classes == ("0", "1", "10", "11", "2")
    assert catalog.notes == tuple(order_note(catalog.classes)) != ()


def test_class_map_of_multilabel_data(photos: Path) -> None:
    path = write_csv(photos / "l.csv", ("path", "label"), ("cat/00.png", "b;a"), ("cat/01.png", "c"))
    (photos / "map").write_text("c\nx\nb\na\n")
    catalog = open_data(path, class_map=photos / "map")
    assert (catalog.classes, catalog.labels.tolist()) == (("c", "x", "b", "a"), [[0, 0, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\n", r"photos has a class that .*map.txt lacks: dog. Nearest|Known"),
        ("", "is empty. Give a class a line"),
        ("cat\n\ndog\n", "has an empty line"),
        ("cat\ndog\ncat\n", "has more than once: cat"),
        ('{"cat": 0, "dog": 2}', "must number its 2 classes from 0 to 1"),
        ('{"cat": 0, "dog": "1"}', "must number its 2 classes"),
        ('{"cat": 0,', "is no JSON"),
    ],
)
def test_class_maps_that_cannot_work(photos: Path, content: str, message: str) -> None:
    path = photos / "map.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        open_data(photos, class_map=path)


def test_class_map_that_is_not_there_or_of_numbers(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"the class map .*gone.txt cannot be read \(FileNotFoundError"):
        open_data(photos, class_map=photos / "gone.txt")
    with pytest.raises(ConfigError, match=r"the labels are numbers already"):
        open_data((np.zeros((2, 2, 2), np.uint8), np.array([0, 1])), class_map="map.txt")


# ----------------------------------------------------------------------------------------------- the tree is the user's

_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.utime", "os.truncate")
_WRITES: list[tuple[str, str]] = []
_watched: list[str] = []
_HOOKED = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    """Notes whatever would change something under the watched folder."""
    if not _watched:
        return
    if event == "open":
        path, mode, flags = arguments
        is_write = any(sign in str(mode or "") for sign in "wax+") or (isinstance(flags, int) and flags & 3)
        if is_write and str(path).startswith(_watched[0]):
            _WRITES.append((event, str(path)))
    elif event in _CHANGES and str(arguments[0]).startswith(_watched[0]):
        _WRITES.append((event, str(arguments[0])))


@pytest.fixture
def read_only(photos: Path) -> Iterator[Path]:
    """A folder that may not be written, by its rights and, as root may all the same, by watching."""
    if not _HOOKED:
        sys.addaudithook(_hook)  # it cannot be taken away again
        _HOOKED.append(True)
    write_csv(photos / "labels.csv", *table_of(photos))
    for path in (*photos.rglob("*"), photos):
        path.chmod(0o555 if path.is_dir() else 0o444)
    _WRITES.clear()
    _watched.append(str(photos))
    yield photos
    _watched.clear()
    for path in (photos, *photos.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def digest(folder: Path) -> str:
    parts = [
        f"{path.relative_to(folder)} {path.stat().st_mtime_ns} {path.stat().st_mode}".encode()
        + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@pytest.mark.parametrize("source", ["", "labels.csv"])
def test_a_read_only_tree_is_read_and_left_as_it_was(read_only: Path, source: str) -> None:
    before = digest(read_only)
    catalog, _ = assign_splits(open_data(read_only / source, group_by=r"(\d)\.png"), folds=3, fold=1)
    assert catalog.images.read(0).shape == (8, 12, 3)
    assert (digest(read_only), _WRITES) == (before, [])
