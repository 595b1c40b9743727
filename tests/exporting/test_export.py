"""`export`: what is refused leaves what was there, and what is written has been proved."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import sightline.exporting.onnx as onnx_module
from sightline.bundle import Bundle, open_bundle
from sightline.errors import BundleError, ConfigError, DataError, ExportError, MissingExtraError
from sightline.exporting import export


@pytest.fixture
def bundle(exported, tmp_path) -> Bundle:
    """A bundle without exports."""
    source, _ = exported()
    shutil.copytree(source.path, tmp_path / "bundle", ignore=shutil.ignore_patterns("model.onnx", "parity.json"))
    return open_bundle(tmp_path / "bundle")


def _proof(folder: Path) -> dict[str, object]:
    return json.loads((folder / "parity.json").read_text(encoding="utf-8"))


def _plant(monkeypatch: pytest.MonkeyPatch, good: Path, change) -> None:
    """Makes the exporter write a good file with something changed in it."""

    def write(_: Bundle, path: Path) -> None:
        model = onnx.load(good)
        change(model)
        onnx.save_model(model, path)

    monkeypatch.setattr(onnx_module, "write_onnx", write)


def _swap_last_rows(model: onnx.ModelProto) -> None:
    """Two classes change places in the last layer; their names do not."""
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in last.input:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[[1, 0, *range(2, len(values))]], tensor.name))


def _swap_names(model: onnx.ModelProto) -> None:
    (names,) = (prop for prop in model.metadata_props if prop.key == "classes")
    names.value = json.dumps(["cat", "Käfer 🪲", "dog"])


def _lose_names(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _nudge_bias(model: onnx.ModelProto) -> None:
    """Too little to change a decision, too much for rounding."""
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == last.input[2])
    values = onnx.numpy_helper.to_array(tensor) + np.array([0.002, 0, 0], np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_a_wrong_mean_in_the_graph_is_refused(bundle, monkeypatch) -> None:
    def with_wrong_mean(source: Bundle, path: Path, write=onnx_module.write_onnx) -> None:
        write(replace(source, preprocess=replace(source.preprocess, mean=(0.3, 0.4, 0.49))), path)

    monkeypatch.setattr(onnx_module, "write_onnx", with_wrong_mean)
    with pytest.raises(
        ExportError, match=r"model\.onnx is not written: \d+ of 256 pictures get another class"
    ) as caught:
        export(bundle.path)
    assert caught.value.exit_code == 1
    assert sorted(file.name for file in bundle.path.iterdir()) == ["config.json", "model.safetensors", "parity.json"]
    proof = _proof(bundle.path)
    assert proof["ok"] is False
    assert proof["max_difference"] > 1e-4


@pytest.mark.parametrize("change", [_swap_last_rows, _swap_names])
def test_permuted_classes_are_refused_by_their_flips(bundle, exported, monkeypatch, change) -> None:
    _plant(monkeypatch, exported()[1], change)
    with pytest.raises(ExportError, match="get another class than from the bundle") as caught:
        export(bundle.path)
    assert caught.value.exit_code == 1
    assert not (bundle.path / "model.onnx").exists()
    assert _proof(bundle.path)["ok"] is False
    assert _proof(bundle.path)["flips"] > 0


def test_a_difference_without_a_flip_is_refused(bundle, exported, monkeypatch) -> None:
    _plant(monkeypatch, exported()[1], _nudge_bias)
    calm = np.zeros((4, 32, 32, 3), np.uint8)
    calm[1::2] = 255
    with pytest.raises(ExportError, match=r"0 of 2 pictures get another class .* \(at most 1e-04 passes"):
        export(bundle.path, data=(calm, np.array([0, 1, 0, 1])))
    proof = _proof(bundle.path)
    assert proof["flips"] == 0
    assert 1e-4 < proof["max_difference"] < 1e-3


@pytest.mark.parametrize(
    ("change", "said"),
    [(_fix_batch, "InvalidArgument"), (_lose_names, "KeyError: 'classes'"), (None, "InvalidProtobuf")],
)
def test_what_the_runtime_cannot_use_is_refused(bundle, exported, monkeypatch, change, said) -> None:
    if change is None:
        monkeypatch.setattr(onnx_module, "write_onnx", lambda _, path: path.write_bytes(b"not a graph"))
    else:
        _plant(monkeypatch, exported()[1], change)
    with pytest.raises(ExportError, match=f"ONNX Runtime does not run it: .*{said}"):
        export(bundle.path)
    assert not (bundle.path / "model.onnx").exists()
    assert said in _proof(bundle.path)["finding"]


def test_a_refused_export_leaves_the_older_file(bundle, exported, monkeypatch) -> None:
    (bundle.path / "model.onnx").write_bytes(b"older")
    _plant(monkeypatch, exported()[1], _swap_names)
    with pytest.raises(ExportError, match="The older file stays"):
        export(bundle.path)
    assert (bundle.path / "model.onnx").read_bytes() == b"older"


def test_the_proof_names_the_file_the_weights_and_the_versions(exported) -> None:
    bundle, path = exported()
    proof = _proof(path.parent)
    assert proof["onnx_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert proof["weights_sha256"] == hashlib.sha256((bundle.path / "model.safetensors").read_bytes()).hexdigest()
    assert proof["versions"]["onnx"] == onnx.__version__
    assert set(proof["versions"]) == {"sightline", "python", "torch", "onnx", "onnxscript", "onnxruntime"}
    assert proof["tolerance"] == 1e-4
    assert [(batch["size"], batch["pictures"]) for batch in proof["batches"]] == [(1, 8), (2, 16), (7, 56), (64, 256)]


def test_the_proof_uses_the_validation_pictures_of_the_training(
    make_bundle, exported, photos, tmp_path, monkeypatch
) -> None:
    settings = {"source": str(photos), "val_fraction": 0.2, "test_fraction": 0.1, "seed": 3}
    bundle = make_bundle(tmp_path / "own", data=settings)
    _plant(monkeypatch, exported()[1], lambda model: None)
    assert export(bundle.path) == bundle.path / "model.onnx"
    proof = _proof(bundle.path)
    assert proof["pictures"] == "12 pictures, of the val split of photos"
    assert (proof["num_pictures"], proof["pictures_are_made"]) == (12, False)
    assert proof["batch_sizes"] == [1, 2, 7, 12]


@pytest.mark.parametrize("output", ["out/deep/net.onnx", "out"])
def test_output_may_be_a_file_or_a_folder(bundle, exported, tmp_path, monkeypatch, output) -> None:
    _plant(monkeypatch, exported()[1], lambda model: None)
    (tmp_path / "out").mkdir()
    path = export(str(bundle.path), output=tmp_path / output)
    assert path == (tmp_path / output if output.endswith(".onnx") else tmp_path / "out" / "model.onnx")
    assert path.read_bytes() == exported()[1].read_bytes()
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, "parity.json"])
    assert not (bundle.path / "model.onnx").exists()


def test_a_folder_that_cannot_be_made_is_an_export_error(bundle, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match=r"cannot write .*file/model\.onnx: .* choose another --output"):
        export(bundle.path, output=tmp_path / "file" / "model.onnx")


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"there is no export format 'onx'\. Nearest: onnx\."):
        export("anywhere", format="onx")


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_names_the_extra(monkeypatch, library) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"{library} is needed to export a model as ONNX .* pip install 'sightline\[export\]'"
    with pytest.raises(MissingExtraError, match=message):
        export("anywhere")


def test_no_bundle_and_no_data_are_said_before_any_work(bundle, tmp_path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        export(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"there is no folder \./nowhere"):
        export(bundle.path, data="./nowhere")
    assert sorted(file.name for file in bundle.path.iterdir()) == ["config.json", "model.safetensors"]
