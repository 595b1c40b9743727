"""What a run would be, before anything is trained: the data opened, everything chosen, and the plan told."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from sightline.data.catalog import Catalog
from sightline.data.sources import Data
from sightline.pretrained import Source
from sightline.recipes.beginning import require_network, weights_to_begin_with
from sightline.recipes.data import open_split
from sightline.recipes.plan import Plan, make_plan
from sightline.recipes.settings import Settings
from sightline.runtime import Runtime, choose_runtime


@dataclass(frozen=True)
class Prepared:
    """A run of one process that has not begun.

    Args:
        catalog: the data, with its splits assigned.
        notes: how it was read and split, and weights that nobody asked for, in sentences.
        runtime: the machine.
        weights: to begin with; None from scratch.
        plan: the run.
    """

    catalog: Catalog
    notes: tuple[str, ...]
    runtime: Runtime
    weights: Source | None
    plan: Plan

    def __str__(self) -> str:
        return "\n".join(told(self.plan, self.catalog, self.notes, self.runtime))


def prepare(data: Data, settings: Settings, console: Console) -> Prepared:
    """Opens the data and chooses everything, as `train` does; writes nothing.

    Args:
        data: as `train` takes it.
        settings: what was asked.
        console: for the progress of the reading.

    Raises:
        ConfigError: a setting is wrong.
        DataError: the data cannot be read, or not be trained on.
    """
    runtime = choose_runtime(device=settings.device, amp=settings.amp, threads=settings.threads)
    catalog, notes = open_split(data, settings, console)
    weights, at_hand = weights_to_begin_with(settings, catalog)
    plan = make_plan(settings, catalog, runtime, weights)
    require_network(plan, num_classes=len(catalog.classes))
    return Prepared(catalog, (*notes, *at_hand), runtime, weights, plan)


def told(plan: Plan, catalog: Catalog, notes: tuple[str, ...], runtime: Runtime) -> Iterator[str]:
    """What will be done and why, line by line.

    Args:
        plan: of the run.
        catalog: its data.
        notes: about the data and the weights.
        runtime: the machine.
    """
    yield str(catalog)
    yield from notes
    for number, reason in enumerate(runtime.reasons):
        yield f"on {reason}" if number == 0 else reason
    width = max(len(choice.name) for choice in plan.choices)
    for choice in plan.choices:
        yield f"{choice.name:<{width}}  {choice.value}  ({choice.reason})"
