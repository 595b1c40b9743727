"""Tables, class maps, groups and folds through whole runs: in run.json, in the lock, on resume, at the evaluation."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sightline as sl
from sightline.errors import ConfigError, DataError
from sightline.exporting.pictures import proof_pictures
from sightline.recipes.data import open_split
from tests.recipes.pictures import photo_folder

QUICK = sl.Settings(model="simple_cnn", img_size=16, epochs=1, batch_size=8, device="cpu", amp=False, threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = photo_folder(tmp_path / "photos")
    lines = [
        f"{path.relative_to(folder).as_posix()},{path.parent.name},g{int(path.stem) // 2}"
        for path in sorted(folder.rglob("*.png"))
    ]
    (folder / "labels.csv").write_text("path,label,burst\n" + "\n".join(lines) + "\n")
    (tmp_path / "map.json").write_text('{"red": 0, "blue": 1, "green": 2}')
    return folder


def test_a_run_on_a_table_with_map_groups_and_folds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = dataclasses.replace(QUICK, class_map="map.json", group_by="burst", folds=3, fold=1)
    output = photos / "runs"  # in the folder of the table, where nothing takes it for a class
    predictor = sl.train(photos / "labels.csv", settings=settings, output=output, console=Console(quiet=True))
    assert predictor.classes == ("red", "blue", "green")
    run = json.loads((output / "run.json").read_text())
    assert run["settings"] == {
        **run["settings"], "class_map": str(tmp_path / "map.json"), "group_by": "burst", "folds": 3, "fold": 1,
    }  # fmt: skip
    record = json.loads((output / "config.json").read_text())
    assert '"fold": 1' in json.dumps(record)
    lock = json.loads((output / "data.lock.json").read_text())
    of_group: dict[str, set[str]] = {}
    for row in lock["files"]:
        of_group.setdefault(row["group"], set()).add(row["split"])
    assert {len(splits) for splits in of_group.values()} == {1}
    assert lock["sources"][0]["path"] == "labels.csv"

    # From elsewhere, with the same settings or none, there is nothing left to do; with others, they are refused.
    monkeypatch.chdir(photos)
    again = dataclasses.replace(settings, class_map="../map.json")
    for asked in (sl.Settings(), again):
        sl.train(None, settings=asked, output=output, resume=True, console=Console(quiet=True))
    with pytest.raises(ConfigError, match=r"--fold is 0, but in the run .* it was 1"):
        sl.train(None, settings=dataclasses.replace(settings, fold=0, class_map=None), output=output, resume=True)

    # The table alone has another order of classes and no groups; the test pictures are those of the run all the same.
    test = sorted(row["path"] for row in lock["files"] if row["split"] == "test")
    result = sl.evaluate(predictor, photos / "labels.csv")
    assert sorted(row.source for row in result.rows) == test
    assert [row.true for row in result.rows] == [row.source.split("/")[0] for row in result.rows]
    assert not any("training pictures of this bundle" in note for note in result.notes)
    val = sum(row["split"] == "val" for row in lock["files"])
    assert proof_pictures(predictor.bundle).source == f"{val:,} pictures, of the val split of labels"


def test_a_fold_of_arrays_is_found_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (36, 16, 16, 3), dtype=np.uint8)
    labels = np.array(["b", "a", "c"] * 12)
    (tmp_path / "map.txt").write_text("c\nb\na\n")
    settings = dataclasses.replace(QUICK, folds=4, fold=2, class_map=str(tmp_path / "map.txt"))
    predictor = sl.train((images, labels), settings=settings, output=tmp_path / "run", console=Console(quiet=True))
    catalog, _ = open_split((images, labels), settings, Console(quiet=True))
    result = sl.evaluate(predictor, (images, labels))
    assert [int(row.source.split("/")[1]) for row in result.rows] == catalog.select("test").tolist()
    assert len(result.rows) == 9


def test_each_picture_is_tested_by_one_of_the_folds(photos: Path) -> None:
    tested: list[str] = []
    for fold in range(4):
        catalog, notes = open_split(
            photos / "labels.csv", dataclasses.replace(QUICK, folds=4, fold=fold), Console(quiet=True)
        )
        tested += [catalog.images.name(index) for index in catalog.select("test")]
        assert any(f"fold {fold} of 4 is the test split" in note for note in notes)
    assert sorted(tested) == sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))


def test_a_smoke_run_takes_the_groups_along(photos: Path) -> None:
    settings = dataclasses.replace(QUICK, group_by="burst", smoke=True)
    catalog, _ = open_split(photos / "labels.csv", settings, Console(quiet=True))
    assert catalog.groups is not None
    for index in range(len(catalog)):
        number = int(Path(catalog.images.name(index)).stem)
        assert catalog.group_name(int(catalog.groups[index])) == f"g{number // 2}"


def test_a_class_without_training_pictures_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("red\ngreen\nblue\nviolet\n")
    settings = dataclasses.replace(QUICK, class_map=str(tmp_path / "map.txt"))
    with pytest.raises(DataError, match=r"photos has no training pictures of violet. Add some, or take the class out"):
        open_split(photos, settings, Console(quiet=True))
    rows = [f"{kind}/{next((photos / kind).iterdir()).name},{kind}" for kind in ("red", "blue", "green")]
    (photos / "t.csv").write_text(f"path,label,split\n{rows[0]},train\n{rows[1]},train\n{rows[2]},val\n")
    with pytest.raises(DataError, match=r"t has no training pictures of green"):
        open_split(photos / "t.csv", QUICK, Console(quiet=True))


def test_a_val_folder_that_lacks_a_class_keeps_the_numbers_everywhere(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "all")
    names = {"red": "0", "green": "10", "blue": "2"}
    for path in (each for kind in names for each in sorted((photos / kind).iterdir())):
        split = "val" if path == min(path.parent.iterdir()) else "train"
        if split == "val" and path.parent.name == "green":
            continue
        target = tmp_path / "data" / split / names[path.parent.name] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    console = Console(file=io.StringIO(), width=300)
    predictor = sl.train(tmp_path / "data", settings=QUICK, output=tmp_path / "run", console=console)
    assert predictor.classes == ("0", "10", "2")
    assert "so class 10 has the index 1" in console.file.getvalue()  # type: ignore[attr-defined]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["label_names"] == ["0", "10", "2"]
    result = sl.evaluate(predictor, tmp_path / "data", split="val")
    assert {row.true for row in result.rows} == {"0", "2"}
    assert [row.true for row in result.rows] == [row.source.split("/")[1] for row in result.rows]
