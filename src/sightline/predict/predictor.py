"""A bundle that answers."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sightline import metrics
from sightline.bundle import Bundle, open_bundle
from sightline.data.catalog import Problem, listed
from sightline.data.decode import BadImage, Pixels, Source, source_name
from sightline.errors import BundleError, ConfigError, DataError
from sightline.models.base import Classifier
from sightline.predict.answers import Answer, MultilabelPrediction, Prediction
from sightline.predict.precision import full_float32
from sightline.runtime import choose_device

AnySource = TypeVar("AnySource", bound=Source)

_PIL_LOCK = threading.Lock()


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
    def predict(self, source: Source, *, top_k: int = 5, batch_size: int = 64) -> Answer: ...
    @overload
    def predict(
        self, source: list[AnySource] | tuple[AnySource, ...], *, top_k: int = 5, batch_size: int = 64
    ) -> list[Answer]: ...
    def predict(
        self, source: Source | list[AnySource] | tuple[AnySource, ...], *, top_k: int = 5, batch_size: int = 64
    ) -> Answer | list[Answer]:
        """Says what is in a picture, or in each of a list.

        Args:
            source: a path, the bytes of a file, a PIL image, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4);
                or a list or tuple of them.
            top_k: how many classes to name; all of them where there are fewer. What of several labels is said does
                not depend on it.
            batch_size: pictures at a time; changes no answer.

        Returns:
            A prediction, or a list of them in the order of the sources: each a `Prediction`, or a
            `MultilabelPrediction` of a bundle that says any number of labels.

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
                f"{len(problems)} of {len(source)} pictures cannot be read:\n{listed(problems)}\n"
                "Leave them out or repair them; predict_many() answers the others all the same."
            )
        return predictions

    def predict_many(
        self, sources: Sequence[Source], *, top_k: int = 5, batch_size: int = 64
    ) -> tuple[list[Answer], list[Problem]]:
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
        predictions: list[Answer] = []
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
            float32 (N, K), in the order of the classes; rows sum to 1, but for a multi-label bundle's.

        Raises:
            BundleError: the network's answers are not numbers.
        """
        batch = torch.from_numpy(np.ascontiguousarray(pictures)) if isinstance(pictures, np.ndarray) else pictures
        logits = self.logits(self.bundle.preprocess.tensor(batch.to(self.device)))
        return self.bundle.probabilities(logits)

    def logits(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """The network's outputs, before temperature and softmax or sigmoid.

        Args:
            images: float32 (N, C, H, W) on the predictor's device, made by `bundle.preprocess.tensor`.

        Returns:
            float32 (N, K).

        Raises:
            BundleError: they are not numbers.
        """
        with torch.inference_mode(), full_float32(self.device):
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
            with _PIL_LOCK if isinstance(source, Image.Image) else nullcontext():
                return self.bundle.preprocess.picture(source)
        except BadImage as bad:
            return bad

    def _answer(self, source: str, probabilities: npt.NDArray[np.float32], top_k: int) -> Answer:
        best_first = metrics.ranking(probabilities[None], len(self.classes))[0]
        order = best_first[:top_k]
        top = tuple((self.classes[index], float(probabilities[index])) for index in order)
        if self.bundle.is_multilabel:
            is_said = self.bundle.labels_of(probabilities[None])[0]
            said = tuple((self.classes[index], float(probabilities[index])) for index in best_first if is_said[index])
            return MultilabelPrediction(source=source, labels=said, top=top, probabilities=probabilities)
        return Prediction(
            source=source,
            label=self.classes[order[0]],
            index=int(order[0]),
            probability=float(probabilities[order[0]]),
            top=top,
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
    chosen = choose_device(device)
    return Predictor(bundle, net.to(chosen, memory_format=torch.channels_last), chosen)  # type: ignore[call-overload]


def _name(source: Source, number: int, total: int) -> str:
    name = source_name(source)
    return name if isinstance(source, str | Path) or total == 1 else f"picture {number} of {total} ({name})"
