"""Every number outside its range is named, with what it must be."""

from dataclasses import fields
from typing import Any, get_args

import pytest

from sightline.errors import ConfigError
from sightline.training.options import LossName, OptimizerName, ScheduleName, TrainOptions

NAN, INF = float("nan"), float("inf")


def _options(**changes: Any) -> TrainOptions:
    return TrainOptions(**{"epochs": 2, "batch_size": 8, "lr": 0.1, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be 1 or more."),
        ({"batch_size": -1}, "batch_size is -1; it must be 1 or more."),
        ({"grad_accum_steps": 0}, "grad_accum_steps is 0; it must be 1 or more."),
        (
            {"grad_accum_steps": 5},
            "grad_accum_steps is 5; it must be at most 4, for two pictures a part: batch norm cannot take one.",
        ),
        ({"seed": -1}, "seed is -1; it must be at least 0 and below 4294967296."),
        ({"seed": 2**32}, "seed is 4294967296; it must be at least 0 and below 4294967296."),
        ({"lr": 0.0}, "lr is 0.0; it must be more than 0 and finite."),
        ({"lr": NAN}, "lr is nan; it must be more than 0 and finite."),
        ({"lr": INF}, "lr is inf; it must be more than 0 and finite."),
        ({"min_lr": -0.1}, "min_lr is -0.1; it must be 0 or more and finite."),
        ({"min_lr": 1.0}, "min_lr is 1.0; it must be at most lr, which is 0.1."),
        ({"momentum": 1.0}, "momentum is 1.0; it must be at least 0 and below 1."),
        ({"opt_betas": (0.9, 1.0)}, "opt_betas is (0.9, 1.0); it must be two numbers of at least 0 and below 1."),
        ({"opt_betas": (NAN, 0.9)}, "opt_betas is (nan, 0.9); it must be two numbers of at least 0 and below 1."),
        ({"opt_eps": 0.0}, "opt_eps is 0.0; it must be more than 0 and finite."),
        ({"warmup_epochs": -0.5}, "warmup_epochs is -0.5; it must be 0 or more and finite."),
        ({"warmup_epochs": 9}, "warmup_epochs is 9; it must be at most epochs - head_epochs, 2."),
        (
            {"warmup_epochs": 1.5, "head_epochs": 1, "head_lr": 0.1},
            "warmup_epochs is 1.5; it must be at most epochs - head_epochs, 1.",
        ),
        ({"decay_epochs": 0.0}, "decay_epochs is 0.0; it must be more than 0 and finite."),
        ({"decay_rate": 0.0}, "decay_rate is 0.0; it must be more than 0 and at most 1."),
        ({"decay_rate": 1.5}, "decay_rate is 1.5; it must be more than 0 and at most 1."),
        ({"sched": "multistep"}, "decay_milestones is (); it must be given for the schedule multistep."),
        ({"decay_milestones": (3.0, 2.0)}, "decay_milestones is (3.0, 2.0); it must be above 0, finite and rising."),
        ({"decay_milestones": (2.0, 2.0)}, "decay_milestones is (2.0, 2.0); it must be above 0, finite and rising."),
        ({"decay_milestones": (1.0, INF)}, "decay_milestones is (1.0, inf); it must be above 0, finite and rising."),
        ({"decay_milestones": (NAN,)}, "decay_milestones is (nan,); it must be above 0, finite and rising."),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or more and finite."),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; it must be more than 0 and at most 1."),
        ({"layer_decay": 1.1}, "layer_decay is 1.1; it must be more than 0 and at most 1."),
        ({"decay_milestones": (-1.0, 2.0)}, "decay_milestones is (-1.0, 2.0); it must be above 0, finite and rising."),
        ({"opt_betas": (0.9,)}, "opt_betas is (0.9,); it must be two numbers of at least 0 and below 1."),
        ({"head_epochs": 3, "head_lr": 0.1}, "head_epochs is 3; it must be at most epochs, 2."),
        ({"head_epochs": -1}, "head_epochs is -1; it must be 0 or more."),
        ({"head_epochs": 1}, "head_lr is None; it must be given where head_epochs is, 1."),
        ({"head_epochs": 1, "head_lr": 0.0}, "head_lr is 0.0; it must be more than 0 and finite."),
        ({"smoothing": 1.0}, "smoothing is 1.0; it must be at least 0 and below 1."),
        ({"focal_gamma": -1.0}, "focal_gamma is -1.0; it must be 0 or more and finite."),
        ({"class_weights": (1.0, 0.0)}, "class_weights is (1.0, 0.0); it must be numbers above 0."),
        ({"class_weights": (1.0, INF)}, "class_weights is (1.0, inf); it must be numbers above 0."),
        ({"clip_grad": 0.0}, "clip_grad is 0.0; it must be more than 0 and finite."),
        ({"model_ema_decay": 1.5}, "model_ema_decay is 1.5; it must be at least 0 and below 1."),
        ({"swa_epochs": -1}, "swa_epochs is -1; it must be 0 or more."),
        ({"swa_epochs": 3}, "swa_epochs is 3; it must be at most epochs - head_epochs, 2."),
        (
            {"swa_epochs": 1, "model_ema_decay": 0.9},
            "swa_epochs is 1; it must be 0 where a moving average is kept (--model-ema): a run ships one average.",
        ),
        (
            {"swa_epochs": 1, "patience": 3},
            "swa_epochs is 1; it must be 0 where patience is given: it needs the end of the run, "
            "which patience may cut off.",
        ),
        ({"patience": 0}, "patience is 0; it must be 1 or more."),
        ({"max_rollbacks": -1}, "max_rollbacks is -1; it must be 0 or more."),
        ({"checkpoint_every_s": -1.0}, "checkpoint_every_s is -1.0; it must be 0 or more and finite."),
        (
            {"opt": "adan"},
            "opt is 'adan'; it must be one of sgd, momentum, rmsprop, adagrad, adam, adamw, lion, muon.",
        ),
        (
            {"sched": "poly"},
            "sched is 'poly'; it must be one of cosine, onecycle, linear, step, multistep, constant.",
        ),
        ({"loss": "hinge"}, "loss is 'hinge'; it must be one of cross_entropy, bce, focal."),
    ],
)
def test_the_message_says_what_is_wrong_and_what_is_needed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _options(**change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 1}, {"batch_size": 1}, {"grad_accum_steps": 4}, {"seed": 2**32 - 1}, {"min_lr": 0.1},
        {"momentum": 0.0}, {"opt_betas": (0.0, 0.0)}, {"warmup_epochs": 2.0}, {"decay_rate": 1.0}, {"layer_decay": 1.0},
        {"head_epochs": 2, "head_lr": 1.0}, {"smoothing": 0.0}, {"focal_gamma": 0.0}, {"model_ema_decay": 0.0},
        {"swa_epochs": 2}, {"patience": 1}, {"checkpoint_every_s": 0.0},
        {"sched": "multistep", "decay_milestones": (1.0, 1.5)},
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_are_taken(change: dict[str, Any]) -> None:
    options = _options(**change)
    assert all(getattr(options, name) == value for name, value in change.items())


def test_every_name_is_taken() -> None:
    for name in get_args(OptimizerName):
        assert _options(opt=name).opt == name
    for name in get_args(ScheduleName):
        assert _options(sched=name, decay_milestones=(1.0,)).sched == name
    for name in get_args(LossName):
        assert _options(loss=name).loss == name


def test_every_number_has_a_range() -> None:
    """A field that is added without one is found here."""
    checked = {"opt", "sched", "loss", "opt_betas", "class_weights", "decay_milestones", "freeze_bn"}
    for field in fields(TrainOptions):
        if field.name not in checked:
            with pytest.raises(ConfigError, match=f"^{field.name} is nan; it must be"):
                _options(**{field.name: NAN})
