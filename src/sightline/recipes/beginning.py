"""What a training begins with: trained weights, asked for or at hand, and the network."""

import torch

from sightline.data.catalog import Catalog
from sightline.errors import ConfigError, ShapeError
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.pretrained import Pretrained, Source, find_weights, load_pretrained
from sightline.pretrained.at_hand import on_this_machine, weights_at_hand
from sightline.recipes.plan import Plan, wants_weights_at_hand
from sightline.recipes.settings import Settings


def weights_to_begin_with(settings: Settings, catalog: Catalog) -> tuple[Source | None, list[str]]:
    """The weights that were asked for; else, for a few photographs, those that are on this machine.

    Args:
        settings: what was asked.
        catalog: with its splits assigned.

    Returns:
        The weights, None from scratch; and sentences about a choice that nobody asked for.

    Raises:
        ConfigError: there are no such weights, or they do not suit the network that was asked for.
        BundleError: they cannot be read.
    """
    if settings.pretrained is not None:
        return find_weights(settings.pretrained, model=settings.model), []
    if not wants_weights_at_hand(settings, catalog):
        return None, []
    weights, sentence = weights_at_hand(
        on_this_machine(),
        num_pictures=len(catalog.select("train")),
        typical_size=catalog.typical_size,
        model=settings.model,
    )
    return weights, [sentence] if sentence else []


def require_network(plan: Plan, *, num_classes: int) -> None:
    """Refuses a plan whose network cannot be built, or does not take the pictures: before any of them is decoded.

    The network is built without weights, and one picture without values goes through it.

    Args:
        plan: of the run.
        num_classes: of the data.

    Raises:
        ConfigError: the network lacks an option that was asked for, or its pictures are too small or cannot be cropped.
    """
    size = plan.preprocess.input_size
    plan.augment.check_size(size[1:])
    options: zoo.Options = {**plan.model_options, "image_size": size[1:], "tta": plan.tta}
    try:
        with torch.device("meta"), torch.no_grad():
            net = zoo.build(plan.model, num_classes=num_classes, in_channels=size[0], **options)
            net.eval()(torch.zeros(1, *size))
    except ShapeError as error:
        raise ConfigError(f"img_size is {size[1]}, and {plan.model} does not take that: {error}") from None


def first_network(plan: Plan, weights: Source | None, *, num_classes: int) -> tuple[Classifier, Pretrained | None]:
    """The network with the weights that it begins with, from the seed alone.

    Args:
        plan: of the run.
        weights: trained ones; None for fresh ones.
        num_classes: of the data.

    Returns:
        The network; and what came with trained weights, None for fresh ones.
    """
    torch.manual_seed(plan.options.seed)
    options: zoo.Options = {**plan.model_options, "image_size": plan.preprocess.input_size[1:], "tta": plan.tta}
    channels = plan.preprocess.channels
    if weights is None:
        return zoo.build(plan.model, num_classes=num_classes, in_channels=channels, **options), None
    loaded = load_pretrained(plan.model, weights, num_classes=num_classes, in_channels=channels, **options)
    return loaded.net, loaded
