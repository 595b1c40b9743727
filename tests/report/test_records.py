import json

import pytest

from sightline.data.catalog import Problem
from sightline.report.datarecord import read_data
from sightline.report.scores import read_calibration, read_mistakes


def lock(**content: object) -> bytes:
    return json.dumps({"name": "photos", "skipped": [], **content}).encode()


def file(path: str, split: str, label: str, sha256: str) -> dict[str, str]:
    return {"path": path, "split": split, "label": label, "sha256": sha256}


def test_files_are_counted_by_split_and_class() -> None:
    files = [file("1", "test", "a", "1"), file("2", "train", "a", "2"), file("3", "train", "b", "3")]
    record = read_data(lock(files=files), ("a", "b"), counts={})
    assert record.counts == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 0}}
    assert list(record.counts) == ["train", "test"]
    assert record.num_used == 3


def test_arrays_have_their_counts_from_the_bundle() -> None:
    record = read_data(lock(pixels="0"), ("a", "b"), counts={"test": {"a": 5}, "train": {"a": 7, "b": 1}})
    assert record.counts == {"train": {"a": 7, "b": 1}, "test": {"a": 5, "b": 0}}
    assert (record.leaked, record.contradictions) == ((), ())


def test_copies_within_a_split_are_no_leak() -> None:
    files = [file("1", "train", "a", "x"), file("2", "train", "a", "x"), file("3", "test", "a", "y")]
    assert read_data(lock(files=files), ("a",), counts={}).leaked == ()


def test_a_file_refused_twice_is_listed_once() -> None:
    skipped = [{"path": "1.png", "reason": "truncated"}]
    also = [Problem("1.png", "truncated"), Problem("2.png", "empty")]
    record = read_data(lock(files=[], skipped=skipped), ("a",), counts={}, also_refused=also)
    assert [problem.path for problem in record.refused] == ["1.png", "2.png"]


def test_calibration_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="no bin holds a picture"):
        read_calibration({"ece": 0.0, "temperature": 1.0, "bins": [{"count": 0}]})


def test_mistakes_with_names_over_lines_and_commas() -> None:
    text = 'source,true,predicted,probability\n"a,\n""b"".png",cat,dog,0.25\nc.png,cat,cat,0.9\nd.png,cat,dog,0.75\n'
    mistakes = read_mistakes(text, most=1)
    assert mistakes.count == 2
    assert [mistake.source for mistake in mistakes.worst] == ["d.png"]
    assert read_mistakes(text, most=5).worst[1].source == 'a,\n"b".png'
