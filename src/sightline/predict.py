"""From pictures to answers: `sightline.load(bundle).predict(picture)`."""

import csv
import difflib
import glob
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sightline import metrics
from sightline.bundle import Bundle, open_bundle
from sightline.data.catalog import Problem
from sightline.data.decode import SUFFIXES, BadImage, Pixels, Source, source_name
from sightline.errors import BundleError, ConfigError, DataError
from sightline.models.base import Classifier
from sightline.runtime import choose_runtime

AnySource = TypeVar("AnySource", bound=Source)

_SHOWN = 20  # bad pictures, or missing paths, that a message lists


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Args:
        source: the path as given, or what kind of thing it was.
        label: the most probable class.
        index: its index.
        probability: its probability, in [0, 1], calibrated by the bundle's temperature.
        top: the most probable classes with their probabilities, best first; of equal ones the lower index first.
        probabilities: float32 (K,), in the order of the classes.
    """

    source: str
    label: str
    index: int
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON knows it; of the probabilities those in `top`."""
        return {
            "source": self.source,
            "label": self.label,
            "index": self.index,
            "probability": self.probability,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
        }


class Predictor:
    """A bundle, loaded and ready to answer; `sightline.load` makes one.

    Answers are computed in full float32 on every device, one picture at a time or many, so that the same picture has
    the same probabilities by every door. It may be used from several threads.

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
    def predict(
        self, source: list[AnySource] | tuple[AnySource, ...], *, top_k: int = 5, batch_size: int = 64
    ) -> list[Prediction]: ...
    def predict(
        self, source: Source | list[AnySource] | tuple[AnySource, ...], *, top_k: int = 5, batch_size: int = 64
    ) -> Prediction | list[Prediction]:
        """Says what is in a picture, or in each of a list.

        Args:
            source: a path, the bytes of a file, a PIL image, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4);
                or a list or tuple of them.
            top_k: how many classes to name; all of them where there are fewer.
            batch_size: pictures at a time; changes no answer.

        Returns:
            A prediction, or a list of them in the order of the sources.

        Raises:
            DataError: a picture cannot be read; of a list, all bad ones are named and nothing is answered.
            ConfigError: `top_k` or `batch_size` is below 1.
            BundleError: the network's answers are not numbers.
        """
        if not isinstance(source, list | tuple):
            predictions, problems = self.predict_many([source], top_k=top_k, batch_size=batch_size)
            if problems:
                raise DataError(f"{problems[0]}.")
            return predictions[0]
        predictions, problems = self.predict_many(source, top_k=top_k, batch_size=batch_size)
        if problems:
            raise DataError(
                f"{len(problems)} of {len(source)} pictures cannot be read:\n{_listed(problems)}\n"
                "Leave them out or repair them; predict_many() answers the others all the same."
            )
        return predictions

    def predict_many(
        self, sources: Sequence[Source], *, top_k: int = 5, batch_size: int = 64
    ) -> tuple[list[Prediction], list[Problem]]:
        """As `predict` for a list, but a bad picture is listed with its reason and does not stop the others.

        Args:
            sources: paths, bytes, PIL images, arrays.
            top_k: how many classes to name.
            batch_size: pictures at a time.

        Returns:
            The predictions of the good ones in order, and the bad ones.

        Raises:
            ConfigError: `top_k` or `batch_size` is below 1.
            BundleError: the network's answers are not numbers.
        """
        if top_k < 1 or batch_size < 1:
            raise ConfigError(f"top_k is {top_k} and batch_size is {batch_size}; both must be 1 or more.")
        names = [_name(source, number, len(sources)) for number, source in enumerate(sources, 1)]
        predictions: list[Prediction] = []
        problems: list[Problem] = []
        done = 0
        for chunk in self._decoded(sources, batch_size):
            good: list[tuple[str, Pixels]] = []
            for name, outcome in zip(names[done : done + len(chunk)], chunk, strict=True):
                if isinstance(outcome, BadImage):
                    problems.append(Problem(name, outcome.reason))
                else:
                    good.append((name, outcome))
            done += len(chunk)
            if good:
                rows = self.probabilities(np.stack([picture for _, picture in good]))
                predictions += [self._answer(name, row, top_k) for (name, _), row in zip(good, rows, strict=True)]
        return predictions, problems

    def probabilities(self, pictures: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        """The probabilities of pictures that already have the network's size.

        Args:
            pictures: uint8 (N, H, W, C), made by `bundle.preprocess.picture`.

        Returns:
            float32 (N, K), rows summing to 1, in the order of the classes.

        Raises:
            BundleError: the network's answers are not numbers.
        """
        batch = torch.from_numpy(np.ascontiguousarray(pictures)) if isinstance(pictures, np.ndarray) else pictures
        logits = self.logits(self.bundle.preprocess.tensor(batch.to(self.device)))
        return metrics.probabilities(logits, self.bundle.temperature)

    def logits(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """The network's outputs, before temperature and softmax.

        Args:
            images: float32 (N, C, H, W) on the predictor's device, made by `bundle.preprocess.tensor`.

        Returns:
            float32 (N, K).

        Raises:
            BundleError: they are not numbers.
        """
        with torch.inference_mode(), _full_float32(self.device):
            logits: npt.NDArray[np.float32] = self.net(images).cpu().numpy()
        if not np.isfinite(logits).all():
            raise BundleError(
                f"the network of {self.path} answers {logits[~np.isfinite(logits)][0]}: its weights are spoiled. "
                "Train it again, with a lower --lr if the loss was not finite."
            )
        return logits

    def _decoded(self, sources: Sequence[Source], batch_size: int) -> Iterator[list[Pixels | BadImage]]:
        """Pictures of the network's size, a batch at a time; while one is answered, the next is decoded."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            ahead: list[Future[Pixels | BadImage]] = []
            for start in range(0, len(sources), batch_size):
                begun = [pool.submit(self._picture, source) for source in sources[start : start + batch_size]]
                if ahead:
                    yield [future.result() for future in ahead]
                ahead = begun
            if ahead:
                yield [future.result() for future in ahead]

    def _picture(self, source: Source) -> Pixels | BadImage:
        try:
            # A PIL image reads its file at the first touch, and the same one may stand in a list twice.
            with _PIL_LOCK if isinstance(source, Image.Image) else ExitStack():
                return self.bundle.preprocess.picture(source)
        except BadImage as bad:
            return bad

    def _answer(self, source: str, probabilities: npt.NDArray[np.float32], top_k: int) -> Prediction:
        order = metrics.ranking(probabilities[None], top_k)[0]
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
    chosen = choose_runtime(device=device, amp=False, threads=torch.get_num_threads()).device
    return Predictor(bundle, net.to(chosen, memory_format=torch.channels_last), chosen)  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------- what a command line names


def gather_sources(arguments: Sequence[str], stdin: Iterable[str]) -> list[str]:
    """The pictures that a command line names.

    Args:
        arguments: files, as they are; folders: all pictures below them by their suffix, sorted, hidden ones left out;
            globs, for shells that do not expand them; "-" for any of these on `stdin`, a line each.
        stdin: read only for "-".

    Raises:
        DataError: a path does not exist, or a folder or glob holds no picture; all such are listed.
    """
    found: list[str] = []
    wrong: list[str] = []
    for argument in arguments:
        for path in (line.rstrip("\r\n") for line in stdin) if argument == "-" else [argument]:
            if path:
                try:
                    found += _pictures_at(path)
                except DataError as error:
                    wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise DataError("\n".join([*wrong[:_SHOWN], *more]))
    return found


def _pictures_at(argument: str) -> list[str]:
    if Path(argument).is_dir():
        found = _pictures_below(argument)
        if not found:
            raise DataError(f"{argument} holds no picture ({', '.join(SUFFIXES)}). Give another folder.")
        return found
    if Path(argument).exists():  # before globs: a name may hold a bracket
        return [argument]
    if glob.has_magic(argument):
        matched = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - the names are to be as given
        found = [path for name in matched for path in (_pictures_below(name) if Path(name).is_dir() else [name])]
        if not found:
            raise DataError(f"{argument} matches no picture. Check the pattern.")
        return found
    raise DataError(_missing(Path(argument)))


def _pictures_below(folder: str) -> list[str]:
    """All pictures in a folder and below it, sorted; a link back to a folder is not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed ({type(error).__name__}: {error.strerror}).") from error

    found: list[str] = []
    seen = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = {name: os.path.realpath(os.path.join(here, name)) for name in folders if not name.startswith(".")}  # noqa: PTH118
        folders[:] = [name for name, path in real.items() if path not in seen]
        seen.update(real.values())
        found += [
            os.path.join(here, name)  # noqa: PTH118 - a Path would lose a leading ./
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _missing(path: Path) -> str:
    """What is said of a path that does not exist: how far it does, and what is there instead."""
    parent = next((folder for folder in path.parents if folder.is_dir()), None)
    if parent is None:
        return f"{path} does not exist. Check the path."
    wanted = path.relative_to(parent).parts[0]
    close = difflib.get_close_matches(wanted, sorted(each.name for each in parent.iterdir()), n=3)
    nearest = f" Nearest there: {', '.join(close)}." if close else ""
    return f"{path} does not exist: there is no {wanted} in {parent}.{nearest} Check the path."


# ------------------------------------------------------------------------------------------------------------- writing


def to_json(predictions: Sequence[Prediction], problems: Sequence[Problem] = ()) -> str:
    """Predictions and refused pictures as JSON: {"predictions": [...], "refused": [...]}.

    Args:
        predictions: of `predict_many`.
        problems: likewise.
    """
    told = {
        "predictions": [each.to_dict() for each in predictions],
        "refused": [{"path": problem.path, "reason": problem.reason} for problem in problems],
    }
    return _as_utf8(json.dumps(told, indent=2, ensure_ascii=False))


def to_csv(predictions: Sequence[Prediction], handle: IO[str]) -> None:
    """Predictions as CSV: source, label, probability, then label and probability of each further place.

    Args:
        predictions: of `predict_many`.
        handle: an open text file.
    """
    places = max((len(each.top) for each in predictions), default=1)
    header = ["source", "label", "probability"]
    header += [name for place in range(2, places + 1) for name in (f"label_{place}", f"probability_{place}")]
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(header)
    for each in predictions:
        answers = [text for label, probability in each.top for text in (label, f"{probability:.7f}")]
        writer.writerow([_as_utf8(text) for text in (each.source, *answers)])


def _as_utf8(text: str) -> str:
    """File names may hold bytes that are no UTF-8; they are written as escapes, which in JSON is the same name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _name(source: Source, number: int, total: int) -> str:
    name = source_name(source)
    return name if isinstance(source, str | Path) or total == 1 else f"picture {number} of {total} ({name})"


def _listed(problems: Sequence[Problem]) -> str:
    more = [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join([*(f"  {problem}" for problem in problems[:_SHOWN]), *more])


# ----------------------------------------------------------------------------------------------------------- precision

_PIL_LOCK = threading.Lock()
_PRECISION_LOCK = threading.Lock()


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Multiplies in float32 as IEEE 754 means it, whatever this process has chosen for its training.

    Without it, convolutions on a GPU of 2020 or later would be computed in TF32, with 10 bits of mantissa, and a
    training script's `torch.set_float32_matmul_precision("medium")` or autocast would reach into the answers. The
    settings are the process's own, hence the lock and the way back.
    """
    places = (
        torch.backends.cudnn.conv,
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.conv,
        torch.backends.mkldnn.matmul,
    )
    with _PRECISION_LOCK, torch.autocast(device.type, enabled=False):
        before = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, precision in zip(places, before, strict=True):
                place.fp32_precision = precision
