"""What lies in a folder and below it, remembered for large ones: a million names are not read again each time."""

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.atomic import write_text
from sightline.data.cache_folder import cache_folder, mark_used, name_of

_VERSION = 1
_WORTH = 10_000  # entries, below which reading them is as quick as remembering them
_SETTLED_NS = 2_000_000_000  # a file system's clock may tick in seconds: what changed just now may change unseen
_HAS_TIMES = sys.platform != "win32"  # whether a folder's time tells that an entry came or went


@dataclass(frozen=True)
class Entries:
    """The names in one folder, sorted; hidden ones are left out.

    Args:
        folders: names, links to folders among them.
        files: names of everything else.
    """

    folders: list[str]
    files: list[str]


class Listing:
    """The folders below one folder, each read when it is asked for.

    Names are remembered in the folder of the caches, with the time at which their folder last changed; while that is
    the same, they are taken from there. Folders with links are read each time, since a link's end changes unseen.

    Args:
        root: the folder.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "cats").mkdir()
        >>> _ = (root / "cats" / "1.png").write_bytes(b"")
        >>> Listing(root).entries("").folders, Listing(root).entries("cats").files
        (['cats'], ['1.png'])
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        home = cache_folder() if _HAS_TIMES else None
        self._file = None if home is None else home / f"listing-{name_of(self._root)}"
        self._known = self._read()
        self._found: dict[str, tuple[int, str, str]] = {}  # folder -> its time, names of folders, names of files
        self._has_news = False

    def entries(self, folder: str) -> Entries:
        """What is in a folder.

        Args:
            folder: relative to the root, with forward slashes; "" for the root.

        Raises:
            OSError: it cannot be listed.
        """
        path = f"{self._root}/{folder}" if folder else self._root
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116 - as everything here: there may be a million
        known = self._known.get(folder)
        if known is not None and known[0] == changed:
            self._found[folder] = known
            return Entries(_split(known[1]), _split(known[2]))
        is_settled = changed < time.time_ns() - _SETTLED_NS
        folders: list[str] = []
        files: list[str] = []
        has_links = False
        with os.scandir(path) as scan:
            for entry in scan:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
                    has_links = has_links or entry.is_symlink()
        folders.sort()
        files.sort()
        if is_settled and not has_links:
            self._found[folder] = changed, "/".join(folders), "/".join(files)
            self._has_news = True
        return Entries(folders, files)

    def remember(self) -> None:
        """Keep what was read for the next time, where there is much of it and the caches may be written."""
        if self._file is None:
            return
        if not self._has_news:
            mark_used(self._file)
        elif sum(files.count("/") + 1 for _, _, files in self._found.values()) >= _WORTH:
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                text = json.dumps({"version": _VERSION, "root": self._root, "folders": self._found})
                write_text(self._file, f"{_digest(text)}\n{text}")

    def _read(self) -> dict[str, tuple[int, str, str]]:
        """Nothing, where there is none, or it is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            if self._file is not None and self._file.exists():
                digest, _, text = self._file.read_text(encoding="utf-8").partition("\n")
                content = json.loads(text) if digest == _digest(text) else {}
                if content["version"] == _VERSION and content["root"] == self._root:
                    return {
                        str(folder): (int(changed), str(folders), str(files))
                        for folder, (changed, folders, files) in content["folders"].items()
                    }
        return {}


def _digest(text: str) -> str:
    """What tells that no name has changed on the disk."""
    return hashlib.sha256(text.encode()).hexdigest()


def _split(names: str) -> list[str]:
    """Names can hold anything but the sign that divides paths."""
    return names.split("/") if names else []
