"""The pictures of a proof: those that the training held out, and where they are gone, pictures made by a rule."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sightline.bundle import Bundle
from sightline.data.catalog import Catalog, Problem
from sightline.data.decode import BadImage, Pixels
from sightline.data.known import find
from sightline.data.published import KNOWN
from sightline.data.sources import Arrays, open_data
from sightline.data.split import assign_splits
from sightline.errors import ConfigError, DataError

Data = str | Path | Catalog | Arrays

RULE = (
    "made by rule, NumPy seeds (0, 0), (0, 1), ...: in turn uniform noise, a gradient between two colours, "
    "and noise with the 1/f spectrum of natural pictures"
)


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures that a bundle and its export both answer.

    Args:
        pixels: uint8 (N, H, W, C) at the network's size.
        names: of each, as its catalog has it.
        source: what they are, in words.
        is_made: whether they were made by `RULE`.
        reason: why they were made; empty where they were not.
        skipped: pictures that could not be read.
    """

    pixels: Pixels
    names: tuple[str, ...]
    source: str
    is_made: bool = False
    reason: str = ""
    skipped: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def proof_pictures(bundle: Bundle, data: Data | None, num_pictures: int) -> Pictures:
    """Pictures for the proof of an export.

    Args:
        bundle: whose preprocessing they go through.
        data: where they are from; None for the validation pictures of the training, as far as the bundle says what it
            was trained on and that is still on this machine, else for pictures made by `RULE`.
        num_pictures: the most to take, evenly spread.

    Raises:
        ConfigError: `num_pictures` is below 1.
        DataError: `data` was given and cannot be read.
    """
    if num_pictures < 1:
        raise ConfigError(f"num_pictures is {num_pictures}; a proof needs at least one.")
    if data is not None:
        return _read(bundle, _open(bundle, data), num_pictures)
    try:
        return _read(bundle, _open(bundle, _training_source(bundle)), num_pictures)
    except (DataError, ConfigError, OSError) as error:
        made = make_pictures(bundle.preprocess.input_size, num_pictures)
        names = tuple(f"made/{index:05d}" for index in range(num_pictures))
        return Pictures(made, names, RULE, is_made=True, reason=str(error))


def make_pictures(input_size: tuple[int, int, int], num_pictures: int) -> Pixels:
    """Pictures by `RULE`: each one a pure function of its number, the same on every machine.

    Args:
        input_size: (channels, height, width).
        num_pictures: how many.

    Reference:
        Field 1987, "Relations between the statistics of natural images and the response properties of cortical cells",
        J. Opt. Soc. Am. A 4(12), Fig. 7: amplitudes fall as 1/f.

    Example:
        >>> make_pictures((3, 8, 12), 4).shape
        (4, 8, 12, 3)
    """
    channels, height, width = input_size
    makers: tuple[Callable[[np.random.Generator, tuple[int, int, int]], npt.NDArray[np.float64]], ...]
    makers = (_noise, _gradient, _natural)
    shape = (height, width, channels)
    values = [makers[index % 3](np.random.default_rng((0, index)), shape) for index in range(num_pictures)]
    return np.rint(np.clip(np.stack(values), 0, 1) * 255).astype(np.uint8)


def _noise(random: np.random.Generator, shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    return random.random(shape)


def _gradient(random: np.random.Generator, shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """From one colour to another, in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    way = (np.sin(angle) * rows + np.cos(angle) * columns) / np.sqrt(2) / 2 + 0.5  # in [0, 1]
    first, second = random.random((2, shape[2]))
    picture: npt.NDArray[np.float64] = way[:, :, None] * first + (1 - way[:, :, None]) * second
    return picture


def _natural(random: np.random.Generator, shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """Soft blots of every size, about a mean colour, brightness and colour varying together as in photographs."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = np.inf  # the mean is set below
    spectrum = np.fft.rfft2(random.standard_normal((shape[2] + 1, shape[0], shape[1]))) / frequency
    *colours, brightness = np.fft.irfft2(spectrum, s=shape[:2])
    blots = np.stack([brightness + 0.3 * colour for colour in colours], axis=2)
    spread = max(float(blots.std()), 1e-12)  # a picture of one pixel has none
    return random.uniform(0.2, 0.8, shape[2]) + 0.2 * blots / spread


def _training_source(bundle: Bundle) -> str:
    """What the bundle was trained on, where that is on this machine. Nothing is fetched for a proof."""
    source = bundle.provenance.get("data", {}).get("source")
    if not isinstance(source, str):
        raise DataError("the bundle does not name data that can be opened again.")
    if source in KNOWN and find(source) is None:
        raise DataError(f"{source} is not on this machine.")
    return source


def _open(bundle: Bundle, data: Data) -> Catalog:
    """The data; the training's own with the training's own splits."""
    catalog = open_data(data)
    record = bundle.provenance.get("data", {})
    if not isinstance(data, str | Path) or str(data) != record.get("source"):
        return catalog
    fractions = {name: record.get(name) for name in ("val_fraction", "test_fraction")}
    return assign_splits(catalog, **fractions, seed=record.get("seed", 0))[0]


def _read(bundle: Bundle, catalog: Catalog, num_pictures: int) -> Pictures:
    """Up to so many pictures of the validation split, else of the training split, else of all."""
    split, indices = "all", np.arange(len(catalog), dtype=np.int64)
    for name in ("val", "train"):
        if len(found := catalog.select(name)):
            split, indices = name, found
            break
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, num_pictures).astype(np.int64))].tolist()

    def attempt(index: int) -> Pixels | Problem:
        try:
            return bundle.preprocess.picture(catalog.images.read(index))
        except BadImage as error:
            return Problem(catalog.images.name(index), error.reason)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        outcomes = list(threads.map(attempt, chosen))
    read = [(index, got) for index, got in zip(chosen, outcomes, strict=True) if not isinstance(got, Problem)]
    problems = tuple(got for got in outcomes if isinstance(got, Problem))
    if not read:
        raise DataError(f"none of {len(chosen)} pictures of {catalog.name} can be read. The first: {problems[0]}")
    return Pictures(
        pixels=np.stack([pixels for _, pixels in read]),
        names=tuple(catalog.images.name(index) for index, _ in read),
        source=f"{catalog.name}, split {split}: {len(read):,} of {len(indices):,} pictures",
        skipped=problems,
    )
