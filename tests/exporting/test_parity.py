"""The comparison itself, on tables small enough to read."""

import json
import math

import numpy as np
import onnxruntime
import pytest

from sightline.exporting.parity import BatchParity, Parity, closest_call, compare, prove
from sightline.exporting.pictures import ProofPictures

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]], np.float32)
NAMES = ("a", "b", "c")


def _parity(*batches: BatchParity, **fields: object) -> Parity:
    pictures = ProofPictures(np.zeros((3, 4, 4, 3), np.uint8), "3 pictures")
    return Parity(batches, closest_call(EXPECTED), pictures, "aa", "bb", **fields)


def test_a_flip_is_a_different_name_of_the_largest() -> None:
    answers = EXPECTED.copy()
    answers[1] = [0.1, 0.44, 0.46]
    found = compare(answers, EXPECTED, NAMES, NAMES, size=3)
    assert (found.size, found.pictures, found.flips) == (3, 3, 1)
    assert found.max_difference == pytest.approx(0.06)


def test_a_number_that_is_none_never_passes() -> None:
    answers = EXPECTED.copy()
    answers[2, 0] = math.nan
    found = compare(answers, EXPECTED, NAMES, NAMES)
    assert found.max_difference == math.inf
    parity = _parity(found)
    assert not parity.ok
    assert json.loads(parity.to_json())["max_difference"] is None


def test_tables_of_different_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"the answers have shape \(1, 3\), the bundle's \(3, 3\)"):
        compare(EXPECTED[:1], EXPECTED, NAMES, NAMES)


def test_the_closest_call_is_the_smallest_lead() -> None:
    assert closest_call(EXPECTED) == pytest.approx(0.1)
    assert closest_call(np.ones((4, 1), np.float32)) == math.inf


@pytest.mark.parametrize(
    ("flips", "difference", "ok"), [(0, 1e-4, True), (0, 1.01e-4, False), (1, 0.0, False), (0, math.inf, False)]
)
def test_any_flip_or_a_difference_above_the_tolerance_fails_at_any_batch_size(flips, difference, ok) -> None:
    fine = BatchParity(1, 3, 0, 1e-7)
    assert _parity(fine, BatchParity(2, 3, flips, difference), fine).ok is ok


def test_no_comparison_is_no_proof() -> None:
    assert not _parity().ok
    assert not _parity(BatchParity(1, 3, 0, 0.0), failure="Fail: broken").ok


def test_every_picture_goes_in_large_batches_and_the_closest_calls_in_small_ones(exported, monkeypatch) -> None:
    bundle, path = exported()
    pixels = np.random.default_rng(2).integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    seen: list[np.ndarray] = []
    run = onnxruntime.InferenceSession.run

    def watch(self: object, names: list[str], inputs: dict[str, np.ndarray]) -> object:
        seen.append(inputs["images"])
        return run(self, names, inputs)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", watch)
    assert prove(bundle, path, ProofPictures(pixels, "noise")).ok
    assert [len(batch) for batch in seen] == [1] * 8 + [2] * 8 + [7] * 8 + [64, 64, 22]
    np.testing.assert_array_equal(np.concatenate(seen[24:]), pixels)
    monkeypatch.undo()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"images": pixels})
    first, second = np.sort(answers, axis=1)[:, [-1, -2]].T
    np.testing.assert_array_equal(seen[0][0], pixels[(first - second).argmin()])
