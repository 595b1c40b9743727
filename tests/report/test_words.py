import pytest

from sightline.metrics import Interval
from sightline.report.contents import read_contents
from sightline.report.words import calibration_words, choices, facts, headline, moment, of_many
from tests.report.conftest import MakeRun, history


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        ((0.5, 0.4, 0.6), ("50 of 100", "40", "60 of 100")),
        ((0.5, 0.49, 0.51), ("50 of 100", "49.0", "51.0 of 100")),
        ((0.9936, 0.9918, 0.9950), ("994 of 1,000", "992", "995 of 1,000")),
        ((0.002, 0.0001, 0.004), ("2 of 1,000", "under 1", "4 of 1,000")),
        ((1.0, 0.996, 1.0), ("1,000 of 1,000", "996", "1,000 of 1,000")),
        ((0.0, 0.0, 0.3), ("0 of 1,000", "0", "300 of 1,000")),
        ((0.98, 0.9, 0.999), ("98 of 100", "90", "over 99 of 100")),
    ],
)
def test_shares_as_so_many_of_many(share: tuple[float, float, float], shown: tuple[str, str, str]) -> None:
    assert of_many(Interval(*share)) == shown


def test_headline_of_a_run_that_never_validated(make_run: MakeRun) -> None:
    folder = make_run(rows=history(3, val=False))
    (folder / "metrics.json").unlink()
    assert headline(read_contents(folder)).startswith("Not evaluated yet: nothing here says")


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (0.99, "It promises more than it keeps"),
        (0.6, "It is better than it says"),
        (0.81, "On the whole it keeps what it promises"),
        (0.85, "As far as 100 pictures can tell, it keeps what it promises"),
    ],
)
def test_calibration_in_a_sentence(make_run: MakeRun, stated: float, verdict: str) -> None:
    answers = [("cat", "cat", stated)] * 80 + [("cat", "dog", stated)] * 20
    sentence = calibration_words(read_contents(make_run(answers=answers)))
    assert sentence.startswith(verdict)
    assert f"average {stated:.1%}, and 80.0% of the answers are right" in sentence


def test_no_calibration_has_no_sentence(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "calibration.json").unlink()
    assert calibration_words(read_contents(folder)) == ""


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        ("2026-11-21T14:11:03+02:00", "2026-11-21 12:11 UTC"),
        ("yesterday", "yesterday"),
        (None, ""),
        (12.5, "12.5"),
    ],
)
def test_moments(stamp: object, shown: str) -> None:
    assert moment(stamp) == shown


def test_odd_provenance_is_shown_as_it_is(make_run: MakeRun) -> None:
    provenance = {
        "choices": [{"name": "a", "value": True, "reason": None}, "no mapping", {"name": "b", "value": 1e-5}],
        "runtime": "no mapping",
        "options": {"lr": [1, 2.5], "batch_size": 20000},
    }
    contents = read_contents(make_run(provenance=provenance))
    assert choices(contents) == [("a", "yes", ""), ("b", "1e-05", "")]
    assert ("Batch size", "20,000") in facts(contents)
    assert ("Optimiser", "learning rate 1, 2.5") in facts(contents)
