"""A network from what a user types; nothing else is ever imported."""

import ast
from pathlib import Path

import pytest
from torch import nn

import sightline.inspection
from sightline.errors import ConfigError
from sightline.inspection import inspect
from sightline.inspection.factory import make

MODULE = """
from torch import nn

def net():
    return nn.Linear(3, 2)

class Nets:
    small = nn.Identity

made = nn.Linear(3, 2)
def needs(width): ...
def wrong():
    return "net"
def broken():
    raise TypeError("inside")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_functions_and_classes_make_networks() -> None:
    assert isinstance(make("my_nets:net"), nn.Linear)
    assert isinstance(make("my_nets:Nets.small"), nn.Identity)
    assert inspect("my_nets:net", (3,)).parameters == 8


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("resnet18", r"^'resnet18' names no network\. Write package\.module:factory; .*create_model\('resnet18'\)\.$"),
        (":net", r"^':net' names no network\."),
        ("my_nets:", r"^'my_nets:' names no network\."),
        (
            "no_such:net",
            r"^no_such:net: No module named 'no_such'\. Start in the folder of the module, or install it\.$",
        ),
        (
            "my_nets:nett",
            r"^my_nets:nett: module 'my_nets' has no attribute 'nett'\. Name what makes the network in my_n",
        ),
        ("my_nets:made", r"^my_nets:made is Linear, not a callable that makes a network\.$"),
        ("my_nets:needs", r"^my_nets:needs cannot be called without arguments: needs\(\) missing 1 required"),
        ("my_nets:wrong", r"^my_nets:wrong made str, not a torch\.nn\.Module\.$"),
    ],
)
def test_what_makes_none_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(path)


def test_an_error_inside_a_factory_is_its_own() -> None:
    with pytest.raises(TypeError, match=r"^inside$"):
        make("my_nets:broken")


def test_only_what_a_user_types_is_imported() -> None:
    """Nothing that reads a file calls it: a bundle or a settings file can never name code."""
    root = Path(sightline.inspection.__file__).parents[1]
    callers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "sightline.inspection.factory"
    }
    assert callers == {"inspection/summary.py", "inspection/receptive_field.py", "cli/inspect.py"}
