"""JSON that is read piece by piece, for a file whose one list has a million rows."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

_PIECE = 1 << 20  # characters read at a time
_SPACE = " \t\n\r"
_ENDS = (*_SPACE, ",", ":", "]", "}")  # what may follow a value


class JsonReader:
    """Reads one value after the other; what has been taken is let go.

    Args:
        file: text, from its beginning.

    Example:
        >>> import io
        >>> reader = JsonReader(io.StringIO('{"rows": [{"a": 1}, {"a": 2}], "name": "x"}'))
        >>> for key in reader.names():
        ...     print(key, list(reader.elements()) if key == "rows" else reader.value())
        rows [{'a': 1}, {'a': 2}]
        name x
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def names(self) -> Iterator[str]:
        """The keys of the object that comes next; take the value of each before the next one.

        Raises:
            ValueError: it is no object, or damaged.
        """
        for _ in self._members("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._damaged("a key in quotes")
            self._take(":")
            yield key

    def elements(self) -> Iterator[Any]:
        """The elements of the list that comes next.

        Raises:
            ValueError: it is no list, or damaged.
        """
        for _ in self._members("[", "]"):
            yield self.value()

    def value(self) -> Any:
        """The value that comes next, whole.

        Raises:
            ValueError: it is damaged.
        """
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._read_on():
                    raise
                continue
            if self._text[end : end + 1] in _ENDS or not self._read_on():  # a number may go on, with . or e, too
                self._at = end
                return value

    def end(self) -> None:
        """Nothing may follow.

        Raises:
            ValueError: something does.
        """
        if self._next():
            raise self._damaged("the end of the file")

    def is_list(self) -> bool:
        """Whether a list comes next."""
        return self._next() == "["

    def _members(self, first: str, last: str) -> Iterator[None]:
        self._take(first)
        if self._next() == last:
            self._at += 1
            return
        while True:
            yield
            if self._next() == last:
                self._at += 1
                return
            self._take(",")

    def _take(self, sign: str) -> None:
        if self._next() != sign:
            raise self._damaged(repr(sign))
        self._at += 1

    def _next(self) -> str:
        """The next sign that is no space; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Whether there was more; as much again as is still looked at, so that no long value is read over and over."""
        more = self._file.read(max(_PIECE, len(self._text) - self._at))
        if more:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _damaged(self, expected: str) -> ValueError:
        return ValueError(f"expected {expected} and found {self._text[self._at : self._at + 20] or 'the end'!r}")
