import base64
from xml.etree import ElementTree

import numpy as np
import pytest

from sightline.metrics import Bin, Interval
from sightline.report.figures import Drawing, cell_colours, confusion_map, curves, plain, reliability
from sightline.report.scores import Calibration
from sightline.training.state import HistoryRow
from tests.report.conftest import history


def svg(drawing: Drawing) -> str:
    kind, _, content = drawing.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    text = base64.b64decode(content).decode()
    ElementTree.fromstring(text)  # a browser shows nothing of a file that is not well-formed
    return text


def words(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(svg(drawing))
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_curves_say_their_ends_in_words() -> None:
    loss, accuracy, rate = curves(history(10))
    assert loss.text == ("Loss by epoch, first to last of 10: training 1.000 to 0.100; validation 1.100 to 0.110.")
    assert accuracy.text == (
        "Accuracy by epoch, first to last of 10: training 50.0% to 95.0%; validation 48.0% to 94.8%."
    )
    assert rate.text == "Learning rate at the end of each epoch: highest 0.1, last 0.01."


def test_curves_name_their_lines() -> None:
    loss, accuracy, rate = curves(history(10))
    assert {"training", "validation", "epoch"} <= set(words(loss))
    assert {"training", "validation", "60%"} <= set(words(accuracy))
    assert {"epoch", "Learning rate"} <= set(words(rate))


def test_curves_without_validation_have_one_line() -> None:
    loss, accuracy, _ = curves(history(10, val=False))
    assert "validation" not in loss.text + accuracy.text
    assert "validation" not in words(loss)


def test_curves_with_a_gap_and_odd_numbers() -> None:
    rows = [HistoryRow(1, 1, 0.0, float("nan"), 0.0, None, None), HistoryRow(2, 2, 0.0, float("inf"), 1.0, 2.0, 0.5)]
    loss, _, _ = curves(rows)
    assert loss.text.endswith("training nan to inf; validation nan to 2.000.")
    svg(loss)


def test_drawings_are_the_same_every_time() -> None:
    assert curves(history(4)) == curves(history(4))


def test_reliability_says_what_was_stated_and_what_came_true() -> None:
    bins = (
        Bin(0.4, 0.5, 10, 0.45, Interval(0.5, 0.24, 0.76)),
        Bin(0.9, 1.0, 1200, 0.95, Interval(1.0, 0.99, 1.0)),
    )
    drawing = reliability(Calibration(ece=0.05, temperature=1.0, bins=bins))
    assert drawing.text == ("Reliability diagram. stated 45%, right 50% of 10; stated 95%, right 100% of 1,200.")
    assert {"really right", "probability stated", "pictures"} <= set(words(drawing))


def test_cells_are_blue_where_right_and_vermilion_where_wrong() -> None:
    colours = cell_colours(np.array([[100, 0, 0], [25, 50, 25], [0, 0, 0]]))
    assert colours[0, 0].tolist() == [0, 114, 178]  # all of the row: Okabe and Ito's blue
    assert colours[1, 1].tolist() == [128, 184, 216]  # half of it: half way to white
    assert colours[1, 0].tolist() == [234, 174, 128]  # a quarter, by its root: half way to vermilion
    assert colours[0, 1].tolist() == [255, 255, 255]
    assert colours[2].tolist() == [[255] * 3] * 3


@pytest.mark.parametrize("count", [31, 100])
def test_confusion_map_names_every_class_on_both_axes(count: int) -> None:
    classes = [f"kind {number}" for number in range(count)]
    drawing = confusion_map(np.eye(count, dtype=np.int64) * 3, classes)
    shown = words(drawing)
    assert all(shown.count(name) == 2 for name in classes)
    assert drawing.text == (
        f"Confusion matrix of {count} classes: {3 * count} of {3 * count} pictures on the diagonal."
    )


def test_confusion_map_takes_any_name() -> None:
    names = ["日本", "$x^2$ \\frac", "<script>", "a\x00b\nc", "\udcff", "x" * 300, "🐈", ""]
    shown = words(confusion_map(np.eye(8, dtype=np.int64), names))
    assert {"日本", "$x^2$ \\frac", "<script>", "a\ufffdb c", "\ufffd", "x" * 23 + "…"} <= set(shown)


def test_long_names_are_cut() -> None:
    assert plain("abcdef", limit=4) == "abc…"
    assert plain("abcd", limit=4) == "abcd"
