"""Which pictures an export is proved on."""

import numpy as np
import pytest
from PIL import Image

import sightline.exporting.pictures as module
from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import DataError
from sightline.exporting.pictures import made_pictures, proof_pictures


def _numbered(splits: list[int], side: int = 32) -> Catalog:
    """Pictures that show their own number in every pixel."""
    count = len(splits)
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 3)).copy()
    labels = np.arange(count) % 3
    return Catalog(
        "numbers", None, ("a", "b", "c"), ArrayImages(pixels, (("all", count),)), labels, np.array(splits, np.uint8)
    )


def test_they_are_the_validation_split_of_the_run(make_bundle, photos, tmp_path) -> None:
    settings = {"source": str(photos), "val_fraction": 0.3, "test_fraction": None, "seed": 9}
    bundle = make_bundle(tmp_path / "bundle", data=settings)
    found = proof_pictures(bundle)
    catalog, _ = assign_splits(open_data(photos), val_fraction=0.3, test_fraction=None, seed=9)
    expected = [bundle.preprocess.picture(catalog.images.read(index)) for index in catalog.select("val").tolist()]
    np.testing.assert_array_equal(found.pixels, np.stack(expected))
    assert found.source == "18 pictures, of the val split of photos"
    assert not found.are_made


@pytest.mark.parametrize(
    ("splits", "name", "expected"),
    [
        ([0] * 6 + [1] * 21 + [2] * 5, "val", [6, 11, 16, 21, 26]),
        ([0] * 6 + [2] * 21, "test", [6, 11, 16, 21, 26]),
        ([0] * 21, "train", [0, 5, 10, 15, 20]),
    ],
)
def test_val_then_test_then_train_and_evenly_spaced(make_bundle, tmp_path, splits, name, expected) -> None:
    bundle = make_bundle(tmp_path / "bundle", data={"val_fraction": 0.0, "test_fraction": 0.0, "seed": 0})
    found = proof_pictures(bundle, _numbered(splits), most=5)
    assert found.pixels[:, 0, 0, 0].tolist() == expected
    assert found.source == f"5 pictures of 21, evenly spaced, of the {name} split of numbers"


def test_given_data_keeps_splits_of_its_own(make_bundle, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle", data={"val_fraction": 0.5, "test_fraction": 0.2, "seed": 0})
    found = proof_pictures(bundle, _numbered([0] * 6 + [1] * 3 + [2] * 2))
    assert found.pixels[:, 0, 0, 0].tolist() == [6, 7, 8]


def test_unreadable_pictures_are_left_out_and_named(make_bundle, photos, tmp_path) -> None:
    bundle = make_bundle(tmp_path / "bundle", data={"source": str(photos), "seed": 0})
    catalog, _ = assign_splits(open_data(photos), seed=0)
    bad = catalog.images.name(int(catalog.select("val")[2]))
    (photos / bad).write_bytes(b"\x89PNG\r\n\x1a\n")
    found = proof_pictures(bundle)
    assert [problem.path for problem in found.skipped] == [bad]
    assert len(found.pixels) == len(catalog.select("val")) - 1


def test_given_data_without_a_readable_picture_is_refused(make_bundle, photos, tmp_path, monkeypatch) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    catalog, _ = assign_splits(open_data(photos), seed=0)
    for index in catalog.select("val").tolist():
        (photos / catalog.images.name(index)).write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 9 val pictures of photos can be read\. The first: .*\.png: "):
        proof_pictures(bundle, catalog)


@pytest.mark.parametrize(
    ("source", "because"),
    [
        (None, "the bundle names no folder and no known set. Give it"),
        ("./moved-away", "there is no folder ./moved-away. Give it"),
        ("cifar10", "cifar10 is not on this machine. Give it"),
    ],
)
def test_where_the_data_is_gone_pictures_are_made_and_it_is_said(
    make_bundle, tmp_path, monkeypatch, source, because
) -> None:
    monkeypatch.setattr(module, "find", lambda name: None)
    found = proof_pictures(make_bundle(tmp_path / "bundle", data={"source": source, "seed": 0}))
    assert found.are_made
    assert found.pixels.shape == (256, 32, 32, 3)
    assert f"was not found: {because}" in found.source


def test_a_folder_of_other_classes_is_not_the_data_of_the_training(make_bundle, tmp_path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "insects" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (32, 32)).save(tmp_path / "insects" / name / f"{index}.png")
    bundle = make_bundle(tmp_path / "bundle", data={"source": str(tmp_path / "insects"), "seed": 0})
    found = proof_pictures(bundle)
    assert found.are_made
    assert "holds other classes than the bundle" in found.source


def test_made_pictures_are_the_same_each_time_and_of_two_kinds(make_bundle, tmp_path) -> None:
    preprocess = make_bundle(tmp_path / "bundle").preprocess
    first, second = (made_pictures(preprocess, because="x", count=6).pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)
    roughness = np.abs(np.diff(first.astype(int), axis=1)).mean((1, 2, 3))
    assert roughness[::2].min() > 3 * roughness[1::2].max()
