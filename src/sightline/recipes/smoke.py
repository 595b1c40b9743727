"""A run of seconds through every part of a recipe: what it takes of the settings and of the data."""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import ArrayImages, Catalog, FileImages, Images, Labels
from sightline.data.modes import Pixels
from sightline.data.shard_images import ShardImages
from sightline.models.zoo import SMALL_STEM_BELOW_PX, ZOO
from sightline.recipes.chooser import fitting
from sightline.recipes.facts import Defaults, Facts
from sightline.recipes.settings import Settings

MOST = {
    "epochs": 2, "batch_size": 32, "head_epochs": 1, "swa_epochs": 1, "warmup_epochs": 0.5, "decay_epochs": 0.5,
}  # fmt: skip
PICTURES = {"train": 256, "val": 64, "test": 64}
SMALL_PX = 32
# The least size that has the stem for photographs, so that the run goes through the same layers.
PHOTOGRAPH_PX = SMALL_STEM_BELOW_PX

Indices = npt.NDArray[np.int64]


def smoke_settings(facts: Facts, defaults: Defaults) -> tuple[Settings, dict[str, str]]:
    """The settings of a run, cut down to seconds; what is no matter of length or size stays.

    Args:
        facts: of the run.
        defaults: of its recipe: a phase, an average or a fall that they have, the smoke run has as well.

    Returns:
        The settings, and for each that has become another one than was asked for, the reason.
    """
    asked = facts.asked
    before = {name: default.value for name, default in fitting(defaults, asked).items()}
    before |= {field.name: value for field in fields(Settings) if (value := getattr(asked, field.name)) is not None}
    changed = {name: min(before[name], most) for name, most in MOST.items() if before.get(name)}
    if before.get("decay_milestones"):  # as many falls
        count = len(before["decay_milestones"])
        moving = changed.get("epochs", 1) - changed.get("head_epochs", 0)  # what the schedule runs over
        changed["decay_milestones"] = tuple(moving * (fall + 1) / (count + 1) for fall in range(count))
    if (img_size := _img_size(facts)) is not None:
        changed["img_size"] = img_size
    changed = {name: value for name, value in changed.items() if value != getattr(asked, name)}
    return replace(asked, **changed), {name: _reason(getattr(asked, name)) for name in changed}


def smoke_catalog(catalog: Catalog) -> Catalog:
    """The part of a catalog that a smoke run takes: at most 256 training, 64 validation and 64 test pictures.

    Of each class its share, the pictures evenly spaced, the same ones every time. A class has one training picture at
    least, as far as 256 are enough, and none for validation or test that it has no training picture of. Where a picture
    may have several classes, one of each comes first, the rest are evenly spaced.

    Args:
        catalog: with its splits assigned.

    Example:
        >>> from sightline.data.catalog import ArrayImages
        >>> images = ArrayImages(np.zeros((1000, 2, 2, 1), np.uint8), (("train", 1000),))
        >>> labels, splits = np.arange(1000) % 2, np.zeros(1000, np.uint8)
        >>> smoke_catalog(Catalog("many", None, ("a", "b"), images, labels, splits)).counts()
        {'train': {'a': 128, 'b': 128}}
    """
    taken: list[Indices] = []
    is_learned = np.ones(len(catalog.classes), dtype=bool)
    for split, most in PICTURES.items():
        indices = catalog.select(split)
        if catalog.is_multilabel:
            indices = indices[~catalog.labels[indices][:, ~is_learned].any(axis=1)]
            taken.append(_evenly_of_several(indices, catalog.labels[indices], most))
        else:
            indices = indices[is_learned[catalog.class_numbers[indices]]]
            taken.append(_evenly(indices, catalog.class_numbers[indices], most))
        if split == "train":
            is_learned = catalog.class_counts(taken[0]) > 0
    chosen = np.sort(np.concatenate(taken))
    return replace(
        catalog,
        images=_part(catalog.images, chosen),
        labels=catalog.labels[chosen],
        splits=catalog.splits[chosen],
        groups=None if catalog.groups is None else catalog.groups[chosen],
    )


def _evenly(indices: Indices, labels: Indices, most: int) -> Indices:
    """Some of the pictures: of each class its share of `most`, evenly spaced."""
    if len(indices) <= most:
        return indices
    present, counts = np.unique(labels, return_counts=True)
    if len(present) >= most:  # one of a class, as many classes as that makes
        shares = np.zeros_like(counts)
        shares[_spaced(len(present), most)] = 1
    else:  # one each, and the rest by the largest remainder
        quotas = (most - len(present)) * (counts - 1) / (len(indices) - len(present))
        shares = 1 + np.floor(quotas).astype(np.int64)
        shares[np.argsort(np.floor(quotas) - quotas, kind="stable")[: most - shares.sum()]] += 1
    places = [np.flatnonzero(labels == label)[_spaced(count, share)]
              for label, count, share in zip(present, counts.tolist(), shares.tolist(), strict=True)]  # fmt: skip
    return indices[np.sort(np.concatenate(places))]


def _evenly_of_several(indices: Indices, labels: Labels, most: int) -> Indices:
    """Some of the pictures: the first one of each class, the rarest class first, and evenly spaced ones of the rest."""
    if len(indices) <= most:
        return indices
    needed: list[int] = []
    counts = labels.sum(axis=0)
    for label in np.argsort(counts, kind="stable").tolist():
        if counts[label] and not labels[needed, label].any() and len(needed) < most:
            needed.append(int(labels[:, label].argmax()))
    others = np.setdiff1d(np.arange(len(indices)), needed)
    places = np.concatenate([np.array(needed, np.int64), others[_spaced(len(others), most - len(needed))]])
    chosen: Indices = indices[np.sort(places)]
    return chosen


def _spaced(count: int, share: int) -> Indices:
    """`share` of the numbers from 0 to `count` - 1, evenly spaced."""
    return np.arange(share, dtype=np.int64) * count // max(share, 1)


def _part(images: Images, indices: Indices) -> Images:
    """Some of the pictures, of the same kind."""
    if isinstance(images, FileImages):
        return replace(images, paths=[images.paths[index] for index in indices])
    if isinstance(images, ShardImages):
        return images.part(indices)
    if isinstance(images, ArrayImages):
        ends = np.searchsorted(indices, np.cumsum([length for _, length in images.sections]))
        lengths = np.diff(ends, prepend=0).tolist()
        names = [name for name, _ in images.sections]
        return ArrayImages(images.pixels[indices], tuple(zip(names, lengths, strict=True)))
    return _Part(images, tuple(indices.tolist()))


@dataclass(frozen=True)
class _Part:
    """Some pictures of a kind that this program does not know."""

    images: Images
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Pixels:
        return self.images.read(self.indices[index])

    def content(self, index: int) -> bytes:
        return self.images.content(self.indices[index])

    def name(self, index: int) -> str:
        return self.images.name(self.indices[index])


def _reason(asked: object) -> str:
    return "of a smoke run" if asked is None else f"of a smoke run, where {asked} was asked for"


def _img_size(facts: Facts) -> int | None:
    """Small enough for seconds; None where it is anyway, or the network was built for one size."""
    if facts.model in ZOO and "image_size" in ZOO[facts.model].options:
        return None
    most = SMALL_PX if facts.is_small else PHOTOGRAPH_PX
    return most if (facts.img_size or min(facts.typical_size)) > most else None
