"""The promise "ONNX = PyTorch": the file alone, through ONNX Runtime, against the formula and the network's weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import sightline
from sightline.bundle import Bundle
from sightline.errors import ExportError
from sightline.exporting.onnx import write_onnx
from sightline.models import zoo

NETWORKS = [("simple_cnn", 3, 32), ("lenet5", 1, 28), ("resnet18", 3, 16), ("airbench_small", 3, 32)]


def _answers(path: Path, pictures: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": pictures})[0]


def _by_hand(bundle: Bundle, pictures: np.ndarray) -> np.ndarray:
    """(value / 255 - mean) / std, the network, / temperature, softmax: in float64 and without the code under test."""
    net = zoo.build(bundle.model_name, **bundle.model_args).double()
    net.load_state_dict(load_file(bundle.path / "model.safetensors"))
    mean, std = np.array(bundle.preprocess.mean), np.array(bundle.preprocess.std)
    images = ((pictures / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        scores = net.eval()(torch.from_numpy(images)).numpy() / bundle.temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "channels", "side"), NETWORKS)
def test_the_file_answers_as_the_network_at_every_batch_size(exported, name, channels, side) -> None:
    bundle, path = exported(name, channels=channels, side=side)
    pictures = np.random.default_rng(11).integers(0, 256, (33, side, side, channels), dtype=np.uint8)
    pictures[:11] //= 8  # dark ones, too
    expected = _by_hand(bundle, pictures)
    assert np.ptp(expected, axis=0).min() > 0.01  # the pictures make a difference to every class
    for size in (1, 2, 7, 33):
        answers = _answers(path, pictures[:size])
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, expected[:size], rtol=0, atol=1e-5)
        assert (answers.argmax(1) == expected[:size].argmax(1)).all()


@pytest.mark.parametrize(("name", "channels", "side"), NETWORKS)
def test_the_proof_of_each_network_is_within_rounding(exported, name, channels, side) -> None:
    _, path = exported(name, channels=channels, side=side)
    proof = json.loads((path.parent / "parity.json").read_text(encoding="utf-8"))
    assert proof["ok"] is True
    assert proof["flips"] == 0
    assert proof["max_difference"] < 1e-5
    assert proof["batch_sizes"] == [1, 2, 7, 64]


def test_input_and_output_are_as_documented(exported) -> None:
    _, path = exported("lenet5", channels=1, side=28)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 28, 28, 1])
    assert (made.name, made.type, made.shape) == ("probabilities", "tensor(float)", ["batch", 3])


def test_the_metadata_is_read_through_the_runtime(exported) -> None:
    bundle, path = exported()
    found = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == ["Käfer 🪲", "cat", "dog"]
    assert json.loads(found["preprocess"]) == {
        "input_size": [3, 32, 32],
        "mean": [0.49, 0.4, 0.3],
        "std": [0.25, 0.2, 0.3],
        "interpolation": "bicubic",
        "crop_fraction": 1.0,
    }
    assert found["model"] == "simple_cnn"
    assert json.loads(found["temperature"]) == 1.7
    assert found["sightline_version"] == sightline.__version__
    assert found["weights_sha256"] == bundle.weights_sha256


def test_the_file_is_checked_self_contained_and_silent_about_this_machine(exported) -> None:
    _, path = exported()
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert b".py" not in path.read_bytes()
    assert {file.name for file in path.parent.iterdir()} == {
        "config.json",
        "model.safetensors",
        "model.onnx",
        "parity.json",
    }


def test_the_exporter_says_nothing_and_the_same_bundle_gives_the_same_file(exported, tmp_path, capfd) -> None:
    bundle, path = exported()
    write_onnx(bundle, tmp_path / "again.onnx")
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_what_onnx_lacks_is_an_export_error(exported, tmp_path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator\nand much advice")

    bundle, _ = exported()
    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(
        ExportError, match=r"simple_cnn cannot be written as ONNX: OnnxExporterError: no such operator\. The bundle"
    ):
        write_onnx(bundle, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_in_training_mode_would_show(exported) -> None:
    """The tolerance of these tests tells dropout and batch statistics from evaluation mode."""
    bundle, path = exported()
    pictures = np.random.default_rng(3).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    net: Callable[..., torch.Tensor] = bundle.build_model().train()
    with torch.no_grad():
        wrong = torch.softmax(net(bundle.preprocess.tensor(pictures)) / bundle.temperature, 1).numpy()
    assert np.abs(wrong - _answers(path, pictures)).max() > 1e-3
    without_temperature = _by_hand(replace(bundle, temperature=1.0), pictures)
    assert np.abs(without_temperature - _answers(path, pictures)).max() > 1e-3
