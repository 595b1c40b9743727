"""The proof of an export: the same pictures through the file and through the bundle, compared number by number."""

import importlib.metadata
import json
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

import sightline
from sightline.bundle import Bundle, file_sha256
from sightline.exporting.onnx import INPUT, OUTPUT
from sightline.exporting.pictures import ProofPictures

TOLERANCE = 1e-4  # of a probability; rounding alone leaves about 1e-6
SMALL_BATCHES = (1, 2, 7)  # a batch dimension that was taken for a constant fails on one of them
LARGE_BATCH = 64
_ROUNDS = 8  # batches of each small size

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BatchParity:
    """The comparison at one batch size.

    Args:
        size: pictures a batch.
        pictures: how many went through.
        flips: how many the two call by different class names; of several labels, where they say different sets.
        max_difference: the largest absolute difference of a probability; infinite where one is not a number.
    """

    size: int
    pictures: int
    flips: int
    max_difference: float


@dataclass(frozen=True)
class Parity:
    """How an exported file compares with its bundle.

    Args:
        batches: the comparison at each batch size; the last one saw every picture.
        closest_call: the smallest lead of a winning class over the second, in the bundle's own answers; of several
            labels the smallest distance of a probability from its threshold.
        pictures: what was compared on.
        onnx_sha256: of the file.
        weights_sha256: of the bundle's weights.
        failure: what the runtime said where it would not run the file; else empty.
        tolerance: the largest difference that passes.
        is_multilabel: whether the bundle says any number of labels.
    """

    batches: tuple[BatchParity, ...]
    closest_call: float
    pictures: ProofPictures
    onnx_sha256: str
    weights_sha256: str
    failure: str = ""
    tolerance: float = TOLERANCE
    is_multilabel: bool = False

    @property
    def flips(self) -> int:
        """The most pictures, at any batch size, that the two call differently."""
        return max((batch.flips for batch in self.batches), default=0)

    @property
    def max_difference(self) -> float:
        """The largest difference of a probability at any batch size."""
        return max((batch.max_difference for batch in self.batches), default=math.inf)

    @property
    def ok(self) -> bool:
        """Whether the file may stand for the bundle."""
        return not self.failure and self.flips == 0 and self.max_difference <= self.tolerance

    @property
    def finding(self) -> str:
        """The result in a sentence without a full stop."""
        if self.failure:
            return f"ONNX Runtime does not run it: {self.failure}"
        return (
            f"{self.flips} of {len(self.pictures.pixels)} pictures get "
            f"{'other labels' if self.is_multilabel else 'another class'} than from the bundle and the "
            f"largest difference of a probability is {self.max_difference:.2g} (at most {self.tolerance:.0e} passes; "
            f"the closest call {'lies within' if self.is_multilabel else 'leads by'} {self.closest_call:.2g}"
            f"{' of its threshold' if self.is_multilabel else ''})"
        )

    def to_json(self) -> str:
        """The content of `parity.json`; a difference that is not a finite number becomes null."""
        content: dict[str, Any] = {
            "ok": self.ok,
            "finding": self.finding,
            "num_pictures": len(self.pictures.pixels),
            "pictures": self.pictures.source,
            "pictures_are_made": self.pictures.are_made,
            "skipped": [str(problem) for problem in self.pictures.skipped],
            "flips": self.flips,
            "max_difference": _finite(self.max_difference),
            "tolerance": self.tolerance,
            "closest_call": _finite(self.closest_call),
            "batch_sizes": [batch.size for batch in self.batches],
            "batches": [asdict(batch) | {"max_difference": _finite(batch.max_difference)} for batch in self.batches],
            "onnx_sha256": self.onnx_sha256,
            "weights_sha256": self.weights_sha256,
            "versions": _versions(),
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def prove(bundle: Bundle, path: Path, pictures: ProofPictures, *, tolerance: float = TOLERANCE) -> Parity:
    """Compare an ONNX file with its bundle, through ONNX Runtime on the CPU, in batches of 1, 2, 7 and many.

    Classes are compared by name, as the file's metadata gives them: names in another order count as flips.

    Args:
        bundle: the source, whose own float32 answers are the truth.
        path: the file.
        pictures: to compare on.
        tolerance: the largest difference of a probability that passes.
    """
    expected = reference(bundle, pictures)
    thresholds = None if bundle.thresholds is None else bundle.thresholds.values
    batches: list[BatchParity] = []
    failure = ""
    try:
        session = _open_session(path)
        classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
        for size, rows in _plans(margins(expected, thresholds)):
            answers = np.concatenate([session.run([OUTPUT], {INPUT: pictures.pixels[part]})[0] for part in rows])
            truth = expected[np.concatenate(rows)]
            batches.append(compare(answers, truth, classes, bundle.classes, size, thresholds=thresholds))
    except Exception as error:  # ONNX Runtime's errors have no other base in common
        failure = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return Parity(
        batches=tuple(batches),
        closest_call=closest_call(expected, thresholds),
        pictures=pictures,
        onnx_sha256=file_sha256(path),
        weights_sha256=bundle.weights_sha256,
        failure=failure,
        tolerance=tolerance,
        is_multilabel=bundle.is_multilabel,
    )


def reference(bundle: Bundle, pictures: ProofPictures) -> Probabilities:
    """The bundle's own answers, float32: softmax(logits / temperature), or of several labels their sigmoid.

    Args:
        bundle: the source.
        pictures: N of them.

    Returns:
        float32 (N, num_classes).
    """
    net = bundle.build_model()
    to_probabilities = torch.sigmoid if bundle.is_multilabel else partial(torch.softmax, dim=1)
    with torch.inference_mode():
        parts = [
            to_probabilities(net(bundle.preprocess.tensor(part)) / bundle.temperature)
            for part in np.split(pictures.pixels, range(LARGE_BATCH, len(pictures.pixels), LARGE_BATCH))
        ]
    answers: Probabilities = torch.cat(parts).numpy()
    return answers


def compare(
    answers: Probabilities,
    expected: Probabilities,
    answer_classes: Iterable[str],
    classes: Iterable[str],
    size: int = 1,
    *,
    thresholds: Sequence[float] | None = None,
) -> BatchParity:
    """Count what differs between two tables of probabilities.

    Args:
        answers: (N, K), of the file.
        expected: (N, K), of the bundle.
        answer_classes: the K names of the file.
        classes: the K names of the bundle.
        size: of the batches that `answers` came in.
        thresholds: K, of several labels a picture; None where the most probable class is the answer.

    Raises:
        ValueError: the tables have different shapes.

    Example:
        >>> expected = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
        >>> compare(expected, expected, ["cat", "dog"], ["cat", "dog"]).flips
        0
        >>> compare(expected, expected, ["dog", "cat"], ["cat", "dog"]).flips
        2
    """
    if answers.shape != expected.shape:
        raise ValueError(f"the answers have shape {answers.shape}, the bundle's {expected.shape}")
    called, truth = list(answer_classes), list(classes)
    if thresholds is None:
        pairs = zip(answers.argmax(1).tolist(), expected.argmax(1).tolist(), strict=True)
        flips = sum(called[mine] != truth[theirs] for mine, theirs in pairs)
    else:
        is_said = np.array(thresholds)
        names = zip(answers >= is_said, expected >= is_said, strict=True)
        flips = sum(
            {called[place] for place in np.flatnonzero(mine)} != {truth[place] for place in np.flatnonzero(theirs)}
            for mine, theirs in names
        )
    difference = float(np.abs(answers - expected).max())
    return BatchParity(size, len(answers), flips, difference if math.isfinite(difference) else math.inf)


def closest_call(probabilities: Probabilities, thresholds: Sequence[float] | None = None) -> float:
    """The smallest lead of a first class over a second, or of several labels the smallest distance from a threshold.

    Args:
        probabilities: (N, K).
        thresholds: K, of several labels a picture.

    Returns:
        In [0, 1]; infinite where there is one class only.

    Example:
        >>> round(closest_call(np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]], np.float32)), 3)
        0.2
    """
    return float(margins(probabilities, thresholds).min())


def margins(probabilities: Probabilities, thresholds: Sequence[float] | None) -> Probabilities:
    """How far each picture's answer is from another one: (N,).

    Args:
        probabilities: (N, K).
        thresholds: K, of several labels a picture; None: the lead of the first class over the second.
    """
    if thresholds is None:
        return _leads(probabilities)
    distances: Probabilities = np.abs(probabilities - np.array(thresholds)).min(axis=1).astype(np.float32)
    return distances


def _plans(margin: Probabilities) -> list[tuple[int, list[npt.NDArray[np.int64]]]]:
    """For each batch size, the rows of each batch.

    The small batches get the closest calls, in which a difference would show first; where pictures are few, they come
    again.
    """
    count = len(margin)
    closest = np.argsort(margin, kind="stable")
    plans = [(size, np.split(np.resize(closest, _ROUNDS * size), _ROUNDS)) for size in SMALL_BATCHES]
    plans.append((min(LARGE_BATCH, count), np.split(np.arange(count), range(LARGE_BATCH, count, LARGE_BATCH))))
    return plans


def _leads(probabilities: Probabilities) -> Probabilities:
    """By how much the first class of each row leads the second; infinite where there is one class only."""
    if probabilities.shape[1] < 2:
        return np.full(len(probabilities), np.inf, np.float32)
    best = np.sort(probabilities, axis=1)
    leads: Probabilities = best[:, -1] - best[:, -2]
    return leads


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; its warnings speak of the machine, not of the model
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _versions() -> dict[str, str]:
    libraries = ("torch", "onnx", "onnxscript", "onnxruntime")
    return {
        "sightline": sightline.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in libraries},
    }
