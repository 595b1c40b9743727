"""The order of the classes: the plain sort of their names, or that of a file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from sightline.data.catalog import Catalog
from sightline.errors import ConfigError, nearest


def read_class_map(path: str | Path) -> tuple[str, ...]:
    """Read the order of the classes from a file.

    Args:
        path: a text file with a class a line, or a JSON object from name to index.

    Returns:
        The names, in the order of their indices.

    Raises:
        ConfigError: it cannot be read, a name comes twice, or the indices are not those from 0 on.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the class map {path} cannot be read ({type(error).__name__}: {error}).") from error
    names = _of_json(path, text) if text.lstrip().startswith("{") else [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise ConfigError(f"the class map {path} {'has an empty line' if names else 'is empty'}. Give a class a line.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the class map {path} has more than once: {', '.join(twice)}. Keep one line of each.")
    return tuple(names)


def _of_json(path: Path, text: str) -> list[str]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the class map {path} is no JSON: {error}.") from error
    if not all(type(index) is int for index in table.values()) or sorted(table.values()) != list(range(len(table))):
        raise ConfigError(
            f"the class map {path} must number its {len(table)} classes from 0 to {len(table) - 1}, each number once."
        )
    return sorted(table, key=lambda name: table[name])


def in_order(catalog: Catalog, classes: tuple[str, ...], *, source: str) -> Catalog:
    """The same pictures with their classes in another order.

    Args:
        catalog: the data set.
        classes: the names in the new order; those that the data has no picture of keep their index.
        source: what the order is from, for the message.

    Raises:
        ConfigError: the data has a class that is not among them.
    """
    if classes == catalog.classes:
        return catalog
    counts = catalog.class_counts()
    used = [label for label, count in enumerate(counts.tolist()) if count]
    unknown = [catalog.classes[label] for label in used if catalog.classes[label] not in classes]
    if unknown:
        raise ConfigError(
            f"{catalog.name} has {'a class' if len(unknown) == 1 else 'classes'} that {source} lacks: "
            f"{', '.join(unknown[:20])}.{nearest(unknown[0], classes)} Add it, or remove its pictures."
        )
    places = {name: place for place, name in enumerate(classes)}
    numbers = np.zeros(len(catalog.classes), np.int64)
    numbers[used] = [places[catalog.classes[label]] for label in used]
    if not catalog.is_multilabel:
        return replace(catalog, classes=classes, labels=numbers[catalog.class_numbers])
    labels = np.zeros((len(catalog), len(classes)), np.uint8)
    labels[:, numbers[used]] = catalog.labels[:, used]
    return replace(catalog, classes=classes, labels=labels)


def order_note(classes: tuple[str, ...]) -> list[str]:
    """A sentence where the plain sort of names that are numbers is not the order of the numbers.

    Example:
        >>> print(*order_note(("0", "1", "10", "2")))
        Classes are in the plain sort order of their names, so class 10 has the index 2. A class map orders them anew.
        >>> order_note(("0", "1", "2"))
        []
    """
    if not all(name.isdecimal() for name in classes) or sorted(classes, key=int) == list(classes):
        return []
    name = next(name for name, number in zip(classes, sorted(classes, key=int), strict=True) if name != number)
    return [
        f"Classes are in the plain sort order of their names, so class {name} has the index {classes.index(name)}. "
        "A class map orders them anew."
    ]
