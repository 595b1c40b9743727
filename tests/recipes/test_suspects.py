"""Suspicious labels in `check`: who judges, that nobody judges what it has learned, and what the user gets."""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import sightline as sl
from sightline.cli.main import app
from sightline.data.catalog import Catalog
from sightline.data.lock import data_lock
from sightline.data.measure import measure
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import BundleError, ConfigError
from sightline.evaluation import out_of_fold
from sightline.evaluation.out_of_fold import probe_out_of_fold
from sightline.recipes import suspect_judges, suspect_list, suspect_training, suspects
from sightline.recipes.suspect_folds import LEAST_PICTURES, judged
from sightline.recipes.suspect_training import network_out_of_fold, quick_plan
from sightline.recipes.suspects import Wish
from sightline.runtime import choose_runtime
from tests.bundles import tiny_bundle

QUIET = Console(quiet=True)
NAMES = ("blue", "green", "red")
FLIPPED = {"blue/03.png": "red", "red/07.png": "green"}  # as they lie there -> what they show


def picture(colour: int, seed: int, side: int = 32) -> np.ndarray:
    """A coarse pattern in which one channel is light: uint8 (side, side, 3)."""
    rng = np.random.default_rng(1000 * colour + seed)
    coarse = rng.integers(0, 90, (6, 6, 3), np.uint8)
    coarse[:, :, colour] += 150
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def folder_of(root: Path, *, count: int = 24, start: int = 0) -> Path:
    """Class folders; two pictures lie in the wrong one."""
    for label, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = f"{name}/{number:02d}.png"
            shown = NAMES.index(FLIPPED.get(path, name))
            Image.fromarray(picture(2 - shown, start + 100 * label + number)).save(root / path)
    return root


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine, and no caches."""
    monkeypatch.setattr("sightline.recipes.beginning.on_this_machine", lambda: ())
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Of other classes, and it does not say what it was trained on."""
    return tiny_bundle(tmp_path / "bundle")


def arrays(count: int = 60, *, side: int = 16, flips: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.stack([picture(number % 2, number, side) for number in range(count)])
    labels = np.arange(count) % 2
    labels[list(flips)] ^= 1
    return pixels, labels


def catalog_of(labels: np.ndarray, names: tuple[str, ...], **changes: object) -> Catalog:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    opened = open_data((pixels, np.array(names)[labels]))
    catalog = replace(opened, classes=names, labels=labels.astype(np.int64), splits=np.zeros(len(labels), np.uint8))
    return replace(catalog, **changes)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- nobody judges its own


def by_heart(catalog: Catalog, sets: list[tuple[int, ...]], *, like: np.ndarray) -> float:
    """How far a probe agrees that knows of each picture nothing but which ones are the same."""
    pictures = judged(catalog, np.arange(len(catalog)), sets)
    folds = pictures.folds(4, seed=0)
    values = torch.eye(len(like))[torch.from_numpy(like[pictures.pool])]
    return float((probe_out_of_fold(values, pictures.labels, folds).argmax(1) == pictures.labels).mean())


def test_what_is_judged_was_not_learned_nor_was_its_copy_nor_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_fold, "PENALTIES", (1e-3,))  # as good as any, and quick
    labels = np.random.default_rng(1).integers(0, 2, 80)
    names = ("a", "b")
    alone = np.arange(80)
    assert by_heart(catalog_of(labels, names), [], like=alone) < 0.7  # whoever has seen a picture is always right
    twins = np.arange(80) // 2
    labels = labels[::2].repeat(2)  # of each picture a copy with the same label
    assert by_heart(catalog_of(labels, names), [], like=twins) > 0.75  # copies in two folds give the label away
    pairs = [(2 * number, 2 * number + 1) for number in range(40)]
    assert by_heart(catalog_of(labels, names), pairs, like=twins) < 0.7
    assert by_heart(catalog_of(labels, names, groups=twins), [], like=twins) < 0.7


def test_copies_of_members_of_two_groups_bring_the_groups_together() -> None:
    labels = np.arange(48) % 2
    catalog = catalog_of(labels, ("a", "b"), groups=np.arange(48) // 4)
    pictures = judged(catalog, np.arange(48), [(0, 4)])
    folds = pictures.folds(3, seed=0)
    assert len(set(folds[:8])) == 1
    assert all(len(set(folds[start : start + 4])) == 1 for start in range(0, 48, 4))
    assert set(folds) == {0, 1, 2}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """The pictures that each network has learned from and then judges; no network learns anything."""
    seen: list[tuple[list[int], list[int]]] = []
    answers = suspect_training._answers

    def fit(net, loader, options, **_) -> None:
        seen.append((loader.store.sources.tolist(), []))

    def judge(net, pictures, store, plan, runtime):
        seen[-1][1].extend(store.sources.tolist())
        return answers(net, pictures, store, plan, runtime)

    monkeypatch.setattr(suspect_training, "fit", fit)
    monkeypatch.setattr(suspect_training, "_answers", judge)
    return seen


def test_a_network_judges_each_picture_once_and_has_learned_from_all_other_folds(told) -> None:
    catalog, _ = assign_splits(open_data(arrays()), val_fraction=0.2, test_fraction=0.2)  # all splits are judged
    measures = measure(catalog, threads=1)
    pictures = judged(catalog, np.arange(60), [(0, 2, 4)])
    runtime = choose_runtime(device="cpu", amp=False)
    plan = quick_plan(pictures, measures, runtime, folds=3, seed=0)
    folds = pictures.folds(3, seed=0)
    probabilities = network_out_of_fold(pictures, folds, plan, runtime)
    assert probabilities.shape == (60, 2) and np.allclose(probabilities.sum(1), 1)
    assert sorted(index for _, held in told for index in held) == list(range(60))
    for learned, held in told:
        assert sorted(learned + held) == list(range(60))
        assert len({0, 2, 4} & set(held)) in (0, 3)


# ------------------------------------------------------------------------------------------------------ who is judged


def test_small_classes_are_left_out_and_said_and_the_others_keep_their_names() -> None:
    labels = np.concatenate([np.full(LEAST_PICTURES - 1, 0), np.arange(60) % 2 + 1, [3] * 25])
    groups = np.concatenate([np.arange(79), np.full(25, 99)])
    catalog = catalog_of(labels, ("tiny", "a", "b", "one", "nothing"), groups=groups)
    pictures = judged(catalog, np.setdiff1d(np.arange(len(labels)), [40]), [])
    assert pictures.notes == (
        "1 class (tiny) with less than 20 pictures is left out.",
        "1 class (one) of a single group is left out.",
    )
    assert [pictures.class_name(place) for place in range(2)] == ["a", "b"]
    assert len(pictures) == 59 and 40 not in pictures.pool
    assert (pictures.labels == catalog.labels[pictures.pool] - 1).all()


def test_a_network_answers_for_the_classes_that_take_part(told) -> None:
    labels = np.concatenate([np.zeros(5, int), np.arange(60) % 2 + 1])
    catalog = catalog_of(labels, ("tiny", "a", "b"))
    pictures = judged(catalog, np.arange(65), [])
    runtime = choose_runtime(device="cpu", amp=False)
    plan = quick_plan(pictures, measure(catalog, threads=1), runtime, folds=2, seed=0)
    assert plan.preprocess.input_size == (1, 16, 16)  # the least that the network takes
    probabilities = network_out_of_fold(pictures, pictures.folds(2, seed=0), plan, runtime)
    assert probabilities.shape == (60, 2) and np.allclose(probabilities.sum(1), 1)


# ---------------------------------------------------------------------------------------------------------- who judges


def test_a_bundle_of_other_classes_judges_by_its_features(photos: Path, bundle: Path) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.rglob("*.png")}
    result = sl.check(photos, suspects_with=bundle, console=QUIET)
    (finding,) = [each for each in result.findings if each.kind == "suspect_label"]
    assert finding.severity == "note" and result.exit_code == 0
    assert finding.rule.endswith(suspect_list.EXPECTED)
    found = {case.sightings[0].path: case.figures for case in finding.cases}
    assert {path: found[path]["suggested"] for path in FLIPPED} == FLIPPED
    assert [case.sightings[0].path for case in finding.cases][:2] in (list(FLIPPED), list(FLIPPED)[::-1])
    assert len(found) <= 4
    assert result.suspects is not None and result.suspects["judge"] == "probe" and result.suspects["folds"] == 5
    assert "cannot be told from the bundle" in result.suspects["words"]
    assert set(result.suspects["estimated_noise_of_class"]) == set(NAMES)
    scores = [case.figures["score"] for case in finding.cases]
    assert scores == sorted(scores, reverse=True)
    assert sl.check(photos, suspects_with=bundle, console=QUIET).to_dict() == result.to_dict()
    assert before == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.rglob("*.png")}


def trained_on(folder: Path, data: Path, classes: tuple[str, ...]) -> Path:
    catalog, _ = assign_splits(open_data(data), seed=0)
    tiny_bundle(folder, classes=classes, provenance={"data": {"name": "x", "seed": 0}})
    (folder / "data.lock.json").write_text(json.dumps(data_lock(catalog)), encoding="utf-8")
    return folder


def test_a_bundle_judges_by_its_predictions_where_it_has_learned_from_none(photos: Path, tmp_path: Path) -> None:
    other = folder_of(tmp_path / "other", start=5000)
    stranger = trained_on(tmp_path / "stranger", other, (*NAMES, "violet"))
    result = sl.check(photos, suspects_with=stranger, console=QUIET)
    assert result.suspects is not None and (result.suspects["judge"], result.suspects["folds"]) == ("predictions", 1)
    assert result.suspects["words"].endswith("by its data.lock.json it was trained on none of them")
    (finding,) = [each for each in result.findings if each.kind == "suspect_label"]
    assert finding.rule.endswith(suspect_list.EXPECTED_OF_LOW)  # it was never trained
    predictor = sl.load(stranger)
    case = next(case for each in result.findings if each.kind == "suspect_label" for case in each.cases)
    shares = dict(predictor.predict(photos / case.sightings[0].path, top_k=4).top)
    total = sum(shares[name] for name in NAMES)
    assert case.figures["suggested_probability"] == pytest.approx(shares[case.figures["suggested"]] / total, abs=1e-5)

    own = trained_on(tmp_path / "own", photos, NAMES)
    result = sl.check(photos, suspects_with=own, console=QUIET)
    assert result.suspects is not None and result.suspects["judge"] == "probe"
    assert "it was trained on 50 of these 72 pictures with their labels" in result.suspects["words"]


def test_arrays_are_told_as_a_whole(tmp_path: Path) -> None:
    from sightline.bundle import open_bundle
    from sightline.evaluation.selection import TrainingData

    pixels, labels = arrays()
    opened = open_data((pixels, labels))
    folder = tmp_path / "bundle"
    tiny_bundle(folder, classes=("0", "1"), provenance={"data": {"name": "x", "seed": 0}})
    assert TrainingData(open_bundle(folder)).num_learned(opened, np.arange(60), threads=1) is None
    catalog, _ = assign_splits(opened, seed=0)
    (folder / "data.lock.json").write_text(json.dumps(data_lock(catalog)), encoding="utf-8")
    data = TrainingData(open_bundle(folder))
    assert data.num_learned(opened, np.arange(60), threads=1) == len(catalog.select("train"))
    assert data.num_learned(open_data((pixels[:50], labels[:50])), np.arange(50), threads=1) is None


def test_quick_networks_find_planted_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspect_judges, "FEW", 2)
    monkeypatch.setattr(suspect_training, "MOST_EPOCHS", 8)
    settings = sl.Settings(seed=1, device="cpu", amp=False)
    result = sl.check(arrays(flips=(3, 20)), suspects=True, settings=settings, near=False, console=QUIET)
    assert result.suspects is not None and result.suspects["judge"] == "networks"
    assert "quick networks (airbench_small, 8 epochs at 16 px; no trained weights are at hand)" in result.notes[-1]
    found = [case.sightings[0].path for each in result.findings if each.kind == "suspect_label" for case in each.cases]
    assert {"image/00003", "image/00020"} <= set(found) and len(found) <= 6


def test_quick_networks_give_the_same_answer_again_and_another_to_another_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspect_training, "MOST_EPOCHS", 2)
    catalog, _ = assign_splits(open_data(arrays(40)))
    measures, runtime = measure(catalog, threads=1), choose_runtime(device="cpu", amp=False)
    pictures = judged(catalog, np.arange(40), [])

    def answers(seed: int) -> np.ndarray:
        plan = quick_plan(pictures, measures, runtime, folds=2, seed=seed)
        return network_out_of_fold(pictures, pictures.folds(2, seed=seed), plan, runtime)

    first = answers(0)
    assert (answers(0) == first).all()
    assert (answers(1) != first).any()


# -------------------------------------------------------------------------------------------------- what is not sought


@pytest.fixture
def no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> None:
        raise AssertionError("nobody was to judge")

    monkeypatch.setattr("sightline.recipes.suspects.find_suspects", judge)


def note_of(data: object, **asked: object) -> str:
    result = sl.check(data, console=QUIET, **asked)  # type: ignore[arg-type]
    assert result.suspects is None and not [each for each in result.findings if each.kind == "suspect_label"]
    return "\n".join(note for note in result.notes if note.startswith("Suspicious"))


@pytest.mark.usefixtures("no_judge")
def test_few_pictures_without_weights_are_not_judged_unasked() -> None:
    assert note_of(arrays()) == (
        "Suspicious labels were not sought: 60 pictures are few to judge by, without trained weights at hand; "
        "--suspects seeks them all the same, --suspects-with BUNDLE with a network of yours."
    )
    assert note_of(arrays(), suspects=False) == ""
    assert "it takes two classes of 20 pictures or more" in note_of(arrays(30), suspects=True)


@pytest.mark.usefixtures("no_judge")
def test_what_would_take_long_is_not_sought_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "LEAST_FROM_SCRATCH", 10)
    monkeypatch.setattr(suspect_judges, "seconds_of_networks", lambda *_, **__: 1000.0)
    assert "not sought: it would take about 17 min, by quick networks (airbench_small" in note_of(arrays())


@pytest.mark.usefixtures("no_judge")
def test_several_labels_a_picture_are_not_judged() -> None:
    opened = open_data(arrays())
    many = replace(opened, labels=np.ones((60, 2), np.uint8))
    assert note_of(many, suspects=True) == ("Suspicious labels are not sought in data with several labels a picture.")


def test_what_takes_little_is_sought_unasked(monkeypatch: pytest.MonkeyPatch, told) -> None:
    monkeypatch.setattr(suspects, "LEAST_FROM_SCRATCH", 10)
    monkeypatch.setattr(suspect_judges, "seconds_of_networks", lambda *_, **__: 10.0)
    assert sl.check(arrays(), console=QUIET).suspects is not None


def test_the_cost_is_said_before(monkeypatch: pytest.MonkeyPatch, told, capsys) -> None:
    sl.check(arrays(), suspects=True, console=Console())
    said = capsys.readouterr().out
    assert "suspicious labels: 60 pictures, judged by quick networks (airbench_small" in said
    assert re.search(r"at hand\): about [0-9.]+ (s|min|h), in 5 folds", said)


def test_wishes_that_contradict_each_other_are_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(ConfigError, match="--suspects-with is for suspicious labels, and --no-suspects seeks none"):
        Wish(wanted=False, bundle=bundle)
    with pytest.raises(ConfigError, match=r"--suspects-csv writes a CSV, got list\.txt"):
        Wish(csv=Path("list.txt"))
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(ConfigError, match="exists, and nothing is overwritten"):
        sl.check(arrays(), suspects_csv=tmp_path / "there.csv", console=QUIET)
    with pytest.raises(ConfigError, match="there is no folder"):
        Wish(csv=tmp_path / "no" / "list.csv")
    with pytest.raises(BundleError, match="no bundle at"):
        sl.check(arrays(), suspects_with=tmp_path / "none", console=QUIET)


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def ask(photos: Path, bundle: Path) -> Callable[..., Iterator[str]]:
    def run(*flags: str) -> str:
        answer = CliRunner().invoke(app, ["check", str(photos), "--suspects-with", str(bundle), *flags])
        assert answer.exit_code == 0, answer.exception
        return answer.stdout

    return run  # type: ignore[return-value]


def test_the_command_lists_them_in_words_json_csv_and_pictures(ask: Callable[..., str], tmp_path: Path) -> None:
    table, page = tmp_path / "list.csv", tmp_path / "check.html"
    told = json.loads(ask("--json", "--suspects-csv", str(table), "--output", str(page)))
    (finding,) = [each for each in told["findings"] if each["kind"] == "suspect_label"]
    assert list(finding["cases"][0]) == [
        "pictures", "detail", "given", "suggested", "given_probability", "suggested_probability", "score"
    ]  # fmt: skip
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(suspect_list.COLUMNS)
    assert [row["path"] for row in rows] == [case["pictures"][0]["path"] for case in finding["cases"]]
    assert {row["path"]: row["suggested"] for row in rows if row["path"] in FLIPPED} == FLIPPED
    html = page.read_text(encoding="utf-8")
    assert "Suspect label" in html and html.count("<img") >= len(rows)
    assert "rather red" in html and "rather green" in html


def test_the_summary_names_the_worst(ask: Callable[..., str]) -> None:
    text = ask()
    assert "  suspect_label: " in text and "Look before you change one" in text
    assert any("blue/03.png (" in line and "rather red" in line for line in text.splitlines())
