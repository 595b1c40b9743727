"""Planted oddities are found, each with its rule; ordinary pictures are left in peace."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sightline.data.catalog import SPLITS, Catalog
from sightline.data.fingerprint import Fingerprints
from sightline.data.measure import ROW, Measures, measure
from sightline.data.quality import imbalance, presentation, quality
from sightline.data.sources import open_data


def photo(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-15, 15, (*size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usual")
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(14):
            photo(number + 100 * (name == "b")).save(folder / name / f"{number}.png")
    return folder


def found(folder: Path) -> dict[str, list[str]]:
    catalog = open_data(folder)
    measures = measure(catalog, threads=2)
    findings = [*quality(catalog, measures), *presentation(catalog, measures)]
    assert all(finding.rule and finding.text for finding in findings)
    return {finding.kind: [case.sightings[0].path for case in finding.cases] for finding in findings}


def test_pictures_that_are_alike_have_nothing_odd(usual: Path) -> None:
    assert found(usual) == {}


def faults() -> dict[str, Image.Image]:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = photo(906)
    turned.info["exif"] = exif.tobytes()
    return {
        "one_colour": Image.new("RGB", (64, 48), (200, 30, 30)),
        "black": Image.fromarray((np.asarray(photo(900)) // 20).astype(np.uint8)),
        "dark": Image.fromarray((np.asarray(photo(901)) // 9).astype(np.uint8)),
        "light": Image.fromarray((255 - np.asarray(photo(902)) // 9).astype(np.uint8)),
        "blurred": photo(903).filter(ImageFilter.GaussianBlur(5)),
        "odd_size": photo(904, (12, 16)),
        "odd_shape": photo(905, (24, 128)),
        "rotated": turned,
    }


@pytest.mark.parametrize("kind", faults())
def test_each_planted_fault_is_found_and_nothing_else(usual: Path, tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for path in (usual / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    image = faults()[kind]
    image.save(tmp_path / "a" / "fault.png", exif=image.info.get("exif", b""))
    assert found(tmp_path) == {kind: ["a/fault.png"]}


def test_frames_after_the_first_are_told(usual: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        photo(1).save(tmp_path / name / "1.gif", save_all=True, append_images=[photo(2)] if name == "b" else [])
    assert found(tmp_path) == {"animated": ["b/1.gif"]}


def rows_of(**fields: np.ndarray) -> Measures:
    count = len(next(iter(fields.values())))
    rows = np.zeros(count, ROW)
    rows["is_read"], rows["std"], rows["lightest"] = True, 0.2, 1.0
    rows["height"] = rows["width"] = 100
    rows["brightness"], rows["sharpness"] = 0.5, 0.5
    for name, values in fields.items():
        rows[name] = values
    return Measures(rows, Fingerprints(np.zeros((count, 16), np.uint8), np.zeros((count, 32, 32), np.uint8)), ())


class Named:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index}"


def catalog_of(count: int, labels: np.ndarray | None = None) -> Catalog:
    labels = np.zeros(count, np.int64) if labels is None else labels
    return Catalog("c", None, ("a", "b"), Named(count), labels, np.full(count, SPLITS.index("train"), np.uint8))


def test_the_threshold_follows_the_data_set() -> None:
    """A picture that is odd among equal ones is usual among pictures of all kinds."""
    away = np.full(100, 0.8)
    away[7] = 0.05
    (told,) = quality(catalog_of(100), rows_of(brightness=away))
    assert (told.kind, [case.sightings[0].path for case in told.cases]) == ("dark", ["7"])
    wide = np.geomspace(0.004, 0.9, 100)
    wide[7] = 0.05
    assert "dark" not in [told.kind for told in quality(catalog_of(100), rows_of(brightness=wide))]


def test_of_few_pictures_none_is_called_unusual() -> None:
    away = np.full(19, 0.8)
    away[7] = 0.01
    assert list(quality(catalog_of(19), rows_of(brightness=away))) == []
    assert [f.kind for f in quality(catalog_of(20), rows_of(brightness=np.append(away, 0.8)))] == ["dark"]


@pytest.mark.parametrize(("small", "is_told"), [(10, True), (11, False)])
def test_imbalance_is_told_from_a_ratio_of_three(small: int, is_told: bool) -> None:
    labels = np.repeat([0, 1], [30, small])
    told = list(imbalance(catalog_of(len(labels), labels)))
    assert [finding.kind for finding in told] == (["imbalance"] if is_told else [])
    if told:
        assert told[0].text.startswith("a has 30 training pictures, b 10.")
