"""Folders of weights with a config.json: our bundles, and timm's form of the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.bundle import CONFIG, WEIGHTS, file_sha256, open_bundle, read_config
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.pretrained.known import imagenet_classes
from sightline.pretrained.source import Source

PICKLED_WEIGHTS = "pytorch_model.bin"  # of repositories from before safetensors

_PREPROCESS_KEYS = {  # timm's -> ours
    "input_size": "input_size",
    "mean": "mean",
    "std": "std",
    "interpolation": "interpolation",
    "crop_pct": "crop_fraction",
}
# Networks that timm calls otherwise; and one that has our name and another padding and eps.
_TIMM_NAMES = {
    **{f"tf_efficientnet_lite{number}": f"efficientnet_lite{number}" for number in range(5)},
    **{f"efficientnet_lite{number}": f"timm's own efficientnet_lite{number}" for number in range(5)},
    "mobilenetv1_100": "mobilenet_v1",
    "legacy_xception": "xception",
}
_SHAPING = ("stem", "image_size", "output_stride")  # options that decide what the weights look like or look at
_TIMM_DEFAULTS = {"interpolation": "bicubic", "crop_pct": 0.875}  # timm/data/constants.py


def from_folder(folder: Path, *, spelled: str, origin: Mapping[str, str]) -> Source:
    """The weights of a folder.

    Args:
        folder: a bundle, or a repository of the hub with timm's config.json.
        spelled: how it was named.
        origin: where it is from.

    Raises:
        BundleError: a file is missing or damaged, or the weights are not those that a bundle's config.json names.
    """
    config = _read_config(folder)
    file = next((folder / name for name in (WEIGHTS, PICKLED_WEIGHTS) if (folder / name).is_file()), None)
    if file is None:
        raise BundleError(f"{folder} has no {WEIGHTS}. Copy the whole folder again.")
    facts = {**origin, "sha256": file_sha256(file)}
    return (_from_bundle if "sightline" in config else _from_timm)(folder, file, config, spelled, facts)


def _from_bundle(folder: Path, file: Path, config: Mapping[str, Any], spelled: str, origin: dict[str, str]) -> Source:
    bundle = open_bundle(folder)
    if origin["sha256"] != bundle.weights_sha256:
        raise BundleError(f"{file} is not the file that {CONFIG} names. Copy the whole folder again.")
    before = bundle.provenance.get("pretrained")
    licence = before.get("licence", "not stated") if isinstance(before, Mapping) else "that of its training pictures"
    return Source(
        spelled=spelled,
        file=file,
        model=bundle.model_name,
        origin=origin,
        licence=str(licence),
        preprocess=bundle.preprocess,
        classes=bundle.classes,
        options={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in bundle.model_args.items()
            if name in _SHAPING
        },
    )


def _from_timm(folder: Path, file: Path, config: Mapping[str, Any], spelled: str, origin: dict[str, str]) -> Source:
    told = config.get("pretrained_cfg", config)  # before timm 0.9 there was one level
    if not isinstance(told, Mapping) or not isinstance(config.get("architecture"), str):
        raise BundleError(f"{folder / CONFIG} is neither a bundle's nor timm's: it names no architecture.")
    try:
        values = {**_TIMM_DEFAULTS, **told}
        preprocess = Preprocess.from_dict(
            {ours: values[key] for key, ours in _PREPROCESS_KEYS.items() if key in values}
        )
    except ConfigError as error:
        raise BundleError(f"{folder / CONFIG} says no preprocessing that can be done: {error}") from None
    crop_mode = told.get("crop_mode", "center")
    notes = [] if crop_mode == "center" else [f"pictures are cropped in the centre, not by crop_mode {crop_mode!r}"]
    return Source(
        spelled=spelled,
        file=file,
        model=_TIMM_NAMES.get(config["architecture"], config["architecture"]),
        origin=origin,
        licence=str(told.get("license") or "not stated"),
        preprocess=preprocess,
        classes=_classes(config, told),
        notes=tuple(notes),
    )


def _classes(config: Mapping[str, Any], told: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = config.get("label_names")
    if isinstance(names, list):
        return tuple(str(name) for name in names)
    number = config.get("num_classes", told.get("num_classes"))
    is_imagenet = number == 1000 and str(told.get("tag", "")).endswith("in1k")  # timm's tags end in the data set
    return imagenet_classes() if is_imagenet else None


def _read_config(folder: Path) -> Mapping[str, Any]:
    file = folder / CONFIG
    try:
        config = read_config(file)
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise BundleError(f"{file} is neither a bundle's nor timm's: it is a {type(config).__name__}.")
    return config
