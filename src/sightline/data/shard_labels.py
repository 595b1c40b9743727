"""The labels of shards' samples, numbers or names, as names of classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sightline.data.class_map import order_note
from sightline.data.labelling import Labelling
from sightline.data.sample import Label
from sightline.errors import DataError

_SHOWN = 10


@dataclass(frozen=True)
class Declared:
    """What names the classes.

    Args:
        classes: in the order of their numbers.
        source: the file that says so.
    """

    classes: tuple[str, ...]
    source: str


def named(
    labels: Sequence[Label], declared: Declared | None, *, where: str
) -> tuple[Labelling, tuple[str, ...], list[str]]:
    """Name the classes of labels.

    Args:
        labels: of the samples: a number, a name, or a list of them.
        declared: what names the classes; None where they are called as the labels are.
        where: what a message calls the data.

    Returns:
        The labels by name; all classes in their order; and what the user should know, in sentences. Undeclared
        numbers stay in the order of the numbers, names are sorted.

    Raises:
        DataError: a label has no class among the declared ones, or there are numbers and names and nothing says which
            is which.

    Example:
        >>> labelling, classes, _ = named([10, 2, 2], None, where="digits")
        >>> labelling.rows, classes
        ([('10',), ('2',), ('2',)], ('2', '10'))
        >>> named([1, "cat"], Declared(("cat", "dog"), "classes.txt"), where="pets")[0].rows
        [('dog',), ('cat',)]
    """
    found = {each for label in labels for each in _several(label)}
    numbers = sorted(each for each in found if isinstance(each, int))
    names = sorted(each for each in found if isinstance(each, str))
    notes: list[str] = []
    if declared is not None:
        classes, of_number = declared.classes, dict(enumerate(declared.classes))
        _require_declared(numbers, names, declared, where)
    elif numbers and names:
        raise DataError(
            f"{where} has labels that are numbers ({numbers[0]}) and labels that are names ({names[0]}). Give "
            "classes.txt beside the shards or --class-map, a class a line, in the order of the numbers."
        )
    else:
        of_number = {number: str(number) for number in numbers}
        classes = tuple(of_number.values()) if numbers else tuple(names)
        notes = order_note(classes) if names else [
            "The classes have numbers and no names: classes.txt beside the shards or --class-map, a class a line, "
            "gives them some."
        ]  # fmt: skip
    known: dict[str | int, tuple[str, ...]] = {}  # one tuple for all samples of a class

    def name(label: Label) -> tuple[str, ...]:
        if isinstance(label, list):
            return tuple(dict.fromkeys(of_number[each] if isinstance(each, int) else each for each in label))
        if label not in known:
            known[label] = (of_number[label] if isinstance(label, int) else label,)
        return known[label]

    is_multilabel = any(isinstance(label, list) for label in labels)
    return Labelling([name(label) for label in labels], is_multilabel=is_multilabel), classes, notes


def _several(label: Label) -> Iterable[int | str]:
    return label if isinstance(label, list) else (label,)


def _require_declared(numbers: list[int], names: list[str], declared: Declared, where: str) -> None:
    wrong = [str(number) for number in numbers if number >= len(declared.classes)]
    wrong += [name for name in names if name not in declared.classes]
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (", ..." if len(wrong) > _SHOWN else "")
        raise DataError(
            f"{where}: {declared.source} names {len(declared.classes)} classes, and there are labels beside them: "
            f"{shown}. Numbers count from 0. Add the names, or correct the labels."
        )
