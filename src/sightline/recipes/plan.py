"""From what was asked, the data and the machine to a complete plan: every number of a run, each with its reason."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from sightline.data.augment import Augment
from sightline.data.catalog import Catalog
from sightline.data.decode import BadImage
from sightline.data.preprocess import Preprocess
from sightline.errors import ConfigError
from sightline.models.zoo import SMALL_STEM_BELOW_PX, ZOO, Options
from sightline.pretrained import Source, in_channels_of, options_of
from sightline.recipes.settings import Settings
from sightline.runtime import Runtime
from sightline.training.options import OptimizerName, ScheduleName, TrainOptions

AIRBENCH_PX = 16  # three poolings leave its last group 2x2 px; under that resnet20, which halves twice
STATISTICS_SAMPLE = 2000  # pictures behind mean and std: the standard error of the mean is then under 0.01

USED_ELSEWHERE = {  # settings that are no choice of the plan
    "stem", "drop", "drop_path", "aux_heads", "memory_efficient", "clip_grad",
    "val_fraction", "test_fraction", "skip_bad", "device", "amp", "threads",
}  # fmt: skip

OF_THE_WEIGHTS = "of the weights"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Choice:
    """One number of the plan and why it is so."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, complete: with the data it determines the result.

    Args:
        model: name in the zoo.
        model_options: what was asked of the network, as `zoo.build` takes it; it chooses the rest itself.
        preprocess: from a picture to the network's input.
        augment: what happens to the training pictures.
        options: the numbers of the training.
        keep_margin: how much larger than the network's input the training pictures are kept; None: just as large.
        choices: the choices behind all this, for the terminal and the report.
    """

    model: str
    model_options: Options
    preprocess: Preprocess
    augment: Augment
    options: TrainOptions
    keep_margin: float | None
    choices: tuple[Choice, ...]


def make_plan(settings: Settings, catalog: Catalog, runtime: Runtime, weights: Source | None = None) -> Plan:
    """Completes the settings from the data, the machine and the weights to begin with.

    Args:
        settings: what was asked; None means "choose".
        catalog: with its splits assigned.
        runtime: the machine, already chosen.
        weights: those that `settings.pretrained` names, found; None where the training is from scratch.
    """
    choose = _Chooser(settings)
    num_train = len(catalog.select("train"))
    on_cpu = runtime.device.type == "cpu"

    needed: Options = {}
    if weights is None:
        is_small = max(catalog.typical_size) < SMALL_STEM_BELOW_PX
        img_size = _image_size(choose, catalog, is_small=is_small, on_cpu=on_cpu)
        model = _model(choose, catalog, img_size, is_small=is_small)
    else:
        choose.choices.append(Choice("pretrained", settings.pretrained, weights.words))
        model = choose("model", weights.model or "", OF_THE_WEIGHTS)
        needed = options_of(weights, model)
        if "stem" in needed:
            needed["stem"] = choose("stem", needed["stem"], OF_THE_WEIGHTS)
        img_size = _image_size_of(choose, catalog, weights, model)
        is_small = img_size < SMALL_STEM_BELOW_PX  # whatever the pictures are, they are enlarged to this
    augment = _augment(choose, catalog, is_small=is_small, num_train=num_train)
    if weights is None or weights.preprocess is None:
        preprocess = _preprocess(choose, catalog, img_size, is_small=is_small)
    else:
        preprocess = _preprocess_of(choose, weights.preprocess, img_size)
    options = _options(choose, model=model, is_small=is_small, num_train=num_train, is_trained=weights is not None)
    choose.require_all_used()
    return Plan(
        model=model,
        model_options={
            "stem": settings.stem,
            "dropout": settings.drop,
            "drop_path": settings.drop_path,
            "aux_heads": settings.aux_heads,
            "memory_efficient": settings.memory_efficient,
            **needed,
        },
        preprocess=preprocess,
        augment=augment,
        options=options,
        keep_margin=None if augment.scale is None else 1.25,
        choices=tuple(choose.choices),
    )


class _Chooser:
    """Takes what was asked, else the default; remembers either with its reason."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.choices: list[Choice] = []

    def __call__(self, name: str, default: Value, reason: str) -> Value:
        asked: Value | None = getattr(self.settings, name)
        value = default if asked is None else asked
        self.choices.append(Choice(name, value, reason if asked is None else "as asked"))
        return value

    def require_all_used(self) -> None:
        """No setting is ignored: what was asked for and has no effect in this plan is refused."""
        used = {choice.name for choice in self.choices} | USED_ELSEWHERE
        idle = [f.name for f in fields(Settings) if getattr(self.settings, f.name) is not None and f.name not in used]
        if idle:
            chosen = {choice.name: choice.value for choice in self.choices}
            raise ConfigError(
                f"{', '.join(idle)}: asked for, and without effect with opt {chosen['opt']}, sched {chosen['sched']}, "
                f"model_ema {chosen['model_ema']} and {'random resized' if 'scale' in chosen else 'padded'} crops. "
                "Leave it out, or change what it belongs to."
            )


def _model(choose: _Chooser, catalog: Catalog, img_size: int, *, is_small: bool) -> str:
    default = ("airbench_small" if img_size >= AIRBENCH_PX else "resnet20") if is_small else "resnet18"
    return choose(
        "model",
        default,
        f"pictures of {_px(catalog.typical_size)}: "
        + (
            "a network made for small pictures and short runs"
            if is_small
            else "a residual network, the safe choice from scratch"
        ),
    )


def _image_size_of(choose: _Chooser, catalog: Catalog, weights: Source, model: str) -> int:
    """The size that the weights were trained on, whatever the machine: they see best at their own."""
    if weights.preprocess is None:
        return choose("img_size", min(ZOO[model].input_size[1:]), f"{model} was made for it")
    size = min(weights.preprocess.input_size[1:])
    return choose("img_size", size, f"{OF_THE_WEIGHTS}; the pictures are {_px(catalog.typical_size)}")


def _image_size(choose: _Chooser, catalog: Catalog, *, is_small: bool, on_cpu: bool) -> int:
    shortest = min(catalog.typical_size)
    if is_small:
        return choose("img_size", shortest, f"the pictures are {_px(catalog.typical_size)}")
    size = min(128 if on_cpu else 224, 32 * math.ceil(shortest / 32))
    why = "a CPU trains 128 px three times as fast as 224 px" if on_cpu else "the usual size for photographs"
    return choose("img_size", size, f"the pictures are {_px(catalog.typical_size)}, and {why}")


def _augment(choose: _Chooser, catalog: Catalog, *, is_small: bool, num_train: int) -> Augment:
    hflip = choose(
        "hflip",
        0.5 if catalog.hflip_ok else 0.0,
        "a mirrored picture is of the same class" if catalog.hflip_ok else "a mirrored digit is another sign",
    )
    if choose.settings.scale is None and (is_small or choose.settings.crop_padding is not None):
        padding = choose("crop_padding", 2, "shifts by up to 2 px (airbench, arXiv:2404.00498, Sec. 3.1)")
        return Augment(hflip=hflip, crop_padding=padding)
    scale = choose(
        "scale",
        (0.35, 1.0),
        f"{num_train} photographs: crops of a third of the area and more, not 8 %, which needs ImageNet's number",
    )
    ratio = choose("ratio", (3 / 4, 4 / 3), "Szegedy et al. 2014, Sec. 6")
    return Augment(hflip=hflip, scale=scale, ratio=ratio)


def _preprocess(choose: _Chooser, catalog: Catalog, img_size: int, *, is_small: bool) -> Preprocess:
    channels = choose(
        "in_chans", catalog.channels, "every picture is grey" if catalog.channels == 1 else "the pictures are in colour"
    )
    geometry = Preprocess(
        input_size=(channels, img_size, img_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        interpolation=choose("interpolation", "bicubic", "the sharper of the two filters"),
        crop_fraction=choose(
            "crop_pct",
            1.0 if is_small else 0.95,
            "keep the whole shorter side" if is_small else "cut the rim: the subject is in the middle",
        ),
    )
    mean, std, count = _channel_statistics(catalog, geometry)
    choose.choices.append(Choice("mean, std", f"{_figures(mean)}, {_figures(std)}", f"of {count} training pictures"))
    return Preprocess(geometry.input_size, mean, std, geometry.interpolation, geometry.crop_fraction)


def _preprocess_of(choose: _Chooser, known: Preprocess, img_size: int) -> Preprocess:
    """That of the weights, but for what was asked."""
    channels = choose("in_chans", known.channels, OF_THE_WEIGHTS)
    known = in_channels_of(known, channels)
    choose.choices.append(Choice("mean, std", f"{_figures(known.mean)}, {_figures(known.std)}", OF_THE_WEIGHTS))
    return replace(
        known,
        input_size=(channels, img_size, img_size),
        interpolation=choose("interpolation", known.interpolation, OF_THE_WEIGHTS),
        crop_fraction=choose("crop_pct", known.crop_fraction, OF_THE_WEIGHTS),
    )


def _channel_statistics(catalog: Catalog, geometry: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Mean and standard deviation of each channel in [0, 1], over evenly spaced training pictures."""
    train = catalog.select("train")
    pixels_each = geometry.input_size[1] * geometry.input_size[2]
    wanted = max(64, min(STATISTICS_SAMPLE, STATISTICS_SAMPLE * 32 * 32 // pixels_each))
    pictures = []
    for index in train[:: max(1, len(train) // wanted)]:
        try:
            pictures.append(geometry.picture(catalog.images.read(int(index))))
        except BadImage:
            continue  # the store lists every unreadable picture in a moment
    if not pictures:  # all unreadable: the store says so
        return geometry.mean, geometry.std, 0
    values = np.stack(pictures).reshape(-1, geometry.channels) / 255.0
    # a set of one flat colour has no deviation to divide by
    return tuple(values.mean(0).round(4).tolist()), tuple(values.std(0).clip(1 / 255).round(4).tolist()), len(pictures)


def _options(choose: _Chooser, *, model: str, is_small: bool, num_train: int, is_trained: bool) -> TrainOptions:
    settings = choose.settings
    is_airbench = model.startswith("airbench")
    epochs = _epochs(choose, is_small=is_small, num_train=num_train)
    batch_size = choose(
        "batch_size",
        _batch_size(num_train, largest=512 if is_airbench else 128 if is_small else 32),
        f"{num_train} training pictures: large enough to use the machine, small enough for 30 steps an epoch",
    )
    opt: OptimizerName = choose(
        "opt",
        "sgd" if is_airbench else "adamw",
        "Nesterov momentum, as airbench" if is_airbench else "works for every network without tuning",
    )
    if is_airbench and opt == "sgd":
        lr = choose(
            "lr",
            round(0.5 * batch_size / 512, 6),
            "0.5 for a batch of 512, in proportion (Goyal et al. 2017, Sec. 2.1)",
        )
    elif opt in ("sgd", "momentum"):
        rate, why = 0.1, "0.1 for a batch of 128 (He et al. 2015, Sec. 4.2), in proportion"
        if is_trained:
            rate, why = 0.01, "a tenth of the rate from scratch: the weights are near a good place"
        lr = choose("lr", round(rate * batch_size / 128, 6), why)
    elif is_trained:
        lr = choose("lr", 3e-4, "a third of Adam's usual rate: the weights are near a good place")
    else:
        lr = choose("lr", 1e-3, "the usual rate of Adam")
    decay = 5e-4 if opt in ("sgd", "momentum") else 0.05
    has_decay = settings.model_ema_decay is not None
    why = "a decay was asked for" if has_decay else "the schedule ends near zero, which averages already"
    is_averaged = choose("model_ema", has_decay, why)
    ema_decay = choose("model_ema_decay", 0.999, "about the last 1000 steps") if is_averaged else None
    sched: ScheduleName = choose("sched", "onecycle", "the shortest way to a good score (Smith 2018, arXiv:1803.09820)")
    warmup = 0.2 * epochs if sched == "onecycle" else 0.0
    return TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        opt=opt,
        momentum=choose("momentum", 0.9, "the usual momentum") if opt in ("sgd", "momentum") else 0.9,
        sched=sched,
        warmup_epochs=choose("warmup_epochs", round(warmup, 4), "a fifth of the run" if warmup else "none is needed"),
        min_lr=choose("min_lr", 0.0, "end at rest") if sched != "constant" else 0.0,
        weight_decay=choose("weight_decay", decay, f"usual with {opt}; not on norms and biases"),
        smoothing=choose(
            "smoothing", 0.2 if is_airbench else 0.1, "against overconfidence (Szegedy et al. 2015, Sec. 7)"
        ),
        clip_grad=settings.clip_grad,
        model_ema_decay=ema_decay,
        seed=choose("seed", 0, "the same seed gives the same run"),
        checkpoint_every_s=choose("checkpoint_every", 30.0, "what a kill can cost"),
    )


def _epochs(choose: _Chooser, *, is_small: bool, num_train: int) -> int:
    pictures = 400_000 if is_small else 12_000
    most = 60
    epochs = max(8, min(most, round(pictures / max(num_train, 1))))
    return choose("epochs", epochs, f"{num_train} training pictures: about {epochs * num_train:,} pictures in all")


def _batch_size(num_train: int, *, largest: int) -> int:
    size = largest
    while size > 8 and num_train < 30 * size:
        size //= 2
    return size


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} px"


def _figures(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
