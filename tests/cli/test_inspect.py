"""`sightline inspect` and `sightline models`: what a person sees, and what a script reads."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.errors import BundleError, ConfigError, ShapeError, SightlineError
from sightline.models import zoo
from tests.bundles import tiny_bundle
from tests.commands import run as command


def run(*arguments: str | Path) -> str:
    """What the command prints; an error is raised as it is."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def as_json(*arguments: str | Path) -> dict[str, object]:
    return json.loads(run("inspect", *arguments, "--json"))


def test_a_network_of_the_zoo_at_its_papers_size() -> None:
    text = run("inspect", "resnet18")
    assert re.match(
        r"resnet18 on 3x224x224, batch of 1; \d+ further rows inside these: --depth 3$", text.splitlines()[0]
    )
    assert "parameters  11,689,512 (46.8 MB), all trained" in text
    assert "MACs        1,814,073,344 a picture" in text
    assert "field       435 px in steps of 32 px, of the last map (layer4)" in text
    assert "stem imagenet" not in text  # nobody chose one
    assert max(map(len, text.splitlines())) <= 120


def test_input_classes_stem_and_batch_are_as_asked() -> None:
    found = as_json("resnet18", "--input", "1x40x32", "--num-classes", "7", "-b", "4", "--stem", "imagenet")
    assert (found["input_size"], found["batch_size"]) == ([1, 40, 32], 4)
    rows = {row["name"]: row for row in found["rows"]}  # type: ignore[attr-defined]
    assert rows["conv1"]["kernel"] == [7, 7] and rows["conv1"]["output_shape"] == [64, 20, 16]
    assert rows["fc"]["output_shape"] == [7] and rows["fc"]["parameters"] == 513 * 7
    assert {finding["rule"] for finding in found["findings"]} == {"coarse-stem", "vanished-map"}  # type: ignore[attr-defined]
    small = as_json("resnet18", "--input", "3x40x32")
    assert {row["name"]: row for row in small["rows"]}["conv1"]["kernel"] == [3, 3]  # type: ignore[attr-defined]


def test_the_choice_of_a_stem_is_said_where_one_was_made() -> None:
    done = CliRunner().invoke(app, ["inspect", "resnet18", "--input", "3x64x64", "--depth", "0"])
    assert done.stderr.startswith("stem small: pictures of 64x64 px are under 96 px")
    assert CliRunner().invoke(app, ["inspect", "resnet20", "--depth", "0"]).stderr == ""


def test_networks_whose_dense_layer_fixes_the_size_are_built_for_it() -> None:
    assert as_json("lenet5", "--input", "3x40x48")["input_size"] == [3, 40, 48]
    assert as_json("lenet5")["parameters"] == 61_706


def test_a_bundle_is_looked_at_as_it_is(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "run", side=24)
    found = as_json(folder)
    assert (found["net"], found["input_size"]) == ("simple_cnn", [3, 24, 24])
    assert found["parameters"] == sum(p.numel() for p in zoo.build("simple_cnn", num_classes=7).parameters())
    with pytest.raises(ConfigError, match=r"choose a network of the zoo; .*run is made already\. Leave them out\.$"):
        run("inspect", folder, "--num-classes", "3")


def test_a_factory_of_ones_own_is_imported_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets.py").write_text("from torch import nn\n\ndef net():\n    return nn.Conv2d(1, 2, 3)\n")
    done = command("inspect", "own_nets:net", "--input", "1x8x8", "--json", cwd=tmp_path)
    assert (json.loads(done.stdout)["net"], json.loads(done.stdout)["parameters"]) == ("Conv2d", 20), done.stderr
    with pytest.raises(ConfigError, match=r"^--num-classes and --stem choose a network of the zoo"):
        run("inspect", "own_nets:net", "--stem", "small")


def test_depth_folds_the_rows() -> None:
    lines = [run("inspect", "resnet20", "--depth", str(depth)).splitlines() for depth in (0, 1, 2)]
    assert len(lines[0]) < len(lines[1]) < len(lines[2])
    assert all(any(line.startswith("total") and "269,722" in line for line in each) for each in lines)


def test_times_are_measured_when_asked() -> None:
    found = as_json("lenet5", "--time")
    assert found["timing"]["forward_s"] > 0  # type: ignore[index]
    text = " ".join(run("inspect", "lenet5", "--time").split())
    assert re.search(r"whole run [\d.]+ ms a batch, [\d.]+ GFLOP/s, two operations a MAC; on cpu, ", text)
    assert re.search(
        r"layers [\d.]+ ms a batch, [\d.]+ GFLOP/s: the table's sum, .*; \d+% of it between the layers", text
    )


@pytest.mark.parametrize("width", [50, 80, 100, 120])
@pytest.mark.parametrize("name", ["densenet121", "resnet50", "lenet5", "convnext_tiny"])
def test_no_figure_is_cut_on_a_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(key, value)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run("inspect", name, "--depth", "1")).splitlines()
    assert max(map(len, lines)) <= width
    (head,) = (line for line in lines if line.startswith("layer "))
    table = lines[lines.index(head) : next(i for i, line in enumerate(lines) if line.startswith("total"))]
    first = head.index(head.split()[1])  # where the column behind the names begins
    assert not any("…" in line[first - 3 :] for line in table)
    titles = ["kernel", "output", "parameters", "MACs", "out", "kept", "field", "step"]
    left_out = re.search(r"left out, for \d+ characters a line: (.*?); --json", " ".join(" ".join(lines).split()))
    named = [title.split()[0] for title in left_out[1].split(", ")] if left_out else []
    assert named == [title for title in titles if title not in head.split()]
    if width >= 80:
        assert all("…" not in line for line in table) and {"output", "parameters", "MACs", "field"} <= {*head.split()}


def test_json_goes_as_deep_as_asked() -> None:
    deep, flat = as_json("resnet20"), as_json("resnet20", "--depth", "1")
    rows: list[dict[str, int]] = flat["rows"]  # type: ignore[assignment]
    assert {row["depth"] for row in rows} == {0, 1}
    assert sum(row["parameters"] for row in rows) == flat["parameters"] == deep["parameters"]
    assert max(row["depth"] for row in deep["rows"]) > 1  # type: ignore[attr-defined]


def test_an_error_in_a_factory_is_told_with_the_users_own_lines(tmp_path: Path) -> None:
    code = (
        "from torch import nn\n\ndef inner():\n    return nn.Conv2d(3, 5, 3, groups=2)\n\ndef broken():\n    inner()\n"
    )
    (tmp_path / "own_nets.py").write_text(code)
    done = command("inspect", "own_nets:broken", cwd=tmp_path)
    first, *frames = done.stderr.splitlines()
    assert first == "sightline: own_nets:broken raised ValueError: in_channels must be divisible by groups"
    assert [frame.partition(" in ")[2] for frame in frames] == [
        "broken: inner()",
        "inner: return nn.Conv2d(3, 5, 3, groups=2)",
    ]
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["resnet19"], ConfigError, r"^there is no network 'resnet19'\. Nearest: resnet18"),
        (
            ["resnet18", "--input", "224"],
            ConfigError,
            r"^--input is '224'\. Write channels x height x width, such as 3x2",
        ),
        (["resnet18", "--input", "3x0x9"], ConfigError, r"^--input is '3x0x9'\."),
        (["resnet18", "--input", "3x4x4"], ShapeError, r"^resnet18 needs images of at least 8x8 px, got 4x4 px"),
        (["resnet18", "-b", "0"], ConfigError, r"^batch_size is 0"),
        (["resnet18", "--depth", "-1"], ConfigError, r"^depth is -1; it must be 0 or more\.$"),
        (["simple_cnn", "--stem", "small"], ConfigError, r"^simple_cnn has no stem to choose"),
        (["/nonexistent"], BundleError, r"^no bundle at /nonexistent: the folder does not exist\."),
        (["nix/"], BundleError, r"^no bundle at nix: the folder does not exist\."),
        (["tests"], BundleError, r"^no bundle at tests: the folder has no config\.json"),
        (["no.such:net"], ConfigError, r"^no\.such:net: No module named 'no'"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], error: type[SightlineError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(error, match=message):
        run("inspect", *arguments)


def test_the_list_of_networks_is_a_table() -> None:
    lines = run("models", "resnet*", "--year", "2015", "--max-params", "12M", "--sort", "macs").splitlines()
    assert lines[0].split() == ["name", "year", "params", "MACs", "input", "field", "paper", "offers"]
    assert lines[1].split()[:8] == ["resnet20", "2015", "270", "k", "40.6", "M", "3x32x32", "81"]
    assert lines[-2].split()[0] == "resnet18" and lines[-2].endswith(
        "arXiv:1512.03385  stem, dropout, drop_path, output_stride"
    )
    assert lines[-1].strip() == "6 networks; field: px that a unit of the last map sees"
    assert run("models", "resnet1*", "--max-params", "5").strip() == "No network fits."
    assert run("models", "Resnett18").strip().startswith("No network fits. Nearest: resnet18")
    assert run("models", "RESNET18").splitlines()[-1].startswith("1 network; field")


@pytest.mark.parametrize(("width", "last"), [(80, "paper"), (100, "offers"), (120, "offers")])
def test_the_table_fits_a_terminal(width: int, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run("models")).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split()[-1] == last
    left_out = "offers, arXiv numbers" if width == 80 else "arXiv numbers"
    assert f"left out, for {width} characters a line: {left_out} (--json has all)" in " ".join(" ".join(lines).split())
    assert {line.split()[0] for line in lines if line[:1].isalpha()} >= set(zoo.names())


def test_the_list_for_scripts_is_a_list_of_objects() -> None:
    rows = json.loads(run("models", "resnet1*", "--json"))
    assert [row["name"] for row in rows] == zoo.names("resnet1*")
    assert rows[0] == {
        "name": "resnet18",
        "year": 2015,
        "paper": "He et al. 2015, arXiv:1512.03385",
        "input_size": [3, 224, 224],
        "num_classes": 1000,
        "options": list(zoo.ZOO["resnet18"].options),
        "parameters": 11_689_512,
        "macs": 1_814_073_344,
        "receptive_field": {"size_px": 435, "stride_px": 32, "padding_px": 217},
    }


def test_the_list_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['sightline', 'models']\nfrom sightline.cli.main import app\n"
    code += "try: app()\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
