"""The files of one sample of a shard -> its picture and its label, by WebDataset's rules for names."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from sightline.data.decode import SUFFIXES
from sightline.data.labelling import SEPARATOR

Label = int | str | list[int | str]
"""The number or the name of a class; or several, of multi-label data."""

PICTURES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
LABELS = ("cls", "json", "txt")  # extensions; the first that says anything counts
MOST_LABEL_BYTES = 1_000_000
_JSON_KEYS = ("label", "labels", "cls")
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")


class NoSample(Exception):
    """Files that make no sample; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class Place:
    """Where a picture lies in its shard.

    Args:
        suffix: of its file, without the dot.
        offset: of its first byte.
        size: in bytes.
        sha256: of the file.
    """

    suffix: str
    offset: int
    size: int
    sha256: bytes


@dataclass
class Sample:
    """The files of one key, as they come.

    Args:
        key: what their names have in common.
        pictures: those that are pictures.
        texts: the content of those that may hold a label, by extension.
        suffixes: of all of them.
    """

    key: str
    pictures: list[Place] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    suffixes: list[str] = field(default_factory=list)

    def picture(self) -> Place:
        """The one picture.

        Raises:
            NoSample: there is none, there are two, or two files have one name.
        """
        twice = sorted({suffix for suffix in self.suffixes if self.suffixes.count(suffix) > 1})
        if twice:
            raise NoSample(f"has more than one file .{twice[0]}")
        if len(self.pictures) != 1:
            found = ", ".join(sorted(self.suffixes))
            count = f"{len(self.pictures)} pictures" if self.pictures else "no picture"
            raise NoSample(f"has {count} (files: {found})")
        return self.pictures[0]

    def label(self) -> tuple[Label | None, str]:
        """The label, None where the files tell none; and the group, "" for none.

        Raises:
            NoSample: a file that should tell it cannot be understood.
        """
        said: Any = None
        group = ""
        if "json" in self.texts:
            table = _table(self.texts["json"])
            said = next((table[key] for key in _JSON_KEYS if table.get(key) is not None), None)
            group = str(table.get("group") or "")
        for suffix in ("cls", "txt"):
            if suffix in self.texts and (suffix == "cls" or said is None):
                said = _of_text(self.texts[suffix], suffix, numbers=suffix == "cls")
        return None if said is None else _checked(said), group


def key_of(name: str) -> tuple[str, str] | None:
    """A file's key and extension: its path up to the first dot of its last part, and what follows, in small letters.

    Args:
        name: of the file in its shard.

    Returns:
        None for files that belong to no sample: without a dot, hidden ones, and WebDataset's own notes.

    Example:
        >>> key_of("cats/tom.v2.JPG"), key_of("cats/.tom.jpg"), key_of("__meta__/x.json")
        (('cats/tom', 'v2.jpg'), None, None)
    """
    found = _NAME.fullmatch(name)
    if (
        found is None or found[1].endswith("/") or _META.match(name)
    ):  # "cats/" would be the key of all hidden files there
        return None
    return found[1], found[2].lower()


def _table(content: bytes) -> dict[str, Any]:
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoSample(f"has a .json that cannot be read ({type(error).__name__})") from error
    if not isinstance(table, dict):
        raise NoSample("has a .json that holds no object")
    return table


def _of_text(content: bytes, suffix: str, *, numbers: bool) -> Label | None:
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise NoSample(f"has a .{suffix} that is no UTF-8") from error
    if SEPARATOR in text:
        parts = [part.strip() for part in text.split(SEPARATOR) if part.strip()]
        return [_number(part) if numbers else part for part in parts]
    if not text:
        return None
    return _number(text) if numbers else text


def _number(text: str) -> int | str:
    """A class number as such; Python takes no time over a number of a hundred thousand digits, and nor should we."""
    return int(text) if len(text) <= 9 and text.isascii() and text.isdecimal() else text


def _checked(said: Any) -> Label:
    several = said if isinstance(said, list) else [said]
    if not all((type(each) is int and each >= 0) or (isinstance(each, str) and each.strip()) for each in several):
        raise NoSample(f"has the label {said!s:.60}; a number of 0 or more, a name, or a list of them is needed")
    return said  # type: ignore[no-any-return]
