"""Evaluation scores every picture once, as predict answers it, in the bundle's classes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.catalog import SPLITS, Problem
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import ConfigError, DataError
from sightline.evaluation import evaluate
from sightline.metrics import wilson
from sightline.predict import load
from tests.bundles import CLASSES, tiny_bundle
from tests.evaluation.conftest import MakePhotos, patterns


def save_in_every_mode(folder: Path) -> None:
    """Pictures whose decoding takes more than reading their bytes."""
    picture = Image.fromarray(patterns(1, seed=8)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif, quality=95)
    picture.convert("P").save(folder / "palette.gif")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    transparent = picture.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(picture.size))
    transparent.save(folder / "transparent.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("is_grey", [False, True])
def test_every_picture_is_answered_as_predict_answers_its_file(
    tmp_path: Path, photos: Path, channels: int, is_grey: bool
) -> None:
    if is_grey:  # every picture: the data is then read with one channel, unless the bundle wants three
        for path in photos.rglob("*.png"):
            with Image.open(path) as picture:
                picture.convert("L").save(path)
    else:
        save_in_every_mode(photos / "bee")
    predictor = load(tiny_bundle(tmp_path / "bundle", channels=channels, crop_fraction=0.9), device="cpu")
    # One picture at a time, as predict is asked below: sums of another batch size are rounded in another order.
    result, in_batches = evaluate(predictor, photos, batch_size=1), evaluate(predictor, photos)
    assert len(result.rows) == len(in_batches.rows) == (30 if is_grey else 35)
    for row, in_batch in zip(result.rows, in_batches.rows, strict=True):
        answer = predictor.predict(photos / row.source)
        assert in_batch.predicted == answer.label
        assert in_batch.probability == pytest.approx(answer.probability, abs=1e-5)
        assert row.predicted == answer.label
        assert row.true == row.source.split("/")[0]
        assert row.probability == pytest.approx(answer.probability, abs=1e-6)
        assert row.true_probability == pytest.approx(answer.probabilities[CLASSES.index(row.true)], abs=1e-6)
        assert row.is_correct == (row.true == row.predicted)


def test_scores_are_those_of_the_rows(photos: Path, bundle: Path) -> None:
    result = evaluate(bundle, photos)
    right = sum(row.true == row.predicted for row in result.rows)
    assert 0 < right < 30
    assert result.metrics.top1 == wilson(right, 30)
    assert result.metrics.loss == pytest.approx(
        -np.mean([np.log(row.true_probability) for row in result.rows]), abs=1e-5
    )
    assert result.metrics.temperature == 1.4
    counted = np.zeros((7, 7), int)
    for row in result.rows:
        counted[CLASSES.index(row.true), CLASSES.index(row.predicted)] += 1
    assert result.metrics.confusion.tolist() == counted.tolist()


def test_batch_size_changes_no_score(photos: Path, bundle: Path) -> None:
    results = [evaluate(bundle, photos, batch_size=size) for size in (1, 7, 29, 256)]
    for result in results:
        assert result.metrics.num_samples == 30  # nothing padded, nothing dropped
        assert result.metrics.confusion.tolist() == results[0].metrics.confusion.tolist()
        assert result.metrics.loss == pytest.approx(results[0].metrics.loss, abs=1e-6)
    with pytest.raises(ConfigError, match="the batch size must be 1 or more, got 0"):
        evaluate(bundle, photos, batch_size=0)


def test_classes_are_matched_by_name_not_by_place(photos: Path, bundle: Path) -> None:
    catalog = open_data(photos)
    turned = replace(catalog, classes=catalog.classes[::-1], labels=2 - catalog.labels)
    straight, mapped = evaluate(bundle, catalog), evaluate(bundle, turned)
    assert mapped.rows == straight.rows
    assert mapped.metrics.classes == CLASSES
    assert mapped.metrics.confusion.tolist() == straight.metrics.confusion.tolist()


def test_a_class_that_the_bundle_does_not_know_is_refused(make_photos: MakePhotos, bundle: Path) -> None:
    data = make_photos("zoo", seed=2, classes=("ant", "yak", "zebra"))
    with pytest.raises(DataError) as caught:
        evaluate(bundle, data)
    assert str(caught.value) == (
        f"zoo has classes that the bundle {bundle} does not know: yak, zebra. The bundle's classes: ant, bee, cat, "
        "dog, eel, fox, gnu. Those of the data: ant, yak, zebra. Rename the folders, or train on this data."
    )


def test_a_long_list_of_classes_is_cut(make_photos: MakePhotos, bundle: Path) -> None:
    data = make_photos("many", seed=2, count=1, classes=tuple(f"c{number:02d}" for number in range(23)))
    with pytest.raises(
        DataError, match=r"does not know: c00, .*, c19, \.\.\. \(23 in all\)\. The bundle's classes: ant"
    ):
        evaluate(bundle, data)


def test_classes_without_pictures_are_said(photos: Path, bundle: Path) -> None:
    result = evaluate(bundle, photos)
    assert "No pictures of dog, eel, fox, gnu: nothing is said about them." in result.notes
    assert [each.recall is None for each in result.metrics.per_class] == [False] * 3 + [True] * 4


def test_a_bad_picture_stops_the_evaluation_or_is_listed(photos: Path, bundle: Path) -> None:
    (photos / "bee" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (photos / "cat" / "04.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 of 30 pictures of .* cannot be read:\n  bee/03\.png: .*\n  cat/04\.png: the file"
    ):
        evaluate(bundle, photos)
    result = evaluate(bundle, photos, skip_bad=True)
    assert result.metrics.num_samples == len(result.rows) == 28
    assert [problem.path for problem in result.skipped] == ["bee/03.png", "cat/04.png"]
    assert {"bee/03.png", "cat/04.png"}.isdisjoint(row.source for row in result.rows)
    assert all(row.true == row.source.split("/")[0] for row in result.rows)  # no label moved


def test_what_the_data_could_not_list_stops_the_evaluation_or_is_listed(photos: Path, bundle: Path) -> None:
    trouble = tuple(Problem(f"cat/{number}", "the folder cannot be listed") for number in range(22))
    catalog = replace(open_data(photos), problems=trouble)
    with pytest.raises(DataError) as caught:
        evaluate(bundle, catalog)
    lines = str(caught.value).splitlines()
    assert lines[0] == "22 parts of photos cannot be used:"
    assert lines[1] == "  cat/0: the folder cannot be listed"
    assert lines[-2:] == [
        "  and 2 more",
        "Repair or remove them, or leave them out with --skip-bad (skip_bad=True), which lists them.",
    ]
    assert evaluate(bundle, catalog, skip_bad=True).skipped == trouble


def test_progress_is_told(photos: Path, bundle: Path) -> None:
    told: list[tuple[int, int | None]] = []
    evaluate(bundle, photos, threads=2, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (30, 30)


# -------------------------------------------------------------------------------------------------------------- arrays


def test_labels_that_are_numbers_are_the_bundles_class_numbers(bundle: Path) -> None:
    images, labels = patterns(12, seed=4, size=(32, 32)), np.array([6, 2, 2, 6] * 3)
    result = evaluate(bundle, (images, labels))
    assert [row.true for row in result.rows] == [CLASSES[label] for label in labels]
    by_name = evaluate(bundle, (images, np.array(CLASSES)[labels]))
    assert by_name.rows == result.rows


@pytest.mark.parametrize(("labels", "ends"), [([0, 7], "0 to 7"), ([-1, 2], "-1 to 2")])
def test_labels_beyond_the_bundles_classes_are_refused(bundle: Path, labels: list[int], ends: str) -> None:
    message = f"labels run from {ends}, and the bundle has 7 classes: they must be 0 to 6, or names"
    with pytest.raises(DataError, match=message):
        evaluate(bundle, (patterns(2, seed=0), np.array(labels)))


def test_arrays_that_are_none_are_left_to_open_data(bundle: Path) -> None:
    with pytest.raises(DataError, match="images and labels must be NumPy arrays, got list and list"):
        evaluate(bundle, ([1], [2]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="each image needs one label"):
        evaluate(bundle, (patterns(2, seed=0), np.zeros(0, int)))


@pytest.mark.parametrize("num_classes", [3, 12])  # of 12 the names sort otherwise than the numbers
def test_arrays_of_the_training_are_split_as_for_the_training(train_on: Callable[..., Path], num_classes: int) -> None:
    images = patterns(num_classes * 11, seed=9, size=(32, 32))
    labels = np.arange(len(images)) % num_classes
    bundle = train_on((images, labels), classes=tuple(str(number) for number in range(num_classes)))
    trained, _ = assign_splits(open_data((images, labels)), val_fraction=0.2, test_fraction=0.3, seed=5)
    for split in ("train", "val", "test"):
        expected = [trained.images.name(int(index)) for index in trained.select(split)]
        assert [row.source for row in evaluate(bundle, (images, labels), split=split).rows] == expected
    result = evaluate(bundle, (images, labels))
    assert result.metrics.split == "test"
    assert result.test_looks == 2
    everything = evaluate(bundle, (images, labels), split="all")
    learned = int((trained.splits == SPLITS.index("train")).sum())
    assert f"{learned} of these {len(images)} pictures are training pictures of this bundle" in everything.notes[1]
    others = evaluate(bundle, (255 - images, labels))
    assert (others.metrics.split, others.test_looks) == ("all", 0)


# --------------------------------------------------------------------------------------------- the data of the training


def names_in(bundle: Path, split: str) -> list[str]:
    files = json.loads((bundle / "data.lock.json").read_text(encoding="utf-8"))["files"]
    return sorted(row["path"] for row in files if row["split"] == split)


def test_a_folder_of_the_training_is_scored_on_what_the_training_held_out(
    photos: Path, train_on: Callable[..., Path]
) -> None:
    bundle = train_on(photos)
    result = evaluate(bundle, photos)
    assert [row.source for row in result.rows] == names_in(bundle, "test")
    assert result.metrics.split == "test"
    assert result.notes == ("Scored on the test split.",)
    for split in ("train", "val"):
        assert [row.source for row in evaluate(bundle, photos, split=split).rows] == names_in(bundle, split)


def test_it_is_recognised_by_content_where_it_was_moved_and_changed_since(
    photos: Path, make_photos: MakePhotos, train_on: Callable[..., Path]
) -> None:
    bundle = train_on(photos)
    moved = photos.rename(photos.with_name("elsewhere"))
    for path in make_photos("new", seed=77, count=2).rglob("*.png"):
        shutil.copy(path, moved / path.parent.name / f"new{path.name}")
    (moved / names_in(bundle, "train")[0]).unlink()
    result = evaluate(bundle, moved)
    assert [row.source for row in result.rows] == names_in(bundle, "test")
    assert result.notes[1].startswith("Not scored: 6 pictures that were not there at the training (--split unassigned")
    assert len(evaluate(bundle, moved, split="unassigned").rows) == 6


def test_other_pictures_under_the_same_names_are_not_taken_for_it(
    photos: Path, make_photos: MakePhotos, train_on: Callable[..., Path]
) -> None:
    bundle = train_on(photos)
    others = make_photos("others", seed=2)
    result = evaluate(bundle, others)
    assert (result.metrics.split, result.metrics.num_samples, result.test_looks) == ("all", 30, 0)
    assert result.notes == ("Scored on all pictures, as the data has no splits.",)


def test_training_pictures_under_other_names_are_noticed(
    photos: Path, make_photos: MakePhotos, train_on: Callable[..., Path]
) -> None:
    bundle = train_on(photos)
    others = make_photos("others", seed=2)
    for number, name in enumerate(names_in(bundle, "train")[:4]):
        shutil.copy(photos / name, others / "cat" / f"copy{number}.png")
    shutil.copy(photos / names_in(bundle, "test")[0], others / "cat" / "held_out.png")
    result = evaluate(bundle, others)
    assert result.notes[1] == (
        "4 of these 35 pictures are training pictures of this bundle, by their content: the score flatters."
    )


def test_a_picture_that_cannot_be_read_is_not_taken_for_a_training_picture(
    photos: Path, train_on: Callable[..., Path]
) -> None:
    bundle = train_on(photos)
    (photos / names_in(bundle, "test")[0]).write_bytes(b"")
    result = evaluate(bundle, photos, skip_bad=True)
    assert result.metrics.split == "test"
    assert [problem.path for problem in result.skipped] == names_in(bundle, "test")[:1]


def test_each_look_at_the_test_split_is_counted(photos: Path, train_on: Callable[..., Path]) -> None:
    bundle = train_on(photos)
    assert evaluate(bundle, photos).test_looks == 1
    assert evaluate(bundle, photos, split="val").test_looks == 0
    assert evaluate(bundle, photos, split="all").test_looks == 0
    assert evaluate(load(bundle, device="cpu"), photos, split="test").test_looks == 2
    lines = (bundle / "test_looks.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "looked_at"
    assert len(lines) == 3
    assert sorted(path.name for path in bundle.iterdir()) == [  # nothing else is written
        "config.json",
        "data.lock.json",
        "model.safetensors",
        "test_looks.csv",
    ]


def test_a_look_at_another_datas_test_split_is_none_at_the_bundles(
    photos: Path, make_photos: MakePhotos, train_on: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = train_on(photos)
    for split, seed in (("train", 21), ("test", 22)):
        make_photos(f"others/{split}", seed=seed)
    result = evaluate(bundle, tmp_path / "others")
    assert (result.metrics.split, result.metrics.num_samples, result.test_looks) == ("test", 30, 0)
    assert not (bundle / "test_looks.csv").exists()


def test_a_bundle_that_cannot_be_written_is_scored_all_the_same(photos: Path, train_on: Callable[..., Path]) -> None:
    bundle = train_on(photos)
    (bundle / "test_looks.csv").mkdir()  # neither to be read nor to be written
    assert evaluate(bundle, photos).test_looks == 1


def test_a_catalog_keeps_the_splits_that_it_has(photos: Path, train_on: Callable[..., Path]) -> None:
    bundle = train_on(photos)
    catalog = open_data(photos)
    splits = np.full(30, SPLITS.index("val"), np.uint8)
    splits[:3] = SPLITS.index("test")
    result = evaluate(bundle, replace(catalog, splits=splits))
    assert [row.source for row in result.rows] == ["ant/00.png", "ant/01.png", "ant/02.png"]
    learned = len({"ant/00.png", "ant/01.png", "ant/02.png"} & set(names_in(bundle, "train")))
    assert learned > 0
    assert any(note.startswith(f"{learned} of these 3 pictures are training pictures") for note in result.notes)
