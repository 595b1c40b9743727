"""`--pretrained` wherever it stands, and `sightline pretrained`."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from sightline.cli.weights_flag import with_values
from sightline.models import zoo
from tests.bundles import tiny_bundle
from tests.commands import run
from tests.pretrained.test_reading import HOSTILE, Payload
from tests.recipes.pictures import photo_folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("data") / "photos", count=8)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, a bundle, and a folder of pictures that is called like a file of weights."""
    for name in ("photos/cat", "bundle", "photos.pth/cat"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bundle" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("value", "joined"),
    [
        ([], "auto"),
        (["auto"], "auto"),
        (["weights.safetensors"], "weights.safetensors"),
        (["w.pth"], "w.pth"),
        (["w.pt"], "w.pt"),
        (["sub/w.bin"], "sub/w.bin"),
        (["bundle"], "bundle"),
        (["bundle/"], "bundle/"),
        (["hf-hub:timm/resnet18.a1_in1k"], "hf-hub:timm/resnet18.a1_in1k"),
    ],
)
def test_the_flag_takes_weights_and_nothing_else_in_every_order(value: list[str], joined: str) -> None:
    for data in ("photos", "photos/", "photos.pth", "cifar10"):
        groups = [["--pretrained", *value], [data], ["--model", "resnet18"], ["-b", "8"]]
        for order in itertools.permutations(groups):
            expected = [[f"--pretrained={joined}"] if group is groups[0] else group for group in order]
            assert with_values([*itertools.chain(*order)]) == [*itertools.chain(*expected)], order


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos", "--pretrained=anything at all"],
        ["photos", "-b", "8"],
        ["--", "--pretrained", "w.pth"],
        [],
    ],
)
def test_everything_else_stays_as_it_is(arguments: list[str]) -> None:
    assert with_values(arguments) == arguments


def test_the_flag_begins_a_run_with_the_weights(photos: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", side=16)
    quick = ["--epochs", "1", "-b", "8", "--no-amp", "--threads", "1"]
    done = run("train", "--pretrained", bundle, photos, *quick, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "bundle; licence: that of its training pictures" in done.stderr
    assert "new, untrained: " in done.stderr
    told = json.loads((tmp_path / "run" / "config.json").read_text())["sightline"]["provenance"]
    assert told["pretrained"]["origin"]["folder"] == "bundle"


def test_a_settings_file_names_weights(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('pretrained = "auto"\nmodel = "resnet18"\n')
    done = run("train", photos, "-c", tmp_path / "run.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no package with weights of resnet18 is known" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train", "PHOTOS", "--pretrained", "--model", "resnet18"], 2, "no package with weights of resnet18 is known"),
        (["train", "PHOTOS", "--pretrained", "no.pth", "--model", "resnet18"], 2, "there are no weights 'no.pth'"),
        (["train", "PHOTOS", "--pretrained=PHOTOS", "--model", "resnet18"], 2, "there are no weights 'PHOTOS'"),
        (["train", "--pretrained", "PHOTOS", "--model", "resnet19"], 2, "Nearest: resnet18"),
        (["pretrained", "resnet18", "--output", "run"], 2, "no package with weights of resnet18 is known"),
        (["pretrained", "resnet18", "--output", "run", "--weights", "hf-hub:timm/resnet18"], 2, "sightline[hub]"),
        (["pretrained", "resnet18"], 2, "--output"),
    ],
)
def test_a_mistake_gives_one_message_and_no_traceback(
    arguments: list[str], exit_code: int, message: str, photos: Path, tmp_path: Path
) -> None:
    done = run(*(photos if argument == "PHOTOS" else argument for argument in arguments), cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["huge storage, legacy", "expanded view", "sparse", "text", "empty", "TorchScript"])
def test_a_hostile_file_gives_one_line_and_exit_code_1(name: str, photos: Path, tmp_path: Path) -> None:
    HOSTILE[name][0](tmp_path / "w.pth")
    done = run("train", photos, "--pretrained", "w.pth", "--model", "resnet20", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("sightline: ")]
    assert "w.pth" in error
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_code_in_a_file_never_runs(photos: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": Payload(tmp_path / "planted")}}, tmp_path / "w.pth")
    for verb in (["train", photos, "--pretrained", "w.pth", "--model", "resnet20"],
                 ["pretrained", "resnet20", "--weights", "w.pth", "--output", "run"]):  # fmt: skip
        done = run(*verb, cwd=tmp_path)
        assert done.returncode == 1
        assert "could be code; nothing of it was run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_the_verb_writes_a_bundle_that_predicts(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(zoo.build("mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    done = run("pretrained", "mobilenet_v3_small", "--weights", "w.pth", "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "run"
    assert done.stderr.splitlines() == [
        "the file does not say what pictures it expects: those of torchvision's weights are assumed",
        "the file does not say what its 1000 classes are: those of ImageNet are assumed",
        "1000 classes; licence of the weights: not stated",
    ]
    answers = json.loads(run("predict", "run", photos / "red", "--json", cwd=tmp_path).stdout)["predictions"]
    assert len(answers) == 8
    again = run("pretrained", "mobilenet_v3_small", "--weights", "w.pth", "--output", "run", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")


def test_the_verb_has_help_with_an_example() -> None:
    assert "Example: sightline pretrained" in run("pretrained", "--help").stdout
