"""From a bundle to one ONNX file: uint8 pictures in, probabilities out, everything between inside the graph."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

import sightline
from sightline.atomic import replacing, write_text
from sightline.bundle import Bundle, file_sha256
from sightline.data.preprocess import Preprocess
from sightline.errors import ConfigError, ExportError, MissingExtraError, nearest
from sightline.exporting.parity import Parity, describe_file, prove, versions
from sightline.exporting.picture import Data, proof_pictures
from sightline.models.base import Classifier
from sightline.predict import load

if TYPE_CHECKING:
    from onnx import ModelProto

FORMATS = ("onnx",)
FILE = "model.onnx"
PARITY = "parity.json"
OPSETS = (18, 23)  # oldest that torch's exporter writes itself; newest that ONNX Runtime 1.23 runs in full
_MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf message ends at 2 GiB, and the graph itself needs some


def export(
    bundle: str | Path,
    *,
    format: str = "onnx",
    output: str | Path | None = None,
    data: Data | None = None,
    num_pictures: int = 1000,
    opset: int = 18,
) -> Path:
    """Writes a bundle as one ONNX file, after proof that it answers as the bundle does; refused otherwise.

    The file takes uint8 pictures at the network's size and gives probabilities; see docs/export.md. Both answer the
    pictures that the training held out, in large batches and in batches of 1, 2 and 7; what came of it is in
    `parity.json` beside the file, of a refused export, too.

    Args:
        bundle: a bundle's folder.
        format: "onnx", the only one so far.
        output: the file; None for `model.onnx` in the bundle. The proof of another file is beside it, as
            `NAME.parity.json`.
        data: pictures for the proof, as `open_data` takes them; their labels are not looked at. None for the validation
            pictures of the training, and where they are gone for pictures made by a rule, which `parity.json` says.
        num_pictures: the most pictures for the proof.
        opset: version of the ONNX operators, 18 to 23. A higher one may be faster, a lower one runs on older runtimes.

    Returns:
        The path of the file.

    Raises:
        ConfigError: the format or a number is wrong.
        MissingExtraError: ONNX or ONNX Runtime is not installed.
        BundleError: there is no bundle, or it is damaged.
        DataError: `data` was given and cannot be read.
        ExportError: the network cannot be written as ONNX, the file answers differently, or it cannot be written.
    """
    if format not in FORMATS:
        raise ConfigError(f"there is no export format {format!r}.{nearest(format, FORMATS)}")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"opset is {opset}; it must be {OPSETS[0]} to {OPSETS[1]}.")
    _require_libraries()
    predictor = load(bundle, device="cpu")
    path = predictor.path / FILE if output is None else Path(output)
    if path.is_dir():
        raise ConfigError(f"output is {path}, a folder. Give the file's name: {path / FILE}")
    proof = path.parent / (PARITY if output is None else f"{path.stem}.{PARITY}")
    pictures = proof_pictures(predictor.bundle, data, num_pictures)
    try:
        with replacing(path) as temporary:
            write_onnx(predictor.bundle, temporary, opset=opset)
            parity = prove(temporary, predictor, pictures)
            record = {
                **parity.to_dict(),
                "file": {**describe_file(temporary, name=path.name), "opset": opset},
                "weights_sha256": predictor.bundle.weights_sha256,
                "versions": versions(),
            }
            write_text(proof, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            if not parity.is_ok:
                _remove_disproved(path, temporary)
                raise ExportError(_refusal(predictor.path, path, parity, proof))
    except OSError as error:
        raise ExportError(
            f"cannot write {path}: {error}. Free space, or choose another --output in a folder that exists."
        ) from error
    return path


class PictureClassifier(nn.Module):
    """The whole way from pictures to probabilities as one network: what the file computes.

    Args:
        net: from normalised images to logits.
        preprocess: normalises; the very same code as before training and prediction.
        temperature: divides the logits.

    Shape:
        (N, H, W, C) uint8, 0-255 -> (N, K) float32, rows summing to 1.
    """

    def __init__(self, net: Classifier, preprocess: Preprocess, temperature: float) -> None:
        super().__init__()
        self.net = net
        self.preprocess = preprocess
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        # ONNX knows one memory layout; the strides of channels_last would be written out as Gather nodes.
        x = self.preprocess.tensor(images).contiguous()
        return torch.softmax(self.net(x) / self.temperature, dim=1)


def write_onnx(bundle: Bundle, path: Path, *, opset: int = 18) -> None:
    """Writes the ONNX file of a bundle, without proof; `export` is the way for users.

    Args:
        bundle: what to write.
        path: the file to make or overwrite.
        opset: version of the ONNX operators.

    Raises:
        ExportError: the weights are too large for one file, or the network cannot be written as ONNX.
    """
    import onnx  # noqa: PLC0415 - an extra, and only an export needs it

    net = bundle.build_model()
    num_bytes = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    if num_bytes > _MOST_BYTES:
        raise ExportError(
            f"the weights of {bundle.model_name} have {num_bytes / 1e9:.1f} GB, and an ONNX file holds at most 2 GB. "
            "Choose a smaller network."
        )
    classifier = PictureClassifier(net, bundle.preprocess, bundle.temperature).eval()
    model = _translate(classifier, bundle, opset)
    _forget_source_code(model)
    _describe(model, bundle)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _require_libraries() -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(library, extra="export", purpose="write an ONNX file and prove it")


def _translate(classifier: PictureClassifier, bundle: Bundle, opset: int) -> "ModelProto":
    channels, height, width = bundle.preprocess.input_size
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)  # two: of one, torch would make a constant
    try:
        with torch.no_grad(), _quiet_exporter():
            program = torch.onnx.export(
                classifier,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {0: "batch"}},
                opset_version=opset,
                external_data=False,
            )
    except OnnxExporterError as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"torch cannot write {bundle.model_name} as ONNX with opset {opset}: {why}") from error
    if program is None:
        raise ExportError(f"torch gave no ONNX program for {bundle.model_name}.")
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences what torch's exporter says of itself: none of it is about the network, which is proven afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # that torchvision's operators are not there
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch 2.13 copies a type it deprecates
            yield
    finally:
        logger.setLevel(level)


def _forget_source_code(model: "ModelProto") -> None:
    """Removes the stack traces that torch attaches to every node: paths and lines of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
    graph.ClearField("metadata_props")


def _describe(model: "ModelProto", bundle: Bundle) -> None:
    """Says in the file what goes in, what comes out, and where it is from."""
    import onnx  # noqa: PLC0415 - an extra

    channels, height, width = bundle.preprocess.input_size
    colour = "RGB" if channels == 3 else "grey"
    model.producer_name, model.producer_version = "sightline", sightline.__version__
    model.graph.name = bundle.model_name
    model.doc_string = f"{bundle.model_name}: {colour} pictures of {height}x{width} px to the probabilities of {len(bundle.classes)} classes."
    model.graph.input[
        0
    ].doc_string = f"uint8 (batch, {height}, {width}, {channels}), {colour}, 0-255, as decoded and resized; normalisation is inside."
    model.graph.output[
        0
    ].doc_string = "float32 (batch, classes), rows summing to 1, in the order of the metadata's classes."
    onnx.helper.set_model_props(model, _metadata(bundle))


def _metadata(bundle: Bundle) -> dict[str, str]:
    """Plain strings, JSON where there is structure; any ONNX runtime can read them."""
    licence = bundle.provenance.get("licence")
    values: dict[str, Any] = {
        "classes": json.dumps(bundle.classes, ensure_ascii=False),
        "model": bundle.model_name,
        "preprocess": json.dumps(bundle.preprocess.to_dict()),
        "temperature": repr(bundle.temperature),
        "weights_sha256": bundle.weights_sha256,
        "licence": str(licence) if licence else "not stated: ask whoever trained it",
        "sightline_version": sightline.__version__,
        "exporter": f"torch {torch.__version__}",
    }
    return values


def _remove_disproved(path: Path, refused: Path) -> None:
    """An earlier export with the very same content has just been refuted, too."""
    if path.exists() and file_sha256(path) == file_sha256(refused):
        path.unlink()


def _refusal(bundle: Path, path: Path, parity: Parity, proof: Path) -> str:
    kept = f" The earlier {path} stays as it was: it is another file, from before." if path.exists() else ""
    return (
        f"the ONNX file of {bundle} does not answer as the bundle does and is not kept: {parity}. The evidence is in "
        f"{proof}; try another opset, and report it with that file.{kept}"
    )
