"""What docs/losses.md shows is what its code prints, and its flags are flags."""

import io
import re
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path

import pytest

from sightline.recipes.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
NAMES: dict[str, object] = {}  # the page is one session: each example goes on from those before it


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """What the examples print, run in order."""
    printed = []
    for code, _ in EXAMPLES:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, "docs/losses.md", "exec"), NAMES)
        printed.append(out.getvalue())
    return printed


def test_the_page_shows_what_is_printed(outputs: list[str]) -> None:
    assert outputs == [expected for _, expected in EXAMPLES]
    assert len(EXAMPLES) == PAGE.count("```python") == 3


def test_every_flag_of_the_page_is_one() -> None:
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", PAGE)}
    assert len(flags) > 10
    assert flags <= {field.name for field in fields(Settings)}
