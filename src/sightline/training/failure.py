"""The end of a run of several processes when one of them fails: which one, why, and in words."""

import json
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from sightline.errors import SightlineError, TrainingError

# torchrun names the process that it saw end first as the cause, and looks ten times a second. Whoever has only lost
# the connection to that one waits so long, and is most often ended by torchrun meanwhile.
GRACE_S = 2.0


@contextmanager
def named_failures(rank: int, size: int, *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Sees to it that the first failure of a run is what torchrun prints last.

    An exception is written where torchrun looks for the cause, which it prints at the end of its output as "Root
    Cause". That another process was lost is no cause: it is raised, late, and not written.

    Args:
        rank: number of this process.
        size: how many there are.
        grace_s: seconds that the process at fault has to be seen first.

    Raises:
        TrainingError: another process was lost.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_lost_peer(error):
            _tell_torchrun(rank, size, error)
            raise
        time.sleep(grace_s)
        raise TrainingError(
            f"process {rank} of {size} lost another one, or waited too long for it ({first_sentence(error)}). "
            "The message of the one that failed says why. What was saved is whole: go on with --resume."
        ) from error


def first_sentence(error: BaseException) -> str:
    """What an error of torch says first, without the place in its source.

    Example:
        >>> first_sentence(RuntimeError("[/a/b/gloo/pair.cc:5] Connection closed by peer. Check the logs."))
        'Connection closed by peer'
    """
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.rpartition("cc:")[2].partition("] ")[2].partition(". ")[0] if "cc:" in line else line[:120]


def _is_of_lost_peer(error: Exception) -> bool:
    """Whether an exchange with another process failed. Gloo's errors have no type of their own, but name its source."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))


def _tell_torchrun(rank: int, size: int, error: Exception) -> None:
    """Writes the file that torchrun gave this process for its error, in torchrun's own format."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return
    # our own messages say everything; for any other error the place in the code is needed
    text = str(error) if isinstance(error, SightlineError) else "".join(traceback.format_exception(error)).strip()
    extra = {"py_callstack": f"process {rank} of {size}: {text}", "timestamp": str(int(time.time()))}
    message = {"message": f"{type(error).__name__}: {error}", "extraInfo": extra}
    Path(path).write_text(json.dumps({"message": message}), encoding="utf-8")
