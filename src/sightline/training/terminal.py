"""The progress of a run on the terminal."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sightline.training.events import EpochDone, StepDone
from sightline.training.task import WORDS


class Terminal:
    """A progress bar with loss, score, images/s and time left; plain lines where there is no terminal.

    Args:
        total_steps: of the whole run.
        epochs: of the whole run.
        console: where to print.

    Used as a context manager, so that the bar is taken down when the run ends, however it ends.
    """

    def __init__(self, *, total_steps: int, epochs: int, console: Console) -> None:
        self._total_steps, self._epochs, self._console = total_steps, epochs, console
        self._started: float | None = None
        self._pictures = 0
        self._last_line_s = time.monotonic()
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("", total=total_steps, epoch=1, epochs=epochs, figures="")

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step_done(self, event: StepDone) -> None:
        """Moves the bar; without a terminal, prints a line at most every half minute."""
        now = time.monotonic()
        if self._started is None:  # the first step warms up: not counted
            self._started = now
        else:
            self._pictures += event.num_pictures
        rate = self._pictures / max(now - self._started, 1e-9)
        state = event.state
        figures = f"loss {event.loss:.3f}  {state.task.words} {state.score:.1%}  {rate:,.0f} images/s"
        if self._console.is_terminal:
            self._progress.update(self._task, completed=state.step, epoch=state.epoch + 1, figures=figures)
        elif now - self._last_line_s > 30:
            self._last_line_s = now
            left_s = (self._total_steps - state.step) * event.num_pictures / event.num_steps / max(rate, 1e-9)
            self._print(
                f"epoch {state.epoch + 1}/{self._epochs}  step {state.step}/{self._total_steps}  {figures}  "
                f"{left_s:.0f} s left"
            )

    def epoch_done(self, event: EpochDone) -> None:
        """Prints the epoch's line."""
        row = event.row
        words = WORDS[row.score]
        val = "" if row.val_loss is None else f"  val loss {row.val_loss:.3f} {words} {row.val_score:.1%}"
        self._print(
            f"epoch {row.epoch}/{self._epochs}  train loss {row.train_loss:.3f} {words} {row.train_score:.1%}"
            f"{val}  {event.images_per_s:,.0f} images/s"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
