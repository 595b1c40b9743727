"""The recipes: every one fits every kind of data, says what it is, and is what its name promises."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from sightline.config import from_mapping
from sightline.data.augment import Augment
from sightline.data.mix import Mix
from sightline.errors import ConfigError
from sightline.recipes.chooser import fitting
from sightline.recipes.facts import Default, Facts, batch_for, epochs_for
from sightline.recipes.plan import facts_of, make_plan
from sightline.recipes.recipe import RECIPES, about, choose_recipe
from sightline.recipes.settings import RecipeName, Settings
from sightline.training.options import TrainOptions
from tests.recipes.catalogs import CIFAR, CPU, DIGITS, GPU, PHOTOS, catalog_of, weights_of

RESNET = weights_of("resnet18")
KINDS = {
    "cifar": (CIFAR, None),
    "digits": (DIGITS, None),
    "few photographs": (PHOTOS, None),
    "a hundred thousand photographs": (catalog_of({"train": 100_000}, size=(480, 640)), None),
    "two pictures": (catalog_of({"train": 2}, size=(32, 32), num_classes=2), None),
    "photographs with weights": (PHOTOS, RESNET),
    "small pictures with weights of small ones": (CIFAR, weights_of("resnet20", None)),
}
CASES = [
    pytest.param(name, kind, machine, id=f"{name} {kind} {machine.device.type}")
    for name, kind, machine in itertools.product(RECIPES, KINDS, (CPU, GPU))
    if RECIPES[name].weights != ("refused" if KINDS[kind][1] else "needed")
]


@pytest.mark.parametrize(("name", "kind", "machine"), CASES)
def test_every_default_is_a_setting_of_the_right_type_with_a_reason(name: RecipeName, kind: str, machine: Any) -> None:
    catalog, weights = KINDS[kind]
    facts = facts_of(Settings(recipe=name), catalog, machine, weights)
    defaults = RECIPES[name].defaults(facts)
    values = {setting: default.value for setting, default in defaults.items()}
    from_mapping(values, Settings, source=name)  # strict: an unknown name or another type is an error
    assert None not in values.values()
    assert {"epochs", "batch_size"} <= values.keys()
    assert weights is not None or "model" in values
    for setting, default in defaults.items():
        assert len(default.reason) > 5, setting
        assert not default.reason.endswith("."), setting


@pytest.mark.parametrize(("name", "kind", "machine"), CASES)
def test_every_default_has_an_effect(name: RecipeName, kind: str, machine: Any) -> None:
    """What a recipe chooses is in the plan's choices with the recipe's own value: no line of a recipe is idle."""
    catalog, weights = KINDS[kind]
    facts = facts_of(Settings(recipe=name), catalog, machine, weights)
    plan = make_plan(Settings(recipe=name), catalog, machine, weights)
    chosen = {choice.name: choice for choice in plan.choices}
    of_the_weights = {"model", "img_size"} if weights is not None else set()
    for setting, default in RECIPES[name].defaults(facts).items():
        if setting in of_the_weights or (setting, default.value) == ("head_epochs", 0):
            continue
        if setting == "head_lr" and plan.options.head_epochs == 0:
            continue
        assert (chosen[setting].value, chosen[setting].reason) == tuple(default), setting


@pytest.mark.parametrize(("name", "kind", "machine"), CASES)
def test_a_smoke_run_has_two_short_epochs_of_every_part(name: RecipeName, kind: str, machine: Any) -> None:
    catalog, weights = KINDS[kind]
    whole = make_plan(Settings(recipe=name), catalog, machine, weights)
    smoke = make_plan(Settings(recipe=name, smoke=True), catalog, machine, weights)
    assert (smoke.options.epochs, smoke.model, smoke.mix) == (2, whole.model, whole.mix)
    assert smoke.options.batch_size <= 32
    assert max(smoke.preprocess.input_size[1:]) <= 96
    assert bool(smoke.options.head_epochs) == bool(whole.options.head_epochs)
    for part in ("opt", "sched", "smoothing", "model_ema_decay", "layer_decay", "loss"):
        assert getattr(smoke.options, part) == getattr(whole.options, part), part
    assert smoke.augment == whole.augment
    assert smoke.tta == whole.tta


def test_the_table_has_every_name_of_the_settings() -> None:
    assert tuple(RECIPES) == get_args(RecipeName)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_at_the_top_of_its_file(name: str) -> None:
    told = about(name)
    assert told.name == name
    assert told.purpose.endswith(".")
    assert told.cost.endswith(".")
    assert told.score.endswith(".")
    assert told.sources
    assert all(source == source.strip() and "  " not in source for source in told.sources)
    text = Path(told.file).read_text(encoding="utf-8")
    assert text.startswith(f'"""{told.purpose}')
    assert "def defaults(facts: Facts) -> Defaults:" in text
    assert len(text.splitlines()) <= 200


def test_the_parts_of_a_docstring_are_told_apart() -> None:
    told = about("finetune")
    assert told.sources[3] == (
        "how much: fastai gives the first layers 1/100 of the head's rate; ConvNeXt 0.7 or 0.8 from layer to layer, "
        "which is 1/15 to 1/70 over its twelve, Liu et al. 2022, arXiv:2201.03545, App. A"
    )
    assert len(told.sources) == 4


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        about("scratch")
    assert str(caught.value) == "there is no recipe 'scratch'. Nearest: scratch-small."


@pytest.mark.parametrize(
    ("catalog", "weights", "asked", "name", "reason"),
    [
        (CIFAR, None, None, "fast", "pictures of 32x32 px, from scratch"),
        (CIFAR, RESNET, None, "finetune", "trained weights are at hand"),
        (PHOTOS, RESNET, None, "finetune", "trained weights are at hand"),
        (PHOTOS, None, None, "scratch-small",
         "pictures of 480x640 px, and no trained weights to begin with (--pretrained)"),
        (PHOTOS, RESNET, "textbook", "textbook", "as asked"),
        (PHOTOS, None, "fast", "fast", "as asked"),
    ],
)  # fmt: skip
def test_the_recipe_follows_from_the_data_and_the_weights(
    catalog: Any, weights: Any, asked: RecipeName | None, name: str, reason: str
) -> None:
    facts = facts_of(Settings(recipe=asked), catalog, CPU, weights)
    assert choose_recipe(facts) == (name, reason)


# -------------------------------------------------------------------------------------------------------- one by one


def test_textbook_is_what_the_guides_teach() -> None:
    plan = make_plan(Settings(recipe="textbook"), CIFAR, CPU)
    assert plan.model == "simple_cnn"
    assert plan.options == TrainOptions(
        epochs=30, batch_size=128, lr=1e-3, opt="adamw", sched="cosine", weight_decay=1e-4
    )
    assert plan.augment == Augment(hflip=0.5, crop_padding=4, fill=(0, 0, 0))
    photos = make_plan(Settings(recipe="textbook"), PHOTOS, CPU)
    assert (photos.model, photos.augment.scale, photos.options.epochs) == ("resnet18", (0.35, 1.0), 30)


def test_fast_takes_small_photographs() -> None:
    for machine in (CPU, GPU):
        plan = make_plan(Settings(recipe="fast"), PHOTOS, machine)
        assert (plan.model, plan.preprocess.input_size, plan.options.sched) == ("resnet18", (3, 128, 128), "onecycle")
    assert make_plan(Settings(recipe="fast"), PHOTOS, CPU, RESNET).options.epochs == 10


def test_best_takes_the_network_that_the_machine_can_train() -> None:
    on_cpu = make_plan(Settings(recipe="best"), CIFAR, CPU)
    assert (on_cpu.model, on_cpu.options.epochs, on_cpu.tta) == ("airbench94", 36, "flip")
    assert on_cpu.augment == Augment(hflip=0.5, alternating_flip=True, crop_padding=4, reprob=0.5, fill=(0, 0, 0))
    on_gpu = make_plan(Settings(recipe="best"), CIFAR, GPU)
    assert (on_gpu.model, on_gpu.options.epochs, on_gpu.compile) == ("resnet18", 89, False)
    assert on_gpu.options.lr == 0.4  # He's 0.1 for 128, four times the batch
    assert on_gpu.mix == Mix(cutmix=1.0, prob=0.5)
    assert make_plan(Settings(recipe="best"), PHOTOS, GPU).model == "resnet50"


def test_best_stays_within_an_hour_of_two_cores() -> None:
    """1.3 PFLOP: 380 GFLOP/s, which `airbench94` reached on two cores, for an hour; six FLOP a multiply-accumulate."""
    from sightline.models.figures import select

    (figures,) = select("airbench94")
    plan = make_plan(Settings(recipe="best"), CIFAR, CPU)
    assert 0.9e15 < 6 * figures.macs * 45_000 * plan.options.epochs < 380e9 * 3600


@pytest.mark.parametrize("name", ["textbook", "fast", "best", "scratch-small"])
def test_digits_are_neither_mirrored_nor_turned(name: RecipeName) -> None:
    plan = make_plan(Settings(recipe=name), DIGITS, CPU)
    assert (plan.augment.hflip, plan.augment.vflip, plan.augment.rotation) == (0, 0, 0)
    assert not plan.augment.alternating_flip
    assert plan.augment.aa is None
    assert plan.tta == "none"


def test_weights_under_best_are_trained_longer_with_more_augmentation() -> None:
    best = make_plan(Settings(recipe="best"), PHOTOS, CPU, RESNET)
    usual = make_plan(Settings(), PHOTOS, CPU, RESNET)
    assert best.options.epochs > usual.options.epochs
    assert best.options.layer_decay == usual.options.layer_decay
    assert (best.augment.aa, best.mix) == ("trivial", Mix(mixup=0.2))


# ---------------------------------------------------------------------------------------------------- shared rules


def facts(num_train: int, **asked: Any) -> Facts:
    return Facts(
        class_counts=(num_train,), typical_size=(32, 32), channels=3, hflip_ok=True, is_small=True, device="cpu",
        cores=2, asked=Settings(**asked),
    )  # fmt: skip


@pytest.mark.parametrize(("num_train", "epochs"), [(0, 60), (10, 60), (1_000, 12), (5_000, 8), (1_000_000, 8)])
def test_few_pictures_are_seen_often(num_train: int, epochs: int) -> None:
    assert epochs_for(facts(num_train), pictures=12_000, least=8, most=60).value == epochs


@pytest.mark.parametrize(("num_train", "size"), [(2, 8), (240, 8), (3_839, 64), (3_840, 128), (10**6, 128)])
def test_an_epoch_has_thirty_steps_or_the_batch_is_eight(num_train: int, size: int) -> None:
    assert batch_for(facts(num_train), largest=128).value == size


def test_defaults_leave_with_what_they_belong_to() -> None:
    recipe = {
        "opt": Default("muon", ""), "lr": Default(0.24, ""), "momentum": Default(0.6, ""),
        "sched": Default("linear", ""), "warmup_epochs": Default(1.0, ""),
        "alternating_flip": Default(True, ""), "crop_padding": Default(2, ""),
    }  # fmt: skip
    assert fitting(recipe, Settings()) == recipe
    assert fitting(recipe, Settings(opt="muon", sched="linear")) == recipe
    assert recipe.keys() - fitting(recipe, Settings(opt="adamw")).keys() == {"lr", "momentum"}
    assert recipe.keys() - fitting(recipe, Settings(sched="cosine")).keys() == {"warmup_epochs"}
    assert recipe.keys() - fitting(recipe, Settings(hflip=0.5)).keys() == {"alternating_flip"}
    assert recipe.keys() - fitting(recipe, Settings(scale=(0.5, 1.0))).keys() == {"crop_padding"}


def test_facts_are_those_of_the_training_pictures() -> None:
    catalog = catalog_of({"train": 7, "val": 100}, size=(480, 640), num_classes=3)
    found = facts_of(Settings(), catalog, dataclasses.replace(CPU, threads=3))
    assert (found.class_counts, found.num_train, found.num_classes, found.cores) == ((3, 2, 2), 7, 3, 3)
    assert (found.is_small, found.weights, found.model, found.img_size) == (False, None, None, None)
    with_weights = facts_of(Settings(), CIFAR, CPU, RESNET)
    assert (with_weights.model, with_weights.img_size, with_weights.is_small) == ("resnet18", 224, False)
    assert with_weights.num_layers == 10  # the stem, eight blocks, the head


# ------------------------------------------------------------------------------------------------------- the guides

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recipe_of_the_guide_is_one() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "recipes.md").read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    defaults = names["defaults"](facts_of(Settings(), PHOTOS, CPU))
    from_mapping({name: default.value for name, default in defaults.items()}, Settings, source="docs/recipes.md")


def test_the_guide_tells_the_layer_decays_as_they_are() -> None:
    text = " ".join((DOCS / "recipes.md").read_text("utf-8").split())
    told = re.findall(r"(0\.\d+) for `(\w+)`", text[text.index("`--layer-decay` is") :])
    assert [model for _, model in told] == ["resnet18", "resnet50", "densenet121"]
    for decay, model in told:
        assert make_plan(Settings(), PHOTOS, CPU, weights_of(model)).options.layer_decay == pytest.approx(
            float(decay), abs=0.005
        )


def test_the_guide_has_every_recipe_and_no_other() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| .*\[(\w+\.py)\]", (DOCS / "recipes.md").read_text("utf-8"), flags=re.MULTILINE
    )
    assert dict(rows) == {name: Path(about(name).file).name for name in RECIPES}


def test_the_message_in_the_guide_is_the_one_that_comes() -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(Settings(focal_gamma=2.0), CIFAR, CPU)
    text = " ".join((DOCS / "training.md").read_text("utf-8").split())
    assert f"sightline: {caught.value}" in text
