"""From pictures to answers: `sightline.load(bundle).predict(picture)`."""

import csv
import difflib
import glob
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt
import torch

from sightline.bundle import Bundle, open_bundle
from sightline.data.catalog import Problem
from sightline.data.decode import SUFFIXES, BadImage, Pixels, Source, source_name
from sightline.errors import ConfigError, DataError
from sightline.models.base import Classifier
from sightline.runtime import choose_runtime


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one picture.

    Args:
        source: the path as given, or what kind of thing it was.
        label: the most probable class.
        index: its index.
        probability: its probability, in [0, 1].
        top: the most probable classes with their probabilities, best first.
        probabilities: float32 (K,), in the order of the classes.
    """

    source: str
    label: str
    index: int
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32]


class Predictor:
    """A bundle, loaded and ready to answer.

    Answers are computed in float32 on every device, one picture at a time or many, so that the same picture has the
    same probabilities by every door.

    Args:
        bundle: what was opened.
        net: its network, in evaluation mode.
        device: where the network lies.

    Attributes:
        path: the bundle's folder.
        classes: class names in index order.
    """

    def __init__(self, bundle: Bundle, net: Classifier, device: torch.device) -> None:
        self.bundle = bundle
        self.net = net
        self.device = device
        self.path = bundle.path
        self.classes = bundle.classes

    @overload
    def predict(self, source: Source, *, top_k: int = 5, batch_size: int = 64) -> Prediction: ...
    @overload
    def predict(self, source: list[Source], *, top_k: int = 5, batch_size: int = 64) -> list[Prediction]: ...
    def predict(
        self, source: Source | list[Source], *, top_k: int = 5, batch_size: int = 64
    ) -> Prediction | list[Prediction]:
        """Says what is in a picture, or in each of a list.

        Args:
            source: a path, the bytes of a file, a PIL image, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4);
                or a list of them.
            top_k: how many classes to name.
            batch_size: pictures at a time.

        Returns:
            A prediction, or a list of them in the order of the sources.

        Raises:
            DataError: a picture cannot be read; of a list, all bad ones are named.
        """
        sources = source if isinstance(source, list) else [source]
        predictions, problems = self.predict_many(sources, top_k=top_k, batch_size=batch_size)
        if problems:
            listed = "; ".join(str(problem) for problem in problems[:20])
            raise DataError(
                f"{len(problems)} of {len(sources)} pictures cannot be read: {listed}. Leave them out or repair them."
            )
        return predictions if isinstance(source, list) else predictions[0]

    def predict_many(
        self, sources: Sequence[Source], *, top_k: int = 5, batch_size: int = 64
    ) -> tuple[list[Prediction], list[Problem]]:
        """As `predict` for a list, but a bad picture is listed with its reason and does not stop the others.

        Returns:
            The predictions of the good ones in order, and the bad ones.
        """
        if top_k < 1 or batch_size < 1:
            raise ConfigError(f"top_k is {top_k} and batch_size is {batch_size}; both must be 1 or more.")
        predictions: list[Prediction] = []
        problems: list[Problem] = []
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start in range(0, len(sources), batch_size):
                chunk = sources[start : start + batch_size]
                good: list[tuple[str, Pixels]] = []
                for source, result in zip(chunk, pool.map(self._picture, chunk), strict=True):
                    if isinstance(result, BadImage):
                        problems.append(Problem(source_name(source), result.reason))
                    else:
                        good.append((source_name(source), result))
                if good:
                    rows = self.probabilities(np.stack([picture for _, picture in good]))
                    predictions += [self._answer(name, row, top_k) for (name, _), row in zip(good, rows, strict=True)]
        return predictions, problems

    @torch.inference_mode()
    def probabilities(self, pictures: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        """The probabilities of pictures that already have the network's size.

        Args:
            pictures: uint8 (N, H, W, C), made by `bundle.preprocess.picture`.

        Returns:
            float32 (N, K), rows summing to 1, in the order of the classes.
        """
        batch = torch.from_numpy(pictures) if isinstance(pictures, np.ndarray) else pictures
        logits = self.net(self.bundle.preprocess.tensor(batch.to(self.device)))
        answer: npt.NDArray[np.float32] = torch.softmax(logits / self.bundle.temperature, dim=1).cpu().numpy()
        return answer

    def _picture(self, source: Source) -> Pixels | BadImage:
        try:
            return self.bundle.preprocess.picture(source)
        except BadImage as bad:
            return bad

    def _answer(self, source: str, probabilities: npt.NDArray[np.float32], top_k: int) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return Prediction(
            source=source,
            label=self.classes[order[0]],
            index=int(order[0]),
            probability=float(probabilities[order[0]]),
            top=tuple((self.classes[index], float(probabilities[index])) for index in order),
            probabilities=probabilities,
        )


def load(path: str | Path, *, device: str | None = None) -> Predictor:
    """Loads a bundle.

    Args:
        path: the folder that `train` made.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        ConfigError: there is no such device.
    """
    bundle = open_bundle(path)
    net = bundle.build_model()
    chosen = choose_runtime(device=device, amp=False).device
    return Predictor(bundle, net.to(chosen, memory_format=torch.channels_last), chosen)  # type: ignore[call-overload]


def gather_sources(arguments: Sequence[str], stdin: Iterable[str]) -> list[Source]:
    """The pictures that a command line names.

    Args:
        arguments: files, folders (all pictures below, sorted), globs, or "-" for paths on `stdin`, a line each.
        stdin: read only for "-".

    Raises:
        DataError: a path does not exist, or a folder or glob holds no picture.
    """
    found: list[Source] = []
    for argument in arguments:
        lines = [line.rstrip("\n") for line in stdin] if argument == "-" else [argument]
        for line in lines:
            if line:
                found += _pictures_at(line)
    return found


def to_json(predictions: Sequence[Prediction], problems: Sequence[Problem] = ()) -> str:
    """Predictions and refused pictures as JSON: {"predictions": [...], "refused": [...]}."""
    rows: list[dict[str, Any]] = [
        {
            "source": each.source,
            "label": each.label,
            "index": each.index,
            "probability": each.probability,
            "top": [{"label": label, "probability": probability} for label, probability in each.top],
        }
        for each in predictions
    ]
    return json.dumps(
        {"predictions": rows, "refused": [vars(problem) for problem in problems]}, indent=2, ensure_ascii=False
    )


def to_csv(predictions: Sequence[Prediction], handle: IO[str]) -> None:
    """Predictions as CSV: source, label, probability, then label and probability of each further place."""
    places = max((len(each.top) for each in predictions), default=1)
    header = ["source", "label", "probability"]
    header += [name for place in range(2, places + 1) for name in (f"label_{place}", f"probability_{place}")]
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([each.source, *(value for pair in each.top for value in pair)] for each in predictions)


def _pictures_at(argument: str) -> list[Source]:
    path = Path(argument)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not found:
            raise DataError(f"{argument} holds no picture ({', '.join(sorted(SUFFIXES))}). Give another folder.")
        return list(found)
    if path.exists():
        return [path]
    if glob.has_magic(argument):
        matched = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not matched:
            raise DataError(f"{argument} matches no file. Check the pattern.")
        return [Path(name) for name in matched if Path(name).is_file()]
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=3)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    raise DataError(f"{argument} does not exist.{hint} Check the path.")
