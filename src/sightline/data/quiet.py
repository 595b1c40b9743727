"""Keep the image library's chatter off the terminal; what matters of it is in the `BadImage`."""

import ctypes
import logging
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import cast

import PIL

_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")


class Quiet:
    """A context in which Pillow warns nobody and writes nothing to stderr, shared by all threads.

    `warnings.catch_warnings` swaps the filters of the whole process, so two threads would restore each other's, and
    redirecting stderr would swallow the progress bar. So the threads inside are counted; the first one in adds one
    warning filter, gives Pillow's logger a handler, so that none falls back on stderr (your own handlers still get
    everything), and takes the message handlers of Pillow's libtiff away; the last one out undoes all three.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._filter: object = None
        self._log_handler = logging.NullHandler()
        self._handlers: dict[str, int | None] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = warnings.filters[0]
                logging.getLogger("PIL").addHandler(self._log_handler)
                self._handlers = {name: _set_handler(name, None) for name in _HANDLERS}

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                filters = cast("list[object]", warnings.filters)
                if self._filter in filters:
                    filters.remove(self._filter)
                logging.getLogger("PIL").removeHandler(self._log_handler)
                for name, handler in self._handlers.items():
                    _set_handler(name, handler)


LIBRARY_QUIET = Quiet()


def _set_handler(name: str, handler: int | None) -> int | None:
    """Hand libtiff a message handler (None: silence) and take back the one before."""
    library = _libtiff()
    if library is None:
        return None
    setter = getattr(library, name)
    setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return cast("int | None", setter(handler))


@cache
def _libtiff() -> ctypes.CDLL | None:
    """The libtiff inside Pillow's wheel, used by nobody else; None where Pillow has none of its own to silence."""
    package = Path(PIL.__file__).parent
    # Where the wheels of Linux and macOS keep it; elsewhere it is linked in, or the system's.
    for found in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        return ctypes.CDLL(str(found))
    return None
