"""One picture, one answer: whatever its format, mode, orientation and door."""

import io
import os
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sightline.data import picture_file
from sightline.data.decode import BadImage, Header, decode, read_bytes, read_header, source_name
from sightline.data.modes import CONVERSIONS


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(height: int = 6, width: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png(width: int, height: int, *, bits: int = 8, colour_type: int = 0, data: bytes = b"") -> bytes:
    """A PNG put together from its specification."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------------- doors


def test_path_bytes_pil_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    pixels = noise()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(pixels), pixels):
        np.testing.assert_array_equal(decode(source), pixels)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_back_what_was_saved(format: str) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1:, 2:] = (255, 0, 51)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(pixels), format)), pixels)


def test_webp_lossless_gives_back_what_was_saved() -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(noise()), "WEBP", lossless=True)), noise())


def test_jpeg_is_close_to_what_was_saved() -> None:
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert np.abs(decode(saved(Image.fromarray(pixels), "JPEG")).astype(int) - pixels).max() <= 2


def test_format_is_judged_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "really_a_bmp.jpg"
    path.write_bytes(saved(Image.fromarray(noise()), "BMP"))
    np.testing.assert_array_equal(decode(path), noise())


def test_the_image_passed_in_stays_as_it_is() -> None:
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    before = image.tobytes()
    decode(image)[:] = 9
    assert (image.mode, image.tobytes()) == ("RGBA", before)


# ------------------------------------------------------------------------------------------------------ colour modes

# mode, pixel as the library stores it, what it must become; values worked out by hand.
MODES = [
    ("1", 1, (255, 255, 255)),
    ("L", 100, (100, 100, 100)),
    ("LA", (0, 0), (255, 255, 255)),  # transparent black on white
    ("LA", (100, 128), (177, 177, 177)),  # (100 * 128 + 255 * 127) / 255 = 177.2
    ("La", (50, 128), (177, 177, 177)),  # 50 is 100 multiplied by 128 / 255
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("RGBA", (255, 0, 0, 0), (255, 255, 255)),  # transparent red
    ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
    ("RGBA", (200, 100, 0, 51), (244, 224, 204)),  # a fifth of the colour, four fifths of white
    ("RGBa", (51, 0, 0, 51), (255, 204, 204)),  # red multiplied by a fifth
    ("RGBX", (1, 2, 3, 77), (1, 2, 3)),
    ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ("YCbCr", (128, 128, 128), (128, 128, 128)),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),  # ITU-R 601: 76 + 1.402 * 127 = 254
    ("HSV", (0, 255, 255), (255, 0, 0)),
    ("I;16", 65535, (255, 255, 255)),
    ("I;16", 32768, (128, 128, 128)),  # 32768 / 257 = 127.5
    ("I;16B", 0x0101, (1, 1, 1)),
    ("I", 200, (200, 200, 200)),  # fits 8 bits
    ("I", 65535, (255, 255, 255)),  # fits 16 bits
    ("F", 0.5, (128, 128, 128)),  # 0 to 1
    ("F", 200.0, (200, 200, 200)),  # 0 to 255
]


@pytest.mark.parametrize(("mode", "stored", "expected"), MODES)
def test_colour_mode(mode: str, stored: object, expected: tuple[int, int, int]) -> None:
    image = Image.new(mode, (3, 2), stored)  # type: ignore[arg-type]
    pixels = decode(image)
    assert pixels.shape == (2, 3, 3)
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(expected, np.uint8), (2, 3, 3)))


@pytest.mark.parametrize(
    ("stored", "expected"),
    # CIE L*a*b* of white, black, the grey of L* = 50 (sRGB 119) and sRGB red (L* = 53.2, a* = 80.1, b* = 67.2 at D65;
    # 54.3, 80.8, 69.9 at D50, the white point of colour profiles).
    [((255, 128, 128), 255), ((0, 128, 128), 0), ((128, 128, 128), 119), ((138, 209, 198), (255, 0, 0))],
)
def test_lab_within_the_rounding_of_its_eight_bits(stored: tuple[int, int, int], expected: object) -> None:
    pixels = decode(Image.new("LAB", (1, 1), stored))[0, 0].astype(int)
    assert np.abs(pixels - expected).max() <= 5


def test_every_mode_of_the_library_is_in_the_table() -> None:
    assert set(Image.MODES) - {"BGR;15", "BGR;16", "BGR;24"} <= set(CONVERSIONS)


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert decode(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    image.info["transparency"] = 0
    assert decode(image).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    file = saved(image, "PNG", transparency=bytes([0, 51]))
    assert decode(file).tolist() == [[[255, 255, 255], [204, 204, 255]]]


def test_palette_with_alpha_band() -> None:
    image = Image.new("PA", (1, 1), (0, 0))
    image.putpalette([255, 0, 0])
    assert decode(image).tolist() == [[[255, 255, 255]]]


def test_transparent_colour_of_grey_and_rgb_png() -> None:
    grey = Image.fromarray(np.array([[10, 20]], np.uint8))
    assert decode(saved(grey, "PNG", transparency=10), channels=1).ravel().tolist() == [255, 20]
    colour = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    assert decode(saved(colour, "PNG", transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [1, 2, 4]]]
    bilevel = Image.new("1", (2, 1), 0)
    assert decode(saved(bilevel, "PNG", transparency=0), channels=1).ravel().tolist() == [255, 255]
    sixteen = Image.fromarray(np.array([[1000, 25700]], np.uint16))
    assert decode(saved(sixteen, "PNG", transparency=1000), channels=1).ravel().tolist() == [255, 100]


def test_transparent_colour_of_16_bits_is_compared_by_its_high_bytes() -> None:
    image = Image.new("RGB", (1, 1), (1, 2, 3))
    image.info["transparency"] = (0x01FF, 0x0200, 0x0301)
    assert decode(image).tolist() == [[[255, 255, 255]]]


def test_16_bit_ramp_keeps_its_levels() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for source in (saved(Image.fromarray(ramp), "PNG"), saved(Image.fromarray(ramp), "TIFF"), Image.fromarray(ramp)):
        pixels = decode(source, channels=1)[:, :, 0]
        assert len(np.unique(pixels)) == 256
        np.testing.assert_array_equal(pixels, np.rint(ramp / 257).astype(np.uint8))


def test_12_bit_tiff_is_scaled_by_its_own_depth() -> None:
    # Little-endian TIFF, 2 x 1 px of 12 bits: 4095 and 0, packed into three bytes.
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf0\x00\x00" + directory + struct.pack("<I", 0)
    assert decode(tiff, channels=1).ravel().tolist() == [255, 0]


def test_32_bit_integers_and_floats_beyond_the_usual_are_scaled_as_stated() -> None:
    wide = Image.fromarray(np.array([[0, 2**31 - 1]], np.int32))
    assert decode(wide, channels=1).ravel().tolist() == [0, 127]  # of 2**32 - 1
    negative = Image.fromarray(np.array([[-100, 0, 100]], np.int32))
    assert decode(negative, channels=1).ravel().tolist() == [0, 128, 255]
    floats = Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan, np.inf]], np.float32))
    assert decode(floats, channels=1).ravel().tolist() == [0, 128, 255, 0, 255]
    nothing = Image.fromarray(np.full((1, 2), np.nan, np.float32))
    assert decode(nothing, channels=1).ravel().tolist() == [0, 0]


def test_a_signalling_nan_warns_nobody() -> None:
    levels = np.array([[0x7F800001, 0x3F800000, 0]], np.uint32).view(np.float32)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "TIFF")
    assert decode(file.getvalue(), channels=1).ravel().tolist() == [0, 255, 0]


def test_cmyk_jpeg_as_adobe_writes_it() -> None:
    file = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert b"Adobe" in file
    assert np.abs(decode(file).astype(int) - (255, 0, 0)).max() <= 2


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        file = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert decode(file)[0, 0].tolist() == [255, 0, 0], format
        assert read_header(file).is_animated, format


def test_multi_picture_jpeg_counts_as_jpeg() -> None:
    file = saved(Image.new("RGB", (8, 8), "white"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert decode(file).min() >= 253
    assert read_header(file) == Header("JPEG", "RGB", 8, 8, 1, False, False)


def test_grey_is_itu_r_601_luma() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    assert decode(colours, channels=1).ravel().tolist() == [76, 150, 29, 9]  # .299, .587 and .114 of 255


# ------------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation(format: str, orientation: int) -> None:
    pixels = np.kron(noise(2, 3), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    file = saved(Image.fromarray(pixels), format, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    for source in (file, Image.open(io.BytesIO(file))):
        np.testing.assert_array_equal(decode(source), expected)
    header = read_header(file)
    assert (header.height, header.width, header.orientation) == (*expected.shape[:2], orientation)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    # How a camera held in each of the eight ways stores the upright picture [[1, 2, 3], [4, 5, 6]].
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[3, 6], [2, 5], [1, 4]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[4, 1], [5, 2], [6, 3]]),
    ],
)
def test_each_orientation_is_turned_upright(orientation: int, stored: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(np.array(stored, np.uint8)), "PNG", exif=exif)
    assert decode(file, channels=1)[:, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("exif", [b"Exif\0\0not a directory", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_does_not_cost_the_picture(exif: bytes) -> None:
    file = saved(Image.fromarray(noise(16, 16)), "JPEG", exif=exif)
    assert decode(file).shape == (16, 16, 3)
    assert read_header(file).orientation == 1


def test_orientation_beyond_eight_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(decode(saved(Image.fromarray(noise()), "PNG", exif=exif)), noise())


# ---------------------------------------------------------------------------------------------------------- refusals


def reason(source: object, **options: object) -> str:
    with pytest.raises(BadImage) as caught:
        decode(source, **options)  # type: ignore[arg-type]
    return caught.value.reason


def test_message_names_the_path_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(BadImage) as caught:
        decode(path)
    assert str(caught.value) == f"{path}: the file is empty"
    assert caught.value.reason == "the file is empty"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "cannot be opened (FileNotFoundError: No such file" in reason(tmp_path / "gone.png")
    assert reason(tmp_path) == "is not a plain file"
    with pytest.raises(BadImage, match=r"no such file"):
        read_header(tmp_path / "gone.png")
    with pytest.raises(BadImage, match=r"is not a plain file"):
        read_bytes(tmp_path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "is not a plain file"


def test_other_formats_are_refused() -> None:
    sentence = "is none of JPEG, PNG, BMP, GIF, TIFF, WEBP, judged by its content"
    for format in ("PPM", "ICO", "TGA", "PCX"):
        assert reason(saved(Image.new("RGB", (16, 16)), format)) == sentence
    assert reason(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == sentence


def test_damaged_header_is_told_from_another_format() -> None:
    assert reason(b"\x89PNG\r\n\x1a\n" + bytes(40)) == (
        "begins like a PNG file, but its header is damaged or of an unknown kind"
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_truncated_picture_is_refused(format: str) -> None:
    file = saved(Image.fromarray(noise(64, 64)), format)
    assert decode(file).shape == (64, 64, 3)
    assert reason(file[: len(file) // 2])


def test_header_of_a_truncated_picture_is_still_read() -> None:
    file = saved(Image.fromarray(noise(64, 48)), "PNG")
    assert read_header(file[: len(file) // 2]) == Header("PNG", "RGB", 64, 48, 1, False, False)


def test_promised_pixels_are_refused_before_they_are_decoded() -> None:
    # The data is far too short: a decoder that began with it would complain of that.
    assert reason(png(20_000, 20_000)) == "has more pixels than the limit of 100,000,000"
    assert reason(png(10_001, 10_000)) == "has 10000x10001 pixels, more than the limit of 100,000,000"
    with pytest.raises(BadImage, match=r"more than the limit"):
        read_header(png(10_001, 10_000))


def test_bytes_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MAX_BYTES", 1000)
    path = tmp_path / "a.png"
    path.write_bytes(bytes(1001))
    for source in (path, path.read_bytes()):
        assert reason(source) == "has 1,001 bytes, more than the limit of 1,000"


def test_picture_without_pixels() -> None:
    assert reason(Image.new("RGB", (0, 5))) == "has no pixels: 5x0"
    assert reason(np.zeros((0, 5, 3), np.uint8)) == "has no pixels: 0x5"


def test_unknown_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CONVERSIONS, "HSV")
    assert reason(Image.new("HSV", (1, 1))).startswith("has the unknown colour mode 'HSV'. Known: 1, L, ")


@pytest.mark.parametrize(
    "error",
    [
        *(OSError, ValueError, IndexError, KeyError, TypeError, SyntaxError, struct.error, MemoryError, OverflowError),
        *(ZeroDivisionError, RuntimeError, AttributeError, EOFError, zlib.error, RecursionError),
    ],
)
def test_any_exception_of_the_library_becomes_a_reason(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("the decoder's words")

    file = saved(Image.new("RGB", (2, 2)), "PNG")
    monkeypatch.setattr(Image, "open", fail)
    text = str(error("the decoder's words"))
    assert reason(file) == f"cannot be decoded ({error.__name__}: {text})"


def test_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    file = saved(Image.new("RGB", (2, 2)), "PNG")
    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(file)


def test_bad_image_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadImage("a.png", "the file is empty")))
    assert (str(error), error.reason) == ("a.png: the file is empty", "the file is empty")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((2, 2, 3), np.float32), "must be uint8, 0-255. Scale it and convert it with .astype(numpy.uint8)"),
        (np.zeros((2, 2, 3), np.int64), "must be uint8"),
        (np.zeros(4, np.uint8), "must have the shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA"),
        (np.zeros((2, 2, 2), np.uint8), "must have the shape"),
        (np.zeros((1, 2, 2, 3), np.uint8), "must have the shape"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray, expected: str) -> None:
    assert reason(array).startswith(expected)


def test_arrays_of_every_kind() -> None:
    grey = noise(2, 3, 1)
    np.testing.assert_array_equal(decode(grey[:, :, 0], channels=1), grey)
    np.testing.assert_array_equal(decode(grey), np.repeat(grey, 3, axis=2))
    assert decode(noise(2, 3, 3)[:, ::-1]).flags.c_contiguous
    assert decode(np.array([[[255, 0, 0, 0]]], np.uint8)).tolist() == [[[255, 255, 255]]]


def test_source_names() -> None:
    assert source_name(Path("a/b.png")) == str(Path("a/b.png"))
    assert source_name(Image.new("L", (1, 1))) == "a PIL image of mode L"
    assert source_name(np.zeros((2, 3), np.uint8)) == "an array of uint8 (2, 3)"


# ------------------------------------------------------------------------------------------------------------ quiet


def test_warnings_of_the_library_stay_inside_and_the_filters_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # so that 36 pixels are a "possible bomb"
    file = saved(Image.new("RGB", (6, 6)), "PNG")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(file))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        assert all(pixels.shape == (6, 6, 3) for pixels in threads.map(decode, [file] * 64))
    assert list(warnings.filters) == before


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    file = bytearray(saved(Image.fromarray(noise(64, 64)), "TIFF", compression="tiff_adobe_deflate"))
    file[40:4000] = bytes(3960)
    assert "decoder error" in reason(bytes(file))
    assert capfd.readouterr().err == ""
