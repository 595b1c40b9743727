"""What was asked, else the recipe's default, else the general one; each remembered with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sightline.errors import ConfigError
from sightline.recipes.facts import Defaults
from sightline.recipes.settings import Settings

USED_ELSEWHERE = {  # settings that no default of a recipe is for
    "recipe", "smoke", "pretrained", "val_fraction", "test_fraction", "folds", "fold", "group_by",
    "class_map", "skip_bad", "allow_leaks", "cache", "device", "amp", "threads",
}  # fmt: skip
OF_THE_WEIGHTS = "of the weights"

# A setting that does nothing by itself -> the settings that decide, and what they must be.
_NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "momentum": (("opt",), "opt sgd, momentum, rmsprop or muon"),
    "opt_betas": (("opt",), "opt adam, adamw, lion or muon"),
    "opt_eps": (("opt",), "opt rmsprop, adagrad, adam, adamw or muon"),
    "min_lr": (("sched",), "a schedule that falls"),
    "decay_epochs": (("sched",), "sched step"),
    "decay_milestones": (("sched",), "sched multistep"),
    "decay_rate": (("sched",), "sched step or multistep"),
    "head_lr": (("head_epochs",), "head_epochs of 1 or more"),
    "focal_gamma": (("loss",), "loss focal"),
    "model_ema_decay": (("model_ema",), "model_ema on"),
    "crop_padding": (("scale",), "crops that are not resized: no scale"),
    "ratio": (("crop_padding",), "random resized crops, with scale"),
    "remode": (("reprob",), "reprob above 0"),
    "mixup_prob": (("mixup", "cutmix"), "mixup or cutmix above 0"),
    "mixup_switch_prob": (("mixup", "cutmix"), "both of them above 0"),
    "sync_bn": ((), "more than one process, as torchrun starts them"),
    "fsdp": ((), "more than one process, as torchrun starts them"),
}
# A default of a recipe -> the settings that it belongs to: asked for otherwise, they leave it without a reason.
_BELONGS_TO: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "head_lr", "momentum", "opt_betas", "opt_eps", "weight_decay"), ("opt",)),
    **dict.fromkeys(("warmup_epochs", "min_lr", "decay_epochs", "decay_milestones", "decay_rate"), ("sched",)),
    "focal_gamma": ("loss",),
}
# A default of a recipe -> settings that take its place where they are asked for.
_REPLACED_BY: dict[str, tuple[str, ...]] = {
    "scale": ("crop_padding",),
    "crop_padding": ("scale",),
    "alternating_flip": ("hflip",),
}

Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice:
    """One number of the plan and why it is so."""

    name: str
    value: Any
    reason: str


class Chooser:
    """Takes what was asked, else the recipe's default, else the general one; remembers each with its reason.

    Args:
        asked: the user's settings, or, of a smoke run, what is left of them.
        defaults: the recipe's.
        reduced: the settings that a smoke run has changed, with the reason.

    Attributes:
        choices: what to print, in order.
    """

    def __init__(self, asked: Settings, defaults: Defaults, reduced: Mapping[str, str]) -> None:
        self.asked = asked
        self.choices: list[Choice] = []
        self._defaults = fitting(defaults, asked)
        self._reduced = reduced
        self._considered: dict[str, Any] = {}

    def __call__(self, name: str, default: Value, reason: str) -> Value:
        """The value of a setting.

        Args:
            name: of the setting.
            default: the general one.
            reason: of the general one.
        """
        value, why = self._best(name, default, reason)
        self.tell(name, value, why)
        return value

    def of_recipe(self, name: str) -> Any:
        """The value of a setting that every recipe has a default of."""
        value, why = self._best(name, None, "")
        self.tell(name, value, why)
        return value

    def over_recipe(self, name: str, value: Value, reason: str = OF_THE_WEIGHTS) -> Value:
        """The value of a setting that the weights or another choice decide, unless another was asked for."""
        asked = getattr(self.asked, name)
        self.tell(name, value if asked is None else asked, reason if asked is None else self._as_asked(name))
        return value if asked is None else asked

    def unless_off(self, name: str, off: Value) -> Value:
        """The value of a setting that most runs do without; told where it is on, or off for a reason."""
        value, why = self._best(name, off, "")
        if value == off and (not why or getattr(self.asked, name) is not None):
            self._considered[name] = value
        else:
            self.tell(name, value, why)
        return value

    def has(self, name: str) -> bool:
        """Whether a setting was asked for, or has a default of the recipe's."""
        return getattr(self.asked, name) is not None or name in self._defaults

    def tell(self, name: str, value: object, reason: str) -> None:
        """Remembers a choice, to be printed."""
        self._considered[name] = value
        self.choices.append(Choice(name, value, reason))

    def consider(self, *names: str) -> None:
        """Takes settings for used that are told under another name."""
        self._considered |= {name: getattr(self.asked, name) for name in names}

    def require_all_used(self) -> None:
        """No setting is ignored: what was asked for and has no effect in this plan is refused.

        Raises:
            ConfigError: it names each such setting, what leaves it without effect, and what it needs.
        """
        messages = []
        for field in fields(Settings):
            name, value = field.name, getattr(self.asked, field.name)
            if value is None or value is False or name in self._considered or name in USED_ELSEWHERE:
                continue  # what is off without effect is off as asked
            owners, need = _NEEDS[name]
            here = " and ".join(f"{owner} {self._considered.get(owner)}" for owner in owners) or "one process"
            messages.append(f"{name}: asked for, and without effect with {here}. It needs {need}.")
        if messages:
            raise ConfigError(" ".join([*messages, "Change that, or leave it out."]))

    def _best(self, name: str, default: Value, reason: str) -> tuple[Value, str]:
        asked = getattr(self.asked, name)
        if asked is not None:
            return asked, self._as_asked(name)
        if name in self._defaults:
            return self._defaults[name]
        return default, reason

    def _as_asked(self, name: str) -> str:
        return self._reduced.get(name, "as asked")


def fitting(defaults: Defaults, asked: Settings) -> Defaults:
    """The defaults of a recipe that still make sense with what was asked for.

    A learning rate is one of an optimiser: where another optimiser was asked for, the general rate of that one is the
    better guess.

    Args:
        defaults: the recipe's.
        asked: the user's settings.

    Example:
        >>> from sightline.recipes.facts import Default
        >>> recipe = {"opt": Default("sgd", ""), "lr": Default(0.5, ""), "epochs": Default(9, "")}
        >>> sorted(fitting(recipe, Settings(opt="adamw"))), sorted(fitting(recipe, Settings(opt="sgd")))
        (['epochs', 'opt'], ['epochs', 'lr', 'opt'])
    """

    def fits(name: str) -> bool:
        owners = _BELONGS_TO.get(name, ())
        is_owned = all(getattr(asked, o) in (None, defaults[o].value if o in defaults else None) for o in owners)
        return is_owned and all(getattr(asked, other) is None for other in _REPLACED_BY.get(name, ()))

    return {name: default for name, default in defaults.items() if fits(name)}
