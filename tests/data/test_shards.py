"""Tar shards -> a catalog: every sample that WebDataset reads, and a reason for everything else."""

import dataclasses
import hashlib
import itertools
import os
import tarfile
from pathlib import Path

import braceexpand
import numpy as np
import pytest
from webdataset.tariterators import base_plus_ext

import sightline.data.shard as shard_module
from sightline.data import shard_index
from sightline.data.braces import expanded
from sightline.data.catalog import Catalog
from sightline.data.copies import exact_copies
from sightline.data.decode import BadImage
from sightline.data.hashes import content_hashes
from sightline.data.lock import data_lock, verify_lock
from sightline.data.preprocess import Preprocess
from sightline.data.sample import key_of
from sightline.data.shard_images import ShardImages
from sightline.data.sources import open_data
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError
from tests.data.shard_files import File, picture, sample, shard_folder, tar_bytes, write_tar

PREPROCESS = Preprocess((3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
GOOD = sample(1, 0) + sample(2, 1)


def opened(tmp_path: Path, files: list[File | tarfile.TarInfo], **options: object) -> Catalog:
    return open_data(str(write_tar(tmp_path / "photos" / "a.tar", files)), **options)  # type: ignore[arg-type]


def problems(tmp_path: Path, files: list[File | tarfile.TarInfo]) -> list[tuple[str, str]]:
    """What is not used, of a shard that has two good samples first."""
    catalog = opened(tmp_path, [*GOOD, *files])
    assert [catalog.images.name(index) for index in range(2)] == ["0001.png", "0002.png"]
    return [(problem.path, problem.reason) for problem in catalog.problems]


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["train-{000..012}.tar", "{a,b}/{1..3}.tar", "http://host/x-{08..11}.tar", "one.tar", "{1..1}{x,y,z}.tar"],
)
def test_braces_are_those_of_the_library(name: str) -> None:
    assert expanded(name) == list(braceexpand.braceexpand(name))


@pytest.mark.parametrize("name", ["a-{0..}.tar", "a-{x}.tar", "a-{0..3.tar", "a-}.tar", "{a,{b,c}}.tar", "{5..3}.tar"])
def test_braces_that_stand_for_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=r"brace|neither a range"):
        expanded(name)


def test_braces_that_stand_for_too_much() -> None:
    with pytest.raises(ConfigError, match="limit of 1,000,000"):
        expanded("{0..999}{0..9999}.tar")
    with pytest.raises(ConfigError, match="limit of 1,000,000"):
        expanded("{0..999999999999}.tar")


def test_keys_are_those_of_the_library() -> None:
    parts = ["a", ".", "/", "jpg", "..", "b c", "seg.PNG"]
    for count in range(1, 6):
        for name in map("".join, itertools.product(parts, repeat=count)):
            key, suffix = base_plus_ext(name)
            is_none = key is None or key.endswith("/")  # the library makes one sample of all hidden files of a folder
            assert key_of(name) == (None if is_none else (key, suffix.lower())), name


# ------------------------------------------------------------------------------------------------------------ layouts


def test_a_folder_of_shards_with_splits(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "photos", shards=2)
    write_tar(folder / "val-0.tar", sample(100, 0) + sample(101, 1))
    write_tar(folder / "test" / "0.tar", sample(102, 1))
    (folder / "classes.txt").write_text("cat\ndog\n")
    catalog = open_data(folder)
    assert (catalog.name, catalog.classes, catalog.root) == ("photos", ("cat", "dog"), folder)
    assert catalog.counts() == {
        "train": {"cat": 6, "dog": 6}, "val": {"cat": 1, "dog": 1}, "test": {"cat": 0, "dog": 1}
    }  # fmt: skip
    for index in range(len(catalog)):
        number = int(catalog.images.name(index).removesuffix(".png"))
        assert catalog.images.content(index) == picture(number)
        assert catalog.images.read(index)[0, 0, 0] == number
        assert catalog.labels[index] == (1 if number == 102 else number % 2)


def test_shards_by_name_and_in_braces(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "photos")
    assert len(open_data(str(folder / "train-{001..002}.tar"))) == 12
    assert len(open_data(folder / "train-003.tar")) == 6
    assert not len(open_data(folder / "train-003.tar").select("unassigned"))
    with pytest.raises(DataError, match=r"there is no .*train-004.tar, .*train-005.tar, of 6 shards"):
        open_data(str(folder / "train-{000..005}.tar"))
    with pytest.raises(DataError, match="begins with s3://; shards are read from files, http:// and https://"):
        open_data("s3://bucket/train-{000..005}.tar")


def test_a_folder_of_classes_with_an_archive_beside_is_no_folder_of_shards(photos: Path) -> None:
    write_tar(photos / "backup.tar", GOOD)
    assert open_data(photos).classes == ("cat", "dog")


def test_names_that_come_in_two_shards(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", sample(1, 0, key="x") + sample(2, 1, key="y"))
    catalog = open_data(tmp_path)
    assert [catalog.images.name(index) for index in range(4)] == [
        "a.tar/x.png",
        "a.tar/y.png",
        "b.tar/x.png",
        "b.tar/y.png",
    ]


# ------------------------------------------------------------------------------------------------------------- labels


def labels_of(tmp_path: Path, *texts: tuple[str, str], class_map: str | None = None) -> tuple[object, ...]:
    files: list[File | tarfile.TarInfo] = []
    for number, (suffix, text) in enumerate(texts):
        files += [(f"{number}.jpg", picture(number, suffix="jpg")), (f"{number}.{suffix}", text.encode())]
    if class_map is not None:
        (tmp_path / "map.txt").write_text(class_map)
    catalog = opened(tmp_path, files, class_map=None if class_map is None else tmp_path / "map.txt")
    return catalog.classes, catalog.labels.tolist()


def test_labels_in_every_spelling(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("cls", "10"), ("cls", "2\n"), ("json", '{"cls": 2}')) == (("2", "10"), [1, 0, 0])
    assert labels_of(tmp_path, ("txt", "dog"), ("cls", "cat"), ("json", '{"label": "dog"}')) == (
        ("cat", "dog"),
        [1, 0, 1],
    )
    # .txt is a name even where it is a number; a name of .cls stays a name
    assert labels_of(tmp_path, ("txt", "10"), ("txt", "2")) == (("10", "2"), [0, 1])
    named = "zebra\nape\n"
    assert labels_of(tmp_path, ("cls", "1"), ("cls", "zebra"), class_map=named) == (("zebra", "ape"), [1, 0])


def test_several_labels_of_a_picture(tmp_path: Path) -> None:
    several = ("json", '{"label": ["b", "a", "b"]}'), ("json", '{"labels": []}'), ("cls", "b; c"), ("txt", "c")
    assert labels_of(tmp_path, *several) == (("a", "b", "c"), [[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1]])


def test_the_first_file_that_says_a_label_counts(tmp_path: Path) -> None:
    files = [("1.png", picture(1)), ("1.json", b'{"caption": "x"}'), ("1.txt", b"dog"),
             ("2.png", picture(2)), ("2.json", b'{"label": "dog"}'), ("2.cls", b"cat"), ("2.txt", b"?")]  # fmt: skip
    catalog = opened(tmp_path, files)
    assert [catalog.classes[label] for label in catalog.labels] == ["dog", "cat"]


def test_labels_that_contradict_the_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels that are numbers \(1\) and labels that are names \(cat\)"):
        labels_of(tmp_path, ("cls", "1"), ("cls", "cat"))
    with pytest.raises(DataError, match=r"map.txt names 2 classes, and there are labels beside them: 2, emu"):
        labels_of(tmp_path, ("cls", "2"), ("cls", "emu"), class_map="zebra\nape\n")


def test_groups_of_samples(tmp_path: Path) -> None:
    files = [file for number in range(4) for file in
             (*sample(number, number % 2), (f"{number:04d}.json", b'{"group": "%d"}' % (number // 2)))]  # fmt: skip
    assert opened(tmp_path, files).groups.tolist() == [0, 0, 1, 1]


# ------------------------------------------------------------------------------------------------------ bad and hostile


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_what_is_no_sample_has_a_reason(tmp_path: Path) -> None:
    content = picture(9)
    bad: list[tuple[list[File | tarfile.TarInfo], str, str]] = [
        ([("x.png", content)], "x.png", "has no label"),
        ([("x.png", content), ("x.cls", b" ")], "x.png", "has no label"),
        ([("x.cls", b"1")], "x", "has no picture (files: cls)"),
        ([("x.png", content), ("x.jpg", content), ("x.cls", b"1")], "x", "has 2 pictures (files: cls, jpg, png)"),
        ([("x.png", content), ("x.PNG", content), ("x.cls", b"1")], "x", "has more than one file .png"),
        ([("x.png", content), ("x.json", b"{")], "x", "has a .json that cannot be read (JSONDecodeError)"),
        ([("x.png", content), ("x.json", b"[" * 9999)], "x", "has a .json that cannot be read (RecursionError)"),
        ([("x.png", content), ("x.json", b"[1]")], "x", "has a .json that holds no object"),
        ([("x.png", content), ("x.cls", b"\xff")], "x", "has a .cls that is no UTF-8"),
        ([("x.png", content), ("x.json", b'{"label": 1.5}')], "x",
         "has the label 1.5; a number of 0 or more, a name, or a list of them is needed"),
        ([("x.png", content), ("x.json", b'{"label": true}')], "x",
         "has the label True; a number of 0 or more, a name, or a list of them is needed"),
        ([("/etc/x.png", content)], "/etc/x.png", "has a name that leads out of the shard"),
        ([("a/../../x.png", content)], "a/../../x.png", "has a name that leads out of the shard"),
        ([("x\n.png", content)], "x\n.png", "has a name with bytes that are no text"),
        ([link("x.png", tarfile.SYMTYPE, "/etc/passwd")], "x.png",
         "is a link to '/etc/passwd', and only plain files are read"),
        ([link("x.png", tarfile.LNKTYPE, "0001.png")], "x.png",
         "is a link to '0001.png', and only plain files are read"),
        ([link("x.png", tarfile.FIFOTYPE, "")], "x.png", "is no plain file"),
        (sample(1, 1), "0001", "comes again: the files of a sample must follow each other"),
    ]  # fmt: skip
    for files, path, reason in bad:
        assert problems(tmp_path, files) == [(f"a.tar/{path}", reason)]


def test_what_is_not_meant_as_a_sample_is_counted(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("cats")
    folder.type = tarfile.DIRTYPE
    catalog = opened(
        tmp_path, [folder, *GOOD, ("README", b""), (".x.png", b""), ("cats/._x.png", b""), ("__meta__/y.json", b"{}")]
    )
    assert not catalog.problems
    assert "Ignored 4 files in the shards that belong to no sample." in catalog.notes


def test_a_sparse_file(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x.png")
    member.type = tarfile.GNUTYPE_SPARSE
    content = bytearray(tar_bytes([*GOOD, member]))
    path = tmp_path / "photos" / "a.tar"
    path.parent.mkdir()
    path.write_bytes(content)
    assert [problem.reason for problem in open_data(path).problems] == [
        "is a sparse file, and only plain files are read"
    ]


def test_a_shard_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    whole = tar_bytes([*GOOD, *sample(3, 0), *sample(4, 0)])
    ends = whole.rstrip(b"\0")
    end = -(-len(ends) // 512) * 512
    assert not opened_bytes(tmp_path, whole[: end + 1024]).problems
    for cut in range(end - 2048, end + 1, 128):  # within the last sample; and just before the end mark
        (problem,) = opened_bytes(tmp_path, whole[:cut]).problems
        assert problem.path == "a.tar" and problem.reason.startswith("is damaged or cut off at byte"), cut
    within = whole.index(b"0004.png") + 512 + 20
    assert "the end lies within 0004.png" in opened_bytes(tmp_path, whole[:within]).problems[0].reason
    catalog = opened_bytes(tmp_path, whole[:end])
    assert "no block of zeros ends it" in catalog.problems[0].reason
    assert len(catalog) == 3  # the last sample may have lacked a file


def opened_bytes(tmp_path: Path, content: bytes) -> Catalog:
    path = tmp_path / "photos" / "a.tar"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return open_data(path)


def test_a_damaged_header_in_the_middle_is_no_silent_end(tmp_path: Path) -> None:
    content = bytearray(tar_bytes([*GOOD, *sample(3, 0), *sample(4, 0)]))
    content[content.index(b"0004.png") + 150] ^= 1  # its checksum
    (problem,) = opened_bytes(tmp_path, bytes(content)).problems
    assert "after 2 samples (a damaged header)" in problem.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b" + bytes(600), "is compressed: unpack it"),
        (b"no tar at all" * 99, "is damaged or cut off"),
    ],
)
def test_files_that_are_no_tars(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        opened_bytes(tmp_path, content)


def test_headers_that_lie(tmp_path: Path) -> None:
    """A negative size, one beyond the file, a long name that is a gigabyte, and headers nested without end."""

    def header(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
        member = tarfile.TarInfo("x.png")
        member.type = kind
        block = bytearray(member.tobuf(tarfile.GNU_FORMAT)[:512])
        block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    start = tar_bytes([*GOOD, *sample(3, 0)])
    start = start[: -(-len(start.rstrip(b"\0")) // 512) * 512]
    for lie in (header(-512), header(10**12), header(10**9, tarfile.GNUTYPE_LONGNAME), header(10**9, tarfile.XHDTYPE),
                header(0, tarfile.GNUTYPE_LONGNAME) * 3000):  # fmt: skip
        catalog = opened_bytes(tmp_path, start + lie + bytes(2048))
        assert "is damaged or cut off" in catalog.problems[-1].reason


def test_an_unreadable_picture_names_its_shard(tmp_path: Path) -> None:
    catalog = opened(tmp_path, [*GOOD, ("3.png", b"no picture"), ("3.cls", b"1"), ("4.png", b""), ("4.cls", b"1")])
    with pytest.raises(BadImage, match=r"3.png: is none of .* \(in a.tar, at byte 4,608\)"):
        catalog.images.read(2)
    store, bad = Store.build(catalog, range(4), preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=True)
    assert len(store) == 2
    assert [problem.path for problem in bad] == ["3.png", "4.png"]


# ------------------------------------------------------------------------------------------- remembered, changed


def age(path: Path) -> None:
    """As if it had been written a minute ago: what changed just now is not remembered."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 60_000_000_000))


def test_a_shard_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    monkeypatch.setattr(shard_module, "read_index", lambda stream: passes.append(1) or shard_index.read_index(stream))
    folder = shard_folder(tmp_path / "photos", shards=3)
    for path in folder.iterdir():
        age(path)
    first, second = open_data(folder), open_data(folder)
    assert len(passes) == 3
    assert (first.images.sha256 == second.images.sha256).all()
    assert [first.images.name(index) for index in range(18)] == [second.images.name(index) for index in range(18)]
    shard_folder(folder, shards=1, each=5)  # one of them changes
    age(folder / "train-000.tar")
    assert len(open_data(folder)) == 17
    assert len(passes) == 4


def test_a_shard_that_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    """A clock that ticks in seconds may give what is written next the same time."""
    path = write_tar(tmp_path / "photos" / "a.tar", GOOD)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    assert open_data(path).labels.tolist() == [0, 1]
    write_tar(path, sample(1, 1) + sample(2, 0))
    os.utime(path, ns=times)
    assert open_data(path).labels.tolist() == [1, 0]


def test_what_was_remembered_and_is_damaged_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    folder = shard_folder(tmp_path / "photos", shards=1)
    age(folder / "train-000.tar")
    before = open_data(folder)
    (kept,) = (tmp_path / "cache").glob("listing-shard-*")
    text = kept.read_text()
    kept.write_text(text.replace('"0000.png"', '"1111.png"'))
    assert open_data(folder).images.name(0) == before.images.name(0) == "0000.png"


def test_a_shard_that_changes_under_the_run(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "photos" / "a.tar", GOOD)
    catalog = open_data(path)
    write_tar(path, sample(5, 0) + sample(6, 1))
    with pytest.raises(DataError, match=r"a.tar has changed since it was opened: 0001.png is not there"):
        catalog.images.read(0)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        catalog.images.read(0)


# ---------------------------------------------------------------------------------------- as any other data set


def test_shards_are_a_data_set_like_any_other(tmp_path: Path) -> None:
    files = [*GOOD, *sample(3, 0), ("4.png", picture(1)), ("4.cls", b"0")]
    catalog = opened(tmp_path, files)
    digests = [hashlib.sha256(catalog.images.content(index)).hexdigest() for index in range(4)]
    assert list(content_hashes(catalog.images, [3, 0])) == [digests[3], digests[0]]
    assert exact_copies(catalog.images, threads=1).tolist() == [0, 1, 2, 0]
    lock = data_lock(catalog)
    assert [row["sha256"] for row in lock["files"]] == [digests[0], digests[1], digests[2], digests[3]]
    assert verify_lock(lock, catalog) == []
    changed = opened(tmp_path, [*sample(1, 0), *sample(7, 1, key="0002"), *sample(3, 1), *files[-2:]])
    assert verify_lock(lock, changed) == ["0002.png has another content", "0003.png had the label 0 and has now 1"]


def test_decoded_pictures_of_shards_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = opened(tmp_path, [*GOOD, ("3.png", b"no picture"), ("3.cls", b"1")])
    options = {"preprocess": PREPROCESS, "keep_margin": None, "threads": 1, "skip_bad": True}
    plain, _ = Store.build(catalog, range(3), cache=False, **options)  # type: ignore[arg-type]
    Store.build(catalog, range(3), cache=True, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(ShardImages, "content", lambda *_: pytest.fail("a file was read"))
    kept, bad = Store.build(catalog, range(3), cache=True, **options)  # type: ignore[arg-type]
    assert "0 of 3 decoded now" in kept.location
    assert (kept.pictures == plain.pictures).all()  # type: ignore[union-attr]
    assert [problem.path for problem in bad] == ["3.png"]


def test_some_pictures_of_shards(tmp_path: Path) -> None:
    catalog = open_data(shard_folder(tmp_path / "photos"))
    images = catalog.images
    assert isinstance(images, ShardImages)
    part = images.part(np.array([20, 3]))
    assert [part.name(0), part.name(1)] == ["0020.png", "0003.png"]
    assert part.content(0) == picture(20)
    grey = open_data(tmp_path / "photos", channels=1)
    assert grey.images.read(0).shape == (8, 8, 1)
    assert dataclasses.replace(images, channels=1).read(0).shape == (8, 8, 1)
