"""Typed settings from TOML: unknown keys and wrong types are named, with the nearest key that would have worked."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sightline.errors import ConfigError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)
else:
    Settings = TypeVar("Settings")


def read_toml(path: str | Path, kind: type[Settings]) -> Settings:
    """Reads settings from a TOML file; keys are the command line's flags, with - or _.

    Args:
        path: the file.
        kind: a dataclass whose fields are the keys.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is of another type.
    """
    path = Path(path)
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings file {path}: {error.strerror}. Give -c an existing TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    return from_mapping(mapping, kind, source=str(path))


def from_mapping(mapping: Mapping[str, Any], kind: type[Settings], *, source: str) -> Settings:
    """Builds a dataclass from plain values, checking names and types.

    Args:
        mapping: keys with - or _, and values as TOML or JSON give them.
        kind: a dataclass.
        source: where the mapping came from, for the messages.

    Raises:
        ConfigError: a key is unknown or a value is of another type.

    Example:
        >>> from sightline.training.options import TrainOptions
        >>> from_mapping({"epochs": 3, "batch-size": 8, "lr": 0.1}, TrainOptions, source="example").batch_size
        8
        >>> from_mapping({"smothing": 0.1}, TrainOptions, source="example")
        Traceback (most recent call last):
        sightline.errors.ConfigError: example: unknown setting 'smothing'. Nearest: smoothing.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - 0.1 s that `sightline --help` need not wait

    values = {name.replace("-", "_"): value for name, value in mapping.items()}
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            raise ConfigError(f"{source}: unknown setting {name!r}.{nearest(name, known)}")
    try:
        # strict, so that true is no number and "3" no integer; by way of JSON, whose lists may be tuples
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        received = "" if first["type"] == "missing" else f" is {first['input']!r}"
        raise ConfigError(f"{source}: {where}{received}: {first['msg']}.") from None
