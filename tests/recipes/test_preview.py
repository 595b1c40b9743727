"""The preview shows what the training shows: the same plan, the same pictures, the same shares."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import sightline as sl
from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.loader import TrainLoader
from sightline.errors import BundleError, ConfigError, DataError
from sightline.recipes.data import decode_all, open_split
from sightline.recipes.plan import make_plan
from sightline.recipes.preview import a_picture_of_each_class, preview
from sightline.runtime import choose_runtime
from tests.recipes.pictures import photo_folder

MACHINE = {"device": "cpu", "amp": False, "threads": 1}
PLAIN = {"model": "simple_cnn", "recipe": "textbook", "batch_size": 8, **MACHINE}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("preview") / "photos")


def test_a_choice_that_nobody_asked_for_is_said(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.recipes.prepare.weights_to_begin_with", lambda *_: (None, ["weights are at hand"]))
    console = Console(file=io.StringIO(), width=200)
    settings = sl.Settings(**PLAIN, img_size=32)
    preview(photos, settings=settings, count=1, epochs=1, output=tmp_path / "p.png", console=console)
    assert "\n  weights are at hand\n" in console.file.getvalue()  # type: ignore[attr-defined]


def cells(path: Path, size: int, *, rows: int, columns: int, lines: int) -> np.ndarray:
    """The pictures of a sheet: (rows, columns, size, size, 3)."""
    sheet = np.asarray(Image.open(path))
    zoom = math.ceil(96 / size)
    down, across = zoom * size + 8 + 18 * lines, zoom * size + 8
    assert sheet.shape == (18 + rows * down + 8, 150 + columns * across + 8, 3)
    picked = sheet[18 : 18 + rows * down, 150 : 150 + columns * across].reshape(rows, down, columns, across, 3)
    return picked.transpose(0, 2, 1, 3, 4)[:, :, : zoom * size : zoom, : zoom * size : zoom]


def of_training(photos: Path, settings: sl.Settings, epochs: int) -> tuple[Catalog, dict[tuple[int, int], np.ndarray]]:
    """From (catalog index, epoch) to the picture that the training's loader gives, in levels."""
    quiet, runtime = Console(quiet=True), choose_runtime(**MACHINE)
    catalog, _ = open_split(photos, settings, quiet)
    plan = make_plan(settings, catalog, runtime)
    store, _, _ = decode_all(catalog, plan, runtime, skip_bad=False, console=quiet)
    loader = TrainLoader(
        store,
        plan.preprocess,
        plan.augment,
        batch_size=plan.options.batch_size,
        seed=plan.options.seed,
        mix=plan.mix,
        sampler=plan.sampler,
        num_classes=len(catalog.classes),
    )
    mean, std = (np.array(numbers)[:, None, None] for numbers in (plan.preprocess.mean, plan.preprocess.std))
    found: dict[tuple[int, int], np.ndarray] = {}
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            for image, row in zip(batch.images.double().numpy(), batch.rows.tolist(), strict=True):
                levels = (255 * (image * std + mean)).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
                found.setdefault((int(store.sources[row]), epoch), levels)
    return catalog, found


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"hflip": 0.5, "crop_padding": 3, "img_size": 24},
        {"hflip": 0.5, "scale": (0.3, 1.0), "img_size": 32, "aa": "rand-m9-n2", "reprob": 0.5, "seed": 5},
        {"hflip": 0.5, "crop_padding": 2, "img_size": 32, "mixup": 0.8, "cutmix": 1.0},
        {"hflip": 0.5, "crop_padding": 2, "img_size": 32, "sampler": "balanced"},
    ],
    ids=["default", "padded", "resized", "mixed", "balanced"],
)
def test_each_cell_is_what_the_training_gets(asked: dict[str, object], photos: Path, tmp_path: Path) -> None:
    settings = sl.Settings(**{**PLAIN, **asked})
    path = preview(
        photos, settings=settings, epochs=3, count=5, output=tmp_path / "seen.png", console=Console(quiet=True)
    )
    assert path == tmp_path / "seen.png" and list(tmp_path.iterdir()) == [path]
    catalog, expected = of_training(photos, settings, epochs=3)
    plan = make_plan(settings, catalog, choose_runtime(**MACHINE))
    size, lines = plan.preprocess.input_size[1], 2 if plan.mix else 0
    shown = cells(path, size, rows=5, columns=4, lines=lines)
    chosen = a_picture_of_each_class(catalog, 5, seed=plan.options.seed)
    num_shown = 0
    for row, index in enumerate(chosen.tolist()):
        np.testing.assert_array_equal(shown[row, 0], plan.preprocess.picture(catalog.images.read(index)))
        for epoch in range(3):
            if (index, epoch) in expected:
                np.testing.assert_array_equal(shown[row, 1 + epoch], expected[index, epoch])
                num_shown += 1
            else:  # a balanced epoch passes over some pictures
                assert (shown[row, 1 + epoch] == 255).all()
    assert num_shown == 15 or (plan.sampler == "balanced" and num_shown > 5)


def test_nothing_changes_where_nothing_is_to(photos: Path, tmp_path: Path) -> None:
    settings = sl.Settings(**PLAIN, img_size=32, hflip=0.0, crop_padding=0)
    path = preview(photos, settings=settings, output=tmp_path / "a.png", console=Console(quiet=True))
    shown = cells(path, 32, rows=8, columns=5, lines=0)
    assert (shown == shown[:, :1]).all()
    assert len(np.unique(shown[:, 0].reshape(8, -1), axis=0)) == 8


def test_the_choices_are_told_with_their_reasons(photos: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    settings = sl.Settings(**PLAIN, img_size=32, crop_padding=2, rotation=10.0)
    preview(photos, settings=settings, epochs=1, count=2, output=tmp_path / "a.png", console=console)
    told = console.file.getvalue()
    assert "  rotation  10.0  (as asked)\n" in told
    assert "  hflip  0.5  (a mirrored picture is of the same class)\n" in told
    assert "lr" not in {line.split()[0] for line in told.splitlines()}


def test_pictures_are_of_as_many_classes_as_there_are() -> None:
    labels = np.repeat(np.arange(4), [50, 2, 30, 1])
    images = ArrayImages(np.zeros((83, 2, 2, 1), np.uint8), (("train", 83),))
    catalog = Catalog("many", None, tuple("abcd"), images, labels, np.zeros(83, np.uint8))
    for seed in range(5):
        chosen = a_picture_of_each_class(catalog, 8, seed=seed)
        assert sorted(labels[chosen[:4]]) == [0, 1, 2, 3]
        assert sorted(labels[chosen[4:7]]) == [0, 1, 2]
        assert len(set(chosen.tolist())) == 8
    assert a_picture_of_each_class(catalog, 8, seed=0).tolist() != a_picture_of_each_class(catalog, 8, seed=1).tolist()
    assert sorted(a_picture_of_each_class(catalog, 100, seed=0)) == list(range(83))


def test_a_bad_picture_is_told_or_left_out(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", count=3)
    broken = (photos / "red" / "000.jpg").read_bytes()[:300]
    for path in (photos / "red").iterdir():
        if path.name != "001.png":
            path.write_bytes(broken)
    settings = sl.Settings(**PLAIN, img_size=32, val_fraction=0.0, test_fraction=0.0)
    with pytest.raises(DataError, match="2 of 9 pictures"):
        preview(photos, settings=settings, count=9, output=tmp_path / "a.png", console=Console(quiet=True))
    settings = sl.Settings(**PLAIN, img_size=32, val_fraction=0.0, test_fraction=0.0, skip_bad=True)
    path = preview(photos, settings=settings, count=9, output=tmp_path / "a.png", console=Console(quiet=True))
    cells(path, 32, rows=7, columns=5, lines=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be from 1 to 100."),
        ({"count": 101}, "count is 101; it must be from 1 to 100."),
        ({"output": "a.jpg"}, "the preview is a PNG, and output is a.jpg. Give it a name that ends in .png."),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, object], message: str, photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        preview(photos, **arguments)
    assert str(caught.value) == message


def test_nothing_is_written_among_the_pictures_or_where_nothing_can_be_written(photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    settings = sl.Settings(**PLAIN, img_size=32)
    with pytest.raises(ConfigError, match=r"lies in the data folder .* Choose an --output outside"):
        preview(photos, settings=settings, count=1, epochs=1, output=photos / "p.png", console=Console(quiet=True))
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"cannot write .*p\.png: .* Choose another --output"):
        where = tmp_path / "file" / "p.png"
        preview(photos, settings=settings, count=1, epochs=1, output=where, console=Console(quiet=True))
    assert sorted(photos.rglob("*")) == before
