"""Plans: what is chosen where nothing was asked, that what is asked wins, and that nothing asked is ignored."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from safetensors.torch import save_file

from sightline.data.augment import Augment
from sightline.data.catalog import Catalog
from sightline.data.mix import Mix
from sightline.data.preprocess import Preprocess
from sightline.errors import ConfigError
from sightline.pretrained import Source, find_weights
from sightline.pretrained.normalisation import USUAL, Normalisation
from sightline.recipes.plan import Plan, make_plan, wants_weights_at_hand
from sightline.recipes.settings import Settings
from sightline.runtime import Runtime
from sightline.training.options import TrainOptions
from tests.pretrained.test_normalisation import RIGHT, photographs, trained_on, with_normalisation
from tests.recipes.catalogs import CIFAR, CPU, DIGITS, GPU, PHOTOS, catalog_of, weights_of

RESNET = weights_of("resnet18")


def plan_of(
    catalog: Catalog = CIFAR,
    runtime: Runtime = CPU,
    weights: Source | None = None,
    world_size: int = 1,
    **settings: Any,
) -> Plan:
    return make_plan(Settings(**settings), catalog, runtime, weights, world_size=world_size)


def told(plan: Plan) -> dict[str, tuple[Any, str]]:
    return {choice.name: (choice.value, choice.reason) for choice in plan.choices}


# ------------------------------------------------------------------------------------------------- the default choice


def test_small_pictures() -> None:
    plan = plan_of(CIFAR)
    assert plan == Plan(
        recipe="fast",
        model="airbench_small",
        model_options={"stem": None, "dropout": None, "drop_path": None, "aux_heads": None, "memory_efficient": None},
        preprocess=Preprocess((3, 32, 32), (0.0,) * 3, (0.0039,) * 3),  # black pictures: the least deviation
        augment=Augment(hflip=0.5, alternating_flip=True, crop_padding=2, fill=(0, 0, 0)),
        mix=None,
        sampler="shuffle",
        options=TrainOptions(
            epochs=9, batch_size=1000, lr=0.17, opt="muon", momentum=0.6, sched="linear", smoothing=0.2,
        ),
        tta="flip",
        keep_margin=None,
        workers=0,
        compile=False,
        sync_bn=False,
        fsdp=False,
        choices=plan.choices,
    )  # fmt: skip
    assert told(plan)["recipe"] == ("fast", "pictures of 32x32 px, from scratch")


def test_digits_are_not_mirrored() -> None:
    plan = plan_of(DIGITS)
    assert (plan.recipe, plan.model, plan.preprocess.input_size) == ("fast", "airbench_small", (1, 28, 28))
    assert plan.augment == Augment(hflip=0.0, crop_padding=2, fill=(0,))
    assert plan.options.epochs == 8
    assert told(plan)["hflip"] == (0.0, "a mirrored digit is another sign")


def test_photographs_with_weights() -> None:
    plan = plan_of(PHOTOS, weights=RESNET)
    assert (plan.recipe, plan.model, plan.keep_margin) == ("finetune", "resnet18", 1.25)
    assert plan.model_options["stem"] == "imagenet"
    assert plan.preprocess == RESNET.preprocess
    assert plan.augment == Augment(hflip=0.5, scale=(0.35, 1.0), fill=(124, 116, 104))
    assert plan.mix is None
    assert plan.options == TrainOptions(
        epochs=27, head_epochs=2, batch_size=8, lr=3e-4, head_lr=2e-3, layer_decay=0.717, opt="adamw",
        sched="onecycle", warmup_epochs=5.0, weight_decay=0.05, smoothing=0.1, freeze_bn=True,
    )  # fmt: skip
    assert told(plan)["recipe"] == ("finetune", "trained weights are at hand")
    asked = told(plan_of(PHOTOS, weights=RESNET, pretrained="resnet18.pth"))
    assert asked["recipe"] == ("finetune", "trained weights to begin with were asked for")
    assert told(plan)["pretrained"] == ("resnet18.pth", "weights of resnet18; licence: Apache-2.0")
    assert told(plan)["mean, std"] == ("0.4850 0.4560 0.4060, 0.2290 0.2240 0.2250", "of the weights")


def test_few_photographs_without_weights() -> None:
    plan = plan_of(PHOTOS)
    assert (plan.recipe, plan.model, plan.keep_margin) == ("scratch-small", "resnet18", 1.25)
    assert plan.preprocess.input_size == (3, 128, 128)
    assert plan.preprocess.crop_fraction == 0.95
    assert plan.augment == Augment(hflip=0.5, scale=(0.35, 1.0), aa="trivial", fill=(0, 0, 0))
    assert plan.mix == Mix(mixup=0.2)
    assert plan.options == TrainOptions(
        epochs=100, batch_size=8, lr=1e-3, opt="adamw", sched="onecycle", warmup_epochs=20.0, weight_decay=0.05,
        smoothing=0.1,
    )  # fmt: skip


def test_a_gpu_takes_larger_photographs_and_workers_that_crop_them() -> None:
    plan = plan_of(PHOTOS, GPU)
    assert plan.preprocess.input_size == (3, 224, 224)
    assert (plan.workers, plan.compile) == (8, False)
    assert told(plan)["compile"] == (False, "on cuda what it gains is not measured yet")
    assert (plan_of(CIFAR, GPU, epochs=500).compile, plan_of(CIFAR, GPU, compile=True).compile) == (False, True)
    assert plan_of(CIFAR, GPU).workers == 0
    assert plan_of(PHOTOS, dataclasses.replace(GPU, threads=3)).workers == 2


def test_photographs_smaller_than_the_usual_size_are_hardly_enlarged() -> None:
    small = catalog_of({"train": 300}, size=(97, 120))
    assert plan_of(small).preprocess.input_size == (3, 128, 128)
    assert plan_of(small, GPU).preprocess.input_size == (3, 128, 128)


def test_pictures_under_16_px_get_a_network_that_halves_them_less_often() -> None:
    tiny = catalog_of({"train": 2_000}, size=(12, 12))
    assert plan_of(tiny).model == "resnet20"
    assert plan_of(tiny, img_size=16).model == "airbench_small"


def test_a_plan_survives_run_json() -> None:
    plan = plan_of(PHOTOS, weights=RESNET, mixup=0.2, color_jitter=(0.4, 0.4, 0.4, 0.1), class_weights="balanced")
    adapter = TypeAdapter(Plan)
    again = adapter.validate_json(adapter.dump_json(plan))
    assert dataclasses.replace(again, choices=()) == dataclasses.replace(plan, choices=())
    assert [choice.reason for choice in again.choices] == [choice.reason for choice in plan.choices]


# ------------------------------------------------------------------------------------------------ what is asked wins


@pytest.mark.parametrize("recipe", ["textbook", "fast", "best", "scratch-small"])
def test_what_is_asked_wins_over_every_recipe(recipe: str) -> None:
    asked: dict[str, Any] = {
        "model": "resnet20", "img_size": 24, "in_chans": 1, "interpolation": "bilinear", "crop_pct": 0.9,
        "mean": (0.4,), "std": (0.3,), "epochs": 3, "batch_size": 100, "grad_accum_steps": 4, "lr": 0.7, "opt": "sgd",
        "momentum": 0.8, "sched": "step", "warmup_epochs": 0.5, "min_lr": 0.01, "decay_epochs": 1.0, "decay_rate": 0.5,
        "layer_decay": 0.9, "loss": "focal", "focal_gamma": 3.0, "sampler": "balanced", "weight_decay": 0.3,
        "smoothing": 0.05, "model_ema": True, "model_ema_decay": 0.7, "patience": 2, "max_rollbacks": 3, "hflip": 0.3,
        "vflip": 0.2, "crop_padding": 3, "rotation": 20.0, "aa": "rand-m5-n1", "reprob": 0.1, "remode": "pixel",
        "mixup": 0.3, "cutmix": 0.6, "mixup_prob": 0.9, "mixup_switch_prob": 0.1, "seed": 5, "workers": 2,
        "compile": True, "checkpoint_every": 7.0, "tta": "flip",
    }  # fmt: skip
    plan = plan_of(CIFAR, recipe=recipe, **asked)
    assert plan.options == TrainOptions(
        epochs=3, batch_size=100, grad_accum_steps=4, lr=0.7, opt="sgd", momentum=0.8, sched="step", warmup_epochs=0.5,
        min_lr=0.01, decay_epochs=1.0, decay_rate=0.5, layer_decay=0.9, loss="focal", focal_gamma=3.0,
        weight_decay=0.3, smoothing=0.05, model_ema_decay=0.7, patience=2, max_rollbacks=3, seed=5,
        checkpoint_every_s=7.0,
    )  # fmt: skip
    assert plan.augment == Augment(
        hflip=0.3, vflip=0.2, crop_padding=3, rotation=20.0, aa="rand-m5-n1", reprob=0.1, remode="pixel", fill=(102,)
    )
    assert plan.mix == Mix(mixup=0.3, cutmix=0.6, prob=0.9, switch_prob=0.1)
    assert plan.preprocess == Preprocess((1, 24, 24), (0.4,), (0.3,), "bilinear", 0.9)
    assert (plan.model, plan.sampler, plan.tta, plan.workers, plan.compile) == ("resnet20", "balanced", "flip", 2, True)
    assert {told(plan)[name][1] for name in asked if name not in ("mean", "std")} == {"as asked"}
    assert told(plan)["mean, std"] == ("0.4000, 0.3000", "as asked")


def test_the_learning_rate_of_sgd_follows_the_batch_that_was_asked_for() -> None:
    assert plan_of(CIFAR, recipe="best", batch_size=128).options.lr == 0.125
    assert plan_of(CIFAR, batch_size=128).options.lr == 0.17  # Muon's does not
    assert plan_of(CIFAR, batch_size=128, opt="adamw").options.lr == 1e-3


@pytest.mark.parametrize(
    ("opt", "lr", "weight_decay"),
    [
        ("sgd", 0.1, 5e-4), ("momentum", 0.1, 5e-4), ("rmsprop", 1e-4, 1e-5), ("adagrad", 0.01, 1e-4),
        ("adam", 1e-3, 1e-4), ("adamw", 1e-3, 0.05), ("lion", 1e-4, 0.5), ("muon", 0.02, 0.05),
    ],
)  # fmt: skip
def test_another_optimiser_brings_its_own_numbers(opt: str, lr: float, weight_decay: float) -> None:
    options = plan_of(CIFAR, model="simple_cnn", batch_size=128, opt=opt).options
    assert (options.lr, options.weight_decay) == (lr, weight_decay)
    assert options.momentum == (0.95 if opt == "muon" else 0.9)


def test_a_recipes_rate_is_not_taken_for_another_optimiser() -> None:
    """fast has 0.5 for SGD, textbook a weight decay of 1e-4 for AdamW."""
    assert plan_of(CIFAR, opt="adamw").options.lr == 1e-3
    assert plan_of(CIFAR, recipe="textbook", opt="sgd").options.weight_decay == 5e-4
    assert plan_of(CIFAR, recipe="textbook", opt="adamw").options.weight_decay == 1e-4


def test_another_crop_takes_the_place_of_the_recipes() -> None:
    asked = Augment(hflip=0.5, alternating_flip=True, scale=(0.5, 1.0), fill=(0, 0, 0))
    assert plan_of(CIFAR, scale=(0.5, 1.0)).augment == asked
    assert plan_of(PHOTOS, crop_padding=4, aa="trivial").augment.crop_padding == 4
    assert plan_of(PHOTOS, crop_padding=0).keep_margin is None


def test_asking_for_a_share_mirrored_ends_the_alternation_of_best() -> None:
    assert plan_of(CIFAR, recipe="best").augment.alternating_flip
    plan = plan_of(CIFAR, recipe="best", hflip=0.25)
    assert (plan.augment.alternating_flip, plan.augment.hflip) == (False, 0.25)
    assert plan_of(CIFAR, alternating_flip=True).augment.hflip == 0.5


def test_averaging_the_last_epochs_takes_the_place_of_the_moving_average() -> None:
    plan = plan_of(CIFAR, recipe="best", swa_epochs=5)
    assert (plan.options.swa_epochs, plan.options.model_ema_decay) == (5, None)
    assert told(plan)["model_ema"] == (False, "the last 5 epochs are averaged instead")
    assert plan_of(CIFAR, recipe="best", swa_epochs=0).options.model_ema_decay == 0.99
    assert plan_of(CIFAR, model_ema_decay=0.9).options.model_ema_decay == 0.9
    assert plan_of(CIFAR, recipe="best", model_ema=False).options.model_ema_decay is None


def test_weights_that_are_averaged_are_kept_moving() -> None:
    plan = plan_of(CIFAR, swa_epochs=5)  # fast: from 0.17
    assert (plan.options.sched, plan.options.min_lr) == ("linear", pytest.approx(0.034))
    assert told(plan)["min_lr"][1] == (
        "a fifth of lr: the weights of the last 5 epochs must differ for their average to be better (arXiv:1803.05407)"
    )
    assert plan_of(CIFAR, swa_epochs=5, sched="cosine", lr=0.01).options.min_lr == pytest.approx(0.002)
    assert plan_of(CIFAR, swa_epochs=5, min_lr=0.0).options.min_lr == 0
    assert plan_of(CIFAR, swa_epochs=5, sched="step").options.min_lr == 0
    assert plan_of(CIFAR).options.min_lr == 0


def test_falls_are_placed_by_the_length_of_the_run() -> None:
    assert plan_of(CIFAR, sched="step", epochs=30).options.decay_epochs == 10
    assert plan_of(CIFAR, sched="multistep", epochs=180).options.decay_milestones == (90, 135)
    assert plan_of(CIFAR, sched="multistep", epochs=180, decay_milestones=(60.0, 120.5)).options.decay_milestones == (
        60,
        120.5,
    )
    # they are counted from the end of the head phase on
    assert plan_of(PHOTOS, weights=RESNET, sched="step", epochs=32, head_epochs=2).options.decay_epochs == 10


def test_only_one_of_mean_and_std_may_be_asked_for() -> None:
    plan = plan_of(PHOTOS, weights=RESNET, mean=(0.5, 0.5, 0.5))
    assert (plan.preprocess.mean, plan.preprocess.std) == ((0.5, 0.5, 0.5), (0.229, 0.224, 0.225))
    assert told(plan)["mean, std"][1] == "as asked; the other of the weights"
    assert plan_of(CIFAR, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).augment.fill == (128, 128, 128)


def test_class_weights_are_of_the_training_pictures() -> None:
    catalog = dataclasses.replace(catalog_of({"train": 100, "val": 50}, size=(32, 32), num_classes=2))
    labels = catalog.labels.copy()
    labels[:90], labels[90:100] = 0, 1  # the validation pictures stay half and half
    plan = plan_of(dataclasses.replace(catalog, labels=labels), class_weights="balanced")
    assert plan.options.class_weights == pytest.approx((100 / 180, 5.0))  # n / (K n_c), as scikit-learn has it
    assert told(plan)["class weights"] == ("0.556 (0) to 5 (1)", "of the numbers of training pictures")
    assert plan_of(CIFAR, class_weights="none").options.class_weights is None


def test_options_of_the_network_are_passed_on() -> None:
    plan = plan_of(PHOTOS, model="densenet121", drop=0.2, memory_efficient=True, stem="small", clip_grad=1.5)
    assert plan.model_options == {
        "stem": "small", "dropout": 0.2, "drop_path": None, "aux_heads": None, "memory_efficient": True,
    }  # fmt: skip
    assert plan.options.clip_grad == 1.5


# ------------------------------------------------------------------------------------------------- trained weights


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "densenet121", "efficientnet_lite0", "vgg16_bn"])
def test_the_first_layer_learns_at_a_twentieth_whatever_the_depth(model: str) -> None:
    from sightline.models.zoo import build
    from sightline.training.optim import parameter_groups

    options = plan_of(PHOTOS, weights=weights_of(model)).options
    scales = [group["lr_scale"] for group in parameter_groups(build(model), options)]
    assert min(scales) == pytest.approx(1 / 20, rel=0.05)
    assert max(scales) == 1


def test_short_runs_and_many_pictures_shorten_the_head_phase() -> None:
    assert plan_of(PHOTOS, weights=RESNET, epochs=2).options.head_epochs == 0
    assert plan_of(PHOTOS, weights=RESNET, epochs=3).options.head_epochs == 1
    many = catalog_of({"train": 20_000}, size=(480, 640))
    assert plan_of(many, weights=RESNET).options.head_epochs == 1
    assert plan_of(PHOTOS, weights=RESNET, head_epochs=0).options.head_lr is None


def test_the_head_alone_may_be_trained() -> None:
    options = plan_of(PHOTOS, weights=RESNET, epochs=4, head_epochs=4).options
    assert (options.head_epochs, options.warmup_epochs) == (4, 0)


def test_weights_decide_the_network_and_the_size_under_any_recipe() -> None:
    for recipe in ("textbook", "fast", "best", "finetune"):
        plan = plan_of(CIFAR, weights=RESNET, recipe=recipe)
        assert (plan.model, plan.preprocess) == ("resnet18", RESNET.preprocess), recipe
        assert plan.options.lr == 3e-4, recipe
        assert plan.augment.scale == (0.35, 1.0), recipe


def test_weights_without_preprocessing_take_the_size_of_the_paper_and_the_datas_statistics() -> None:
    plan = plan_of(PHOTOS, weights=weights_of("efficientnet_b2", None))
    assert plan.preprocess.input_size == (3, 260, 260)
    assert told(plan)["img_size"] == (260, "efficientnet_b2 was made for it")
    assert told(plan)["mean, std"][1].endswith("training pictures")


@pytest.mark.parametrize(("usual", "channels"), [(USUAL[1], 3), (USUAL[0], 3), (USUAL[0], 1)])
def test_weights_without_preprocessing_show_their_normalisation(
    usual: Normalisation, channels: int, tmp_path: Path
) -> None:
    net = trained_on(photographs(), with_normalisation(RIGHT, usual))
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    source = dataclasses.replace(find_weights(tmp_path / "own.safetensors", model="resnet18"), preprocess=None)
    catalog = catalog_of({"train": 100}, size=(480, 640), num_classes=5, channels=channels)
    plan = plan_of(catalog, weights=source, model="resnet18", img_size=64)
    mean, std = ((sum(each) / 3,) * channels if channels == 1 else each for each in (usual.mean, usual.std))
    assert (plan.preprocess.mean, plan.preprocess.std) == (mean, std)
    assert told(plan)["mean, std"][1] == f"of the weights, by their first batch norm: {usual.name}"
    asked = plan_of(
        catalog, weights=source, model="resnet18", img_size=64, mean=(0.1,) * channels, std=(0.2,) * channels
    )
    assert told(asked)["mean, std"][1] == "as asked"


def test_an_odd_normalisation_of_weights_is_not_guessed(tmp_path: Path) -> None:
    odd = Normalisation("", (0.9, 0.1, 0.1), (0.05, 0.05, 0.05))
    save_file(trained_on(photographs(), with_normalisation(RIGHT, odd)).state_dict(), tmp_path / "own.safetensors")
    source = dataclasses.replace(find_weights(tmp_path / "own.safetensors", model="resnet18"), preprocess=None)
    plan = plan_of(PHOTOS, weights=source, model="resnet18", img_size=64)
    assert told(plan)["mean, std"][1].endswith("training pictures")


def test_weights_at_hand_are_for_photographs_and_finetune() -> None:
    assert wants_weights_at_hand(Settings(), PHOTOS)
    assert wants_weights_at_hand(Settings(recipe="finetune"), CIFAR)
    assert not wants_weights_at_hand(Settings(), CIFAR)
    assert not wants_weights_at_hand(Settings(recipe="best"), PHOTOS)
    assert not wants_weights_at_hand(Settings(stem="small"), PHOTOS)  # ImageNet's have the other one
    assert wants_weights_at_hand(Settings(stem="imagenet"), PHOTOS)
    assert not wants_weights_at_hand(Settings(pretrained="w.pth"), PHOTOS)


# ----------------------------------------------------------------------------------------------- several processes


def test_a_batch_is_shared_and_said() -> None:
    plan = plan_of(CIFAR, world_size=4)
    assert told(plan)["processes"] == (4, "250 pictures of each batch of 1000 in each")
    assert (plan.options.batch_size, plan.sync_bn, plan.fsdp) == (1000, False, False)
    assert plan_of(CIFAR, world_size=4, fsdp=True, sync_bn=True).fsdp
    assert plan_of(PHOTOS, GPU, world_size=4).sync_bn
    assert told(plan_of(PHOTOS, GPU, world_size=4))["sync_bn"][1] == (
        "2 pictures at a time are too few: under 16 the error rises (arXiv:1803.08494, Table 2)"
    )
    assert not plan_of(PHOTOS, CPU, world_size=4).sync_bn
    assert not plan_of(CIFAR, sync_bn=False, fsdp=False).sync_bn  # off without effect is off as asked


@pytest.mark.parametrize(
    ("world_size", "parts", "at_a_time", "sync_bn"),
    [(4, 1, 250, False), (62, 1, 16, False), (63, 1, 15, True), (4, 15, 16, False), (4, 250, 1, True)],
)
def test_batch_norm_counts_the_pictures_of_a_part(world_size: int, parts: int, at_a_time: int, sync_bn: bool) -> None:
    plan = plan_of(CIFAR, GPU, world_size=world_size, grad_accum_steps=parts)
    assert plan.sync_bn is sync_bn
    assert told(plan)["sync_bn"][1].startswith(f"{at_a_time} pictures at a time are ")


def test_a_network_without_batch_norm_has_nothing_to_synchronise() -> None:
    plan = plan_of(PHOTOS, GPU, world_size=4, model="convnext_tiny")
    assert told(plan)["sync_bn"] == (False, "the network has no batch norm")
    with pytest.raises(ConfigError) as caught:
        plan_of(PHOTOS, GPU, world_size=4, model="convnext_tiny", sync_bn=True)
    assert str(caught.value) == (
        "sync_bn: asked for, and without effect: the network has no batch norm. Change that, or leave it out."
    )


def test_norms_that_keep_their_statistics_are_not_synchronised() -> None:
    plan = plan_of(PHOTOS, GPU, RESNET, world_size=4, freeze_bn=True)
    assert plan.options.freeze_bn
    assert told(plan)["sync_bn"] == (False, "the batch norms keep their statistics")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "freeze_bn: asked for, and fresh batch norms have no statistics."),
        (weights_of("convnext_tiny"), "freeze_bn: asked for, and the network has no batch norm."),
    ],
)
def test_only_trained_batch_norms_can_be_frozen(weights: Source | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(PHOTOS, weights=weights, freeze_bn=True)
    assert str(caught.value) == f"{message} Begin with trained weights that do, or leave it out."


# ------------------------------------------------------------------------------------------------ nothing is ignored

IDLE: dict[str, tuple[dict[str, Any], str]] = {
    "momentum": ({"opt": "adamw", "momentum": 0.5}, "opt adamw. It needs opt sgd, momentum, rmsprop or muon."),
    "opt_betas": ({"opt": "sgd", "opt_betas": (0.9, 0.99)}, "opt sgd. It needs opt adam, adamw, lion or muon."),
    "opt_eps": ({"opt": "lion", "opt_eps": 1e-6}, "opt lion. It needs opt rmsprop, adagrad, adam, adamw or muon."),
    "min_lr": ({"sched": "constant", "min_lr": 0.01}, "sched constant. It needs a schedule that falls."),
    "decay_epochs": ({"sched": "cosine", "decay_epochs": 3.0}, "sched cosine. It needs sched step."),
    "decay_milestones": (
        {"sched": "step", "decay_milestones": (3.0,)}, "sched step. It needs sched multistep.",
    ),
    "decay_rate": ({"sched": "cosine", "decay_rate": 0.5}, "sched cosine. It needs sched step or multistep."),
    "head_lr": ({"head_lr": 0.1}, "head_epochs 0. It needs head_epochs of 1 or more."),
    "focal_gamma": ({"focal_gamma": 1.0}, "loss cross_entropy. It needs loss focal."),
    "model_ema_decay": ({"model_ema": False, "model_ema_decay": 0.9}, "model_ema False. It needs model_ema on."),
    "crop_padding": (
        {"scale": (0.5, 1.0), "crop_padding": 4}, "scale (0.5, 1.0). It needs crops that are not resized: no scale.",
    ),
    "ratio": ({"ratio": (0.5, 2.0)}, "crop_padding 2. It needs random resized crops, with scale."),
    "remode": ({"remode": "pixel"}, "reprob 0.0. It needs reprob above 0."),
    "mixup_prob": ({"mixup_prob": 0.5}, "mixup 0.0 and cutmix 0.0. It needs mixup or cutmix above 0."),
    "mixup_switch_prob": (
        {"mixup": 0.2, "mixup_switch_prob": 0.5}, "mixup 0.2 and cutmix 0.0. It needs both of them above 0.",
    ),
    "sync_bn": ({"sync_bn": True}, "one process. It needs more than one process, as torchrun starts them."),
    "fsdp": ({"fsdp": True}, "one process. It needs more than one process, as torchrun starts them."),
}  # fmt: skip


@pytest.mark.parametrize("name", IDLE)
def test_a_setting_without_effect_is_refused(name: str) -> None:
    settings, message = IDLE[name]
    with pytest.raises(ConfigError) as caught:
        plan_of(CIFAR, **settings)
    assert str(caught.value) == (f"{name}: asked for, and without effect with {message} Change that, or leave it out.")


def test_several_settings_without_effect_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"decay_rate: .*focal_gamma: .*Change that, or leave it out\.$"):
        plan_of(CIFAR, focal_gamma=1.0, decay_rate=0.3)


def test_every_setting_has_an_effect_in_some_plan_and_is_refused_in_others() -> None:
    """Whatever is in no plan's choices and not refused would be ignored."""
    from sightline.recipes.chooser import USED_ELSEWHERE

    plans = [
        plan_of(CIFAR, opt="rmsprop", sched="step", loss="focal", reprob=0.1, mixup=0.1, cutmix=0.1, model_ema=True),
        plan_of(PHOTOS, weights=RESNET, sched="multistep", world_size=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ]
    names = {field.name for field in dataclasses.fields(Settings)}
    chosen = {name for plan in plans for name in told(plan)}
    off = {  # told only where they are on: that each of them is taken is tested above
        "vflip", "rotation", "color_jitter", "aa", "opt_betas", "opt_eps", "class_weights",
        "swa_epochs", "drop", "drop_path", "aux_heads", "memory_efficient", "clip_grad",
        "patience", "max_rollbacks", "grad_accum_steps", "sampler", "mean", "std", "stream",
    }  # fmt: skip
    assert names - chosen - USED_ELSEWHERE == off
    for name, value in (("color_jitter", (0.1, 0.1, 0.1, 0.1)), ("opt_betas", (0.9, 0.95)), ("opt_eps", 1e-6)):
        plan = plan_of(CIFAR, opt="adamw", **{name: value})
        assert told(plan)[name] == (value, "as asked")
        assert value in (getattr(plan.options, name, None), getattr(plan.augment, name, None))


# ------------------------------------------------------------------------------------------------- contradictions

NO_VAL = catalog_of({"train": 1_000}, size=(32, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"recipe": "finetune"},
            "the recipe finetune begins with trained weights, and there are none. Name them with --pretrained (a file, "
            "a bundle, hf-hub:org/name, or alone for those known), or train from scratch with --recipe scratch-small.",
        ),
        (
            {"recipe": "scratch-small", "weights": RESNET},
            "the recipe scratch-small trains from scratch, and there are trained weights to begin with. Leave "
            "--pretrained out, or take --recipe finetune.",
        ),
        (
            {"catalog": NO_VAL, "patience": 3},
            "patience is 3, and things has no validation pictures to watch. Give --val-fraction, or leave patience "
            "out.",
        ),
        (
            {"epochs": 4, "head_epochs": 5},
            "head_epochs is 5, and the run has 4 epochs: the head phase is a part of them. Lower --head-epochs, or "
            "raise --epochs.",
        ),
        (
            {"mean": (0.5,)},
            "mean is 0.5000, and the network takes pictures of 3 channels. Give --mean a number for each.",
        ),
        (
            {"in_chans": 1, "std": (0.5, 0.5)},
            "std is 0.5000 0.5000, and the network takes pictures of 1 channel. Give --std a number for each.",
        ),
        (
            {"batch_size": 4, "world_size": 8},
            "8 processes share each batch, and batch_size is 4. Give --batch-size 8 or more, or start fewer "
            "processes.",
        ),
        (
            {"model": "resnet19", "weights": RESNET},
            "there is no network 'resnet19'. Nearest: resnet18, resnet152, resnet110. `sightline models` lists all.",
        ),
        (
            {"swa_epochs": 2, "model_ema": True},
            "swa_epochs is 2; it must be 0 where a moving average is kept (--model-ema): a run ships one average.",
        ),
        (
            {"sched": "step", "decay_epochs": 500.0, "epochs": 60},
            "decay_epochs is 500.0, and the schedule has 60 epochs: the learning rate would not fall at 500. Lower "
            "--decay-epochs, raise --epochs, or take another --sched.",
        ),
        (
            {"sched": "multistep", "decay_milestones": (5.0, 8.0), "epochs": 10, "head_epochs": 2},
            "decay_milestones is (5.0, 8.0), and the schedule has 8 epochs: the learning rate would not fall at 8. "
            "Lower --decay-milestones, raise --epochs, or take another --sched.",
        ),
        (
            {"class_weights": "balanced", "sampler": "balanced"},
            "class_weights is balanced and sampler is balanced: rare classes would count twice. Choose one of them.",
        ),
        (
            {"swa_epochs": 9, "epochs": 3, "smoke": True},
            "swa_epochs is 9; it must be at most epochs - head_epochs, 3.",
        ),
        ({"epochs": 0, "smoke": True}, "epochs is 0; it must be 1 or more."),
        ({"aa": "rand-m40"}, "aa is 'rand-m40'; m must be a whole number from 0 to 30, got 40."),
        ({"mixup": -1.0}, "mixup is -1.0; alpha must be 0 (for none) or more, and finite."),
    ],
)  # fmt: skip
def test_a_contradiction_is_one_clear_message(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(**arguments)
    assert str(caught.value) == message


def test_choices_are_plain_json() -> None:
    for plan in (plan_of(CIFAR, recipe="best"), plan_of(PHOTOS, weights=RESNET)):
        json.dumps([dataclasses.asdict(choice) for choice in plan.choices])
        assert all(choice.reason for choice in plan.choices)
        assert len({choice.name for choice in plan.choices}) == len(plan.choices)
