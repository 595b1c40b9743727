"""What one training run is told: every number of it, with nothing left to choose."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sightline.errors import ConfigError

OptimizerName = Literal["sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon"]
ScheduleName = Literal["cosine", "onecycle", "linear", "step", "multistep", "constant"]
LossName = Literal["cross_entropy", "bce", "focal"]

_CHOICES = {"opt": OptimizerName, "sched": ScheduleName, "loss": LossName}
# name -> (least, is it allowed itself, greatest, is it allowed itself)
_RANGES: dict[str, tuple[float, bool, float, bool]] = {
    "epochs": (1, True, math.inf, False),
    "batch_size": (1, True, math.inf, False),
    "grad_accum_steps": (1, True, math.inf, False),
    "seed": (0, True, 2**32, False),
    "lr": (0, False, math.inf, False),
    "head_lr": (0, False, math.inf, False),
    "clip_grad": (0, False, math.inf, False),
    "opt_eps": (0, False, math.inf, False),
    "decay_epochs": (0, False, math.inf, False),
    "patience": (1, True, math.inf, False),
    "min_lr": (0, True, math.inf, False),
    "weight_decay": (0, True, math.inf, False),
    "warmup_epochs": (0, True, math.inf, False),
    "head_epochs": (0, True, math.inf, False),
    "swa_epochs": (0, True, math.inf, False),
    "focal_gamma": (0, True, math.inf, False),
    "max_rollbacks": (0, True, math.inf, False),
    "checkpoint_every_s": (0, True, math.inf, False),
    "decay_rate": (0, False, 1, True),
    "layer_decay": (0, False, 1, True),
    "smoothing": (0, True, 1, False),
    "momentum": (0, True, 1, False),
    "model_ema_decay": (0, True, 1, False),
}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The numbers of a run; the names are timm's.

    Args:
        epochs: passes over the training pictures.
        batch_size: pictures a step, over all micro-batches and all processes.
        lr: peak learning rate.
        opt: "sgd" (Nesterov momentum, as timm names it), "momentum" (plain), "rmsprop", "adagrad", "adam", "adamw",
            "lion" or "muon".
        momentum: of "sgd", "momentum", "rmsprop" and "muon".
        opt_betas: decays of the two averages of "adam", "adamw", "lion" and the AdamW within "muon"; None for the
            optimiser's own.
        opt_eps: what "rmsprop", "adagrad", "adam", "adamw" and the AdamW within "muon" add to their divisor; None for
            the optimiser's own.
        sched: how the learning rate moves from step to step; see `training.schedule`.
        warmup_epochs: linear rise at the start; may be a fraction of an epoch.
        min_lr: where the schedule ends: the rate of the last step (one-cycle, linear) or of the one after it (cosine);
            "step" and "multistep" do not fall below it.
        decay_epochs: of "step": epochs between two falls.
        decay_milestones: of "multistep": the epochs of the falls, rising.
        decay_rate: of "step" and "multistep": what each fall leaves of the rate.
        weight_decay: for weights of two and more dimensions; norms and biases have none.
        layer_decay: the rate of each layer as a part of that of the layer above it; None for one rate.
        head_epochs: epochs at the start that train the last layer alone, with everything under it held, batch norms'
            statistics as well.
        head_lr: peak learning rate of these epochs; needed where there are any.
        freeze_bn: hold the statistics of batch norms in all epochs: they answer with those that they came with. Their
            scales and shifts learn.
        loss: "cross_entropy", "bce" (one yes-or-no question a class) or "focal".
        smoothing: label smoothing in [0, 1).
        focal_gamma: of "focal": how little an easy picture counts.
        class_weights: what a picture of each class counts, in the order of the classes; None for one each.
        clip_grad: largest norm of the whole gradient; None leaves it alone.
        grad_accum_steps: micro-batches that a batch is computed in: less memory, the same step but for batch norm,
            which then sees a micro-batch.
        model_ema_decay: of the exponential moving average of the weights; None keeps none.
        swa_epochs: epochs at the end whose weights are averaged, equally (SWA); 0 for none.
        patience: epochs without a lower validation loss after which the run ends, with the best epoch's weights; None
            runs to the end and keeps the last.
        max_rollbacks: how often a loss that is not finite may send the run back to its last checkpoint, to go on
            without the batch that caused it.
        seed: of weights, splits, order, augmentation and dropout.
        checkpoint_every_s: seconds between two checkpoints; 0 saves after every step.

    Raises:
        ConfigError: a number lies outside its range, a name is unknown, or two options contradict each other.

    Example:
        >>> TrainOptions(epochs=0, batch_size=128, lr=0.1)
        Traceback (most recent call last):
        sightline.errors.ConfigError: epochs is 0; it must be 1 or more.
    """

    epochs: int
    batch_size: int
    lr: float
    opt: OptimizerName = "adamw"
    momentum: float = 0.9
    opt_betas: tuple[float, float] | None = None
    opt_eps: float | None = None
    sched: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    min_lr: float = 0.0
    decay_epochs: float = 30.0
    decay_milestones: tuple[float, ...] = ()
    decay_rate: float = 0.1
    weight_decay: float = 0.0
    layer_decay: float | None = None
    head_epochs: int = 0
    head_lr: float | None = None
    freeze_bn: bool = False
    loss: LossName = "cross_entropy"
    smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None
    clip_grad: float | None = None
    grad_accum_steps: int = 1
    model_ema_decay: float | None = None
    swa_epochs: int = 0
    patience: int | None = None
    max_rollbacks: int = 0
    seed: int = 0
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        require_ranges(self)
        for name, literal in _CHOICES.items():
            names = get_args(literal)
            _require(getattr(self, name) in names, name, repr(getattr(self, name)), f"one of {', '.join(names)}")
        _require(
            self.opt_betas is None or (len(self.opt_betas) == 2 and all(0 <= beta < 1 for beta in self.opt_betas)),
            "opt_betas", self.opt_betas, "two numbers of at least 0 and below 1",
        )  # fmt: skip
        _require(
            self.class_weights is None or all(0 < weight < math.inf for weight in self.class_weights),
            "class_weights", self.class_weights, "numbers above 0",
        )  # fmt: skip
        _require(self.min_lr <= self.lr, "min_lr", self.min_lr, f"at most lr, which is {self.lr}")
        most = max(1, self.batch_size // 2)
        _require(
            self.grad_accum_steps <= most, "grad_accum_steps", self.grad_accum_steps,
            f"at most {most}, for two pictures a part: batch norm cannot take one",
        )  # fmt: skip
        _require(self.head_epochs <= self.epochs, "head_epochs", self.head_epochs, f"at most epochs, {self.epochs}")
        _require(
            self.warmup_epochs + self.head_epochs <= self.epochs, "warmup_epochs", self.warmup_epochs,
            f"at most epochs - head_epochs, {self.epochs - self.head_epochs}",
        )  # fmt: skip
        _require(
            self.swa_epochs <= self.epochs - self.head_epochs, "swa_epochs", self.swa_epochs,
            f"at most epochs - head_epochs, {self.epochs - self.head_epochs}",
        )  # fmt: skip
        _require(
            not self.head_epochs or self.head_lr is not None, "head_lr", self.head_lr,
            f"given where head_epochs is, {self.head_epochs}",
        )  # fmt: skip
        _require(
            not self.swa_epochs or self.model_ema_decay is None, "swa_epochs", self.swa_epochs,
            "0 where a moving average is kept (--model-ema): a run ships one average",
        )  # fmt: skip
        _require(
            not self.swa_epochs or self.patience is None, "swa_epochs", self.swa_epochs,
            "0 where patience is given: it needs the end of the run, which patience may cut off",
        )  # fmt: skip
        _require(
            self.sched != "multistep" or bool(self.decay_milestones), "decay_milestones", self.decay_milestones,
            "given for the schedule multistep",
        )  # fmt: skip
        falls = list(self.decay_milestones)
        is_rising = falls == sorted({each for each in falls if 0 < each < math.inf})
        _require(is_rising, "decay_milestones", self.decay_milestones, "above 0, finite and rising")


def require_ranges(given: object) -> None:
    """Refuses numbers outside their range; what has not been chosen yet is None and passes.

    Args:
        given: has some of the numbers of `TrainOptions` under their names.

    Raises:
        ConfigError: a number lies outside its range.
    """
    for name, bounds in _RANGES.items():
        _require_within(name, getattr(given, name, None), bounds)


def _require_within(name: str, value: float | None, bounds: tuple[float, bool, float, bool]) -> None:
    low, takes_low, high, takes_high = bounds
    if value is None or low < value < high or (takes_low and value == low) or (takes_high and value == high):
        return
    need = f"{low} or more" if takes_low else f"more than {low}"
    if high != math.inf:
        need = f"at least {low}" if takes_low else need
        need += f" and {'at most' if takes_high else 'below'} {high}"
    elif isinstance(value, float):
        need += " and finite"
    raise ConfigError(f"{name} is {value}; it must be {need}.")


def _require(holds: bool, name: str, value: object, need: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it must be {need}.")
