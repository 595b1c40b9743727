"""A bundle as one ONNX graph, from uint8 pictures to probabilities."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

import sightline
from sightline.bundle import MULTILABEL, Bundle
from sightline.data.preprocess import Preprocess
from sightline.errors import ExportError
from sightline.models.base import Classifier

INPUT, OUTPUT = "images", "probabilities"
OPSET = 20  # the first with Gelu as one operator; ONNX Runtime 1.17 (January 2024) and later run it


class PicturesToProbabilities(nn.Module):
    """A bundle's whole answer as one module: normalisation, network, temperature, softmax or sigmoid.

    Thresholds stay outside, as the choice of the most probable class does; the file's metadata has them.

    Args:
        net: in evaluation mode.
        preprocess: whose normalisation goes into the graph; resizing stays outside.
        temperature: divides the logits.
        is_multilabel: whether each class is a question of its own: a sigmoid in place of the softmax.

    Shape:
        uint8 (N, H, W, C), 0-255 -> float32 (N, num_classes), each row of sum 1, or of several labels of any sum.

    Example:
        >>> from sightline.models import zoo
        >>> net = zoo.build("simple_cnn", num_classes=4, in_channels=1).eval()
        >>> graph = PicturesToProbabilities(net, Preprocess((1, 8, 8), mean=(0.5,), std=(0.5,)), temperature=1.0)
        >>> graph(torch.zeros(3, 8, 8, 1, dtype=torch.uint8)).shape
        torch.Size([3, 4])
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, net: Classifier, preprocess: Preprocess, *, temperature: float, is_multilabel: bool = False
    ) -> None:
        super().__init__()
        self.net, self.temperature, self.is_multilabel = net, temperature, is_multilabel
        mean = torch.tensor(preprocess.mean, dtype=torch.float64).view(-1, 1, 1)
        std = torch.tensor(preprocess.std, dtype=torch.float64).view(-1, 1, 1)
        # As in Preprocess.tensor: a product and a sum with constants rounded once.
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() * self.scale + self.shift  # (N, C, H, W)
        logits = self.net(x) / self.temperature
        return torch.sigmoid(logits) if self.is_multilabel else torch.softmax(logits, dim=1)


def write_onnx(bundle: Bundle, path: Path) -> None:
    """Write a bundle's graph into one self-contained file, with its class names and preprocessing as metadata.

    Args:
        bundle: the source.
        path: the file to write.

    Raises:
        BundleError: the weights are missing or damaged.
        ExportError: the network has an operation that ONNX lacks, or the graph breaks ONNX's rules.
    """
    channels, height, width = bundle.preprocess.input_size
    graph = PicturesToProbabilities(
        bundle.build_model(), bundle.preprocess, temperature=bundle.temperature, is_multilabel=bundle.is_multilabel
    ).eval()
    # Two pictures: the exporter takes a batch of one for a constant.
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    try:
        with _quiet_exporter():
            exported = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
        model = cast("torch.onnx.ONNXProgram", exported).model_proto  # None is for the older exporter
        _drop_traces(model)
        onnx.helper.set_model_props(model, metadata(bundle))
        onnx.checker.check_model(model, full_check=True)
    except (torch.onnx.OnnxExporterError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = error.__cause__ or error  # PyTorch wraps the reason in advice on how to report it
        reason = f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(".")
        raise ExportError(
            f"{bundle.model_name} cannot be written as ONNX: {reason}. The bundle itself is unharmed; "
            "try the torch and onnxscript versions of constraints.txt."
        ) from error
    onnx.save_model(model, path)


def metadata(bundle: Bundle) -> dict[str, str]:
    """What the file says of itself, as ONNX wants it: text under names.

    Args:
        bundle: the source.
    """
    several = {}
    if bundle.thresholds is not None:
        several = {"answer": MULTILABEL, "thresholds": json.dumps(list(bundle.thresholds.values))}
    return {
        **several,
        "classes": json.dumps(list(bundle.classes), ensure_ascii=False),
        "model": bundle.model_name,
        "preprocess": json.dumps(bundle.preprocess.to_dict()),
        "temperature": json.dumps(bundle.temperature),
        "weights_sha256": bundle.weights_sha256,
        "sightline_version": sightline.__version__,
    }


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they hold source lines and paths of this machine, and no runtime reads them."""
    for item in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del item.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps two remarks of the exporter about itself from the user; anything else still comes through."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")

    def is_news(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()  # and is not needed

    logger.addFilter(is_news)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies a structure whose class it has itself deprecated.
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
            yield
    finally:
        logger.removeFilter(is_news)
