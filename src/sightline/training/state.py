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
from sightline.training.average import Average
from sightline.training.best import Best
from sightline.training.distributed import SINGLE, World
from sightline.training.full_state import (
    full_optimizer_state,
    full_state_dict,
    is_sharded,
    load_full_optimizer_state,
    load_full_state_dict,
)
from sightline.training.options import TrainOptions
from sightline.training.task import SINGLE_LABEL, Task

GENERATIONS = 2
SAVING_SHARE = 0.05  # of the time, at most: a slow disk saves less often


@dataclass(frozen=True)
class HistoryRow:
    """One epoch's figures; fractions in [0, 1], losses in nats, None where nothing was validated.

    `score` is the task's name for what `train_score` and `val_score` are: "accuracy" or "micro_f1".
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_score: float
    val_loss: float | None
    val_score: float | None
    score: str = SINGLE_LABEL.score

    def columns(self) -> dict[str, Any]:
        """The figures by the names that they have in files: `train_accuracy`, say."""
        figures = asdict(self)
        score = figures.pop("score")
        return {name.replace("_score", f"_{score}"): value for name, value in figures.items()}

    @classmethod
    def of_columns(cls, columns: Mapping[str, Any]) -> "HistoryRow":
        """The inverse of `columns`.

        Raises:
            KeyError, TypeError: a column is missing, or there is one too many.

        Example:
            >>> HistoryRow.of_columns(HistoryRow(1, 5, 0.1, 0.6, 0.5, None, None).columns()).train_score
            0.5
        """
        scores = [name for name in columns if name.startswith("train_") and name != "train_loss"]
        if len(scores) != 1:
            raise KeyError(f"train_{SINGLE_LABEL.score}")
        score = scores[0].removeprefix("train_")
        return cls(**{name.replace(f"_{score}", "_score"): value for name, value in columns.items()}, score=score)


@dataclass
class TrainState:
    """Everything that the rest of a run depends on, besides the data and the options.

    No random number generator is in it: order, augmentation and dropout are pure functions of the seed and the step.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    best: Best | None = None
    step: int = 0  # steps done since the start of the run
    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    loss_sum: float = 0.0  # of this epoch so far, over pictures
    num_correct: int = 0  # the upper part of the task's score, and
    num_asked: int = 0  # the lower one
    num_seen: int = 0
    memory_factor: int = 1  # times as many micro-batches as asked for, since memory ran out
    left_out: list[int] = field(default_factory=list)  # steps whose loss was not finite
    history: list[HistoryRow] = field(default_factory=list)
    task: Task = SINGLE_LABEL

    @property
    def score(self) -> float:
        """That of this epoch so far."""
        return self.num_correct / max(self.num_asked, 1)  # every step may have been left out

    @property
    def current_net(self) -> nn.Module:
        """The weights to validate now: the average where there is one."""
        return self.net if self.average is None else self.average.net

    @property
    def final_net(self) -> nn.Module:
        """The weights to keep: those of the best epoch where the run may end early, else the current ones."""
        return self.current_net if self.best is None or self.best.epoch is None else self.best.net

    @property
    def final_row(self) -> HistoryRow:
        """The epoch of the weights to keep."""
        return self.history[-1] if self.best is None or self.best.epoch is None else self.history[self.best.epoch]

    def is_over(self, options: TrainOptions) -> bool:
        """Whether the last epoch is done, or the validation loss has stopped falling."""
        if self.epoch >= options.epochs:
            return True
        if self.best is None or self.best.epoch is None or options.patience is None:
            return False
        first = max(self.best.epoch, options.head_epochs - 1)  # the head alone is no run to judge
        return self.epoch - 1 - first >= options.patience

    def advance(self) -> None:
        """Closes a step, done or left out."""
        self.step += 1
        self.step_in_epoch += 1

    def count(self, loss_sum: float, num_correct: int, num_asked: int, num_pictures: int) -> None:
        """Adds a step's figures to the epoch's sums."""
        self.loss_sum += loss_sum
        self.num_correct += num_correct
        self.num_asked += num_asked
        self.num_seen += num_pictures

    def close_epoch(self, *, learning_rate: float, val_loss: float | None, val_score: float | None) -> None:
        """Adds the epoch's row to the history and starts the next epoch's sums."""
        row = HistoryRow(
            epoch=self.epoch + 1,
            step=self.step,
            learning_rate=learning_rate,
            train_loss=self.loss_sum / max(self.num_seen, 1),  # every step may have been left out
            train_score=self.score,
            val_loss=val_loss,
            val_score=val_score,
            score=self.task.score,
        )
        self.history.append(row)
        if self.best is not None and val_loss is not None:
            self.best.offer(self.current_net, epoch=self.epoch, val_loss=val_loss)
        self.epoch += 1
        self.step_in_epoch, self.loss_sum, self.num_correct, self.num_asked, self.num_seen = 0, 0.0, 0, 0, 0


class Checkpoints:
    """The checkpoints of one run: safetensors with a SHA-256 over their content, the newest two kept.

    Args:
        folder: made where it is missing; leftovers of a killed process in it are removed.
        identity: what the run is (options, data, network...). A checkpoint of another identity is refused.
        every_s: seconds between two checkpoints; 0 saves after every step.
        say: takes a sentence, such as the news that the newest checkpoint was damaged.
        world: the processes that train together: all read, the first one writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        every_s: float,
        say: Callable[[str], None] = print,
        world: World = SINGLE,
    ) -> None:
        self.folder = folder
        self.identity = json.dumps(identity, sort_keys=True)
        self.every_s = every_s
        self.say = say
        self.world = world
        if world.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        self._last_save = time.monotonic()
        self._last_cost_s = 0.0

    def is_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint, by the first process's clock."""
        if not self.world.is_main:
            return False
        wait = max(self.every_s, self._last_cost_s / SAVING_SHARE) if self.every_s else 0.0
        return time.monotonic() - self._last_save >= wait

    def save(self, state: TrainState) -> Path:
        """Writes a checkpoint and removes all but the newest two; only the first process does.

        Returns:
            Where it is.

        Raises:
            BundleError: it cannot be written (a full disk); the older checkpoints are as they were.
        """
        started = time.monotonic()
        path = self.folder / f"step-{state.step:08d}.safetensors"
        if not self.world.is_main and not is_sharded(state.net):  # else each has a part to give
            return path
        tensors, numbers = _pack(state)
        if not self.world.is_main:
            return path
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
        """Fills the state from the newest checkpoint that verifies; of several processes the first one picks it.

        Args:
            state: freshly built with the same network, optimiser and EMA.

        Returns:
            The checkpoint used; None where the folder has none.

        Raises:
            BundleError: no checkpoint verifies, or it belongs to another run, or this process cannot read it.
        """
        content = self._newest_whole()
        if content is None:
            return None
        path, tensors, numbers = content
        if numbers["trained"] != (now := _trained(state)):
            raise BundleError(
                f"{path} was written by a run that trained {len(numbers['trained'])} parameters, and this one trains "
                f"{len(now)}: {', '.join(sorted({*now} ^ {*numbers['trained']})[:3])} differ. Start the run again."
            )
        _unpack(state, tensors, numbers)
        return path

    def restore_weights(self, net: nn.Module) -> None:
        """Fills the network alone, where there is a checkpoint.

        Args:
            net: freshly built, before its optimiser.

        Raises:
            BundleError: as `restore`.
        """
        content = self._newest_whole()
        if content is not None:
            load_full_state_dict(net, _with_prefix(content[1], "net."))

    def _newest_whole(self) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that verifies: its tensors and numbers, the same in every process."""
        found = self._newest_whole_here() if self.world.is_main else None
        name = self.world.from_main("" if found is None else found[0].name)
        if not name or found is not None:
            return found
        path = self.folder / name
        try:
            tensors, header = _read(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise BundleError(
                f"process {self.world.rank} cannot read {path}, which the first process has read ({error}). "
                "All machines of a run need the same folder: give one that they share as --output."
            ) from error
        return path, tensors, json.loads(header)

    def _newest_whole_here(self) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
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
            for each in damaged:  # they would count as generations
                each.unlink()
            return path, tensors, numbers
        if found:
            raise BundleError(
                f"none of the {len(found)} checkpoints in {self.folder} is whole. Start again without --resume."
            )
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def _pack(state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits the state into tensors, for the file's body, and numbers, for its header."""
    tensors = {
        f"{part}.{name}": value for part, net in _nets(state).items() for name, value in full_state_dict(net).items()
    }
    for index, slots in full_optimizer_state(state.optimizer).items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    numbers["history"] = [row.columns() for row in state.history]
    numbers["trained"] = _trained(state)
    for part, holder in (("average", state.average), ("best", state.best)):
        numbers[part] = None if holder is None else holder.numbers()
    return _apart({name: value.detach().contiguous() for name, value in tensors.items()}), numbers


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, none in another's memory, as files want them: two layers may share a weight."""
    seen: set[int] = set()
    apart = {}
    for name, value in tensors.items():
        apart[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return apart


def _trained(state: TrainState) -> list[str]:
    """The names of the optimiser's parameters, in its order."""
    names = {id(parameter): name for name, parameter in state.net.named_parameters()}
    return [names[id(each)] for group in state.optimizer.param_groups for each in group["params"]]


_NUMBERS = (
    "step", "epoch", "step_in_epoch", "loss_sum", "num_correct", "num_asked", "num_seen", "memory_factor", "left_out",
)  # fmt: skip


def _nets(state: TrainState) -> dict[str, nn.Module]:
    """The networks of a state that hold weights of their own, by the name that their tensors have in the file."""
    holders = {"net": state.net}
    if state.average is not None and state.average.net is not state.net:
        holders["average"] = state.average.net
    if state.best is not None:
        holders["best"] = state.best.net
    return holders


def _unpack(state: TrainState, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """The inverse of `_pack`."""
    for part, holder in (("average", state.average), ("best", state.best)):
        if holder is not None:
            holder.load_numbers(numbers[part])
    for part, net in _nets(state).items():
        load_full_state_dict(net, _with_prefix(tensors, f"{part}."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _with_prefix(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    load_full_optimizer_state(state.optimizer, slots)
    numbers = {"num_asked": numbers["num_seen"], **numbers}  # an older checkpoint counts pictures alone
    for name in _NUMBERS:
        setattr(state, name, numbers[name])
    state.history[:] = [HistoryRow.of_columns(row) for row in numbers["history"]]


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
