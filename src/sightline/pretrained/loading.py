"""Networks with weights that someone else has trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from sightline.bundle import CONFIG, Bundle, save_bundle
from sightline.data.preprocess import Interpolation, Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.pretrained.finding import AUTO, find_weights
from sightline.pretrained.fitting import fill, fit, in_our_names, num_classes_of
from sightline.pretrained.known import imagenet_classes
from sightline.pretrained.reading import open_weights
from sightline.pretrained.source import Source


@dataclass(frozen=True)
class Pretrained:
    """A network with weights, and what came with them.

    Args:
        net: the network, in training mode.
        preprocess: the pictures the weights were trained on, in the network's number of channels; None where unknown.
        classes: the names of its outputs, in index order; None where unknown, or the head is new.
        licence: of the weights, as far as they say.
        origin: where the weights are from, as plain facts.
        replaced: parts that are new and untrained.
        notes: what was assumed, converted, left out or replaced, a sentence each.
    """

    net: Classifier
    preprocess: Preprocess | None
    classes: tuple[str, ...] | None
    licence: str
    origin: Mapping[str, str]
    replaced: tuple[str, ...]
    notes: tuple[str, ...]

    def provenance(self) -> dict[str, Any]:
        """What a bundle keeps of this, as plain JSON values."""
        return {
            "origin": dict(self.origin),
            "licence": self.licence,
            "preprocess": None if self.preprocess is None else self.preprocess.to_dict(),
            "replaced": list(self.replaced),
            "notes": list(self.notes),
        }


def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    **options: Unpack[zoo.Options],
) -> Classifier:
    """Builds a network, with fresh weights or with trained ones.

    Args:
        name: a name of `list_models()`.
        weights: None for fresh ones; else as in `load_pretrained`, which also tells what came with them.
        num_classes: outputs; None takes those of the weights, else of the paper's task.
        in_channels: channels of the pictures; None takes those of the paper.
        options: as in `zoo.build`: stem, dropout, drop_path, image_size, output_stride, memory_efficient, aux_heads.

    Raises:
        ConfigError, MissingExtraError, BundleError: as in `zoo.build` and `load_pretrained`.

    Example:
        >>> create_model("resnet20", num_classes=5).fc
        Linear(in_features=64, out_features=5, bias=True)
    """
    if weights is None:
        return zoo.build(name, num_classes=num_classes, in_channels=in_channels, **options)
    return load_pretrained(name, weights, num_classes=num_classes, in_channels=in_channels, **options).net


def load_pretrained(
    name: str | None,
    weights: str | Path | Source = AUTO,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    **options: Unpack[zoo.Options],
) -> Pretrained:
    """Builds a network with trained weights; whatever of them does not fit is named, and nothing is guessed.

    The head is new where the number of classes differs. Of weights for colours, a network for grey pictures takes the
    sum of the first kernels over the channels.

    Args:
        name: a name of `list_models()`; None takes the network that the weights say they are of.
        weights: "auto", a file of safetensors or of torch.save, a bundle's folder, "hf-hub:org/name"; or what
            `find_weights` found.
        num_classes: outputs; None takes those of the weights.
        in_channels: channels of the pictures; None takes those of the paper.
        options: as in `zoo.build`; what is left out is as the weights need it.

    Raises:
        ConfigError: there are no such weights, they are of another network, or an option is wrong.
        MissingExtraError: a package with the weights, or huggingface_hub, is not installed.
        BundleError: they are damaged, hold more than weights, or do not fit.
    """
    source = weights if isinstance(weights, Source) else find_weights(weights, model=name)
    name = name or cast(str, source.model)
    asked = {option: value for option, value in options.items() if value is not None}
    options = cast(zoo.Options, {**options_of(source, name), **asked})
    file = open_weights(source.file)
    outline = _outline(name, source, num_classes, in_channels, options)
    file = in_our_names(file, outline, by_order=source.by_order)
    if num_classes is None:
        num_classes = num_classes_of(file, outline)
        if num_classes is None:
            raise ConfigError(f"the weights {source.spelled} have no head for {name}. Say num_classes.")
        if num_classes != outline.num_classes:
            outline = _outline(name, source, num_classes, in_channels, options)
    plan = fit(outline, file)
    net = zoo.build(name, num_classes=num_classes, in_channels=in_channels, **options)  # no larger than the file
    fill(net, plan, file)
    is_known = source.classes is not None and len(source.classes) == num_classes and not plan.has_new_head
    return Pretrained(
        net=net,
        preprocess=None if source.preprocess is None else in_channels_of(source.preprocess, net.in_channels),
        classes=source.classes if is_known else None,
        licence=source.licence,
        origin=source.origin,
        replaced=plan.replaced,
        notes=(*source.notes, *plan.notes),
    )


def _outline(
    name: str, source: Source, num_classes: int | None, in_channels: int | None, options: zoo.Options
) -> Classifier:
    """The network without numbers: options come with the weights, and could ask for more memory than there is."""
    try:
        with torch.device("meta"):
            return zoo.build(name, num_classes=num_classes, in_channels=in_channels, **options)
    except (RuntimeError, TypeError) as error:
        told = ", ".join(options) or "no options"
        raise BundleError(
            f"the weights {source.spelled} ask for a {name} that cannot be built ({told}). Give other weights."
        ) from error


def save_pretrained(
    name: str | None,
    output: str | Path,
    *,
    weights: str | Path = AUTO,
    img_size: int | None = None,
    interpolation: Interpolation | None = None,
    crop_pct: float | None = None,
) -> tuple[Bundle, tuple[str, ...]]:
    """Makes a bundle of trained weights: from there on everything works as after a training.

    Args:
        name: a name of `list_models()`; None takes the network that the weights say they are of.
        output: the folder of the bundle.
        weights: as in `load_pretrained`.
        img_size: height and width of the pictures, px; None takes those of the weights.
        interpolation: of the resize; likewise.
        crop_pct: share of the resized picture's shorter side that is kept; likewise.

    Returns:
        The bundle, and sentences about what was assumed or left out.

    Raises:
        ConfigError: `output` holds a bundle, the weights do not say what pictures they expect or what their classes
            are called; and as `load_pretrained`.
        MissingExtraError, BundleError: as `load_pretrained`; or the folder cannot be written.
        ShapeError: the network cannot take pictures of `img_size`.
    """
    if (Path(output) / CONFIG).exists():
        raise ConfigError(f"{output} already holds a bundle. Choose another --output.")
    if img_size is not None and img_size < 1:
        raise ConfigError(f"img_size is {img_size}; it must be 1 or more.")
    if crop_pct is not None and not 0 < crop_pct <= 1:
        raise ConfigError(f"crop_pct is {crop_pct}; it must be above 0 and at most 1.")
    source = find_weights(weights, model=name)
    loaded = load_pretrained(name, source)
    notes = list(loaded.notes)
    if loaded.preprocess is None:
        raise ConfigError(
            f"the weights {source.spelled} do not say what pictures they expect, without which there is no bundle. "
            "Give weights that do: auto, a bundle, a repository in timm's form."
        )
    classes = loaded.classes
    if classes is None and source.model is None and loaded.net.num_classes == len(imagenet_classes()):
        classes = imagenet_classes()
        notes.append("the file does not say what its 1000 classes are: those of ImageNet are assumed")
    if classes is None:
        raise ConfigError(
            f"the weights {source.spelled} do not say what their {loaded.net.num_classes} classes are called, without "
            "which there is no bundle. Train on your classes with them: sightline train DATA --pretrained."
        )
    own = loaded.preprocess
    preprocess = replace(
        own,
        input_size=own.input_size if img_size is None else (own.input_size[0], img_size, img_size),
        interpolation=interpolation or own.interpolation,
        crop_fraction=own.crop_fraction if crop_pct is None else crop_pct,
    )
    loaded.net.check_size(preprocess.input_size[1:])
    loaded.net.eval()
    bundle = save_bundle(
        output,
        net=loaded.net,
        model_name=loaded.net.name,
        classes=classes,
        preprocess=preprocess,
        provenance={"pretrained": {**loaded.provenance(), "notes": notes}},
    )
    return bundle, tuple(notes)


def in_channels_of(preprocess: Preprocess, channels: int) -> Preprocess:
    """The same preprocessing for pictures of another number of channels: statistics of colours are averaged.

    Args:
        preprocess: of the weights.
        channels: of the network, 1 or 3.

    Example:
        >>> in_channels_of(Preprocess((3, 8, 8), (0.25, 0.5, 0.75), (0.5, 0.5, 0.5)), 1).mean
        (0.5,)
    """
    if preprocess.channels == channels:
        return preprocess

    def averaged(values: tuple[float, ...]) -> tuple[float, ...]:
        return (sum(values) / len(values),) * channels

    return replace(
        preprocess,
        input_size=(channels, *preprocess.input_size[1:]),
        mean=averaged(preprocess.mean),
        std=averaged(preprocess.std),
    )


def options_of(source: Source, name: str) -> zoo.Options:
    """What a network must be built with for weights to fit; those that do not say are of the paper's stem.

    Args:
        source: the weights.
        name: of the network.
    """
    stem = {"stem": "imagenet"} if "stem" in zoo.ZOO[name].options else {}
    return cast(zoo.Options, {**stem, **source.options})
