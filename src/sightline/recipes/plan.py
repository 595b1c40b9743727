"""From what was asked, the data and the machine to a complete plan: every number of a run, each with its reason."""

from dataclasses import dataclass, replace
from functools import partial

import torch

from sightline.data.augment import Augment
from sightline.data.catalog import Catalog
from sightline.data.kept import Keeping
from sightline.data.mix import Mix
from sightline.data.preprocess import Preprocess
from sightline.data.sampling import SamplerName, require_countable
from sightline.models.base import Tta
from sightline.models.zoo import SMALL_STEM_BELOW_PX, ZOO, Options, build
from sightline.pretrained import Source, options_of
from sightline.recipes import inputs, machine
from sightline.recipes.chooser import OF_THE_WEIGHTS, Choice, Chooser
from sightline.recipes.facts import Facts, px
from sightline.recipes.recipe import RECIPES, choose_recipe
from sightline.recipes.settings import RecipeName, Settings
from sightline.recipes.smoke import smoke_settings
from sightline.recipes.training_options import training_options
from sightline.runtime import Runtime
from sightline.training.depth import depth_of_parameters
from sightline.training.options import TrainOptions
from sightline.training.sync_norm import has_batch_norm

KEEP_MARGIN = 1.25  # how much larger than the network's input the pictures of random resized crops are kept


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, complete: with the data it determines the result.

    Args:
        recipe: where the defaults are from.
        model: name in the zoo.
        model_options: what was asked of the network, as `zoo.build` takes it; it chooses the rest itself.
        preprocess: from a picture to the network's input.
        augment: what happens to the training pictures.
        mix: how they are mixed with each other; None where they are not.
        sampler: "shuffle", every picture once an epoch, or "balanced", every class as often.
        options: the numbers of the training.
        tta: what the shipped network averages over.
        keep_margin: how much larger than the network's input the training pictures are kept; None: just as large.
        workers: threads that prepare batches ahead of the training step.
        compile: whether the network is compiled for the training.
        sync_bn: whether batch norm sees the pictures of all processes.
        fsdp: whether weights and optimiser state are split over the processes.
        choices: the choices behind all this, for the terminal and the report.
        stream: whether training pictures are decoded when their batch is made, and not kept.
        window: how many tar shards are then shuffled together; 0: all pictures are.
    """

    recipe: RecipeName
    model: str
    model_options: Options
    preprocess: Preprocess
    augment: Augment
    mix: Mix | None
    sampler: SamplerName
    options: TrainOptions
    tta: Tta
    keep_margin: float | None
    workers: int
    compile: bool
    sync_bn: bool
    fsdp: bool
    choices: tuple[Choice, ...]
    stream: bool = False
    window: int = 0


def make_plan(
    settings: Settings, catalog: Catalog, runtime: Runtime, weights: Source | None = None, *, world_size: int = 1
) -> Plan:
    """Completes the settings from the data, the machine and the weights to begin with.

    What was asked wins over the default of the recipe, and that over the general one.

    Args:
        settings: what was asked; None means "choose".
        catalog: with its splits assigned; of a smoke run, `smoke_catalog` of it.
        runtime: the machine, already chosen.
        weights: those that `settings.pretrained` names, or were found at hand; None from scratch.
        world_size: processes that share each batch.

    Raises:
        ConfigError: settings lie outside their range, contradict each other, or have no effect.
    """
    facts = facts_of(settings, catalog, runtime, weights)
    name, why = choose_recipe(facts)
    recipe = RECIPES[name]
    reduced: dict[str, str] = {}
    if settings.smoke:
        whole = replace(settings, smoke=None)
        make_plan(whole, catalog, runtime, weights, world_size=world_size)  # refuses what the whole run would refuse
        asked, reduced = smoke_settings(facts, recipe.defaults(facts))
        facts = replace(facts, asked=asked, img_size=asked.img_size or facts.img_size)
    choose = Chooser(facts.asked, recipe.defaults(facts), reduced)
    choose.tell("recipe", name, why)
    if settings.smoke:
        choose.tell("smoke", True, "a run of seconds through every part of the recipe, to see that it works")

    if weights is not None:
        choose.tell("pretrained", weights.spelled, weights.words)
    model, model_options = _model(choose, facts)
    img_size = _image_size(choose, facts, model)
    preprocess = inputs.preprocess(choose, facts, catalog, img_size)
    augment = inputs.augment(choose, facts, preprocess.mean)
    mix = inputs.mix(choose)
    sampler = _sampler(choose, facts)
    options = training_options(choose, facts, catalog)
    tta: Tta = choose("tta", "none", "a prediction looks at its picture once")
    keep_margin = None if augment.scale is None else KEEP_MARGIN
    is_streamed, window = machine.streaming(choose, catalog, Keeping(preprocess, keep_margin))
    workers = machine.workers(choose, facts, augment, is_streamed=is_streamed)
    is_compiled = machine.is_compiled(choose, facts)
    sync_bn, fsdp = machine.shared(choose, facts, options, world_size, partial(build, model, **model_options))
    choose.require_all_used()
    return Plan(
        recipe=name,
        model=model,
        model_options=model_options,
        preprocess=preprocess,
        augment=augment,
        mix=mix,
        sampler=sampler,
        options=options,
        tta=tta,
        keep_margin=keep_margin,
        workers=workers,
        compile=is_compiled,
        sync_bn=sync_bn,
        fsdp=fsdp,
        choices=tuple(choose.choices),
        stream=is_streamed,
        window=window,
    )


def facts_of(settings: Settings, catalog: Catalog, runtime: Runtime, weights: Source | None = None) -> Facts:
    """What the recipes choose from.

    Args:
        settings: what was asked.
        catalog: with its splits assigned.
        runtime: the machine.
        weights: to begin with; None from scratch.

    Raises:
        ConfigError: there is no network of the name that was asked for.
    """
    model, img_size, num_layers, has_norms = settings.model, settings.img_size, 1, False
    is_small = max(catalog.typical_size) < SMALL_STEM_BELOW_PX
    if weights is not None:
        model = settings.model or weights.model or ""
        with torch.device("meta"):
            net = build(model)
        num_layers, has_norms = 1 + max(depth_of_parameters(net).values()), has_batch_norm(net)
        img_size = img_size or _size_of(weights, model)
        is_small = img_size < SMALL_STEM_BELOW_PX  # whatever the pictures are, they are enlarged to this
    counts = catalog.class_counts(catalog.select("train"))
    return Facts(
        class_counts=tuple(counts.tolist()),
        typical_size=catalog.typical_size,
        channels=catalog.channels,
        hflip_ok=catalog.hflip_ok,
        is_small=is_small,
        device=runtime.device.type,
        cores=runtime.threads,
        model=model,
        img_size=img_size,
        weights=weights,
        num_layers=num_layers,
        has_batch_norm=has_norms,
        num_multilabel=len(catalog.select("train")) if catalog.is_multilabel else None,
        asked=settings,
    )


def wants_weights_at_hand(settings: Settings, catalog: Catalog) -> bool:
    """Whether a run for which no weights were named should begin with some that are at hand.

    Args:
        settings: what was asked.
        catalog: the data.
    """
    if settings.pretrained is not None or settings.stem == "small":  # those at hand are ImageNet's, of the other stem
        return False
    if settings.recipe is None:
        return max(catalog.typical_size) >= SMALL_STEM_BELOW_PX
    return RECIPES[settings.recipe].weights == "needed"


def _model(choose: Chooser, facts: Facts) -> tuple[str, Options]:
    """The network, and its options: those that were asked for, and those that the weights need it to have."""
    if facts.weights is None:
        model, needed = choose.of_recipe("model"), Options()
    else:
        model = choose.over_recipe("model", facts.model or "")
        needed = options_of(facts.weights, model)
    if "stem" in needed:
        needed["stem"] = choose.over_recipe("stem", needed["stem"])
    options: Options = {
        "stem": choose.unless_off("stem", None) if "stem" not in needed else None,
        "dropout": choose.unless_off("drop", None),
        "drop_path": choose.unless_off("drop_path", None),
        "aux_heads": choose.unless_off("aux_heads", None),
        "memory_efficient": choose.unless_off("memory_efficient", None),
    }
    return model, {**options, **needed}


def _sampler(choose: Chooser, facts: Facts) -> SamplerName:
    """Every picture once an epoch, unless asked for; a balanced epoch of several labels a picture is refused."""
    sampler: SamplerName = choose.unless_off("sampler", "shuffle")
    require_countable(sampler, is_multilabel=facts.is_multilabel)
    return sampler


def _image_size(choose: Chooser, facts: Facts, model: str) -> int:
    """That of the weights, whatever the machine: they see best at their own."""
    if facts.weights is None:
        return inputs.image_size(choose, facts)
    size = _size_of(facts.weights, model)
    if facts.weights.preprocess is None:
        return choose.over_recipe("img_size", size, f"{model} was made for it")
    return choose.over_recipe("img_size", size, f"{OF_THE_WEIGHTS}; the pictures are {px(facts.typical_size)}")


def _size_of(weights: Source, model: str) -> int:
    size = ZOO[model].input_size if weights.preprocess is None else weights.preprocess.input_size
    return min(size[1:])
