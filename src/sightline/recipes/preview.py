"""What the network will see: some training pictures, epoch by epoch, after everything that happens to them.

Nothing is imitated: the plan is that of the training, and a picture's random numbers depend on seed, epoch and picture
alone, so the sheet shows what the training will show.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from sightline.atomic import replacing
from sightline.data.catalog import Catalog
from sightline.data.draw import epoch_order
from sightline.data.finding import label_of
from sightline.data.preprocess import Preprocess
from sightline.data.sampling import balanced, shuffled
from sightline.data.sources import Data
from sightline.data.store import Store
from sightline.errors import BundleError, ConfigError
from sightline.predict.answers import as_utf8
from sightline.progress import bars, say
from sightline.recipes.contact_sheet import Frame, Row, contact_sheet
from sightline.recipes.fitting import train_loader
from sightline.recipes.folder import require_outside
from sightline.recipes.plan import Plan
from sightline.recipes.prepare import prepare
from sightline.recipes.settings import Settings
from sightline.runtime import Runtime
from sightline.training.distributed import SINGLE

MOST = 100  # epochs, and pictures: beyond that no image is looked at
LEAST_SHARE = 0.005  # of a class, to be written: 0.01 when rounded
_TOLD = {  # the choices that decide what is seen
    "img_size", "in_chans", "interpolation", "crop_pct", "hflip", "alternating_flip", "vflip", "crop_padding", "scale",
    "ratio", "rotation", "color_jitter", "aa", "reprob", "remode", "mixup", "cutmix", "mixup_prob", "mixup_switch_prob",
    "sampler", "batch_size",
}  # fmt: skip


def preview(
    data: Data,
    *,
    settings: Settings | None = None,
    epochs: int = 4,
    count: int = 8,
    output: str | Path = "preview.png",
    console: Console | None = None,
) -> Path:
    """Draws training pictures as prediction sees them, and as each epoch of a training shows them.

    Args:
        data: as `train` takes it.
        settings: as `train` takes them; what is not given is chosen as for a training.
        epochs: how many, from the first.
        count: how many pictures, of as many classes as there are.
        output: the PNG to write.
        console: where the choices are printed; None prints to standard error.

    Returns:
        The path of the PNG: a row a picture, first as prediction sees it, then a column an epoch; where pictures are
        mixed, the shares of the classes stand under them.

    Raises:
        ConfigError: a setting is wrong, or `output` is no PNG or lies in the data folder.
        DataError: pictures cannot be read.
        BundleError: `output` cannot be written.
    """
    console = console or Console(stderr=True)
    path = Path(output)
    for name, number in (("epochs", epochs), ("count", count)):
        if not 1 <= number <= MOST:
            raise ConfigError(f"{name} is {number}; it must be from 1 to {MOST}.")
    if path.suffix.lower() != ".png":
        raise ConfigError(f"the preview is a PNG, and output is {path}. Give it a name that ends in .png.")
    # Nothing is scored here, so splits may leak.
    settings = dataclasses.replace(settings or Settings(), smoke=None, allow_leaks=True)
    prepared = prepare(data, settings, console)
    catalog, plan, runtime = prepared.catalog, prepared.plan, prepared.runtime
    require_outside(path, catalog)
    for note in prepared.notes:
        say(console, as_utf8(f"  {note}"))
    for choice in plan.choices:
        if choice.name in _TOLD:
            say(console, as_utf8(f"  {choice.name}  {choice.value}  ({choice.reason})"))

    chosen = a_picture_of_each_class(catalog, count, seed=plan.options.seed)
    everything_needed = plan.mix is not None or plan.sampler == "balanced"  # a partner may be any picture
    indices = catalog.select("train") if everything_needed else chosen
    store = _decoded(catalog, indices, plan, runtime, settings=settings, console=console)
    on_cpu = dataclasses.replace(runtime, device=torch.device("cpu"))  # where pictures are drawn
    kept = [int(index) for index in chosen if index in store.sources]
    rows = torch.tensor([int(np.flatnonzero(store.sources == index)[0]) for index in kept])
    columns = [
        list(_as_in_training(store, plan, on_cpu, rows, epoch, catalog.classes))
        if everything_needed
        else _augmented(store, plan, rows, epoch)
        for epoch in range(epochs)
    ]
    sheet = contact_sheet(
        ["as predicted", *(f"epoch {epoch + 1}" for epoch in range(epochs))],
        [
            Row(
                as_utf8(label_of(catalog, index) or "no label"),
                as_utf8(Path(catalog.images.name(index)).name),
                [Frame(plan.preprocess.picture(catalog.images.read(index))), *(column[row] for column in columns)],
            )
            for row, index in enumerate(kept)
        ],
    )
    try:
        with replacing(path) as temporary:
            sheet.save(temporary, "PNG")
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}. Choose another --output.") from error
    return path


def a_picture_of_each_class(catalog: Catalog, count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Some training pictures in random order, the first ones of different classes, then a second of each, and so on.

    Args:
        catalog: with its splits assigned.
        count: how many; fewer where there are no more.
        seed: of the run.

    Returns:
        int64 (count,), indices in the catalog.
    """
    train = catalog.select("train")
    mixed = train[epoch_order(seed, 0, len(train)).numpy()]
    labels = catalog.labels[mixed]
    if catalog.is_multilabel:  # every set of labels is a kind of its own
        labels = np.unique(labels, axis=0, return_inverse=True)[1]
    turn = np.zeros(len(mixed), np.int64)  # how many of the same class come before
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    chosen: npt.NDArray[np.int64] = mixed[np.argsort(turn, kind="stable")][:count]
    return chosen


def _decoded(
    catalog: Catalog,
    indices: npt.NDArray[np.int64],
    plan: Plan,
    runtime: Runtime,
    *,
    settings: Settings,
    console: Console,
) -> Store:
    with bars(console) as bar:
        store, problems = Store.build(
            catalog,
            indices,
            preprocess=plan.preprocess,
            keep_margin=plan.keep_margin,
            threads=runtime.threads,
            skip_bad=bool(settings.skip_bad),
            cache=settings.cache,
            progress=bar("decoding"),
        )
    for problem in problems:
        say(console, as_utf8(f"  left out: {problem}"))
    return store


def _augmented(store: Store, plan: Plan, rows: Tensor, epoch: int) -> list[Frame | None]:
    """What an epoch makes of each picture, where no other picture has a part in it."""
    pictures = plan.augment.batch(store, rows, seed=plan.options.seed, epoch=epoch)
    return [Frame(picture) for picture in pictures.numpy()]


def _as_in_training(
    store: Store, plan: Plan, runtime: Runtime, rows: Tensor, epoch: int, classes: tuple[str, ...]
) -> Iterator[Frame | None]:
    """Each picture out of the batch in which the training has it; None where a balanced epoch passes it over."""
    loader = train_loader(store, plan, runtime, SINGLE, num_classes=len(classes))
    if plan.sampler == "balanced":
        order = balanced(store.labels, seed=plan.options.seed, epoch=epoch).rows
    else:
        order = shuffled(len(store), seed=plan.options.seed, epoch=epoch).rows
    for row in rows:
        places = (order == row).nonzero()
        if not len(places):
            yield None
            continue
        step = min(int(places[0]) // plan.options.batch_size, loader.steps_per_epoch - 1)
        batch = next(loader.epoch(epoch, step))
        place = int((batch.rows == row).nonzero()[0])
        yield Frame(_pixels(batch.images[place], plan.preprocess), _shares(batch.targets[place], classes))


def _pixels(image: Tensor, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """A normalised image (C, H, W) as levels again."""
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (preprocess.mean, preprocess.std))
    levels: npt.NDArray[np.uint8] = (255 * (image * std + mean)).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return levels


def _shares(target: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A line for each class of a mixed picture, the larger share first; none where pictures are not mixed."""
    if target.dim() == 0:
        return ()
    shares = sorted(zip(target.tolist(), classes, strict=True), reverse=True)
    return tuple(as_utf8(f"{share:.2f} {name}") for share, name in shares if share >= LEAST_SHARE)
