"""What the network sees: the size and normalisation of the pictures, and what happens to those of the training."""

from dataclasses import replace

import numpy as np

from sightline.data.augment import Augment
from sightline.data.catalog import Catalog
from sightline.data.decode import BadImage
from sightline.data.mix import Mix
from sightline.data.preprocess import Preprocess
from sightline.errors import ConfigError, SightlineError
from sightline.pretrained import in_channels_of, load_pretrained
from sightline.pretrained.normalisation import fitting_normalisation
from sightline.recipes.chooser import OF_THE_WEIGHTS, Chooser
from sightline.recipes.facts import Facts, px

Statistics = tuple[tuple[float, ...], tuple[float, ...], str]  # mean and std of each channel in [0, 1], and of what

_RATIO = (3 / 4, 4 / 3)
STATISTICS_SAMPLE = 2000  # pictures behind mean and std: the standard error of the mean is then under 0.01


def image_size(choose: Chooser, facts: Facts) -> int:
    """The height and width of the network's input, from scratch.

    Args:
        choose: of the run.
        facts: of the run.
    """
    told = f"the pictures are {px(facts.typical_size)}"
    if facts.is_small:
        return choose("img_size", min(facts.typical_size), told)
    size = facts.photograph_px(128 if facts.device == "cpu" else 224)
    why = (
        "a CPU trains 128 px three times as fast as 224 px"
        if facts.device == "cpu"
        else "224 px is usual for photographs"
    )
    return choose("img_size", size, f"{told}, and {why}")


def preprocess(choose: Chooser, facts: Facts, catalog: Catalog, img_size: int) -> Preprocess:
    """From a picture to the network's input: that of the weights where it is known, else from the training pictures.

    Args:
        choose: of the run.
        facts: of the run.
        catalog: with its splits assigned.
        img_size: height and width in px.

    Raises:
        ConfigError: mean or std has not a number for each channel.
    """
    known = None if facts.weights is None else facts.weights.preprocess
    plain = _geometry(choose, facts, img_size) if known is None else _geometry_of_weights(choose, known, img_size)
    mean, std = choose.asked.mean, choose.asked.std
    for name, numbers in (("mean", mean), ("std", std)):
        if numbers is not None and len(numbers) != plain.channels:
            raise ConfigError(
                f"{name} is {_figures(numbers)}, and the network takes pictures of {plain.channels} "
                f"channel{'s' if plain.channels > 1 else ''}. Give --{name} a number for each."
            )
    if mean is None or std is None:
        usual_mean, usual_std, why = (
            (plain.mean, plain.std, OF_THE_WEIGHTS)
            if known is not None
            else _remembered(facts, plain) or _channel_statistics(catalog, plain)
        )
        mean, std = mean or usual_mean, std or usual_std
        why = why if choose.asked.mean is None and choose.asked.std is None else f"as asked; the other {why}"
    else:
        why = "as asked"
    choose.tell("mean, std", f"{_figures(mean)}, {_figures(std)}", why)
    choose.consider("mean", "std")
    return replace(plain, mean=mean, std=std)


def augment(choose: Chooser, facts: Facts, mean: tuple[float, ...]) -> Augment:
    """What happens to the pictures of the training.

    Args:
        choose: of the run.
        facts: of the run.
        mean: of each channel in [0, 1]: the colour of what a change leaves empty.

    Raises:
        ConfigError: numbers lie outside their range or contradict each other.
    """
    alternates = choose.unless_off("alternating_flip", False)
    if alternates:
        hflip = choose.over_recipe("hflip", 0.5, "alternating: in one of every two epochs")
    else:
        why = "a mirrored picture is of the same class" if facts.hflip_ok else "a mirrored digit is another sign"
        hflip = choose("hflip", 0.5 if facts.hflip_ok else 0.0, why)
    if hflip and not facts.hflip_ok:
        choose.tell(
            "beware", "mirrored", "a mirrored digit or letter is another sign; --hflip 0 leaves them as they are"
        )
    padding, scale, ratio = _crop(choose, facts)
    reprob = choose.unless_off("reprob", 0.0)
    jitter = choose.unless_off("color_jitter", None)
    _require_colours(jitter, channels=len(mean))
    return Augment(
        hflip=hflip,
        crop_padding=padding,
        scale=scale,
        ratio=ratio,
        vflip=choose.unless_off("vflip", 0.0),
        alternating_flip=alternates,
        rotation=choose.unless_off("rotation", 0.0),
        color_jitter=jitter,
        aa=None if (policy := choose.unless_off("aa", None)) == "none" else policy,
        reprob=reprob,
        remode=choose("remode", "const", "the mean colour") if reprob else "const",
        fill=tuple(max(0, min(255, round(255 * level))) for level in mean),
    )


def mix(choose: Chooser) -> Mix | None:
    """How the pictures of the training are mixed; None where they are not.

    Args:
        choose: of the run.

    Raises:
        ConfigError: a number lies outside its range.
    """
    mixup, cutmix = choose.unless_off("mixup", 0.0), choose.unless_off("cutmix", 0.0)
    if not mixup and not cutmix:
        return None
    prob = choose("mixup_prob", 1.0, "every batch")
    if not prob:
        raise ConfigError("mixup_prob is 0: mixup or cutmix is asked for, and no batch would be mixed. Leave them out.")
    if not (mixup and cutmix):
        return Mix(mixup=mixup, cutmix=cutmix, prob=prob)
    switch_prob = choose("mixup_switch_prob", 0.5, "each as often as the other")
    if switch_prob in (0, 1):
        idle = "mixup" if switch_prob else "cutmix"
        raise ConfigError(f"mixup_switch_prob is {switch_prob:g}: {idle} is asked for, and never used. Leave it out.")
    return Mix(mixup=mixup, cutmix=cutmix, prob=prob, switch_prob=switch_prob)


def _require_colours(jitter: tuple[float, float, float, float] | None, *, channels: int) -> None:
    """Grey pictures have neither saturation nor hue to change."""
    if jitter is not None and channels == 1 and not any(jitter[:2]) and any(jitter[2:]):
        raise ConfigError(
            f"color_jitter is {' '.join(f'{share:g}' for share in jitter)}, and the pictures are grey: saturation and "
            "hue change nothing in them. Give brightness or contrast, or leave it out."
        )


def _crop(choose: Chooser, facts: Facts) -> tuple[int, tuple[float, float] | None, tuple[float, float]]:
    """Padding, scale and ratio: one of two ways to crop."""
    is_padded = choose.has("crop_padding") or facts.is_small
    if is_padded and not choose.has("scale"):
        return choose("crop_padding", 2, "shifts by up to 2 px (airbench, arXiv:2404.00498, Sec. 3.1)"), None, _RATIO
    scale = choose(
        "scale",
        (0.35, 1.0),
        f"{facts.num_train:,} photographs: a third of the area and more, not 8 %, which needs ImageNet's number",
    )
    return 0, scale, choose("ratio", _RATIO, "Szegedy et al. 2014, Sec. 6")


def _geometry(choose: Chooser, facts: Facts, img_size: int) -> Preprocess:
    """Channels, size, filter and crop, not yet normalised."""
    channels = choose(
        "in_chans", facts.channels, "every picture is grey" if facts.channels == 1 else "the pictures are in colour"
    )
    crop = "keep the whole shorter side" if facts.is_small else "cut the rim: the subject is in the middle"
    return Preprocess(
        input_size=(channels, img_size, img_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        interpolation=choose("interpolation", "bicubic", "the sharper of the two filters"),
        crop_fraction=choose("crop_pct", 1.0 if facts.is_small else 0.95, crop),
    )


def _geometry_of_weights(choose: Chooser, known: Preprocess, img_size: int) -> Preprocess:
    """Those of the weights, with their normalisation, but for what was asked."""
    channels = choose.over_recipe("in_chans", known.channels)
    return replace(
        in_channels_of(known, channels),
        input_size=(channels, img_size, img_size),
        interpolation=choose.over_recipe("interpolation", known.interpolation),
        crop_fraction=choose.over_recipe("crop_pct", known.crop_fraction),
    )


def _remembered(facts: Facts, geometry: Preprocess) -> Statistics | None:
    """The usual normalisation that the first batch norm of the weights remembers; None where it shows none of them."""
    if facts.weights is None:
        return None
    try:
        loaded = load_pretrained(
            facts.model,
            facts.weights,
            num_classes=facts.num_classes,
            in_channels=geometry.channels,
            image_size=geometry.input_size[1:],
        )
        found = fitting_normalisation(loaded.net, geometry)
    except SightlineError:
        return None  # the training, which begins with the same weights, says it in a moment
    if found is None or not found.name:  # an estimate is no better than the pictures' own
        return None
    return found.mean, found.std, f"{OF_THE_WEIGHTS}, by their first batch norm: {found.name}"


def _channel_statistics(catalog: Catalog, geometry: Preprocess) -> Statistics:
    """Mean and standard deviation of each channel in [0, 1], over evenly spaced training pictures; and of how many."""
    train = catalog.select("train")
    pixels_each = geometry.input_size[1] * geometry.input_size[2]
    wanted = max(64, min(STATISTICS_SAMPLE, STATISTICS_SAMPLE * 32 * 32 // pixels_each))
    pictures = []
    for index in train[:: max(1, len(train) // wanted)]:
        try:
            pictures.append(geometry.picture(catalog.images.read(int(index))))
        except BadImage:
            continue  # the store lists every unreadable picture in a moment
    told = f"of {len(pictures)} training pictures"
    if not pictures:  # all unreadable: the store says so
        return geometry.mean, geometry.std, told
    values = np.stack(pictures).reshape(-1, geometry.channels) / 255.0
    # a set of one flat colour has no deviation to divide by
    return tuple(values.mean(0).round(4).tolist()), tuple(values.std(0).clip(1 / 255).round(4).tolist()), told


def _figures(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
