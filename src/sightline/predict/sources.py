"""The pictures that a command line names."""

import contextlib
import difflib
import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sightline.data.decode import SUFFIXES
from sightline.errors import DataError

_SHOWN = 20  # wrong paths that a message lists


def gather_sources(arguments: Sequence[str], stdin: Iterable[str]) -> list[str]:
    """The pictures that a command line names.

    Args:
        arguments: files, as they are; folders: all pictures below them by their suffix, sorted, hidden ones left out;
            globs, for shells that do not expand them; "-" for any of these on `stdin`, a line each.
        stdin: read only for "-".

    Raises:
        DataError: a path does not exist, or a folder or glob holds no picture; all such are listed.
    """
    found: list[str] = []
    wrong: list[str] = []
    for argument in arguments:
        for path in (line.rstrip("\r\n") for line in stdin) if argument == "-" else [argument]:
            if path:
                try:
                    found += _pictures_at(path)
                except DataError as error:
                    wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise DataError("\n".join([*wrong[:_SHOWN], *more]))
    return found


def _pictures_at(argument: str) -> list[str]:
    if Path(argument).is_dir():
        found = _pictures_below(argument)
        if not found:
            raise DataError(f"{argument} holds no picture ({', '.join(SUFFIXES)}). Give another folder.")
        return found
    if Path(argument).exists():  # before globs: a name may hold a bracket
        return [argument]
    if glob.has_magic(argument):
        matched = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - the names are to be as given
        found = [path for name in matched for path in (_pictures_below(name) if Path(name).is_dir() else [name])]
        if not found:
            raise DataError(f"{argument} matches no picture. Check the pattern.")
        return found
    raise DataError(_missing(Path(argument)))


def _pictures_below(folder: str) -> list[str]:
    """All pictures in a folder and below it, sorted; a link back to a folder is not followed."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed ({type(error).__name__}: {error.strerror}).") from error

    found: list[str] = []
    seen = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = {name: os.path.realpath(os.path.join(here, name)) for name in folders if not name.startswith(".")}  # noqa: PTH118
        folders[:] = [name for name, path in real.items() if path not in seen]
        seen.update(real.values())
        found += [
            os.path.join(here, name)  # noqa: PTH118 - a Path would lose a leading ./
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _missing(path: Path) -> str:
    """What is said of a path that does not exist: how far it does, and what is there instead."""
    parent = next((folder for folder in path.parents if folder.is_dir()), None)
    if parent is None:
        return f"{path} does not exist. Check the path."
    wanted = path.relative_to(parent).parts[0]
    there: list[str] = []
    with contextlib.suppress(OSError):  # a folder that may not be listed has no hints to give
        there = sorted(each.name for each in parent.iterdir())
    close = difflib.get_close_matches(wanted, there, n=3)
    where = "this folder" if parent == Path() else parent
    nearest = f" Nearest there: {', '.join(close)}." if close else ""
    return f"{path} does not exist: there is no {wanted} in {where}.{nearest} Check the path."
