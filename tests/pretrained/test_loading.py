"""Networks with weights, and bundles made of them."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import sightline as sl
from sightline.bundle import open_bundle
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.models import zoo
from sightline.pretrained import Pretrained, create_model, find_weights, load_pretrained, save_pretrained
from sightline.pretrained.known import imagenet_classes
from tests.bundles import CLASSES, tiny_bundle

SMALL = "mobilenet_v3_small"  # torchvision has it, and it is small


def weights_of(name: str, folder: Path, **options: object) -> Path:
    """A file of weights that were drawn and never trained."""
    torch.manual_seed(1)
    torch.save(zoo.build(name, **options).state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def same(net: torch.nn.Module, path: Path) -> bool:
    theirs = torch.load(path, weights_only=True)
    return all(torch.equal(value, theirs[name]) for name, value in net.state_dict().items())


def test_the_public_function_builds_with_and_without_weights(tmp_path: Path) -> None:
    path = weights_of(SMALL, tmp_path)
    assert sl.create_model is create_model
    fresh = sl.create_model(SMALL, num_classes=3, stem="small")
    assert fresh.model_args == {"num_classes": 3, "in_channels": 3, "stem": "small"}
    assert not same(sl.create_model(SMALL), path)
    net = sl.create_model(SMALL, weights=path)
    assert same(net, path)
    assert net.training
    assert net.name == SMALL


def test_what_came_with_the_weights_is_told(tmp_path: Path) -> None:
    loaded = load_pretrained(SMALL, weights_of(SMALL, tmp_path))
    assert isinstance(loaded, Pretrained)
    assert loaded.notes == (
        "the file does not say what pictures it expects: those of torchvision's weights are assumed",
    )
    assert (loaded.replaced, loaded.classes, loaded.licence) == ((), None, "not stated")
    told = loaded.provenance()
    assert json.loads(json.dumps(told)) == told
    assert sorted(told) == ["licence", "notes", "origin", "preprocess", "replaced"]
    assert told["preprocess"]["mean"] == [0.485, 0.456, 0.406]


def test_the_number_of_classes_is_the_weights_own(tmp_path: Path) -> None:
    path = weights_of("resnet20", tmp_path, num_classes=37)
    assert create_model("resnet20", weights=path).num_classes == 37
    assert same(create_model("resnet20", weights=path), path)
    assert create_model("resnet20", weights=path, num_classes=4).num_classes == 4


def test_weights_without_a_head_need_a_number_of_classes(tmp_path: Path) -> None:
    torch.save({n: v for n, v in zoo.build("resnet20").state_dict().items() if n[:2] != "fc"}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w.pth have no head for resnet20\. Say num_classes\."):
        load_pretrained("resnet20", tmp_path / "w.pth")
    assert load_pretrained("resnet20", tmp_path / "w.pth", num_classes=3).replaced == ("fc",)


def test_a_file_cannot_ask_for_an_enormous_head(tmp_path: Path) -> None:
    state = zoo.build("resnet20").state_dict()
    state["fc.weight"] = state["fc.bias"] = torch.empty(10**12, 0)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BundleError, match=r"different: fc.weight \(\(1000000000000, 0\), needs \(10, 64\)\)"):
        load_pretrained("resnet20", tmp_path / "w.pth")


def test_the_stem_is_the_papers_whatever_the_size_of_the_pictures(tmp_path: Path) -> None:
    path = weights_of(SMALL, tmp_path)
    assert load_pretrained(SMALL, path, image_size=(64, 64)).net.model_args["stem"] == "imagenet"
    assert zoo.build(SMALL, image_size=(64, 64)).model_args["stem"] == "small"


def test_a_stem_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = weights_of("resnet18", tmp_path, num_classes=2)
    with pytest.raises(BundleError, match=r"different: conv1.weight \(\(64, 3, 7, 7\), needs \(64, 3, 3, 3\)\)"):
        load_pretrained("resnet18", path, stem="small")


def test_grey_pictures_average_the_statistics_of_colours(tmp_path: Path) -> None:
    loaded = load_pretrained(SMALL, weights_of(SMALL, tmp_path), in_channels=1)
    assert loaded.preprocess is not None
    assert loaded.preprocess.input_size == (1, 224, 224)
    assert loaded.preprocess.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert loaded.preprocess.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


def test_a_bundle_gives_its_network_classes_and_preprocessing(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle", model=SMALL, side=16)
    loaded = load_pretrained(None, folder)
    assert (loaded.net.name, loaded.classes) == (SMALL, CLASSES)
    assert loaded.preprocess == open_bundle(folder).preprocess
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.net.eval()(images), open_bundle(folder).build_model()(images))
    other = load_pretrained(None, folder, num_classes=4)
    assert (other.classes, other.replaced) == (None, ("classifier.3",))


def test_a_bundle_of_a_network_with_a_fixed_size_keeps_it(tmp_path: Path) -> None:
    loaded = load_pretrained(None, tiny_bundle(tmp_path / "bundle", model="lenet5", channels=1, side=28))
    assert loaded.net.fixed_size == (28, 28)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([3000, 3000], "does not fit alexnet_2012"),
        ([10**9, 10**9], r"ask for a alexnet_2012 that cannot be built \(image_size\)"),
        ([10**30, 10**30], r"cannot be built \(image_size\)"),
    ],
)
def test_a_bundle_cannot_ask_for_an_enormous_network(
    size: list[object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of (3000, 3000) the first dense layer alone has 34 GB."""
    folder = tmp_path / "bundle"
    tiny_bundle(folder, model="lenet5", channels=1, side=28)
    config = json.loads((folder / "config.json").read_text())
    config["sightline"].update(
        model="alexnet_2012", model_args={"num_classes": 7, "in_channels": 3, "image_size": size}
    )
    (folder / "config.json").write_text(json.dumps(config))
    build = zoo.build

    def build_without_numbers(*args: Any, **options: Any) -> Any:
        assert torch.get_default_device().type == "meta"
        return build(*args, **options)

    monkeypatch.setattr(zoo, "build", build_without_numbers)
    with pytest.raises(BundleError, match=message):
        load_pretrained(None, folder, num_classes=7)


def test_sources_that_were_found_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    source = find_weights(folder)
    assert load_pretrained("simple_cnn", source).origin == source.origin


def test_the_session_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights_of("resnet18", tmp_path).rename(tmp_path / "resnet18-f37072fd.pth")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "pretrained.md").read_text("utf-8")
    (session,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(session, "pretrained.md", "exec"), names)
    assert names["net"].fc.out_features == 5
    assert capsys.readouterr().out.startswith("Preprocess(input_size=(3, 224, 224)")


# ------------------------------------------------------------------------------------------------------------ bundles


def test_a_bundle_is_made_of_a_file_and_everything_takes_it(tmp_path: Path) -> None:
    path = weights_of(SMALL, tmp_path)
    bundle, notes = save_pretrained(SMALL, tmp_path / "run", weights=path)
    assert notes == (
        "the file does not say what pictures it expects: those of torchvision's weights are assumed",
        "the file does not say what its 1000 classes are: those of ImageNet are assumed",
    )
    assert bundle.classes == imagenet_classes()
    assert bundle.preprocess == Preprocess(
        (3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875
    )
    assert bundle.provenance["pretrained"]["notes"] == list(notes)
    assert bundle.provenance["pretrained"]["origin"]["file"] == "weights.pth"
    predictor = sl.load(tmp_path / "run", device="cpu")
    assert same(predictor.net, path)
    answer = predictor.predict(torch.zeros(30, 40, 3, dtype=torch.uint8).numpy())
    assert answer.label in imagenet_classes()
    assert math.isclose(answer.probabilities.sum(), 1, rel_tol=1e-5)


def test_what_is_asked_wins_over_the_weights(tmp_path: Path) -> None:
    bundle, _ = save_pretrained(
        SMALL, tmp_path / "run", weights=weights_of(SMALL, tmp_path),
        img_size=96, interpolation="bicubic", crop_pct=1.0,
    )  # fmt: skip
    assert bundle.preprocess == Preprocess((3, 96, 96), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 1.0)


def test_a_bundle_of_a_bundle_keeps_its_licence(tmp_path: Path) -> None:
    told = {"pretrained": {"licence": "MIT", "origin": {}}}
    folder = tiny_bundle(tmp_path / "a", provenance=told)
    bundle, _ = save_pretrained(None, tmp_path / "b", weights=folder)
    assert (bundle.classes, bundle.provenance["pretrained"]["licence"]) == (CLASSES, "MIT")


def test_no_bundle_without_preprocessing_or_class_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not say what pictures they expect, without which there is no bundle"):
        save_pretrained("resnet20", tmp_path / "run", weights=weights_of("resnet20", tmp_path))
    with pytest.raises(ConfigError, match="do not say what their 7 classes are called"):
        save_pretrained(SMALL, tmp_path / "run", weights=weights_of(SMALL, tmp_path, num_classes=7))
    assert not (tmp_path / "run").exists()


def test_a_bundle_is_not_overwritten(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    with pytest.raises(ConfigError, match=r"bundle already holds a bundle\. Choose another --output\."):
        save_pretrained(None, folder, weights=folder)


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    state = zoo.build("resnet20").state_dict()
    state["bn1.weight"][3] = torch.nan
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BundleError, match=r"bn1.weight holds NaN or infinity"):
        create_model("resnet20", weights=tmp_path / "w.pth")
