"""From a bundle to a file that other programs run, proved equal to the bundle before it is put in its place."""

import importlib.util
from pathlib import Path

from sightline.atomic import replacing, write_text
from sightline.bundle import open_bundle
from sightline.errors import ConfigError, ExportError, MissingExtraError, nearest
from sightline.exporting.pictures import Data, proof_pictures

FORMATS = ("onnx",)
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")  # what the extra "export" brings
MODEL = "model.onnx"
PARITY = "parity.json"


def export(
    bundle: str | Path, *, format: str = "onnx", output: str | Path | None = None, data: Data | None = None
) -> Path:
    """Write a bundle as one ONNX file, uint8 pictures in and probabilities out, and prove that it answers alike.

    The proof runs at once, on the validation pictures of the training, through ONNX Runtime on the CPU. Its numbers go
    into `parity.json` beside the file, whether it succeeds or not; only a file that passes takes its place.

    Args:
        bundle: a folder that `sightline train` made.
        format: "onnx".
        output: the file, or a folder for a `model.onnx` in it; None for `model.onnx` in the bundle.
        data: pictures for the proof: anything that `open_data` takes. None for the data of the training; where that
            is not on this machine, the proof uses made pictures, and says so.

    Returns:
        The path of the file.

    Raises:
        ConfigError: the format is unknown.
        MissingExtraError: a library of the extra "export" is not installed.
        BundleError: there is no bundle, or it is damaged.
        DataError: `data` was given and cannot be used.
        ExportError: the network cannot be written as ONNX, a decision differs, a probability differs by more than
            1e-4, or the file cannot be written. An older file stays as it was.
    """
    if format not in FORMATS:
        raise ConfigError(f"there is no export format {format!r}.{nearest(format, FORMATS)}")
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(library, extra="export", purpose="export a model as ONNX")
    from sightline.exporting.onnx import write_onnx  # noqa: PLC0415 - needs the extra "export"
    from sightline.exporting.parity import prove  # noqa: PLC0415 - likewise

    opened = open_bundle(bundle)
    path = opened.path / MODEL if output is None else Path(output)
    path = path / MODEL if path.is_dir() else path
    pictures = proof_pictures(opened, data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            write_onnx(opened, temporary)
            parity = prove(opened, temporary, pictures)
            # The proof first: it names the file's SHA-256, so a crash in between cannot pass for a proved file.
            write_text(path.parent / PARITY, parity.to_json())
            if not parity.ok:
                raise ExportError(
                    f"{path} is not written: {parity.finding}. {'The older file stays. ' if path.exists() else ''}"
                    f"The numbers are in {path.parent / PARITY}; please report them with the bundle's config.json."
                )
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error}. Free space or choose another --output.") from error
    return path
