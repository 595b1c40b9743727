"""Where a run stands, and its checkpoints: whole, verified, two generations."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sightline.atomic import replacing, sweep
from sightline.errors import BundleError
from sightline.training.ema import Ema

GENERATIONS = 2
SAVING_SHARE = 0.05  # of the time, at most: a slow disk saves less often


@dataclass(frozen=True)
class HistoryRow:
    """One epoch's figures; fractions in [0, 1], losses in nats, None where nothing was validated."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None


@dataclass
class TrainState:
    """Everything that the rest of a run depends on, besides the data and the options.

    No random number generator is in it: order, augmentation and dropout are pure functions of the seed and the step.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    step: int = 0  # steps done since the start of the run
    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    loss_sum: float = 0.0  # of this epoch so far, over pictures
    num_correct: int = 0
    num_seen: int = 0
    history: list[HistoryRow] = field(default_factory=list)

    @property
    def final_net(self) -> nn.Module:
        """The weights to validate and to keep: the average where there is one."""
        return self.net if self.ema is None else self.ema.net

    def count(self, loss: float, num_correct: int, num_pictures: int) -> None:
        """Adds one step to the epoch's sums."""
        self.loss_sum += loss * num_pictures
        self.num_correct += num_correct
        self.num_seen += num_pictures
        self.step += 1
        self.step_in_epoch += 1

    def close_epoch(self, *, learning_rate: float, val_loss: float | None, val_accuracy: float | None) -> None:
        """Adds the epoch's row to the history and starts the next epoch's sums."""
        row = HistoryRow(
            epoch=self.epoch + 1,
            step=self.step,
            learning_rate=learning_rate,
            train_loss=self.loss_sum / self.num_seen,
            train_accuracy=self.num_correct / self.num_seen,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
        )
        self.history.append(row)
        self.epoch += 1
        self.step_in_epoch, self.loss_sum, self.num_correct, self.num_seen = 0, 0.0, 0, 0


class Checkpoints:
    """The checkpoints of one run: safetensors with a SHA-256 over their content, the newest two kept.

    Args:
        folder: made where it is missing; leftovers of a killed process in it are removed.
        identity: what the run is (options, data, network...). A checkpoint of another identity is refused.
        every_s: seconds between two checkpoints; 0 saves after every step.
        say: takes a sentence, such as the news that the newest checkpoint was damaged.
    """

    def __init__(
        self, folder: Path, *, identity: Mapping[str, Any], every_s: float, say: Callable[[str], None] = print
    ) -> None:
        self.folder = folder
        self.identity = json.dumps(identity, sort_keys=True)
        self.every_s = every_s
        self.say = say
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        self._last_save = time.monotonic()
        self._last_cost_s = 0.0

    def is_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        wait = max(self.every_s, self._last_cost_s / SAVING_SHARE) if self.every_s else 0.0
        return time.monotonic() - self._last_save >= wait

    def save(self, state: TrainState) -> Path:
        """Writes a checkpoint and removes all but the newest two.

        Raises:
            BundleError: it cannot be written (a full disk); the older checkpoints are as they were.
        """
        started = time.monotonic()
        path = self.folder / f"step-{state.step:08d}.safetensors"
        tensors, numbers = _pack(state)
        header = json.dumps({**numbers, "identity": self.identity})
        try:
            with replacing(path) as temporary:
                save_file(tensors, temporary, {"state": header, "sha256": _digest(tensors, header)})
                _read(temporary)  # what the disk took is what was meant, or the older checkpoint stays
        except (OSError, SafetensorError, ValueError) as error:
            raise BundleError(
                f"cannot write the checkpoint {path}: {error}. Training stopped at step {state.step}; "
                "older checkpoints are whole. Free space, then go on with --resume, or start again where there is none."
            ) from error
        for old in self._newest_first()[GENERATIONS:]:
            old.unlink()
        self._last_save = time.monotonic()
        self._last_cost_s = self._last_save - started
        return path

    def restore(self, state: TrainState) -> Path | None:
        """Fills the state from the newest checkpoint that verifies.

        Args:
            state: freshly built with the same network, optimiser and EMA.

        Returns:
            The checkpoint used; None where the folder has none.

        Raises:
            BundleError: no checkpoint verifies, or it belongs to another run.
        """
        found = self._newest_first()
        damaged = []
        for path in found:
            try:
                tensors, header = _read(path)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                self.say(f"checkpoint {path.name} is damaged ({error}); trying the one before it")
                damaged.append(path)
                continue
            numbers = json.loads(header)
            if (theirs := numbers.pop("identity")) != self.identity:
                raise BundleError(f"{path} belongs to another run: {_difference(theirs, self.identity)}.")
            _unpack(state, tensors, numbers)
            for each in damaged:  # they would count as generations
                each.unlink()
            return path
        if found:
            raise BundleError(
                f"none of the {len(found)} checkpoints in {self.folder} is whole. Start again without --resume."
            )
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def _pack(state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits the state into tensors, for the file's body, and numbers, for its header."""
    tensors = {f"net.{name}": value for name, value in state.net.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{name}": value for name, value in state.ema.net.state_dict().items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if value is not None}
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    numbers["history"] = [asdict(row) for row in state.history]
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, numbers


_NUMBERS = ("step", "epoch", "step_in_epoch", "loss_sum", "num_correct", "num_seen")


def _unpack(state: TrainState, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """The inverse of `_pack`."""
    state.net.load_state_dict(_with_prefix(tensors, "net."))
    if state.ema is not None:
        state.ema.net.load_state_dict(_with_prefix(tensors, "ema."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _with_prefix(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": slots})
    _lay_out_like_parameters(state.optimizer)
    for name in _NUMBERS:
        setattr(state, name, numbers[name])
    state.history[:] = [HistoryRow(**row) for row in numbers["history"]]


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Gives the optimiser's averages the memory layout of their parameters.

    Files hold them in plain order, channels_last weights lie otherwise, and torch's fused optimisers walk both by
    address: with two layouts they pair the wrong elements, silently.
    """
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[slot] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """A checkpoint's tensors and header; ValueError where the digest does not match."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    if _digest(tensors, metadata["state"]) != metadata["sha256"]:
        raise ValueError("its content does not match its SHA-256")
    return tensors, metadata["state"]


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _difference(theirs: str, ours: str) -> str:
    """The first keys in which two identities differ, for a message."""
    a, b = json.loads(theirs), json.loads(ours)
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    return "; ".join(f"{key} was {a.get(key)!r}, now {b.get(key)!r}" for key in keys[:3])
