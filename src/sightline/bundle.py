"""The bundle: the folder in which training ends and from which everything else begins.

`config.json` is a superset of timm's hub config, so that `timm.create_model("local-dir:runs/photos")` reads it wherever
timm knows the architecture under the same state-dict names; what is ours lies under its key "sightline". Weights are
safetensors, never a pickle: nothing executes on load. `config.json` holds the weights' SHA-256 and is written last, so
a folder is a bundle only when both files are whole and belong together.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sightline.atomic import replacing, write_text
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.models import zoo
from sightline.models.base import Classifier

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MAX_CONFIG_BYTES = 16_000_000  # of 100,000 classes it has three million
FORMAT = 1  # of the "sightline" section; raised when an older reader would misread it


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself; the weights are read by `build_model`.

    Args:
        path: the folder.
        model_name: a name of the zoo.
        model_args: the plain arguments that rebuild the network exactly.
        classes: class names in index order.
        preprocess: the only way from a picture to the network's input.
        temperature: the logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599, Sec. 4.2).
        weights_sha256: of `model.safetensors`, in hexadecimal.
        provenance: how it was made: created, command, seed, versions, runtime, options, choices, data, training.
    """

    path: Path
    model_name: str
    model_args: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    weights_sha256: str
    provenance: Mapping[str, Any]

    def build_model(self) -> Classifier:
        """Builds the network with the bundle's weights, in evaluation mode, float32, on the CPU.

        Raises:
            BundleError: the weights are missing, damaged, or not those that `config.json` names.
        """
        path = self.path / WEIGHTS
        weights = read_weights(path)
        if (found := file_sha256(path)) != self.weights_sha256:
            raise BundleError(
                f"{path} has SHA-256 {found[:12]}..., but {CONFIG} names {self.weights_sha256[:12]}...: "
                "one of the two was changed or copied alone. Copy the whole folder again, or train again."
            )
        net = zoo.build(self.model_name, **self.model_args)
        load_weights(net, weights, source=path)
        return net.eval()


def save_bundle(
    path: str | Path,
    *,
    net: Classifier,
    model_name: str,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    temperature: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Writes weights and configuration into a folder, each whole or not at all.

    Args:
        path: the folder; made where it is missing.
        net: the trained network; its `model_args` are stored.
        model_name: its name in the zoo.
        classes: class names in index order, as many as the network has outputs.
        preprocess: the preprocessing it was trained with.
        temperature: divides the logits before the softmax; positive.
        provenance: how it was made, as plain JSON values.

    Returns:
        The bundle as `open_bundle` reads it back.

    Raises:
        ConfigError: the number of class names is not the network's number of outputs.
        BundleError: the folder cannot be written.
    """
    path = Path(path)
    if len(classes) != net.num_classes:
        raise ConfigError(
            f"{len(classes)} class names for a network of {net.num_classes} outputs: give one name an output."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / WEIGHTS) as temporary:
            # contiguous(): channels_last weights are stored in the order that every reader expects
            save_file(
                {name: value.contiguous().cpu() for name, value in net.state_dict().items()},
                temporary,
                {"format": "pt"},
            )
            digest = file_sha256(temporary)
        section = {
            "format": FORMAT,
            "model": model_name,
            "model_args": dict(net.model_args),
            "classes": list(classes),
            "preprocess": preprocess.to_dict(),
            "temperature": temperature,
            "weights_sha256": digest,
            "provenance": dict(provenance or {}),
        }
        config = {**_timm_config(net, model_name, classes, preprocess), "sightline": section}
        write_text(path / CONFIG, json.dumps(config, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise BundleError(f"cannot write the bundle {path}: {error}. Free space or choose another --output.") from error
    return open_bundle(path)


def open_bundle(path: str | Path) -> Bundle:
    """Reads and checks `config.json`; the weights are read later, by `Bundle.build_model`.

    Args:
        path: a bundle's folder.

    Raises:
        BundleError: there is no bundle, or its configuration is damaged or of a newer format.
    """
    path = Path(path)
    section = _read_section(path)
    try:
        return Bundle(
            path=path,
            model_name=str(section["model"]),
            model_args=dict(section["model_args"]),
            classes=tuple(str(name) for name in section["classes"]),
            preprocess=Preprocess.from_dict(section["preprocess"]),
            temperature=float(section["temperature"]),
            weights_sha256=str(section["weights_sha256"]),
            provenance=dict(section["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        detail = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{path / CONFIG} is damaged: {detail}. Copy the bundle again, or train again.") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads a safetensors file of weights.

    Args:
        path: the file.

    Raises:
        BundleError: it is missing, or not a whole safetensors file.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: the bundle has no weights. Copy the whole folder again.") from None
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read as safetensors: {error}. Copy it again, or train again.") from error


def load_weights(net: torch.nn.Module, weights: Mapping[str, torch.Tensor], *, source: Path) -> None:
    """Loads weights that must fit the network name by name and shape by shape.

    Args:
        net: the network to fill.
        weights: state-dict names and tensors.
        source: where they came from, for the message.

    Raises:
        BundleError: names or shapes differ; the first few are listed.
    """
    own = net.state_dict()
    wrong = [f"{name}: missing" for name in own if name not in weights]
    wrong += [f"{name}: unexpected" for name in weights if name not in own]
    wrong += [
        f"{name}: {tuple(weights[name].shape)}, needs {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BundleError(f"{source} does not fit {type(net).__name__}: {'; '.join(wrong[:5])}{more}.")
    net.load_state_dict(dict(weights))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Args:
        path: the file.
    """
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_config(file: Path) -> Any:
    """What a config.json says, whoever wrote it.

    Args:
        file: of at most `MAX_CONFIG_BYTES`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, too large, or nested too deeply.
    """
    with file.open("rb") as content:
        text = content.read(MAX_CONFIG_BYTES + 1)
    if len(text) > MAX_CONFIG_BYTES:
        raise ValueError(f"it is larger than {MAX_CONFIG_BYTES:,} bytes")
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_section(path: Path) -> dict[str, Any]:
    """The "sightline" section of a bundle's config.json."""
    file = path / CONFIG
    try:
        section = read_config(file)["sightline"]
        newest = section["format"]
    except FileNotFoundError:
        hint = "It holds an unfinished run: go on with --resume." if (path / "checkpoints").is_dir() else ""
        what = "has no config.json" if path.is_dir() else "does not exist"
        raise BundleError(
            f"no bundle at {path}: the folder {what}. {hint or 'Give the folder that `sightline train` made.'}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is not a bundle's configuration: {type(error).__name__}: {error}.") from error
    if newest != FORMAT:
        raise BundleError(f"{file} has format {newest}, this version reads {FORMAT}. Upgrade: pip install -U sightline")
    return dict(section)


def _timm_config(net: Classifier, model_name: str, classes: tuple[str, ...], preprocess: Preprocess) -> dict[str, Any]:
    """The keys that `timm.models.load_model_config_from_path` reads."""
    return {
        # timm's network of this name has the large stem: under another name it is not taken for that
        "architecture": f"{model_name}_small_stem" if net.model_args.get("stem") == "small" else model_name,
        "num_classes": net.num_classes,
        "num_features": net.num_features,
        "model_args": {"in_chans": net.in_channels},
        "label_names": list(classes),
        "pretrained_cfg": {
            "num_classes": net.num_classes,
            "input_size": list(preprocess.input_size),
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_fraction,
            "crop_mode": "center",
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "custom_load": False,
        },
    }
