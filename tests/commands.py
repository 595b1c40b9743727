"""The command `sightline`, each run in a process of its own that has torch imported already.

A process that imports everything anew takes seconds, several hundred times in these tests. Here a server imports once
and computes nothing, and a fork of it becomes the command: with its own folder, environment, files and exit code.
What the start itself promises (no torch for `--help`, signals) is tested with `python -m sightline`.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "sightline.cli.main",
        "sightline.recipes.run",
        "sightline.evaluation",
        "sightline.exporting",
        "sightline.inspection",
    ]
)
_LIMIT_S = 300


def run(*arguments: str | Path, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `sightline` with arguments to its end.

    Args:
        arguments: after the command's name.
        stdin: what it reads.
        cwd: where it runs; None for here.
    """
    command = ["sightline", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        process = _SERVER.Process(target=_become, args=(command, str(cwd or Path.cwd()), dict(os.environ), files))
        process.start()
        process.join(_LIMIT_S)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, _LIMIT_S)
        return subprocess.CompletedProcess(command, process.exitcode, files[1].read_text(), files[2].read_text())


def _become(command: list[str], cwd: str, environment: Mapping[str, str], files: list[Path]) -> None:
    """In the fork: the command."""
    from sightline.cli.main import main

    for descriptor, path in enumerate(files):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = command
    main()
