"""Answers as JSON and CSV, read back by the standard library."""

import csv
import io
import json
import os

import numpy as np

from sightline.data.catalog import Problem
from sightline.predict import Prediction, to_csv, to_json


def answer(source: str, *top: tuple[str, float]) -> Prediction:
    return Prediction(source, top[0][0], 2, top[0][1], top, np.zeros(3, np.float32))


ODD = os.fsdecode(b"caf\xe9.png")  # a name of other bytes than UTF-8
ANSWERS = [
    answer("a.png", ("Käfer, groß", 0.75), ('"dog"', 0.25)),
    answer(ODD, ("dog", 0.1234567890123)),
]


def test_json_holds_answers_and_refusals() -> None:
    text = to_json(ANSWERS, [Problem("b.png", "the file is empty")])
    assert "Käfer" in text
    told = json.loads(text.encode("utf-8"))
    assert told["predictions"][0] == {
        "source": "a.png",
        "label": "Käfer, groß",
        "index": 2,
        "probability": 0.75,
        "top": [{"label": "Käfer, groß", "probability": 0.75}, {"label": '"dog"', "probability": 0.25}],
    }
    assert told["predictions"][1]["source"] == ODD  # the escape is the same name
    assert told["refused"] == [{"path": "b.png", "reason": "the file is empty"}]
    assert json.loads(to_json([])) == {"predictions": [], "refused": []}


def test_csv_has_two_columns_for_each_place() -> None:
    handle = io.StringIO()
    to_csv(ANSWERS, handle)
    rows = list(csv.reader(io.StringIO(handle.getvalue().encode("utf-8").decode("utf-8"))))
    assert rows == [
        ["source", "label", "probability", "label_2", "probability_2"],
        ["a.png", "Käfer, groß", "0.7500000", '"dog"', "0.2500000"],
        ["caf\\udce9.png", "dog", "0.1234568"],
    ]


def test_csv_of_no_answers_is_a_header() -> None:
    handle = io.StringIO()
    to_csv([], handle)
    assert handle.getvalue() == "source,label,probability\n"


def test_answers_are_equal_when_what_they_say_is() -> None:
    same = Prediction("a.png", "dog", 2, 0.5, (("dog", 0.5),), np.ones(3, np.float32))
    assert same == Prediction("a.png", "dog", 2, 0.5, (("dog", 0.5),), np.zeros(3, np.float32))
    assert "probabilities" not in repr(same)
