"""A hostile picture costs a bounded time and a bounded memory, and is refused with the reason."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import bounded, picture_file
from sightline.data import decode as decode_module
from sightline.data.decode import BadImage, decode, read_header

RESOLUTION = 282  # the TIFF tag


def refused(file: bytes, path: Path | None = None) -> set[str]:
    """The reasons of `decode` and `read_header`, from bytes and from a file."""
    reasons = set()
    sources = [file] if path is None else [file, path]
    if path is not None:
        path.write_bytes(file)
    for source in sources:
        for read in (decode, read_header):
            with pytest.raises(BadImage) as caught:
                read(source)
            reasons.add(caught.value.reason)
    return reasons


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(bytes(2))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff(width: int, height: int, *tags: tuple[int, int, int, int], data: bytes = b"", compression: int = 1) -> bytes:
    """A grey TIFF put together from its specification; `data` begins at byte 8."""
    data += bytes(len(data) % 2)
    rows = [(256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 8), (259, 4, 1, compression), (262, 4, 1, 1), *tags]
    directory = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes a tenth of a second."""
    ticks: Iterator[int] = count()
    monkeypatch.setattr(time, "thread_time", lambda: next(ticks) / 10)


@pytest.mark.usefixtures("slow")
def test_what_reads_on_and_on_is_stopped_by_the_clock(tmp_path: Path) -> None:
    # 400 texts without a name, which the library does not count, each unpacking to a megabyte.
    file = png(*[(b"zTXt", b"\0\0" + zlib.compress(bytes(1000)))] * 400)
    assert refused(file, tmp_path / "a.png") == {"takes more than 30 s of processor time to decode"}


@pytest.mark.usefixtures("slow")
def test_pixels_that_take_too_long_are_stopped_by_the_clock() -> None:
    width = height = 30
    runs = (b"\x01\x01" * width + b"\0\0") * height + b"\0\1"  # each a pixel, unpacked in Python
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    file = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs
    assert read_header(file).format == "BMP"
    with pytest.raises(BadImage, match=r"takes more than 30 s"):
        decode(file)


def test_the_clock_is_the_threads_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_SECONDS", 0.2)
    file = bounded.BoundedBytes(b"ab").begin(None)
    time.sleep(0.3)  # as on a busy machine: no time of this thread's
    assert file.read() == b"ab"


def test_a_flood_of_metadata_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MAX_HEADER_BYTES", 100_000)
    reason = {"holds more than 16,000,000 bytes beside its pixels"}
    exif = b"\xff\xe1" + struct.pack(">H", 65535) + b"Exif\0\0" + bytes(65527)
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    assert refused(jpeg.getvalue()[:2] + exif * 3 + jpeg.getvalue()[2:], tmp_path / "a.jpg") == reason
    assert refused(png((b"iTXt", bytes(200_000))), tmp_path / "a.png") == reason
    strip = [(273, 4, 1, 8), (279, 4, 1, 1)]
    fractions = tiff(1, 1, *strip, (RESOLUTION, 5, 20_000, 8), data=struct.pack("<II", 3, 7) * 20_000)
    assert refused(fractions, tmp_path / "a.tif") == reason


def test_numbers_in_a_tag_are_refused_before_they_become_objects() -> None:
    number = 2_500_000  # fractions, of 200 bytes each
    file = tiff(1, 1, (273, 4, 1, 8), (279, 4, 1, 1), (RESOLUTION, 5, number, 8), data=bytes(8 * number))
    tracemalloc.start()
    try:
        with pytest.raises(BadImage, match=r"holds more than 16,000,000 bytes"):
            decode(file)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(file)
    finally:
        tracemalloc.stop()


def test_the_usual_metadata_and_more_is_read() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", icc_profile=bytes(4_000_000))
    np.testing.assert_array_equal(decode(file.getvalue()), pixels)


def test_compressed_pixels_larger_than_the_pixels_are_read() -> None:
    idle = zlib.compressobj(0)  # stored, and each row flushed twice: more than plain
    rows = b"".join(idle.compress(bytes(2)) + idle.flush(zlib.Z_FULL_FLUSH) * 2 for _ in range(200)) + idle.flush()
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 200, 8, 0, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in (header, (b"IDAT", rows), (b"IEND", b""))
    )
    assert decode(file).shape == (200, 1, 3)


@pytest.mark.parametrize("side", [(20_000, 20_000), (4_000_000_000, 4_000_000_000)])
def test_a_small_tiff_in_huge_tiles_is_refused(side: tuple[int, int]) -> None:
    file = tiff(
        1, 1, (322, 4, 1, side[0]), (323, 4, 1, side[1]), (324, 4, 1, 8), (325, 4, 1, 1), data=b"x", compression=8
    )
    stored = f"{side[0] * side[1]:,}"
    assert refused(file) == {f"has {stored} pixels in its tiles, more than the limit of 100,000,000"}


def test_a_tiff_in_tiles_is_read() -> None:
    tile = np.arange(16 * 16, dtype=np.uint8)
    data = zlib.compress(tile.tobytes())
    file = tiff(
        9, 7, (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 1, 8), (325, 4, 1, len(data)), data=data, compression=8
    )
    np.testing.assert_array_equal(decode(file, channels=1)[:, :, 0], tile.reshape(16, 16)[:7, :9])


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "RGBA", "LA"])
def test_what_is_between_file_and_pixels_costs_little_memory(mode: str) -> None:
    image = Image.new(mode, (3000, 1000), {"RGBA": (9, 9, 9, 9), "LA": (9, 9)}.get(mode, 9))  # type: ignore[arg-type]
    decode(image)
    tracemalloc.start()
    try:
        decode(image)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The library's copy and its bytes, and the result, grey or RGB, with a copy in colour; float64 alone would take 8.
    assert peak_bytes < 1000 * 3000 * 12 + 30e6


def test_memory_that_is_not_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(pixels: object) -> object:
        raise MemoryError

    monkeypatch.setattr(decode_module, "on_white", no_room)
    for source in (Image.new("RGBA", (2, 2)), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(BadImage, match=r"cannot be decoded \(MemoryError"):
            decode(source)


def test_the_limit_is_for_what_is_beside_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MAX_HEADER_BYTES", 1000)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    for format in ("PNG", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format)
        np.testing.assert_array_equal(decode(file.getvalue()), pixels)
