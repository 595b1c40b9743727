"""A Parquet file: opened, and which of its columns holds pictures. All that needs pyarrow."""

from pathlib import Path
from typing import Any

from sightline.errors import DataError, MissingExtraError

SUFFIX = ".parquet"


def open_parquet(path: Path) -> Any:
    """The reader of a file.

    Raises:
        DataError: it cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.lib  # noqa: PLC0415 - of an extra, which only Parquet needs
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet", purpose="read Parquet files") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({type(error).__name__}: {error}).") from error


def picture_column(schema: Any) -> str | None:
    """The first column of structs with the fields bytes and path; None where there is none.

    Args:
        schema: of a file.
    """
    for field in schema:
        if hasattr(field.type, "fields") or str(field.type).startswith("struct"):
            names = [field.type.field(number).name for number in range(field.type.num_fields)]
            if {"bytes", "path"} <= set(names):
                return str(field.name)
    return None
