"""What every contender of `peers.py` is given, and what it gives back. NumPy alone: not all of them have torch."""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

TASK, PICTURES, WEIGHTS = "task.json", "pictures.npz", "weights.npz"
FURTHEST = {"float32": 1e-3, "bfloat16": 0.1}  # part of the largest logit by which the same network may differ


@dataclass(frozen=True)
class Task:
    """The same for all: pictures, network, first weights, and the numbers of the training.

    Every step has `batch_size` pictures, flipped with a probability of a half and cropped out of a border of
    `crop_padding` px; AdamW with its usual betas; the learning rate falls along half a cosine, step by step, to 0.

    Args:
        network: its name in the zoo.
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        lr: the first learning rate.
        weight_decay: of AdamW.
        crop_padding: px.
        seed: of order and augmentation.
        mean: of each channel, in [0, 1].
        std: of each channel.
        parameters: how many the network has.
    """

    network: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    crop_padding: int
    seed: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parameters: int

    def write(self, folder: Path) -> None:
        """Beside the pictures and the weights."""
        (folder / TASK).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> "Task":
        return cls(**json.loads((folder / TASK).read_text()))


def pictures(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, H, W, C) and int64 (N,) of "train" or "test"."""
    with np.load(folder / PICTURES) as arrays:
        return arrays[f"{split}_images"], arrays[f"{split}_labels"]


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The first weights, by torch's names and in its order; in "probe" and "logits", an answer to check them with."""
    with np.load(folder / WEIGHTS) as arrays:
        return {name: arrays[name] for name in arrays.files}


def require_same_network(
    logits: np.ndarray, expected: np.ndarray, *, parameters: int, task: Task, precision: str
) -> None:
    """Ends the process where a network is not the task's, or has not its weights.

    Args:
        logits: its answer to the probe, before training and without dropout.
        expected: that of the task's network.
        parameters: how many it trains.
        task: the task.
        precision: in which it answered.
    """
    if parameters != task.parameters:
        raise SystemExit(f"this network has {parameters:,} parameters, and {task.network} has {task.parameters:,}")
    difference = float(np.abs(logits - expected).max() / np.abs(expected).max())
    if not difference <= FURTHEST[precision]:
        raise SystemExit(f"this network's logits are off by {difference:.1e} of the largest: it is another network")


class Curve:
    """Notes training time, test time and test accuracy, epoch by epoch; all time is booked on one of the two.

    It begins where the training begins: workers' start and compilation count.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._last = time.perf_counter()

    def trained(self, num_pictures: int) -> None:
        """An epoch's steps are done."""
        self.epochs.append({"pictures": num_pictures, "train_s": self._lap()})

    def tested(self, accuracy: float) -> None:
        """The epoch's test is done."""
        self.epochs[-1] |= {"test_s": self._lap(), "test_accuracy": float(accuracy)}

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._last = now - self._last, now
        return lap

    def print(self, **more: Any) -> None:
        """The result, as the last line on standard output."""
        print(json.dumps({"epochs": self.epochs, **more}))


def arguments(description: str | None) -> argparse.Namespace:
    """`folder` of the task and `precision`, from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that peers.py made")
    parser.add_argument("--precision", choices=list(FURTHEST), help="default: the contender's own")
    return parser.parse_args()
