"""What the weights are worth is said before the training and beside its end."""

from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sightline.recipes.frozen import say_baselines

ROW: dict[str, Any] = {
    "method": "linear probe", "setting": "L2 penalty 0.01", "num_train": 300, "num_val": 60,
    "accuracy": 0.8, "low": 0.68, "high": 0.88,
}  # fmt: skip


def said(accuracy: float | None) -> str:
    text = StringIO()
    run: Any = SimpleNamespace(baselines=[ROW, {**ROW, "method": "nearest neighbours", "accuracy": 0.7}])
    state: Any = None if accuracy is None else SimpleNamespace(final_row=SimpleNamespace(val_score=accuracy))
    say_baselines(Console(file=text, width=200), run, state)
    return text.getvalue()


def test_before_the_training_the_baselines_stand_alone() -> None:
    assert said(None) == (
        "the weights as they are, on 60 validation pictures:\n"
        "  linear probe (L2 penalty 0.01) on 300 pictures' features: 80.0% [68.0%, 88.0%]\n"
        "  nearest neighbours (L2 penalty 0.01) on 300 pictures' features: 70.0% [68.0%, 88.0%]\n"
    )


@pytest.mark.parametrize(("accuracy", "has_paid"), [(0.85, True), (0.8, True), (0.79, False)])
def test_after_the_training_they_stand_beside_it_and_one_that_did_not_pay_is_told(
    accuracy: float, has_paid: bool
) -> None:
    assert f"the network has {accuracy:.1%}; its weights before the training:" in said(accuracy)
    assert ("the training has not paid" not in said(accuracy)) == has_paid


def test_a_run_without_weights_says_nothing() -> None:
    text = StringIO()
    say_baselines(Console(file=text), SimpleNamespace(baselines=None), None)  # type: ignore[arg-type]
    assert text.getvalue() == ""
