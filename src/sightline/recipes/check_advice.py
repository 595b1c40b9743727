"""What a training would choose for a data set, and what that does to its pictures."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sightline.data.catalog import Catalog
from sightline.data.measure import Measures
from sightline.data.preprocess import Preprocess
from sightline.recipes.beginning import weights_to_begin_with
from sightline.recipes.plan import make_plan
from sightline.recipes.settings import Settings
from sightline.report.check_result import Advice
from sightline.runtime import Runtime

# The choices that depend on the pictures, in the order of a plan.
_TOLD = ("recipe", "pretrained", "model", "img_size", "crop_padding", "scale", "ratio", "crop_pct")
_ELONGATED = 5  # percent of the pictures, of which the crop loses most


def advise(catalog: Catalog, measures: Measures, settings: Settings, runtime: Runtime) -> Iterator[Advice]:
    """What `train` would choose, with its reasons, and what of the pictures the network would then see.

    Args:
        catalog: with its splits assigned.
        measures: of its pictures.
        settings: of the training.
        runtime: the machine.

    Raises:
        ConfigError: a setting is wrong.
    """
    if not len(catalog.select("train")) or not len(measures.readable):
        return
    weights, _ = weights_to_begin_with(settings, catalog)
    mean, std = measures.statistics(measures.readable, catalog.channels) or ((), ())
    # Measured already: a plan would decode thousands of pictures for them. They do not decide on what is told.
    known = replace(settings, mean=settings.mean or mean, std=settings.std or std)
    plan = make_plan(known, catalog, runtime, weights)
    for choice in plan.choices:
        if choice.name in _TOLD:
            yield Advice(choice.name, str(choice.value), choice.reason)
    yield from _seen(measures, plan.preprocess)


def _seen(measures: Measures, preprocess: Preprocess) -> Iterator[Advice]:
    """How much of the pictures reaches the network."""
    rows = measures.rows[measures.readable]
    sides = np.sort(np.stack([rows["height"], rows["width"]], axis=1).astype(np.float64), axis=1)
    share = preprocess.crop_fraction**2 * sides[:, 0] / sides[:, 1]
    if share.min() < 0.99:
        yield Advice(
            "centre crop",
            "",
            f"prediction sees {np.median(share):.0%} of the area of the median picture, and "
            f"{np.percentile(share, _ELONGATED):.0%} or less of the most elongated {_ELONGATED} %",
        )
    needed = min(preprocess.input_size[1:])
    small = float((sides[:, 0] < needed).mean())
    if small > 0:
        yield Advice("enlarged", "", f"{small:.0%} of the pictures are smaller than {needed} px and are enlarged")
