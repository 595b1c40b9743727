"""What the README and the guides show is run."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from sightline.cli.main import app
from sightline.config import from_mapping
from sightline.recipes.settings import Settings
from tests.recipes.pictures import photo_folder

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def _commands() -> list[str]:
    lines = [
        line.split("#")[0].strip() for page in PAGES for block in _blocks(page, "bash") for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith("sightline ")]


def test_the_python_session_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_folder(tmp_path / "photos", count=8)
    monkeypatch.chdir(tmp_path)
    (session,) = _blocks(README, "python")
    names: dict[str, object] = {}
    exec(compile(session, "README.md", "exec"), names)
    assert "top-1 accuracy" in capsys.readouterr().out
    assert (tmp_path / "runs" / "photos" / "model.onnx").exists()
    assert list(names["stages"]) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]  # type: ignore[call-overload]


@pytest.mark.parametrize("command", _commands())
def test_every_command_line_is_understood(command: str) -> None:
    arguments = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    context = group.make_context("sightline", arguments, resilient_parsing=False)
    name, verb, rest = group.resolve_command(context, arguments)  # type: ignore[attr-defined]
    assert verb.make_context(name, rest, parent=context) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_linked_exists(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_settings_file_is_understood() -> None:
    (text,) = _blocks(ROOT / "docs" / "training.md", "toml")
    settings = from_mapping(tomllib.loads(text), Settings, source="docs/training.md")
    assert (settings.batch_size, settings.scale) == (64, (0.25, 1.0))


def test_the_files_of_a_bundle_are_named() -> None:
    from tests.recipes.test_run import FILES

    assert [name for name in FILES if name not in README.read_text("utf-8")] == []
