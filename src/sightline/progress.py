"""Progress bars for work that counts: files decoded, bytes fetched. Silent where there is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Count = Callable[[int, int | None], None]  # done, total (None: unknown)


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str], Count]]:
    """Shows a bar for each kind of work while the block runs.

    Args:
        console: where to draw; nothing is drawn when it is not a terminal.

    Yields:
        A function from a description to the function that moves its bar.

    Example:
        >>> with bars(Console(quiet=True)) as bar:
        ...     decoded = bar("decoding")
        ...     decoded(1, 10)
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )

    def bar(description: str) -> Count:
        task = progress.add_task(description, total=None, rate="")

        def move(done: int, total: int | None) -> None:
            speed = progress.tasks[progress.task_ids.index(task)].speed
            progress.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        return move

    with progress:
        yield bar


def labelled(bar: Callable[[str], Count]) -> Callable[[str, int, int | None], None]:
    """One function for work of several kinds: called with (label, done, total), it keeps a bar for each label.

    Args:
        bar: what `bars` yields.
    """
    moves: dict[str, Count] = {}

    def move(label: str, done: int, total: int | None) -> None:
        if label not in moves:
            moves[label] = bar(label)
        moves[label](done, total)

    return move


def say(console: Console, text: str) -> None:
    """Prints a line as it is: a path may hold what rich takes for markup.

    Args:
        console: where to.
        text: the line.
    """
    console.print(text, highlight=False, markup=False, soft_wrap=True)
