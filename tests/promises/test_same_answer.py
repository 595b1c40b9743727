"""Promise 1: the same picture has the same class and the same probabilities by every door.

A door takes a bundle's folder and a picture and gives the probabilities in the order of the classes. To add one, write
the function and add a row to `DOORS`; every picture then goes through it.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps
from typer.testing import CliRunner

import sightline as sl
from sightline.bundle import open_bundle
from sightline.cli.main import app
from sightline.predict import Predictor
from tests.bundles import CLASSES, tiny_bundle

TOLERANCE = 1e-5  # sums of another batch size, or of another library, are rounded in another order
SIDE = 32


@dataclass(frozen=True)
class Picture:
    """One picture in two forms.

    Args:
        path: its file.
        pixels: uint8 as a viewer shows it: upright, 8 bits, with its alpha channel where it has one.
    """

    path: Path
    pixels: np.ndarray


# ------------------------------------------------------------------------------------------------------------ pictures


def colours(size: tuple[int, int] = (45, 70)) -> Image.Image:
    """A coarse pattern of (height, width)."""
    coarse = np.random.default_rng(11).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1])


def png(folder: Path) -> Picture:
    image = colours()
    image.save(folder / "picture.png")
    return Picture(folder / "picture.png", np.asarray(image))


def network_sized_png(folder: Path) -> Picture:
    image = colours((SIDE, SIDE))
    image.save(folder / "picture.png")
    return Picture(folder / "picture.png", np.asarray(image))


def turned_jpeg(folder: Path) -> Picture:
    exif = Image.Exif()
    exif[0x0112] = 8
    colours().save(folder / "picture.jpg", exif=exif, quality=90)
    with Image.open(folder / "picture.jpg") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape == (70, 45, 3)
    return Picture(folder / "picture.jpg", upright)


def transparent_png(folder: Path) -> Picture:
    image = colours().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(folder / "picture.png")
    return Picture(folder / "picture.png", np.asarray(image))


def deep_grey_png(folder: Path) -> Picture:
    grey = np.asarray(colours().convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "picture.png")  # 255 is 65535 of 16 bits
    return Picture(folder / "picture.png", grey)


PICTURES = [png, network_sized_png, turned_jpeg, transparent_png, deep_grey_png]

# --------------------------------------------------------------------------------------------------------------- doors

Door = Callable[[Path, Picture], np.ndarray]


def ask(bundle: Path, source: object) -> np.ndarray:
    return sl.load(bundle, device="cpu").predict(source).probabilities  # type: ignore[call-overload]


def pil_image(bundle: Path, picture: Picture) -> np.ndarray:
    with Image.open(picture.path) as image:
        return ask(bundle, image)


def in_a_batch(size: int) -> Door:
    """The picture in the middle of other ones."""

    def door(bundle: Path, picture: Picture) -> np.ndarray:
        others = [np.full((20, 30, 3), 40 * number, np.uint8) for number in range(6)]
        predictor: Predictor = sl.load(bundle, device="cpu")
        answers = predictor.predict([*others[:3], picture.path, *others[3:]], batch_size=size)
        return answers[3].probabilities

    return door


def evaluation(bundle: Path, picture: Picture) -> np.ndarray:
    """The picture as one of each class: what is said of the true class is what predict says of that class."""
    for name in CLASSES:
        folder = picture.path.parent / "data" / name
        folder.mkdir(parents=True)
        (folder / picture.path.name).write_bytes(picture.path.read_bytes())
    rows = sl.evaluate(bundle, picture.path.parent / "data").rows
    assert [row.true for row in rows] == list(CLASSES)
    return np.array([row.true_probability for row in rows])


def command_line(bundle: Path, picture: Picture) -> np.ndarray:
    arguments = ["predict", str(bundle), str(picture.path), "--json", "--top-k", str(len(CLASSES)), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (answer,) = json.loads(result.stdout)["predictions"]
    told = {each["label"]: each["probability"] for each in answer["top"]}
    assert answer["label"] == max(told, key=told.__getitem__)
    return np.array([told[name] for name in CLASSES])


@functools.cache
def onnx_session(bundle: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(sl.export(bundle), providers=["CPUExecutionProvider"])


def onnx_file(bundle: Path, picture: Picture) -> np.ndarray:
    pixels = open_bundle(bundle).preprocess.picture(picture.path)
    return onnx_session(bundle).run(["probabilities"], {"images": pixels[None]})[0][0]


DOORS: dict[str, Door] = {
    "path": lambda bundle, picture: ask(bundle, picture.path),
    "path as text": lambda bundle, picture: ask(bundle, str(picture.path)),
    "bytes": lambda bundle, picture: ask(bundle, picture.path.read_bytes()),
    "PIL image": pil_image,
    "array": lambda bundle, picture: ask(bundle, picture.pixels),
    "array with strides": lambda bundle, picture: ask(bundle, np.repeat(picture.pixels, 2, axis=0)[::2]),
    "batches of 1": in_a_batch(1),
    "batches of 2": in_a_batch(2),
    "batches of 7": in_a_batch(7),
    "evaluation": evaluation,
    "command line": command_line,
    "ONNX Runtime": onnx_file,
}

# --------------------------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module", params=["simple_cnn RGB", "lenet5 grey"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, colour = request.param.split()
    return tiny_bundle(
        tmp_path_factory.mktemp("bundle"),
        model=model,
        channels=3 if colour == "RGB" else 1,
        side=SIDE,
        crop_fraction=0.9,
    )


def reference(bundle: Path, picture: Picture) -> np.ndarray:
    """The answer worked out from the pixels, step by step in float64, without the code under test but the network."""
    predictor: Predictor = sl.load(bundle, device="cpu")
    preprocess = predictor.bundle.preprocess
    pixels = picture.pixels.astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=2)
    if pixels.shape[2] == 4:
        share = pixels[:, :, 3:] / 255
        pixels = np.floor(pixels[:, :, :3] * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB" if preprocess.channels == 3 else "L")
    if image.size != (SIDE, SIDE):
        shorter = int(SIDE / 0.9)  # the crop fraction of the bundle
        scale = shorter / min(image.size)
        size = (int(image.width * scale + 1e-9), int(image.height * scale + 1e-9))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((image.width - SIDE) / 2), round((image.height - SIDE) / 2)
        image = image.crop((left, top, left + SIDE, top + SIDE))
    values = np.asarray(image, np.float64).reshape(SIDE, SIDE, preprocess.channels) / 255
    values = (values - np.array(preprocess.mean)) / np.array(preprocess.std)
    net = predictor.bundle.build_model().double()
    with torch.no_grad():
        logits = net(torch.from_numpy(values).permute(2, 0, 1)[None])[0].numpy() / predictor.bundle.temperature
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@pytest.mark.parametrize("make_picture", PICTURES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_the_same_picture_has_the_same_answer_by_every_door(
    bundle: Path, make_picture: Callable[[Path], Picture], door: Door, tmp_path: Path
) -> None:
    picture = make_picture(tmp_path)
    expected = reference(bundle, picture)
    found = door(bundle, picture)
    assert found.argmax() == expected.argmax()
    assert np.abs(found - expected).max() < TOLERANCE


@pytest.mark.parametrize("make_picture", PICTURES, ids=lambda make: make.__name__)
def test_the_answers_that_must_agree_are_not_trivial(
    bundle: Path, make_picture: Callable[[Path], Picture], tmp_path: Path
) -> None:
    expected = reference(bundle, make_picture(tmp_path))
    assert 0.2 < expected.max() < 0.99
    blank = reference(bundle, Picture(tmp_path, np.full((40, 40), 255, np.uint8)))
    assert np.abs(expected - blank).max() > 0.05
