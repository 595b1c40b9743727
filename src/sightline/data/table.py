"""Tables that name pictures: CSV and JSON lines, as columns of text. Parquet's are read by `parquet.py`."""

import codecs
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.data.catalog import Problem
from sightline.errors import DataError

Cell = str | tuple[str, ...]
"""A value as text; of a list, its texts. What is missing is ""."""

PATH_COLUMNS = ("path", "file_name", "filename")
NEEDED = "a column path (or file_name), a column label, and, where wanted, split and group"
_DELIMITERS = ",;\t|"
_SHOWN = 8


@dataclass(frozen=True)
class Table:
    """The rows of a table.

    Args:
        path: of the file.
        columns: by name in small letters, a cell a row.
        written: the names as they are written, by name in small letters.
        places: what a message calls each row: "line 5".
        problems: rows that cannot be read.
    """

    path: Path
    columns: Mapping[str, Sequence[Cell]]
    written: Mapping[str, str]
    places: Sequence[str]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    @property
    def path_column(self) -> str | None:
        """The column that names the pictures; None where there is none."""
        return next((name for name in PATH_COLUMNS if name in self.columns), None)

    def where(self, row: int) -> str:
        """A row, for a message: "labels.csv line 5"."""
        return f"{self.path.name} {self.places[row]}"


def make_table(
    path: Path, columns: Mapping[str, Sequence[Cell]], places: Sequence[str], problems: Sequence[Problem] = ()
) -> Table:
    """A table whose columns have the names as written.

    Raises:
        DataError: two columns differ only in capitals or spaces.
    """
    written: dict[str, str] = {}
    for name in columns:
        key = name.strip().lower()
        if key in written:
            raise DataError(
                f"{path} has two columns {key!r}: {written[key]!r} and {name.strip()!r}. Rename one of them."
            )
        written[key] = name.strip()
    by_key = {name.strip().lower(): cells for name, cells in columns.items()}
    return Table(path, by_key, written, places, tuple(problems))


def read_csv(path: Path) -> Table:
    """Read a CSV file: its first line names the columns; comma, semicolon, tab or bar separates; UTF-8 or UTF-16.

    Raises:
        DataError: it cannot be read, is no CSV, or its first line names no column of paths.
    """
    text = _text(path)
    delimiter = _delimiter(text)
    rows, places, problems = [], [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for row in reader:
            if len(row) == len(header):
                rows.append([cell.strip() for cell in row])
                places.append(f"line {reader.line_num}")
            elif row:
                reason = f"the row has {len(row)} columns, and the first line {len(header)}: {delimiter.join(row)[:80]}"
                problems.append(Problem(f"{path.name} line {reader.line_num}", reason))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV: line {reader.line_num}: {error}.") from error
    if len({name.strip().lower() for name in header}) < len(header):
        raise DataError(f"{path} names a column twice: {', '.join(header)}. Rename one of them.")
    cells: list[tuple[str, ...]] = list(zip(*rows, strict=True)) or [()] * len(header)
    table = make_table(path, dict(zip(header, cells, strict=True)), places, problems)
    if table.path_column is None:
        shown = ", ".join(name[:40] for name in header[:_SHOWN]) or "nothing"
        raise DataError(
            f"the first line of {path} must name the columns: {NEEDED}. Found: {shown}"
            f"{', ...' if len(header) > _SHOWN else ''}. Write path,label (with your separator) as its first line."
        )
    return table


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error.strerror}).") from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # a spreadsheet's "Unicode text"
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path} is not UTF-8 text: line {line} has the byte 0x{content[error.start]:02x}. "
                        "Save it as UTF-8.") from error  # fmt: skip


def _delimiter(text: str) -> str:
    """The one that finds a column of paths in the first line; of several, the one that finds the most columns."""

    def first_row(delimiter: str) -> list[str]:
        try:
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return []

    def worth(delimiter: str) -> tuple[bool, int]:
        row = [name.strip().lower() for name in first_row(delimiter)]
        return any(name in PATH_COLUMNS for name in row), len(row)

    return max(_DELIMITERS, key=worth)  # of equals the first


def read_jsonl(path: Path) -> Table:
    """Read JSON lines: an object a line.

    Raises:
        DataError: it cannot be read, or a line is no object.
    """
    rows, places = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} is no JSON lines: line {number}: {error}.") from error
        if not isinstance(row, dict):
            raise DataError(
                f'{path}: line {number} must be an object, such as {{"file_name": "1.jpg", "label": "cat"}}.'
            )
        rows.append(row)
        places.append(f"line {number}")
    names = dict.fromkeys(name for row in rows for name in row)
    return make_table(path, {name: [as_cell(row.get(name)) for row in rows] for name in names}, places)


def as_cell(value: object) -> Cell:
    """A value of JSON or Parquet as text.

    Example:
        >>> as_cell(1.0), as_cell(True), as_cell(None), as_cell(["cat", "dog"])
        ('1', '1', '', ('cat', 'dog'))
    """
    if value is None:
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, list | tuple):
        return tuple(str(each) for each in value)
    return str(value).strip()
