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

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sightline import metrics
from sightline.atomic import replacing, write_text
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.metrics import Thresholds
from sightline.models import zoo
from sightline.models.base import Classifier

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MAX_CONFIG_BYTES = 16_000_000  # of 100,000 classes it has three million
FORMAT = 1  # of the "sightline" section; raised when an older reader would misread it
MULTILABEL_FORMAT = 2  # of bundles that answer with several labels: a reader of format 1 would take a softmax of them
MULTILABEL = "multilabel"  # the "kind" of their "answer"; a bundle without one names one class a picture


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself; the weights are read by `build_model`.

    Args:
        path: the folder.
        model_name: a name of the zoo.
        model_args: the plain arguments that rebuild the network exactly.
        classes: class names in index order.
        preprocess: the only way from a picture to the network's input.
        temperature: the logits are divided by it before the softmax, or of multi-label bundles the sigmoid (Guo et al.
            2017, arXiv:1706.04599, Sec. 4.2).
        weights_sha256: of `model.safetensors`, in hexadecimal.
        provenance: how it was made: created, command, seed, versions, runtime, options, choices, data, training.
        thresholds: of a multi-label bundle, from which probability on each label is said; None where it names one class
            a picture.
    """

    path: Path
    model_name: str
    model_args: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    weights_sha256: str
    provenance: Mapping[str, Any]
    thresholds: Thresholds | None = None

    @property
    def is_multilabel(self) -> bool:
        """Whether it answers with any number of labels a picture."""
        return self.thresholds is not None

    def probabilities(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The one way from the network's outputs to the numbers that a user sees.

        Args:
            logits: (N, K).

        Returns:
            float32 (N, K): of one class a picture, rows summing to 1; of a multi-label bundle, one for each label.
        """
        to_probabilities = metrics.probabilities if self.thresholds is None else metrics.sigmoid
        return to_probabilities(logits, self.temperature)

    def labels_of(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Which labels a multi-label bundle says: those whose probability reaches the threshold.

        Args:
            probabilities: (N, K), of `probabilities`.

        Returns:
            bool (N, K).

        Raises:
            BundleError: the bundle names one class a picture.
        """
        if self.thresholds is None:
            raise BundleError(f"{self.path} names one class a picture, and has no thresholds.")
        result: npt.NDArray[np.bool_] = probabilities >= np.array(self.thresholds.values)
        return result

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
    thresholds: Thresholds | None = None,
) -> Bundle:
    """Writes weights and configuration into a folder, each whole or not at all.

    Args:
        path: the folder; made where it is missing.
        net: the trained network; its `model_args` are stored.
        model_name: its name in the zoo.
        classes: class names in index order, as many as the network has outputs.
        preprocess: the preprocessing it was trained with.
        temperature: divides the logits before the softmax or sigmoid; positive.
        provenance: how it was made, as plain JSON values.
        thresholds: of multi-label data; None for one class a picture.

    Returns:
        The bundle as `open_bundle` reads it back.

    Raises:
        ConfigError: the number of class names, or of thresholds, is not the network's number of outputs.
        BundleError: the folder cannot be written.
    """
    path = Path(path)
    if len(classes) != net.num_classes:
        raise ConfigError(
            f"{len(classes)} class names for a network of {net.num_classes} outputs: give one name an output."
        )
    if thresholds is not None and len(thresholds.values) != net.num_classes:
        raise ConfigError(
            f"{len(thresholds.values)} thresholds for a network of {net.num_classes} outputs: give one an output."
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
            "format": FORMAT if thresholds is None else MULTILABEL_FORMAT,
            "model": model_name,
            "model_args": dict(net.model_args),
            "classes": list(classes),
            "preprocess": preprocess.to_dict(),
            "temperature": temperature,
            "weights_sha256": digest,
            "provenance": dict(provenance or {}),
        }
        if thresholds is not None:
            answer = {"thresholds": list(thresholds.values), "notes": list(thresholds.notes)}
            section["answer"] = {"kind": MULTILABEL, **answer}
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
            thresholds=_thresholds(path / CONFIG, section),
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
    if newest not in (FORMAT, MULTILABEL_FORMAT):
        raise BundleError(
            f"{file} has format {newest}, this version reads {FORMAT} and {MULTILABEL_FORMAT}. "
            "Upgrade: pip install -U sightline"
        )
    return dict(section)


def _thresholds(file: Path, section: Mapping[str, Any]) -> Thresholds | None:
    """How the bundle answers: with one class a picture (None), or with every label from its threshold on."""
    answer = section.get("answer")
    if answer is None:
        if section["format"] == MULTILABEL_FORMAT:
            raise ValueError("it does not say how it answers")
        return None
    if (kind := answer["kind"]) != MULTILABEL:
        raise BundleError(
            f"{file} answers in the way {kind!r}; this version knows {MULTILABEL!r}, and one class a picture. "
            "Upgrade: pip install -U sightline"
        )
    values = tuple(float(value) for value in answer["thresholds"])
    if len(values) != len(section["classes"]) or not all(0 <= value <= 1 for value in values):
        raise ValueError(
            f"it needs a threshold from 0 to 1 for each of {len(section['classes'])} classes, got {values}"
        )
    return Thresholds(values, tuple(str(note) for note in answer.get("notes", ())))


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
