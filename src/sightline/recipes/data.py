"""The data of a run: opened, split, decoded and locked."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import nn

from sightline.data.animation import animation_note_of
from sightline.data.catalog import Catalog, Problem, listed
from sightline.data.copies import exact_copies, keep_together, kept_together, refuse_leaks
from sightline.data.decode import BadImage
from sightline.data.loader import TrainLoader
from sightline.data.lock import lock_parts, verify_lock
from sightline.data.lock_file import lock_digest, read_lock, write_lock
from sightline.data.published import KNOWN
from sightline.data.sources import Data, open_data
from sightline.data.split import assign_splits
from sightline.data.store import Store
from sightline.errors import BundleError, DataError
from sightline.models.base import InitialisesFromData
from sightline.predict.answers import as_utf8
from sightline.progress import bars, labelled, say
from sightline.recipes.plan import Plan
from sightline.recipes.settings import Settings
from sightline.recipes.smoke import smoke_catalog
from sightline.runtime import Runtime
from sightline.training.distributed import World
from sightline.training.options import require_ranges

WHITENING_SAMPLE = 5000  # pictures; arXiv:2404.00498, Sec. 3.2


def reopenable(data: Data) -> str | None:
    """What opens the same data again from anywhere: a known name, an address, or a full path."""
    if not isinstance(data, str | Path):
        return None
    is_elsewhere = str(data) in KNOWN or "://" in str(data)
    return str(data) if is_elsewhere else str(Path(data).expanduser().resolve())


def with_full_paths(settings: Settings) -> Settings:
    """The settings with the full path of the class map, so that they say the same from anywhere."""
    if settings.class_map is None:
        return settings
    return replace(settings, class_map=str(Path(settings.class_map).expanduser().resolve()))


def open_catalog(data: Data, settings: Settings, console: Console) -> Catalog:
    """The data as the settings want it read, before its splits are assigned."""
    require_ranges(settings)  # now, and not after the minutes that large data takes to open
    with bars(console) as bar:
        return open_data(
            data,
            channels=settings.in_chans,
            class_map=settings.class_map,
            group_by=settings.group_by,
            progress=labelled(bar),
        )


def split_for(opened: Catalog, settings: Settings, copies: npt.NDArray[np.int64]) -> tuple[Catalog, list[str]]:
    """The splits of a training, and sentences about them.

    Args:
        opened: the data.
        settings: of the training.
        copies: its exact copies, of `exact_copies`; a draw keeps them in one split.
    """
    catalog, notes = assign_splits(
        keep_together(opened, copies),
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed or 0,
        folds=settings.folds,
        fold=settings.fold,
    )
    catalog = replace(catalog, groups=opened.groups, group_names=opened.group_names)
    return catalog, [*notes, *kept_together(opened, catalog, copies)]


def open_split(data: Data, settings: Settings, console: Console) -> tuple[Catalog, list[str]]:
    """The catalog with its splits assigned, and sentences about how; exact copies in two splits are refused."""
    opened = open_catalog(data, settings, console)
    copies = exact_copies(opened.images, threads=settings.threads or os.cpu_count() or 1)
    catalog, notes = split_for(opened, settings, copies)
    notes += refuse_leaks(opened, catalog, copies, allowed=bool(settings.allow_leaks))
    _require_every_class(catalog)
    if settings.smoke:
        catalog = smoke_catalog(catalog)
    if not len(catalog.select("train")):
        raise DataError(
            f"{catalog.name} has no training pictures. Add a train folder, or lower the held-out fractions."
        )
    animations = animation_note_of(opened)
    several = [several_note(catalog)] if catalog.is_multilabel else []
    return catalog, [*catalog.notes, *several, *notes, *([animations] if animations else [])]


def several_note(catalog: Catalog) -> str:
    """What multi-label data is like, in a sentence.

    Args:
        catalog: of multi-label data.
    """
    labels = catalog.labels.sum(axis=1)
    without = int((labels == 0).sum())
    return (
        f"A picture may have several labels: {labels.mean():.2f} on average, {labels.max()} at most, and "
        f"{without:,} picture{'' if without == 1 else 's'} with none."
    )


def _require_every_class(catalog: Catalog) -> None:
    counts = catalog.class_counts(catalog.select("train"))
    lacking = [name for name, count in zip(catalog.classes, counts.tolist(), strict=True) if not count]
    if lacking and counts.any():
        more = f", ... ({len(lacking)} in all)" if len(lacking) > 20 else ""
        raise DataError(
            f"{catalog.name} has no training pictures of {', '.join(lacking[:20])}{more}. Add some, or "
            "take the class out of the data and of the class map."
        )


def decode_all(
    catalog: Catalog, plan: Plan, runtime: Runtime, *, skip_bad: bool, console: Console, cache: bool | None = None
) -> tuple[Store, Store | None, list[Problem]]:
    """The decoded pictures of the training and validation splits, and what was left out.

    The test pictures are decoded, too, and let go again: a bad one must be known now and not after the training.

    Args:
        catalog: with its splits assigned.
        plan: of the run.
        runtime: the machine.
        skip_bad: leave out pictures that cannot be read, instead of raising.
        console: for the progress, what was left out, and where the pixels are.
        cache: as `Store.build` takes it.
    """
    if catalog.problems and not skip_bad:
        raise DataError(
            f"{len(catalog.problems)} files of {catalog.name} cannot be used:\n{listed(catalog.problems)}\n"
            "Repair or remove them, or leave them out with --skip-bad (they are then listed in data.lock.json)."
        )
    skipped: list[Problem] = []
    stores: dict[str, Store] = {}
    with bars(console) as bar:
        for split in ("train", "val", "test"):
            indices = catalog.select(split)
            if len(indices):
                stores[split], problems = Store.build(
                    catalog,
                    indices,
                    preprocess=plan.preprocess,
                    keep_margin=plan.keep_margin if split == "train" else None,
                    threads=runtime.threads,
                    skip_bad=skip_bad,
                    progress=bar(f"decoding {split}"),
                    cache=cache,
                    tell=lambda words: say(console, as_utf8(f"  {words}")),
                    stream=plan.stream if split == "train" else (plan.stream and split == "test") or None,
                )
                skipped += problems
    for problem in skipped:
        say(console, as_utf8(f"  left out: {problem}"))
    say(console, as_utf8(f"  training pictures are {stores['train'].location}"))
    return stores["train"], stores.get("val"), skipped


def lock_data(path: Path, catalog: Catalog, skipped: list[Problem], world: World) -> str:
    """Writes what the run uses; of a resumed run, checks that it is still the same. Returns its digest.

    The main process does, and tells the others.
    """
    return world.from_main(_lock(path, catalog, skipped) if world.is_main else "")


def _lock(path: Path, catalog: Catalog, skipped: list[Problem]) -> str:
    if path.exists():
        lock = _read_lock(path)
        differences = verify_lock(lock, catalog)
        refused = {problem.path for problem in (*catalog.problems, *skipped)}
        differences += [
            f"{each} can be read again, or not any more" for each in refused ^ {row["path"] for row in lock["skipped"]}
        ]
        if differences:
            raise DataError(
                f"the data has changed since this run began: {'; '.join(differences[:3])}. "
                "Put it back as it was, or start a new run with another --output."
            )
        return lock_digest(lock)
    return write_lock(path, lock_parts(catalog, skipped))


def _read_lock(path: Path) -> dict[str, Any]:
    try:
        return read_lock(path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Start the run again with another --output.") from error


def first_pictures(loader: TrainLoader, count: int) -> torch.Tensor:
    """The first normalised training pictures of epoch 0, not mixed, on the CPU, where the network is built.

    They are the same in every process.
    """
    batches = []
    for batch in replace(loader, rank=0, world_size=1, mix=None, workers=0).epoch(0):
        batches.append(batch.images.cpu())
        if sum(map(len, batches)) >= count:
            break
    return torch.cat(batches)[:count]


def initialise_from_pictures(net: nn.Module, loader: TrainLoader) -> None:
    """Shows a fresh network the pictures that it sets its first weights from; most networks want none.

    Args:
        net: of fresh weights.
        loader: of the training.
    """
    if isinstance(net, InitialisesFromData):
        net.initialise_from(first_pictures(loader, WHITENING_SAMPLE))


def picture_source(catalog: Catalog) -> Callable[[str], npt.NDArray[np.uint8] | None]:
    """From a picture's name to its pixels, for the report."""
    number = {catalog.images.name(index): index for index in range(len(catalog))}

    def picture(name: str) -> npt.NDArray[np.uint8] | None:
        try:
            return catalog.images.read(number[name])
        except (KeyError, BadImage):
            return None

    return picture
