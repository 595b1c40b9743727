"""Runs that begin with trained weights: what they choose, that they begin there, and that they resume exactly."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import sightline as sl
from sightline.bundle import open_bundle, save_bundle
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError
from sightline.models import zoo
from sightline.pretrained import find_weights
from sightline.recipes import fitting as fitting_module
from sightline.recipes import run as run_module
from sightline.recipes.data import open_split
from sightline.recipes.plan import Plan, make_plan
from sightline.runtime import choose_runtime
from tests.bundles import CLASSES, tiny_bundle
from tests.recipes.pictures import photo_folder

QUICK = sl.Settings(epochs=2, batch_size=8, device="cpu", amp=False, threads=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of other classes, whose weights a run begins with."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "animals", model="resnet20", side=16, crop_fraction=0.8)


def with_settings(**settings: Any) -> sl.Settings:
    return sl.Settings(**{**vars(QUICK), **settings})


def train(photos: Path | None, output: Path, **settings: Any) -> str:
    """Runs, and returns what was printed."""
    console = Console(file=io.StringIO(), record=True, width=200)
    resume = photos is None
    sl.train(
        photos, settings=None if resume else with_settings(**settings), output=output, resume=resume, console=console
    )
    return console.export_text()


def plan_of(photos: Path, **settings: Any) -> Plan:
    asked = with_settings(**settings)
    catalog, _ = open_split(photos, asked, Console(quiet=True))
    weights = find_weights(str(asked.pretrained), model=asked.model)
    return make_plan(asked, catalog, choose_runtime(device="cpu", amp=False, threads=1), weights)


def reasons(plan: Plan) -> dict[str, tuple[Any, str]]:
    return {choice.name: (choice.value, choice.reason) for choice in plan.choices}


# ---------------------------------------------------------------------------------------------------------- the plan


def test_the_plan_takes_model_size_stem_and_normalisation_of_the_weights(photos: Path, animals: Path) -> None:
    plan = plan_of(photos, pretrained=str(animals))
    assert plan.preprocess == open_bundle(animals).preprocess
    told = reasons(plan)
    for name, value in {"model": "resnet20", "in_chans": 3, "interpolation": "bicubic", "crop_pct": 0.8}.items():
        assert told[name] == (value, "of the weights")
    assert told["mean, std"][1] == "of the weights"
    assert told["img_size"] == (16, "of the weights; the pictures are 42x50 px")
    assert told["pretrained"] == (str(animals), "animals; licence: that of its training pictures")
    assert told["lr"] == (3e-4, "a third of Adam's usual rate: the weights are near a good place")


def test_weights_of_photographs_are_given_photographs_of_their_size_whatever_the_pictures(
    photos: Path, tmp_path: Path
) -> None:
    torch.save(zoo.build("mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    plan = plan_of(photos, pretrained=str(tmp_path / "w.pth"), model="mobilenet_v3_small")
    assert plan.preprocess.input_size == (3, 224, 224)
    assert plan.preprocess.mean == (0.485, 0.456, 0.406)
    assert plan.augment.scale == (0.35, 1.0)  # not the shift of small pictures
    assert plan.options.batch_size <= 32
    assert plan.model_options["stem"] == "imagenet"
    assert reasons(plan)["stem"] == ("imagenet", "of the weights")


def test_what_is_asked_wins_over_the_weights(photos: Path, animals: Path) -> None:
    plan = plan_of(photos, pretrained=str(animals), img_size=24, interpolation="bilinear", crop_pct=1.0, lr=0.1)
    assert plan.preprocess.input_size == (3, 24, 24)
    assert (plan.preprocess.interpolation, plan.preprocess.crop_fraction, plan.options.lr) == ("bilinear", 1.0, 0.1)
    assert plan.preprocess.mean == open_bundle(animals).preprocess.mean


def test_grey_pictures_may_be_asked_for(photos: Path, animals: Path) -> None:
    plan = plan_of(photos, pretrained=str(animals), in_chans=1)
    assert plan.preprocess.input_size == (1, 16, 16)
    assert plan.preprocess.mean == pytest.approx(((0.49 + 0.45 + 0.4) / 3,))


@pytest.mark.parametrize(("opt", "lr"), [("adamw", 3e-4), ("adam", 3e-4), ("sgd", 0.000625), ("momentum", 0.000625)])
def test_the_learning_rate_is_smaller_than_from_scratch(opt: str, lr: float, photos: Path, animals: Path) -> None:
    assert plan_of(photos, pretrained=str(animals), opt=opt).options.lr == lr


def test_weights_that_say_nothing_of_pictures_get_the_statistics_of_the_data(photos: Path, tmp_path: Path) -> None:
    torch.save(zoo.build("resnet20").state_dict(), tmp_path / "w.pth")
    plan = plan_of(photos, pretrained=str(tmp_path / "w.pth"), model="resnet20")
    assert plan.preprocess.input_size == (3, 32, 32)
    assert reasons(plan)["mean, std"][1].endswith("training pictures")


# ---------------------------------------------------------------------------------------------------------- the run


def first_checkpoint(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Notes the weights with which the training begins."""
    seen = []
    fit = fitting_module.fit

    def noting(net: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return fit(net, *arguments, **options)

    monkeypatch.setattr(fitting_module, "fit", noting)
    return seen


def test_training_begins_with_the_weights_and_a_new_head(
    photos: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = first_checkpoint(monkeypatch)
    text = train(photos, tmp_path / "run", pretrained=str(animals))
    theirs = load_file(animals / "model.safetensors")
    differing = {name for name, value in seen[0].items() if not torch.equal(value, theirs[name])}
    assert differing == {"fc.weight", "fc.bias"}
    assert seen[0]["fc.weight"].shape == (3, 64)
    assert "new, untrained: fc; the weights have 7 classes, here are 3" in text
    assert "pretrained" in text
    bundle = open_bundle(tmp_path / "run")
    assert bundle.preprocess == open_bundle(animals).preprocess
    told = bundle.provenance["pretrained"]
    assert told["replaced"] == ["fc"]
    assert told["origin"]["folder"] == "animals"
    assert told["origin"]["sha256"] == open_bundle(animals).weights_sha256
    page = (tmp_path / "run" / "report.html").read_text()
    assert "animals; licence: that of its training pictures" in page


def test_a_run_from_scratch_says_nothing_of_weights(photos: Path, tmp_path: Path) -> None:
    train(photos, tmp_path / "run", model="simple_cnn", img_size=16, epochs=1)
    assert "pretrained" not in open_bundle(tmp_path / "run").provenance


class Crash(Exception):
    """Stands for a kill."""


def crash(*_: object, **__: object) -> None:
    raise Crash


@pytest.mark.parametrize("point", ["save", "decode_all"])
def test_a_resumed_run_ends_in_the_same_weights(
    point: str, photos: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shutil.copytree(animals, tmp_path / "weights")
    train(photos, tmp_path / "whole", pretrained=str(weights))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(run_module, point, crash)
        if point == "decode_all":  # a kill leaves the folder, an error before the first checkpoint takes it back
            patch.setattr(run_module, "withdraw", lambda *_: None)
        train(photos, tmp_path / "run", pretrained=str(weights))
    if point == "save":
        shutil.rmtree(weights)  # the checkpoint has all of them
    train(None, tmp_path / "run")
    for name in ("model.safetensors", "history.csv", "predictions.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    told = [open_bundle(tmp_path / name).provenance["pretrained"] for name in ("run", "whole")]
    assert told[0] == told[1]


def test_before_the_first_checkpoint_a_resumed_run_needs_the_same_weights(
    photos: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shutil.copytree(animals, tmp_path / "weights")
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(run_module, "decode_all", crash)
        patch.setattr(run_module, "withdraw", lambda *_: None)
        train(photos, tmp_path / "run", pretrained=str(weights))
    shutil.rmtree(weights)
    with pytest.raises(ConfigError, match=r"there are no weights '.*/weights'"):
        train(None, tmp_path / "run")
    tiny_bundle(weights, model="resnet20", side=16, crop_fraction=0.8, seed=5)
    with pytest.raises(ConfigError, match=r"are not those that the run began with \(SHA-256 [0-9a-f]{12}\.\.\.\)"):
        train(None, tmp_path / "run")


def test_a_relative_path_holds_from_another_folder(
    photos: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(animals.parent)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(run_module, "save", crash)
        train(photos, tmp_path / "run", pretrained="animals")
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["pretrained"] == str(animals)
    sl.train(None, settings=sl.Settings(pretrained="animals"), output=tmp_path / "run", resume=True,
             console=Console(quiet=True))  # fmt: skip
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_network_that_looks_at_pictures_first_keeps_the_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    net = zoo.build("airbench_small", num_classes=7)
    preprocess = Preprocess((3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    bundle = tmp_path / "bundle"
    save_bundle(bundle, net=net, model_name="airbench_small", classes=CLASSES, preprocess=preprocess)
    seen = first_checkpoint(monkeypatch)
    train(photos, tmp_path / "run", pretrained=str(bundle), epochs=1)
    theirs = load_file(bundle / "model.safetensors")
    assert torch.equal(seen[0]["whiten.weight"], theirs["whiten.weight"])


def test_weights_that_do_not_fit_leave_no_folder(photos: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(BundleError, match="does not fit resnet20"):
        train(photos, tmp_path / "run", pretrained=str(tmp_path / "w.pth"), model="resnet20")
    with pytest.raises(ConfigError, match="do not say which network they are of"):
        train(photos, tmp_path / "run", pretrained=str(tmp_path / "w.pth"))
    assert not (tmp_path / "run").exists()
