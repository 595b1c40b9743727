"""A command's processes: which are alive, and how much memory they have. Reads /proc, so on Linux alone."""

import threading
from pathlib import Path
from types import TracebackType

ZOMBIE = "Z"  # ended, and not yet asked for its exit code: it holds nothing any more


def of_session(leader: int) -> list[int]:
    """The living processes of a session, whichever of them started whichever.

    Args:
        leader: the process that began it: `subprocess.Popen(..., start_new_session=True).pid`.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()  # behind the name, which may hold anything
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == leader and fields[0] != ZOMBIE:
            found.append(int(path.parent.name))
    return sorted(found)


def memory_mb(pid: int) -> float:
    """A process's memory, a page that n processes share counted as 1/n (PSS); 0 where the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


class PeakMemory:
    """While the block runs, looks again and again how much memory a session's processes have together.

    From outside, so that it is the same look for every program, workers included. A look costs some milliseconds.

    Args:
        leader: of the session.
        every_s: between two looks.

    Attributes:
        mb: the most that was seen.
    """

    def __init__(self, leader: int, *, every_s: float = 1.0) -> None:
        self.mb = 0.0
        self._leader, self._every_s = leader, every_s
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every_s):
            self.mb = max(self.mb, sum(map(memory_mb, of_session(self._leader))))
