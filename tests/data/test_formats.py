"""The readers of the known sets' formats, on bytes put together by hand."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.formats import read_cifar_binary, read_idx, read_sprite_sheets
from sightline.errors import DataError

# Two images of 2 x 3 px: 00 00, uint8, 3 dimensions; 2, 2, 3 as big-endian 32-bit integers; twelve bytes.
IDX = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))


@pytest.mark.parametrize("packed", [IDX, gzip.compress(IDX, mtime=0)])
def test_idx(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(packed)
    images = read_idx(path, hashlib.sha256(IDX).hexdigest())  # the digest is of the content, however packed
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file of bytes: it begins with nothing"),
        (bytes.fromhex("00000d01 00000001 00000000"), "is no idx file of bytes: it begins with 00 00 0d 01"),
        (IDX[:-1], r"states the shape \(2, 2, 3\) but holds 11 bytes"),
        (IDX + b"x", r"states the shape \(2, 2, 3\) but holds 13 bytes"),
        (gzip.compress(IDX, mtime=0)[:-9], r"cannot be read \(EOFError"),
        (gzip.compress(IDX, mtime=0)[:10] + b"\xff" * 20, r"cannot be read \(error"),
    ],
)
def test_idx_that_is_damaged(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_idx_with_another_content_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(IDX)
    with pytest.raises(DataError, match=r"has another content than the published file. Delete it and fetch it again"):
        read_idx(path, "0" * 64)
    with pytest.raises(DataError, match=r"gone cannot be read \(FileNotFoundError"):
        read_idx(tmp_path / "gone")


@pytest.mark.parametrize(("label", "label_bytes"), [(b"\x07", 1), (b"\x03\x07", 2)])
def test_cifar_binary_records(tmp_path: Path, label: bytes, label_bytes: int) -> None:
    red, green, blue = (bytes([value]) + bytes(1022) + bytes([value + 1]) for value in (10, 20, 30))
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes((label + red + green + blue) * 2)
    images, labels = read_cifar_binary([path, path], label_bytes=label_bytes)
    assert (images.shape, labels.tolist()) == ((4, 32, 32, 3), [7] * 4)
    assert images[3, 0, 0].tolist() == [10, 20, 30]
    assert images[3, 31, 31].tolist() == [11, 21, 31]
    assert images.sum(dtype=int) == 4 * (10 + 20 + 30 + 11 + 21 + 31)


def test_cifar_rows_run_along_the_width(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x00" + bytes(range(64)) + bytes(3072 - 64))
    images, _ = read_cifar_binary([path], label_bytes=1)
    assert images[0, 1, :, 0].tolist() == list(range(32, 64))


def test_cifar_binary_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content in (b"", bytes(3072)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is no whole number of records of 3,073 bytes"):
            read_cifar_binary([path], label_bytes=1)
    with pytest.raises(DataError, match=r"gone.bin cannot be read \(FileNotFoundError"):
        read_cifar_binary([tmp_path / "gone.bin"], label_bytes=1)


def test_cifar_binary_with_another_content(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3073))
    digest = hashlib.sha256(bytes(3073)).hexdigest()
    assert len(read_cifar_binary([path, path], label_bytes=1, sha256=[digest, None])[0]) == 2
    with pytest.raises(DataError, match=r"a.bin has another content than the published file. Delete it and fetch it"):
        read_cifar_binary([path], label_bytes=1, sha256=["0" * 64])


def test_sprite_sheets(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    Image.fromarray(pictures[:3].reshape(3, 16, 3)).save(paths[0])
    Image.fromarray(pictures[3:].reshape(2, 16, 3)).save(paths[1])
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps([4, 3, 2, 1, 0]))
    images, numbers = read_sprite_sheets(paths, labels, size=4)
    np.testing.assert_array_equal(images, pictures)
    assert numbers.tolist() == [4, 3, 2, 1, 0]
    with pytest.raises(DataError, match=r"1.png is 16 px wide; a sheet of 32x32 pictures is 1024"):
        read_sprite_sheets(paths, labels)
    with pytest.raises(DataError, match=r"labels.json has 5 labels for 3 pictures"):
        read_sprite_sheets(paths[:1], labels, size=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", r"cannot be read as JSON \(JSONDecodeError"),
        ('{"a": 1}', "must hold one list of whole numbers"),
        ("[1, true]", "must hold one list of whole numbers"),
        ("[1.5]", "must hold one list of whole numbers"),
    ],
)
def test_label_list_that_is_damaged(tmp_path: Path, text: str, message: str) -> None:
    sheet, labels = tmp_path / "1.png", tmp_path / "labels.json"
    Image.new("RGB", (16, 1)).save(sheet)
    labels.write_text(text)
    with pytest.raises(DataError, match=message):
        read_sprite_sheets([sheet], labels, size=4)
