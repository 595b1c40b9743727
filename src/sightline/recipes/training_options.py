"""The numbers of the loop: what was asked, the recipe's, or what is usual with the optimiser and the schedule."""

from typing import Literal, NamedTuple

from sightline.data.catalog import Catalog
from sightline.data.imbalance import ClassWeighting, class_weights, positive_weights
from sightline.errors import ConfigError
from sightline.recipes.chooser import Chooser
from sightline.recipes.facts import Facts
from sightline.recipes.settings import Settings
from sightline.training.options import LossName, OptimizerName, ScheduleName, TrainOptions


class Usual(NamedTuple):
    """What is usual with an optimiser.

    Args:
        lr: the peak learning rate from scratch.
        why: the reason, in half a sentence.
        trained: the part of it for weights that are trained already, in words and as a number.
        weight_decay: for the weights of convolutions and dense layers.
        batch_size: that `lr` is for, where it goes in proportion to the batch; None where it does not.
    """

    lr: float
    why: str
    trained: tuple[str, float]
    weight_decay: float
    batch_size: int | None = None


_THIRD, _TENTH = ("a third of", 0.3), ("a tenth of", 0.1)
_SGD = Usual(0.1, "0.1 for a batch of 128 (He et al. 2015, Sec. 4.2), in proportion", _TENTH, 5e-4, batch_size=128)
USUAL: dict[OptimizerName, Usual] = {
    "sgd": _SGD,
    "momentum": _SGD,
    "rmsprop": Usual(1e-4, "a tenth of Adam's: its momentum of 0.9 sums ten steps", _THIRD, 1e-5),
    "adagrad": Usual(0.01, "the usual rate of Adagrad", _THIRD, 1e-4),
    # decay here is part of the gradient, which Adam scales: little of it (arXiv:1711.05101)
    "adam": Usual(1e-3, "the usual rate of Adam", _THIRD, 1e-4),
    "adamw": Usual(1e-3, "the usual rate of Adam", _THIRD, 0.05),
    "lion": Usual(1e-4, "a tenth of AdamW's (Chen et al. 2023, arXiv:2302.06675, Sec. 5)", _THIRD, 0.5),
    "muon": Usual(0.02, "the usual rate of Muon (Jordan et al. 2024)", _THIRD, 0.05),
}

SWA_FLOOR = 0.2  # of lr; not from a paper: so that the weights of the last epochs still differ

_OF_THE_SCHEDULE = (
    "lr", "sched", "warmup_epochs", "min_lr", "decay_epochs", "decay_milestones", "decay_rate", "layer_decay",
)  # fmt: skip
_HAVE_MOMENTUM = ("sgd", "momentum", "rmsprop", "muon")
_HAVE_BETAS = ("adam", "adamw", "lion", "muon")
_HAVE_EPS = ("rmsprop", "adagrad", "adam", "adamw", "muon")


def training_options(choose: Chooser, facts: Facts, catalog: Catalog) -> TrainOptions:
    """Completes the options of the training.

    Args:
        choose: of the run.
        facts: of the run.
        catalog: with its splits assigned.

    Raises:
        ConfigError: numbers lie outside their range or contradict each other.
    """
    epochs, batch_size = choose.of_recipe("epochs"), choose.of_recipe("batch_size")
    head_epochs = choose.unless_off("head_epochs", 0)
    if head_epochs > epochs:
        raise ConfigError(
            f"head_epochs is {head_epochs}, and the run has {epochs} epochs: the head phase is a part of them. "
            "Lower --head-epochs, or raise --epochs."
        )
    moving = epochs - head_epochs  # what the schedule runs over
    if not moving:
        _require_no_schedule(choose.asked, epochs)
    opt: OptimizerName = choose("opt", "adamw", "works for every network without tuning")
    usual = USUAL[opt]
    lr = choose("lr", *_rate(usual, batch_size, is_trained=facts.weights is not None))
    head_lr = None
    if head_epochs:
        rate, why = _rate(usual, batch_size, is_trained=False)
        head_lr = choose("head_lr", rate, f"{why}: the head is not trained yet")
    sched: ScheduleName = choose("sched", "onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)")
    warmup = round(0.2 * moving, 4) if sched == "onecycle" else 0.0
    loss = _loss(choose, facts)
    falls = sched in ("step", "multistep")
    swa_epochs = choose.unless_off("swa_epochs", 0)
    return TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        grad_accum_steps=choose.unless_off("grad_accum_steps", 1),
        lr=lr,
        opt=opt,
        momentum=_momentum(choose, opt),
        opt_betas=choose.unless_off("opt_betas", None) if opt in _HAVE_BETAS else None,
        opt_eps=choose.unless_off("opt_eps", None) if opt in _HAVE_EPS else None,
        sched=sched,
        warmup_epochs=choose("warmup_epochs", warmup, _warmup_reason(warmup, head_epochs)),
        min_lr=_min_lr(choose, sched, lr, swa_epochs),
        decay_epochs=_decay_epochs(choose, moving) if sched == "step" else 30.0,
        decay_milestones=_milestones(choose, moving) if sched == "multistep" else (),
        decay_rate=choose("decay_rate", 0.1, "a tenth at each fall (He et al. 2015, Sec. 3.4)") if falls else 0.1,
        weight_decay=choose("weight_decay", usual.weight_decay, f"usual with {opt}; not on norms and biases"),
        layer_decay=choose.unless_off("layer_decay", None),
        head_epochs=head_epochs,
        head_lr=head_lr,
        freeze_bn=_freeze_bn(choose, facts),
        loss=loss,
        smoothing=_smoothing(choose, facts),
        focal_gamma=choose("focal_gamma", 2.0, "the paper's (arXiv:1708.02002)") if loss == "focal" else 2.0,
        class_weights=_class_weights(choose, facts, catalog),
        clip_grad=choose.unless_off("clip_grad", None),
        model_ema_decay=_ema_decay(choose, swa_epochs),
        swa_epochs=swa_epochs,
        patience=_patience(choose, catalog),
        max_rollbacks=choose.unless_off("max_rollbacks", 0),
        seed=choose("seed", 0, "the same seed gives the same run"),
        checkpoint_every_s=choose("checkpoint_every", 30.0, "what a kill can cost"),
    )


def _require_no_schedule(asked: Settings, epochs: int) -> None:
    """Where the head learns alone from first to last, at a rate of its own, what is said of the rest has no effect."""
    idle = [name for name in _OF_THE_SCHEDULE if getattr(asked, name) is not None]
    if idle:
        raise ConfigError(
            f"{idle[0]}: asked for, and without effect where the head learns alone for all of {epochs} epochs, at "
            "head_lr. Raise --epochs, lower --head-epochs, or leave it out."
        )


def _loss(choose: Chooser, facts: Facts) -> LossName:
    """Cross-entropy; of multi-label data a yes-or-no question a label."""
    if not facts.is_multilabel:
        return choose.unless_off("loss", "cross_entropy")
    if choose.asked.loss == "cross_entropy":
        raise ConfigError(
            "loss is cross_entropy, and the pictures may have several labels each: its softmax shares one whole among "
            "them. Take --loss bce, a yes-or-no question a label, or --loss focal; or leave it out."
        )
    loss: LossName = "bce"
    return choose.over_recipe("loss", loss, "a picture may have several labels: a yes-or-no question each")


def _smoothing(choose: Chooser, facts: Facts) -> float:
    if facts.is_multilabel:
        why = "none: most answers are no, and s / 2 towards yes would say each label of many pictures"
        return choose.over_recipe("smoothing", 0.0, why)
    return choose("smoothing", 0.1, "against overconfidence (Szegedy et al. 2015, Sec. 7)")


def _freeze_bn(choose: Chooser, facts: Facts) -> bool:
    if choose.asked.freeze_bn and not facts.has_batch_norm:
        what = "the network has no batch norm" if facts.weights is not None else "fresh batch norms have no statistics"
        raise ConfigError(f"freeze_bn: asked for, and {what}. Begin with trained weights that do, or leave it out.")
    return choose.unless_off("freeze_bn", False)


def _warmup_reason(warmup: float, head_epochs: int) -> str:
    if not warmup:
        return "none is needed"
    return "a fifth of what follows the head phase" if head_epochs else "a fifth of the run"


def _rate(usual: Usual, batch_size: int, *, is_trained: bool) -> tuple[float, str]:
    """The peak learning rate, and why."""
    share = 1 if usual.batch_size is None else batch_size / usual.batch_size
    if not is_trained:
        return round(usual.lr * share, 6), usual.why
    words, part = usual.trained
    what = "Adam's usual rate" if usual.why == "the usual rate of Adam" else "the rate from scratch"
    return round(usual.lr * part * share, 8), f"{words} {what}: the weights are near a good place"


def _momentum(choose: Chooser, opt: OptimizerName) -> float:
    if opt not in _HAVE_MOMENTUM:
        return 0.9
    usual = 0.95 if opt == "muon" else 0.9
    return choose("momentum", usual, "the usual momentum")


def _min_lr(choose: Chooser, sched: ScheduleName, lr: float, swa_epochs: int) -> float:
    if sched == "constant":
        return 0.0
    if sched in ("step", "multistep"):
        return choose("min_lr", 0.0, "the falls have no floor")
    if swa_epochs:
        why = f"a fifth of lr: the weights of the last {swa_epochs} epochs must differ for their average to be better"
        return choose("min_lr", float(f"{SWA_FLOOR * lr:.6g}"), f"{why} (arXiv:1803.05407)")
    return choose("min_lr", 0.0, "end at rest")


def _decay_epochs(choose: Chooser, epochs: int) -> float:
    value = choose("decay_epochs", round(epochs / 3, 4), "two falls")
    _require_fall("decay_epochs", value, value, epochs)
    return value


def _milestones(choose: Chooser, epochs: int) -> tuple[float, ...]:
    default = tuple(round(epochs * part, 2) for part in (0.5, 0.75))
    value = choose("decay_milestones", default, "after half and three quarters (He et al. 2015, Sec. 4.2)")
    _require_fall("decay_milestones", value, max(value, default=0.0), epochs)
    return value


def _require_fall(name: str, value: object, last: float, epochs: int) -> None:
    """A fall that the run does not live to see would be an option without effect."""
    if last >= epochs:
        raise ConfigError(
            f"{name} is {value}, and the schedule has {epochs} epochs: the learning rate would not fall at {last:g}. "
            f"Lower --{name.replace('_', '-')}, raise --epochs, or take another --sched."
        )


def _ema_decay(choose: Chooser, swa_epochs: int) -> float | None:
    if swa_epochs:
        is_averaged = choose.over_recipe("model_ema", False, f"the last {swa_epochs} epochs are averaged instead")
    elif choose.asked.model_ema_decay is not None:
        is_averaged = choose.over_recipe("model_ema", True, "a decay was asked for")
    else:
        is_averaged = choose("model_ema", False, "the schedule ends near zero, which averages already")
    return choose("model_ema_decay", 0.999, "about the last 1000 steps") if is_averaged else None


def _patience(choose: Chooser, catalog: Catalog) -> int | None:
    patience: int | None = choose.unless_off("patience", None)
    if patience is not None and not len(catalog.select("val")):
        raise ConfigError(
            f"patience is {patience}, and {catalog.name} has no validation pictures to watch. Give --val-fraction, or "
            "leave patience out."
        )
    return patience


def _class_weights(choose: Chooser, facts: Facts, catalog: Catalog) -> tuple[float, ...] | None:
    """What a picture of each class counts, from how many there are."""
    kind: ClassWeighting | Literal["none"] = choose.unless_off("class_weights", "none")
    if kind != "none" and choose.asked.sampler == "balanced":
        raise ConfigError(
            f"class_weights is {kind} and sampler is balanced: rare classes would count twice. Choose one of them."
        )
    if kind == "none":
        return None
    if facts.is_multilabel:
        weights, what = positive_weights(facts.class_counts, facts.num_train, kind), "of yes, against 1 of no"
    else:
        weights, what = class_weights(facts.class_counts, kind), ""
    least, most = min(weights), max(weights)
    classes = catalog.classes
    choose.tell(
        "class weights",
        f"{least:.3g} ({classes[weights.index(least)]}) to {most:.3g} ({classes[weights.index(most)]})",
        "of the numbers of training pictures" + (f": {what}" if what else ""),
    )
    return weights
