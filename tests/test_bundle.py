"""A bundle is whole, its own, and executes nothing."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.bundle import Bundle, open_bundle, save_bundle
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.metrics import Thresholds
from sightline.models import zoo

PREPROCESS = Preprocess((3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop_fraction=0.9)


def _save(folder: Path) -> torch.nn.Module:
    torch.manual_seed(1)
    net = zoo.build("resnet18", num_classes=2, image_size=(32, 32)).to(memory_format=torch.channels_last)
    save_bundle(
        folder, net=net, model_name="resnet18", classes=("cat", "dög"), preprocess=PREPROCESS, temperature=1.5,
        provenance={"seed": 1},
    )  # fmt: skip
    return net.eval()


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    net = _save(tmp_path / "deep" / "bundle")
    bundle = open_bundle(tmp_path / "deep" / "bundle")
    assert (bundle.classes, bundle.temperature, bundle.preprocess) == (("cat", "dög"), 1.5, PREPROCESS)
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(bundle.build_model()(images), net(images), atol=1e-5)  # the saved one lay in channels_last


def test_the_configuration_has_timms_keys(tmp_path: Path) -> None:
    _save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "resnet18_small_stem"  # timm has no such stem
    assert config["num_classes"] == 2
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.4, 0.3]
    assert config["pretrained_cfg"]["crop_pct"] == 0.9
    assert config["label_names"] == ["cat", "dög"]


def test_weights_in_the_file_lie_in_plain_order(tmp_path: Path) -> None:
    net = _save(tmp_path)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["conv1.weight"], net.state_dict()["conv1.weight"])


def test_other_weights_are_noticed(tmp_path: Path) -> None:
    _save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["fc.bias"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(BundleError, match="one of the two was changed or copied alone"):
        open_bundle(tmp_path).build_model()


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    _save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["sightline"]["model_args"]["num_classes"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"does not fit ResNet: fc.weight: \(2, 512\), needs \(3, 512\); fc.bias"):
        open_bundle(tmp_path).build_model()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "the folder has no config.json. Give the folder"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not a bundle's configuration: JSONDecodeError"),
        (lambda folder: (folder / "config.json").write_text('{"architecture": "x"}'), "KeyError: 'sightline'"),
        (
            lambda folder: (folder / "config.json").write_text('{"sightline": {"format": 9}}'),
            "has format 9, this version",
        ),
        (lambda folder: (folder / "config.json").write_text('{"sightline": {"format": 1}}'), "key 'model' is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the bundle has no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12"), "cannot be read as safetensors"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    _save(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(BundleError) as caught:
        open_bundle(tmp_path).build_model()
    assert message in str(caught.value)


def test_no_folder_and_an_unfinished_run_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the folder does not exist"):
        open_bundle(tmp_path / "no")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(BundleError, match="It holds an unfinished run: go on with --resume"):
        open_bundle(tmp_path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))


def test_a_pickle_in_the_place_of_the_weights_is_not_executed(tmp_path: Path) -> None:
    _save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(BundleError):
        open_bundle(tmp_path).build_model()
    assert not (tmp_path / "executed").exists()


def test_a_model_name_is_looked_up_not_imported(tmp_path: Path) -> None:
    _save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["sightline"]["model"] = "os.system"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"there is no network 'os.system'"):
        open_bundle(tmp_path).build_model()


def test_class_names_must_be_as_many_as_outputs(tmp_path: Path) -> None:
    net = zoo.build("simple_cnn", num_classes=3)
    with pytest.raises(ConfigError, match="2 class names for a network of 3 outputs"):
        save_bundle(tmp_path, net=net, model_name="simple_cnn", classes=("a", "b"), preprocess=PREPROCESS)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net = zoo.build("simple_cnn", num_classes=2)
    with pytest.raises(BundleError, match="cannot write the bundle"):
        save_bundle(
            tmp_path / "file" / "x", net=net, model_name="simple_cnn", classes=("a", "b"), preprocess=PREPROCESS
        )


def test_a_bundle_of_several_labels_comes_back_with_its_thresholds(tmp_path: Path) -> None:
    thresholds = Thresholds((0.2, 0.875), ("a note",))
    saved = _several(tmp_path, thresholds)
    assert open_bundle(tmp_path).thresholds == saved.thresholds == thresholds
    stated = saved.probabilities(np.array([[-1.0, 2.0]]))
    np.testing.assert_allclose(stated, 1 / (1 + np.exp([[1.0, -2.0]])), rtol=1e-6)
    assert saved.labels_of(stated).tolist() == [[True, True]]
    assert saved.labels_of(np.array([[0.2, 0.874]])).tolist() == [[True, False]]


def test_an_older_reader_would_refuse_several_labels_and_read_one_class(tmp_path: Path) -> None:
    _several(tmp_path / "several", Thresholds((0.5, 0.5)))
    _several(tmp_path / "one", None)
    formats = {
        name: json.loads((tmp_path / name / "config.json").read_text())["sightline"] for name in ("several", "one")
    }
    assert (formats["several"]["format"], formats["one"]["format"]) == (2, 1)  # an older one reads format 1 alone
    assert "answer" not in formats["one"]
    with pytest.raises(BundleError, match="names one class a picture, and has no thresholds"):
        open_bundle(tmp_path / "one").labels_of(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"kind": "boxes"}, "answers in the way 'boxes'; this version knows 'multilabel'"),
        ({"kind": "multilabel", "thresholds": [0.5]}, "needs a threshold from 0 to 1 for each of 2 classes"),
        ({"kind": "multilabel", "thresholds": [0.5, 1.5]}, "needs a threshold from 0 to 1"),
        (None, "does not say how it answers"),
    ],
)
def test_an_unknown_kind_of_answer_is_refused(tmp_path: Path, answer: object, said: str) -> None:
    _several(tmp_path, Thresholds((0.5, 0.5)))
    config = json.loads((tmp_path / "config.json").read_text())
    config["sightline"]["answer"] = answer
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=said):
        open_bundle(tmp_path)


def test_thresholds_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 thresholds for a network of 2 outputs"):
        _several(tmp_path, Thresholds((0.5, 0.5, 0.5)))


def _several(folder: Path, thresholds: Thresholds | None) -> Bundle:
    net = zoo.build("simple_cnn", num_classes=2, image_size=(8, 8))
    preprocess = Preprocess((3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    return save_bundle(
        folder, net=net, model_name="simple_cnn", classes=("a", "b"), preprocess=preprocess, thresholds=thresholds
    )
