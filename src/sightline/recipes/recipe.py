"""The recipes in one table, and which of them a run takes where none was asked for."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sightline.errors import ConfigError, nearest
from sightline.recipes import best, fast, finetune, scratch_small, textbook
from sightline.recipes.facts import Defaults, Facts
from sightline.recipes.settings import RecipeName


@dataclass(frozen=True)
class About:
    """What a recipe says of itself at the top of its file.

    Args:
        name: of the recipe.
        purpose: a sentence.
        cost: time, machine and versions.
        score: on a named set.
        sources: a paper or a program each.
        file: to copy from.
    """

    name: str
    purpose: str
    cost: str
    score: str
    sources: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Recipe:
    """Where the defaults of a run come from.

    Args:
        defaults: from the facts to the settings that differ from the general ones, each with its reason.
        weights: whether trained weights to begin with are needed, possible or refused.
    """

    defaults: Callable[[Facts], Defaults]
    weights: Literal["needed", "possible", "refused"] = "possible"


RECIPES: dict[RecipeName, Recipe] = {
    "textbook": Recipe(textbook.defaults),
    "fast": Recipe(fast.defaults),
    "best": Recipe(best.defaults),
    "finetune": Recipe(finetune.defaults, weights="needed"),
    "scratch-small": Recipe(scratch_small.defaults, weights="refused"),
}


_CONTINUED = " " * 8


def choose_recipe(facts: Facts) -> tuple[RecipeName, str]:
    """The recipe that was asked for, or the one that suits the facts, with the reason.

    Args:
        facts: of the run.

    Raises:
        ConfigError: the recipe that was asked for needs trained weights and there are none, or the other way round.
    """
    name = facts.asked.recipe
    if name is None:
        if facts.weights is not None:
            is_asked = facts.asked.pretrained is not None
            return "finetune", f"trained weights {'to begin with were asked for' if is_asked else 'are at hand'}"
        if facts.is_small:
            return "fast", f"{facts.pictures}, from scratch"
        return "scratch-small", f"{facts.pictures}, and no trained weights to begin with (--pretrained)"
    needs = RECIPES[name].weights
    if needs == "needed" and facts.weights is None:
        raise ConfigError(
            f"the recipe {name} begins with trained weights, and there are none. Name them with --pretrained (a file, "
            "a bundle, hf-hub:org/name, or alone for those known), or train from scratch with --recipe scratch-small."
        )
    if needs == "refused" and facts.weights is not None:
        raise ConfigError(
            f"the recipe {name} trains from scratch, and there are trained weights to begin with. Leave --pretrained "
            "out, or take --recipe finetune."
        )
    return name, "as asked"


def about(name: str) -> About:
    """What a recipe says of itself.

    Args:
        name: of the recipe.

    Raises:
        ConfigError: there is no recipe of that name.

    Example:
        >>> about("fast").purpose
        'The shortest time to a good score.'
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}.{nearest(name, RECIPES)}")
    module = inspect.getmodule(RECIPES[name].defaults)
    purpose, parts = _parts(inspect.getdoc(module) or "")
    return About(
        name=name,
        purpose=purpose,
        cost=" ".join(parts.get("Cost", ())),
        score=" ".join(parts.get("Score", ())),
        sources=tuple(parts.get("Sources", ())),
        file=inspect.getfile(RECIPES[name].defaults),
    )


def _parts(text: str) -> tuple[str, dict[str, list[str]]]:
    """The first line of a docstring, and the lines behind each of its titles, "Cost: ..."."""
    first, *rest = text.splitlines()
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in rest:
        title, colon, words = line.partition(":")
        if colon and title.isalpha() and not line.startswith(" "):
            lines = parts[title] = [words.strip()] if words.strip() else []
        elif line.startswith(_CONTINUED) and lines:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
    return first, parts
