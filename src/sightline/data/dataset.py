"""PyTorch's map-style data sets -> a Catalog; torch itself is not needed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from sightline.data.catalog import SPLITS, Catalog
from sightline.data.decode import BadImage, Header, decode, read_header
from sightline.data.modes import Pixels
from sightline.data.probe import probe
from sightline.errors import DataError

_PROBES = 16


class MapDataset(Protocol):
    """What a map-style data set of PyTorch has.

    An item is (image, label): a PIL image, a uint8 array (H, W) or (H, W, C), or a uint8 tensor (C, H, W) or (H, W);
    and a whole number.
    """

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: int, /) -> Any:
        """(image, label)."""


@dataclass(frozen=True)
class DatasetImages:
    """The pictures of a map-style data set, asked for one at a time, as it need not be made for threads.

    Args:
        dataset: that gives them.
        channels: 3 for RGB, 1 for grey.
    """

    dataset: MapDataset
    channels: Literal[1, 3] = 3
    _lock: Any = field(default_factory=RLock, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> Pixels:
        """The picture as pixels."""
        image = self.image(index)
        if isinstance(image, Image.Image):
            with self._lock:  # it may be read from its file only now
                return decode(image, channels=self.channels)
        return decode(image, channels=self.channels)

    def content(self, index: int) -> bytes:
        """The pixels' bytes."""
        pixels = self.read(index)
        return f"{pixels.shape}".encode() + pixels.tobytes()

    def name(self, index: int) -> str:
        """The item's number."""
        return f"item/{index:06d}"

    def image(self, index: int) -> Any:
        """The item's image, a tensor as an array (H, W, C).

        Raises:
            BadImage: the data set raises an error, or gives something else.
        """
        try:
            with self._lock:
                image = self.dataset[index][0]
        except Exception as error:  # whatever the user's code raises
            raise BadImage(self.name(index), f"the data set gives none ({type(error).__name__}: {error})") from error
        if isinstance(image, Image.Image | np.ndarray):
            return image
        array = np.asarray(image)  # a tensor has its channels first
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise BadImage(
                self.name(index),
                f"must be a PIL image, a uint8 array or a uint8 tensor (C, H, W), got {type(image).__name__} of "
                f"{array.dtype} {array.shape}. Leave ToTensor and Normalize out of its transform",
            )
        return array.transpose(1, 2, 0) if array.ndim == 3 else array


def from_dataset(dataset: MapDataset, channels: Literal[1, 3] | None) -> Catalog:
    """Read the labels of a map-style data set.

    Args:
        dataset: its items must be the same each time: pictures without random transforms.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.

    Returns:
        The catalog. Classes are the data set's `classes`, or the numbers.

    Raises:
        DataError: it is empty, a label is no class number, an item is not the same when asked for again, or none of
            the pictures looked at can be read.
    """
    name = type(dataset).__name__
    if not len(dataset):
        raise DataError(f"the data set {name} is empty.")
    images = DatasetImages(dataset)
    looks = probe(len(dataset), lambda place: _header(images.image(place)), most=_PROBES)
    _require_constant(images, name)
    labels = _labels(dataset, name)
    found = getattr(dataset, "classes", None)
    classes = tuple(map(str, found)) if found is not None else tuple(map(str, range(int(labels.max()) + 1)))
    twice = [each for each, count in Counter(classes).items() if count > 1]
    if labels.min() < 0 or labels.max() >= len(classes) or twice:
        raise DataError(
            f"the labels of {name} run from {labels.min()} to {labels.max()}, and its classes are {len(classes)}"
            f"{', some of one name: ' + ', '.join(twice) if twice else ''}. Each label must be the index of a class."
        )
    return Catalog(
        name=name,
        root=None,
        classes=classes,
        images=DatasetImages(dataset, channels or looks.channels),
        labels=labels,
        splits=np.full(len(labels), SPLITS.index("unassigned"), np.uint8),
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
    )


def _header(image: Any) -> Header:
    if isinstance(image, Image.Image):
        return read_header(image)
    height, width = image.shape[:2]
    is_grey = image.ndim == 2 or image.shape[2] == 1
    return Header("", "L" if is_grey else "RGB", height, width, orientation=1, is_grey=is_grey, is_animated=False)


def _require_constant(images: DatasetImages, name: str) -> None:
    """Pictures are decoded once, so a random transform would freeze as it fell, and no run could be repeated."""
    try:
        is_constant = all(images.content(0) == images.content(0) for _ in range(3))
    except BadImage:
        return  # left to the store, which lists it
    if not is_constant:
        raise DataError(
            f"the data set {name} gives another picture each time it is asked for its first one. Leave random "
            "transforms out: Sightline augments by itself, and repeatably."
        )


def _labels(dataset: MapDataset, name: str) -> Any:
    """All labels: as `targets` has them, where the items looked at agree, else item by item."""
    targets = getattr(dataset, "targets", None)
    if targets is not None and len(targets) == len(dataset) and getattr(dataset, "target_transform", None) is None:
        numbers = [_number(each, name) for each in targets]
        probes = np.unique(np.linspace(0, len(numbers) - 1, _PROBES).astype(int)).tolist()
        if all(numbers[each] == _number(_item(dataset, each, name)[1], name) for each in probes):
            return np.array(numbers, np.int64)
    return np.array([_number(_item(dataset, each, name)[1], name) for each in range(len(dataset))], np.int64)


def _item(dataset: MapDataset, index: int, name: str) -> Sequence[Any]:
    try:
        image, label = dataset[index]
    except Exception as error:  # whatever the user's code raises; without its item, a picture has no label
        raise DataError(
            f"item {index} of the data set {name} is no (image, label) ({type(error).__name__}: {error})."
        ) from error
    return image, label


def _number(label: Any, name: str) -> int:
    array = np.asarray(label)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise DataError(f"the labels of {name} must be whole numbers, got {label!r:.60}.")
    return int(array.reshape(()))
