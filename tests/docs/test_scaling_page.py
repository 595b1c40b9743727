"""docs/scaling.md: its commands have flags that exist, its code runs, its numbers are the code's."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from torch.distributed.run import get_args_parser

from sightline.cli.main import app
from sightline.training.distributed import TIMEOUT
from sightline.training.sync_norm import FEWEST_PICTURES

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")
COMMANDS = [block.strip() for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_torchrun_and_train_know_the_flags(command: str) -> None:
    program, *words = shlex.split(command)
    assert program == "torchrun"
    args = get_args_parser().parse_args(words)
    assert (args.module, args.training_script, args.training_script_args[0]) == (True, "sightline", "train")
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    known = {flag for parameter in train.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in args.training_script_args if word.startswith("--")} <= known


def test_the_code_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    exec(code, {})
    assert capsys.readouterr().out == "tensor(5)\n"


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"the others wait for {TIMEOUT.total_seconds() / 60:.0f} minutes" in PAGE
    assert f"under {FEWEST_PICTURES} at a time" in PAGE
