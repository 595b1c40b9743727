"""What a run tells the world while it goes: to the terminal, to history.csv, to TensorBoard."""

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sightline.atomic import write_text
from sightline.errors import MissingExtraError
from sightline.training.state import HistoryRow, TrainState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class StepDone:
    """After an optimiser step, or several where the figures of a GPU are read together.

    Args:
        state: where the run stands.
        lr: the last step's learning rate.
        loss: the last step's mean over its batch, in nats.
        num_steps: since the last event.
        num_pictures: since the last event, over all processes.
    """

    state: TrainState
    lr: float
    loss: float
    num_steps: int
    num_pictures: int


@dataclass(frozen=True)
class EpochDone:
    """After an epoch and its validation: pictures of all processes, seconds of this one, since it began or resumed."""

    history: Sequence[HistoryRow]
    num_pictures: int
    laps_s: dict[str, float]

    @property
    def row(self) -> HistoryRow:
        """The epoch's own row."""
        return self.history[-1]

    @property
    def training_s(self) -> float:
        """Seconds of training steps: neither validation nor saving."""
        return sum(seconds for name, seconds in self.laps_s.items() if name not in ("validation", "saving"))

    @property
    def images_per_s(self) -> float:
        """Training pictures a second of training steps; 0 where this process trained on none (resumed at its end)."""
        return self.num_pictures / self.training_s if self.num_pictures else 0.0


class Listener(Protocol):
    """Is told of every step and epoch."""

    def step_done(self, event: StepDone) -> None:
        """Called after every optimiser step, or after several of a GPU: must be cheap."""

    def epoch_done(self, event: EpochDone) -> None:
        """Called after every epoch."""


class Listeners:
    """Several listeners as one.

    Args:
        listeners: told in this order.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def step_done(self, event: StepDone) -> None:
        """Passes the event on."""
        for listener in self._listeners:
            listener.step_done(event)

    def epoch_done(self, event: EpochDone) -> None:
        """Passes the event on."""
        for listener in self._listeners:
            listener.epoch_done(event)


class HistoryFile:
    """history.csv, a row an epoch, and timing.csv beside it.

    History holds only what is a function of the data, the options and the seed, so that a resumed run writes the very
    same file; how long it took is in timing.csv.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._history = folder / "history.csv"
        self._timing = folder / "timing.csv"

    def step_done(self, event: StepDone) -> None:
        """Leaves the files alone: they have a row an epoch."""

    def epoch_done(self, event: EpochDone) -> None:
        """Writes the history anew and adds the epoch's timing."""
        write_history(self._history, event.history)
        seconds = {f"{name}_s": round(value, 4) for name, value in event.laps_s.items()}
        row = {"epoch": event.row.epoch, "images_per_s": round(event.images_per_s, 1), **seconds}
        before = [old for old in _read_rows(self._timing) if int(old["epoch"]) < event.row.epoch]
        write_text(self._timing, _csv(TIMING_COLUMNS, [*before, {**dict.fromkeys(TIMING_COLUMNS, 0.0), **row}]))


TIMING_COLUMNS = ("epoch", "images_per_s", "data_s", "forward_s", "backward_s", "step_s", "saving_s", "validation_s")


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Writes history.csv whole; floats in full precision, None as an empty field."""
    columns = [row.columns() for row in rows] or [HistoryRow(0, 0, 0.0, 0.0, 0.0, None, None).columns()]
    write_text(path, _csv(list(columns[0]), columns if rows else []))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_history(path: Path) -> list[HistoryRow]:
    """Reads history.csv back.

    Args:
        path: the file.
    """
    return [_history_row(row) for row in _read_rows(path)]


def _history_row(row: dict[str, str]) -> HistoryRow:
    """Figures as numbers; KeyError where a column is missing, which HistoryRow would not name."""
    cells = HistoryRow.of_columns(row)
    return replace(
        cells,
        epoch=int(row["epoch"]),
        step=int(row["step"]),
        learning_rate=float(row["learning_rate"]),
        train_loss=float(row["train_loss"]),
        train_score=float(cells.train_score),
        val_loss=float(row["val_loss"]) if row["val_loss"] else None,
        val_score=float(cells.val_score) if cells.val_score else None,
    )


class TensorBoard:
    """Scalars for TensorBoard: loss and learning rate by step, the epoch's figures by epoch.

    Args:
        folder: where events.out.tfevents.* go.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingExtraError("tensorboard", extra="tensorboard", purpose="write TensorBoard events")
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._logged_step = 0

    def step_done(self, event: StepDone) -> None:
        """Logs every tenth step."""
        if event.state.step >= self._logged_step + 10:
            self._logged_step = event.state.step
            self._add("train/loss", event.loss, event.state.step)
            self._add("train/learning_rate", event.lr, event.state.step)

    def epoch_done(self, event: EpochDone) -> None:
        """Logs the epoch's row."""
        row, score = event.row.columns(), event.row.score
        step = row["step"]
        for name in (f"train_{score}", "val_loss", f"val_{score}"):
            if row[name] is not None:
                self._add(name.replace("_", "/", 1), row[name], step)
        self._add("speed/images_per_s", event.images_per_s, step)
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Closes the file of events."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, name: str, value: float, step: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, and slow to import

            # a resumed run drops what a killed process logged from this step on
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        self._writer.add_scalar(name, value, step)
