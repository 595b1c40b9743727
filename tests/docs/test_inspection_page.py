"""What docs/inspection.md shows is what the commands and the code print."""

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "inspection.md"
EXAMPLES = re.findall(
    r"^```(bash|python)\n(.*?)^```\n\n```text\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
)
NAMES: dict[str, object] = {}  # the page is one session: each example goes on from those before it


def printed(language: str, code: str) -> str:
    """What the example prints, without the blanks at the ends of lines."""
    if language == "bash":
        done = CliRunner().invoke(app, shlex.split(code)[1:], catch_exceptions=False)
        text = done.stdout
    else:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, str(PAGE), "exec"), NAMES)
        text = out.getvalue()
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize(("language", "code", "expected"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_page_shows_what_is_printed(language: str, code: str, expected: str) -> None:
    assert printed(language, code) == expected


def test_every_example_has_its_output() -> None:
    page = PAGE.read_text("utf-8")
    assert len(EXAMPLES) == len(re.findall(r"^```(?:bash|python)$", page, flags=re.MULTILINE)) == 6


def test_every_rule_of_the_linter_is_explained() -> None:
    from sightline.inspection.linter import RULES

    rows = re.findall(r"^\| ([a-z-]+) \|", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert [row for row in rows if "-" in row or row == "untrainable"][-9:] == [
        rule.__name__.replace("_", "-") for rule in RULES
    ]
