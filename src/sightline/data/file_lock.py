"""A lock that other programs respect: on a file, and gone when its holder ends, however it ends."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

if sys.platform != "win32":
    import fcntl

HAS_LOCKS = sys.platform != "win32"
_POLL_S = 0.1


class FileLock:
    """Several may hold a shared lock at once; an exclusive one is held alone.

    It is held from `acquire` to `close`, the end of the `with` block, or the end of the object. Two locks of one
    process exclude each other as those of two processes do.

    Args:
        path: of the file, which is made where it is missing and may be; its content means nothing.
        shared: of which kind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lock"
        >>> with FileLock(path).acquire():
        ...     FileLock(path).try_acquire()
        False
        >>> FileLock(path).try_acquire()
        True
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._descriptor = -1

    def acquire(self, waiting: Callable[[], None] | None = None) -> "FileLock":
        """Hold it, as soon as it can be had.

        Args:
            waiting: called once, where another holds it.

        Raises:
            OSError: the file cannot be opened, or its file system has no locks.
        """
        if not self.try_acquire():
            if waiting is not None:
                waiting()
            while not self.try_acquire():
                time.sleep(_POLL_S)
        return self

    def try_acquire(self) -> bool:
        """Hold it, if it can be had now.

        Raises:
            OSError: as `acquire`.
        """
        while True:
            self._descriptor = self._opened()
            try:
                if not _locked(self._descriptor, shared=self.shared):
                    self.close()
                    return False
                if self._is_current():
                    return True
            except BaseException:
                self.close()
                raise
            self.close()  # the file was removed before it was locked: this lock would exclude nobody

    def close(self) -> None:
        """Let it go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            if not self.shared:
                raise
            return os.open(self.path, os.O_RDONLY)  # a folder that may only be read

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def _locked(descriptor: int, *, shared: bool) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
