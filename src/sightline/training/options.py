"""What one training run is told: every number of it, with nothing left to choose."""

from dataclasses import dataclass
from typing import Literal, get_args

from sightline.errors import ConfigError

OptimizerName = Literal["sgd", "momentum", "adam", "adamw"]
ScheduleName = Literal["cosine", "onecycle", "constant"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The numbers of a run; the names are timm's.

    Args:
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        lr: peak learning rate.
        opt: "sgd" (Nesterov momentum, as timm names it), "momentum" (plain), "adam" or "adamw".
        momentum: of "sgd" and "momentum".
        sched: how the learning rate moves from step to step; see `train.schedule`.
        warmup_epochs: linear rise at the start; may be a fraction of an epoch.
        min_lr: where the schedule ends: the rate of the last step (one-cycle) or of the one after it (cosine).
        weight_decay: for weights of two and more dimensions; norms and biases have none.
        smoothing: label smoothing in [0, 1).
        clip_grad: largest norm of the whole gradient; None leaves it alone.
        model_ema_decay: of the exponential moving average of the weights; None keeps none.
        seed: of weights, splits, order, augmentation and dropout.
        checkpoint_every_s: seconds between two checkpoints; 0 saves after every step.

    Raises:
        ConfigError: a number lies outside its range or a name is unknown.

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
    sched: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    min_lr: float = 0.0
    weight_decay: float = 0.0
    smoothing: float = 0.0
    clip_grad: float | None = None
    model_ema_decay: float | None = None
    seed: int = 0
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            _require(getattr(self, name) >= low, name, getattr(self, name), f"{low} or more")
        _require(self.seed < 2**32, "seed", self.seed, "below 2^32")
        for name in ("lr", "clip_grad"):
            value = getattr(self, name)
            _require(value is None or 0 < value < float("inf"), name, value, "more than 0 and finite")
        for name in ("min_lr", "weight_decay", "warmup_epochs", "checkpoint_every_s"):
            _require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "0 or more and finite")
        for name in ("smoothing", "momentum", "model_ema_decay"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < 1, name, value, "at least 0 and below 1")
        _require(self.min_lr <= self.lr, "min_lr", self.min_lr, f"at most lr, which is {self.lr}")
        _require(
            self.warmup_epochs <= self.epochs, "warmup_epochs", self.warmup_epochs, f"at most epochs, {self.epochs}"
        )
        for name, names in (("opt", get_args(OptimizerName)), ("sched", get_args(ScheduleName))):
            _require(getattr(self, name) in names, name, repr(getattr(self, name)), f"one of {', '.join(names)}")


def _require(holds: bool, name: str, value: object, need: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it must be {need}.")
