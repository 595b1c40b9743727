import dataclasses
from collections.abc import Sequence

import pytest

from sightline.data.catalog import Problem
from sightline.report.advice import advise, pictures_for
from sightline.report.contents import read_contents
from sightline.training.state import HistoryRow
from tests.report.conftest import Answer, MakeRun


def row(epoch: int, *, train: float, val: float, val_loss: float) -> HistoryRow:
    return HistoryRow(epoch, epoch * 10, 0.1, 0.5, train, val_loss, val)


def good(count: int = 4000) -> list[Answer]:
    """Answers with few errors, spread over the pairs, and probabilities that are kept: nothing to advise."""
    names = ("cat", "dog", "bird", "fish", "wolf", "bear")
    right = [(name, name, 0.975) for name in names for _ in range(count // len(names))]
    wrong = [(a, b, 0.975) for a in names for b in names if a != b for _ in range(4)]
    return right + wrong


SIX = ("cat", "dog", "bird", "fish", "wolf", "bear")
FLAT = [row(epoch, train=0.98, val=0.97, val_loss=0.1) for epoch in (1, 2, 3)]


def advice_of(make_run: MakeRun, **options: object) -> dict[str, str]:
    folder = make_run(**{"answers": good(), "classes": SIX, "rows": FLAT, **options})
    return {item.title: item.text for item in advise(read_contents(folder))}


def test_says_nothing_where_nothing_is_wrong(make_run: MakeRun) -> None:
    assert advice_of(make_run) == {}


def test_wide_interval_says_how_many_pictures_would_do(make_run: MakeRun) -> None:
    found = advice_of(make_run, answers=good(120))
    # 240 pictures, 120 right: Wilson's interval is 43.7 % to 56.3 %; (2 * 1.96 / 0.04)^2 / 4 = 2401
    text = found["Too few test pictures to be sure."]
    assert "With 240 the 95% interval is 13 points wide, 44% to 56%" in text
    assert "About 2,500 pictures would narrow it to 4 points" in text


def test_pictures_needed_shrink_with_the_accuracy(make_run: MakeRun) -> None:
    scores = read_contents(make_run(answers=good(), classes=SIX)).scores
    assert scores is not None
    # of the accuracies in the interval the lowest, 96.5 %, needs most: 0.0345 * 0.9655 * 98^2 = 320
    assert pictures_for(scores, width=0.04) == pytest.approx(320, abs=20)
    assert pictures_for(scores, width=0.02) == pytest.approx(1280, abs=80)


def test_copies_between_splits(make_run: MakeRun) -> None:
    files = [
        {"path": "cat/1.png", "split": "train", "label": "cat", "sha256": "same"},
        {"path": "cat/2.png", "split": "test", "label": "cat", "sha256": "same"},
        {"path": "dog/3.png", "split": "val", "label": "dog", "sha256": "same"},
    ]
    found = advice_of(make_run, files=files)
    leak = found["Held-out pictures are in the training data."]
    assert leak.startswith(
        "2 validation or test pictures are also in the training split, byte for byte, the first cat/2"
    )
    assert (
        "1 file is the copy of another that has a different class, the first dog/3.png (of cat/1.png)"
        in (found["The same picture has two labels."])
    )


def test_validation_score_is_called_one(make_run: MakeRun) -> None:
    assert "The score is of the validation pictures." in advice_of(make_run, split="val", test_looks=0)


def test_further_looks_at_the_test_split(make_run: MakeRun) -> None:
    found = advice_of(make_run, test_looks=4)
    assert "This was look number 4." in found["The test split was looked at more than once."]


def test_no_score_names_the_command(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "metrics.json").unlink()
    found = {item.title: item.text for item in advise(read_contents(folder))}
    assert f"sightline evaluate {folder} 'my photos/'" in found["There is no score yet."]


def test_refused_files(make_run: MakeRun) -> None:
    files = [{"path": f"{n}.png", "split": "train", "label": "cat", "sha256": str(n)} for n in range(98)]
    found = advice_of(make_run, files=files, refused=[Problem("a.jpg", "truncated"), Problem("b.jpg", "empty")])
    assert found["Files were left out."].startswith(
        "2 files are not used, 2.0% of what was found; the first is a.jpg (tr"
    )


def test_overfitting(make_run: MakeRun) -> None:
    rows = [row(1, train=0.8, val=0.7, val_loss=0.5), row(2, train=0.99, val=0.7, val_loss=0.5)]
    found = advice_of(make_run, rows=rows)
    assert list(found) == ["It learns the training pictures by heart."]
    assert "Training accuracy is 99.0%, validation accuracy 70.0%: 29 points lower" in found[next(iter(found))]


def test_validation_loss_that_rose(make_run: MakeRun) -> None:
    rows = [row(epoch, train=0.8, val=0.75, val_loss=loss) for epoch, loss in ((1, 0.9), (2, 0.5), (3, 0.6))]
    found = advice_of(make_run, rows=rows)
    assert list(found) == ["It was trained past its best."]
    assert "lowest after epoch 2 (0.500) and ended at 0.600: try about 2 epochs" in found[next(iter(found))]


def test_validation_loss_that_still_fell(make_run: MakeRun) -> None:
    rows = [row(epoch, train=0.7, val=0.72, val_loss=1 / epoch) for epoch in range(1, 11)]
    found = advice_of(make_run, rows=rows)
    assert list(found) == ["It had not finished learning."]
    text = found[next(iter(found))]
    assert "From epoch 8 to 10 the validation loss still fell from 0.125 to 0.100" in text
    assert "training accuracy is 2 points below validation's" in text


def test_training_without_validation_is_not_judged(make_run: MakeRun) -> None:
    rows = [dataclasses.replace(each, val_loss=None, val_score=None) for each in FLAT]
    assert advice_of(make_run, rows=rows) == {}


def test_confused_pair(make_run: MakeRun) -> None:
    found = advice_of(make_run, answers=good() + [("cat", "dog", 0.975)] * 30)
    # 34 of the 720 cats, of 150 errors
    text = found["One confusion stands out."]
    assert (
        "“cat” was taken for “dog” 34 times: 5% of its pictures and 23% of all errors (the other way round: 4)" in text
    )


def test_imbalance(make_run: MakeRun) -> None:
    counts = {"cat": 90, "dog": 30, "bird": 40, "fish": 31, "wolf": 50, "bear": 60}
    files = [
        {"path": f"{name}/{number}.png", "split": "train", "label": name, "sha256": f"{name}{number}"}
        for name, count in counts.items()
        for number in range(count)
    ]
    text = advice_of(make_run, files=files)["The classes are unbalanced."]
    assert "“cat” has 90 training pictures, “dog” only 30 (3.0 to 1). Of “dog”, 97% are found." in text


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([("fish", name, 0.9) for name in SIX if name != "fish" for _ in range(60)], "missed (recall 68%)"),
        ([(name, "fish", 0.9) for name in SIX if name != "fish" for _ in range(60)], "claimed wrongly (precision 68%)"),
    ],
)
def test_weak_class(make_run: MakeRun, wrong: Sequence[Answer], why: str) -> None:
    text = advice_of(make_run, answers=[*good(), *wrong])["One class lags behind."]
    assert text.startswith("“fish” has F1 8")
    assert why in text


def test_classes_that_are_hardly_tested(make_run: MakeRun) -> None:
    answers = [each for each in good() if each[0] != "bear"] + [("bear", "bear", 0.975)] * 29
    found = advice_of(make_run, answers=answers)
    assert "1 of 6 classes has fewer than 30 test pictures; “bear” has 29." in found["Some classes are hardly tested."]


@pytest.mark.parametrize(
    ("stated", "temperature", "title", "text"),
    [
        (0.999, 1.0, "It promises too much.", "No temperature was fitted"),
        (0.6, 1.5, "It promises too little.", "does not carry over"),
    ],
)
def test_miscalibration(make_run: MakeRun, stated: float, temperature: float, title: str, text: str) -> None:
    wrong = [("cat", "dog", 0.9)] * 400 if stated > 0.9 else []
    answers = [(true, predicted, stated) for true, predicted, _ in [*good(), *wrong]]
    found = advice_of(make_run, answers=answers, temperature=temperature)
    assert text in found[title]
    assert f"It states {stated:.0%} on average" in found[title]
