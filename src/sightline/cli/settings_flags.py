"""The flags that are settings of a training: declared once, by `sightline train`, and read in one place."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.recipes.settings import Settings

Verb = Callable[..., None]


def settings_of(flags: Mapping[str, object]) -> "Settings":
    """The TOML file's settings with the flags on top.

    Args:
        flags: the verb's, by name; "config" is the file's path, or None.

    Raises:
        ConfigError: the file cannot be read, a setting is unknown, or a value is of another type.
    """
    from sightline.config import from_mapping, read_toml
    from sightline.recipes.settings import Settings

    config = flags["config"]
    base = dataclasses.asdict(read_toml(config, Settings)) if isinstance(config, Path) else {}
    names = [field.name for field in dataclasses.fields(Settings)]
    given = {name: flags[name] for name in names if flags.get(name) is not None}
    return from_mapping({**base, **given}, Settings, source="flags")


def with_flags_of(other: Verb, *, but: Collection[str]) -> Callable[[Verb], Verb]:
    """Gives a verb the flags of another one as well; they reach it by its `**`.

    Args:
        other: the verb that declares them; where both declare one, the verb's own stays.
        but: those that it is not to have.

    Example:
        >>> def train(data: str, lr: float = 0.1, resume: bool = False) -> None: ...
        >>> @with_flags_of(train, but={"resume"})
        ... def find_lr(data: str, as_json: bool = False, **flags: object) -> None: ...
        >>> print(inspect.signature(find_lr))
        (data: str, *, lr: float = 0.1, as_json: bool = False) -> None
    """

    def declare(verb: Verb) -> Verb:
        own = inspect.signature(verb)
        first, *rest = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        others = [
            each
            for name, each in inspect.signature(other).parameters.items()
            if name not in own.parameters and name not in but
        ]
        flags = [each.replace(kind=each.KEYWORD_ONLY) for each in (*others, *rest)]
        verb.__signature__ = own.replace(parameters=[first, *flags])  # type: ignore[attr-defined]
        return verb

    return declare
