"""Every error that Sightline raises on purpose.

SightlineError
├── ConfigError(ValueError)     an option, a name or a file of settings is wrong
├── DataError                   an image, a folder or a data set is wrong
├── ShapeError(ValueError)      a tensor or an image has a size that cannot work
├── BundleError                 a bundle or a checkpoint is missing, damaged or of another kind
├── TrainingError               training cannot go on (a loss that is not finite, say)
├── ExportError                 an export failed or did not prove equal to its source
└── MissingExtraError           an optional library is not installed
Interrupted(BaseException)      a signal asked for a stop; like KeyboardInterrupt, nothing may take it for an error

A message says what was received and where, what is needed, and how to fix it. On the command line it is printed
without a traceback and the process ends with `exit_code`.
"""

import difflib
from collections.abc import Iterable


class SightlineError(Exception):
    """Base of every error in the tree above.

    Attributes:
        exit_code: what the command line exits with: 1, a promise failed; 2, wrong usage; 130/143, interrupted.
    """

    exit_code: int = 1


class ConfigError(SightlineError, ValueError):
    """An option, a name or a settings file is wrong."""

    exit_code = 2


class DataError(SightlineError):
    """An image, a folder or a data set cannot be used as it is."""


class ShapeError(SightlineError, ValueError):
    """A tensor or an image has a size that cannot work."""


class BundleError(SightlineError):
    """A bundle or a checkpoint is missing, damaged or of another kind."""


class TrainingError(SightlineError):
    """Training cannot go on."""


class ExportError(SightlineError):
    """An export failed, or its answers differ from the model's."""


class MissingExtraError(SightlineError):
    """An optional library is not installed.

    Args:
        library: the import name that is missing.
        purpose: what it is needed for, completing "... is needed to ...".
        extra: the extra of this package that brings it.
        requirement: or, where no extra does, what pip is asked for.

    Example:
        >>> print(MissingExtraError("onnxruntime", extra="export", purpose="check an ONNX file"))
        onnxruntime is needed to check an ONNX file and is not installed. Install it: pip install 'sightline[export]'
    """

    exit_code = 2

    def __init__(self, library: str, *, purpose: str, extra: str = "", requirement: str = "") -> None:
        what = requirement or f"'sightline[{extra}]'"
        super().__init__(f"{library} is needed to {purpose} and is not installed. Install it: pip install {what}")


class Interrupted(BaseException):
    """A signal asked for a stop; the work done so far is saved.

    No `SightlineError` and no `Exception`: code that takes any exception of a decoder for a bad picture must not take
    this one.

    Args:
        message: where the work was saved and how to go on.
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def nearest(name: str, known: Iterable[str]) -> str:
    """The up to three known names nearest to an unknown one, as the end of a message.

    Args:
        name: what was received.
        known: every name that would have worked.

    Returns:
        " Nearest: a, b, c." or, where nothing is near, " Known: a, b, c, ..." (the first eight).

    Example:
        >>> nearest("resnet19", ["resnet18", "lenet5", "resnet152"])
        ' Nearest: resnet18, resnet152.'
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f" Nearest: {', '.join(close)}."
    return f" Known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."
