"""The proof that an ONNX file answers as its bundle does: the same class for every picture, nearly the same numbers."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import sightline
from sightline.bundle import file_sha256
from sightline.data.decode import Pixels
from sightline.errors import ExportError
from sightline.exporting.picture import Pictures
from sightline.predict import Predictor

Probabilities = npt.NDArray[np.float32]
Answer = Callable[[Pixels], Probabilities]
"""uint8 (N, H, W, C) -> float32 (N, K)."""

TOLERANCE = 1e-4  # of a probability; not from a paper: float32 sums in another order differ by 1e-6 or so
LARGE_BATCH = 64
SMALL_BATCHES = (1, 2, 7)
_NUM_CLOSEST = 70  # pictures for the small batches: whole batches of 1, 2 and 7
_SHOWN = 20


@dataclass(frozen=True)
class BatchResult:
    """What one batch size gave.

    Args:
        batch_size: pictures at a time; the last batch may be smaller.
        num_pictures: answered.
        flips: pictures whose most probable class differs.
        max_difference: the largest difference of a probability; infinite where one is not a number.
    """

    batch_size: int
    num_pictures: int
    flips: int
    max_difference: float


@dataclass(frozen=True)
class Flip:
    """A picture whose class differs.

    Args:
        picture: its name.
        bundle: the bundle's class.
        onnx: the file's class.
        margin: by which the bundle's best class leads its second; near 0, rounding decides.
    """

    picture: str
    bundle: str
    onnx: str
    margin: float


@dataclass(frozen=True)
class ClosestCall:
    """The picture that came nearest to a tie of two classes.

    Args:
        picture: its name.
        classes: the bundle's best and second.
        margin: the difference of their probabilities.
    """

    picture: str
    classes: tuple[str, ...]
    margin: float


@dataclass(frozen=True)
class Parity:
    """The proof, or what is wrong.

    Args:
        pictures: what was answered.
        results: for each batch size, the large one first.
        flipped: every picture whose class differs at some batch size.
        closest_call: the nearest to a tie.
    """

    pictures: Pictures
    results: tuple[BatchResult, ...]
    flipped: tuple[Flip, ...]
    closest_call: ClosestCall

    @property
    def max_difference(self) -> float:
        """The largest difference of a probability at any batch size."""
        return max(result.max_difference for result in self.results)

    @property
    def is_ok(self) -> bool:
        """Whether no class differs and no probability differs by more than the tolerance."""
        return not self.flipped and self.max_difference <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """As `parity.json` holds it; a difference that is not a number is null."""
        return {
            "ok": self.is_ok,
            "num_pictures": len(self.pictures),
            "flips": len(self.flipped),
            "max_difference": _finite(self.max_difference),
            "tolerance": TOLERANCE,
            "batches": [
                {**asdict(result), "max_difference": _finite(result.max_difference)} for result in self.results
            ],
            "closest_call": asdict(self.closest_call),
            "flipped": [asdict(flip) for flip in self.flipped[:_SHOWN]],
            "pictures": {
                "source": self.pictures.source,
                "made": self.pictures.is_made,
                "reason": self.pictures.reason,
                "skipped": [asdict(problem) for problem in self.pictures.skipped],
            },
        }

    def __str__(self) -> str:
        text = (
            f"{len(self.flipped)} of {len(self.pictures)} pictures change class, the largest difference of a "
            f"probability is {self.max_difference:.2g} (at most {TOLERANCE:.0e} is allowed)"
        )
        if self.flipped:
            flip = min(self.flipped, key=lambda each: each.margin)
            text += f"; {flip.picture} goes from {flip.bundle} to {flip.onnx}, which the bundle held apart by {flip.margin:.2g}"
        return text


def prove(path: Path, predictor: Predictor, pictures: Pictures) -> Parity:
    """Lets an ONNX file answer pictures through ONNX Runtime, on the CPU, and compares with the bundle.

    Args:
        path: the file.
        predictor: the bundle that it was made from.
        pictures: to answer.

    Raises:
        ExportError: ONNX Runtime refuses the file, or one of the batches.
    """
    return compare(predictor.probabilities, onnx_answer(path), pictures, predictor.classes)


def compare(expected: Answer, received: Answer, pictures: Pictures, classes: tuple[str, ...]) -> Parity:
    """Compares two ways to answer.

    All pictures go in large batches; the closest calls among them, in which a difference would show first, once more in
    batches of 1, 2 and 7.

    Args:
        expected: the answers to hold to; asked for each picture once, in large batches.
        received: the answers to prove.
        pictures: to answer.
        classes: names in index order.
    """
    answers = _in_batches(expected, pictures.pixels, LARGE_BATCH)
    margins = _margins(answers)
    closest = np.argsort(margins, kind="stable")
    # fewer pictures than the largest of the small batches come again, so that it is whole
    again = np.resize(closest, max(min(len(closest), _NUM_CLOSEST), max(SMALL_BATCHES)))
    results, flips = [], {}
    for batch_size, rows in ((LARGE_BATCH, np.arange(len(closest))), *((size, again) for size in SMALL_BATCHES)):
        got = _in_batches(received, pictures.pixels[rows], batch_size)
        changed = got.argmax(axis=1) != answers[rows].argmax(axis=1)
        flips |= dict(zip(rows[changed].tolist(), got[changed].argmax(axis=1).tolist(), strict=True))
        results.append(
            BatchResult(batch_size, len(rows), int(changed.sum()), max_difference=_max_difference(got, answers[rows]))
        )
    first = int(closest[0])
    best = np.argsort(-answers[first], kind="stable")[:2]
    return Parity(
        pictures=pictures,
        results=tuple(results),
        flipped=tuple(
            Flip(pictures.names[row], classes[answers[row].argmax()], classes[label], float(margins[row]))
            for row, label in sorted(flips.items())
        ),
        closest_call=ClosestCall(
            pictures.names[first], tuple(classes[index] for index in best), margin=float(margins[first])
        ),
    )


def onnx_answer(path: Path) -> Answer:
    """The answers of an ONNX file through ONNX Runtime, on the CPU.

    Args:
        path: the file.

    Raises:
        ExportError: ONNX Runtime refuses the file; raised by the answer, where it refuses a batch.
    """
    import onnxruntime  # noqa: PLC0415 - an extra, and only an export needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no other base
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} refuses the exported file: {error}") from error

    def answer(pixels: Pixels) -> Probabilities:
        try:
            (probabilities,) = session.run(["probabilities"], {"images": pixels})
        except Exception as error:
            raise ExportError(f"ONNX Runtime refuses a batch of {len(pixels)} pictures: {error}") from error
        return np.asarray(probabilities)

    return answer


def versions() -> dict[str, str]:
    """Of everything that takes part in an export and its proof."""
    import onnx  # noqa: PLC0415 - an extra
    import onnxruntime  # noqa: PLC0415 - an extra
    import onnxscript  # noqa: PLC0415 - an extra

    libraries = {library.__name__: str(library.__version__) for library in (torch, onnx, onnxscript, onnxruntime)}
    return {"sightline": sightline.__version__, "python": platform.python_version(), **libraries}


def describe_file(path: Path, *, name: str) -> dict[str, Any]:
    """A file's name, size and hash, for the record.

    Args:
        path: where it is now.
        name: what it is or would have been called.
    """
    return {"name": name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _in_batches(answer: Answer, pixels: Pixels, batch_size: int) -> Probabilities:
    def batches() -> Iterator[Probabilities]:
        for start in range(0, len(pixels), batch_size):
            yield answer(pixels[start : start + batch_size])

    return np.concatenate(list(batches()))


def _margins(probabilities: Probabilities) -> Probabilities:
    """By how much the best class of each row leads the second; the whole of it where there is no second."""
    ordered = np.sort(probabilities, axis=1)
    second = ordered[:, -2] if ordered.shape[1] > 1 else np.zeros_like(ordered[:, -1])
    margins: Probabilities = ordered[:, -1] - second
    return margins


def _max_difference(first: Probabilities, second: Probabilities) -> float:
    return float(np.nan_to_num(np.abs(first - second), nan=np.inf).max())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
