"""Asks training to stop, by SIGTERM and by Ctrl-C, at random moments, and looks at what it leaves.

    python benchmarks/terms.py [--signals 50] [--seed 0] [--jobs 2]

Each trial starts `sightline train` on 1,500 pictures of CIFAR-10 (the configurations of `kills.py` in turn), sends
SIGTERM to the process or SIGINT to its whole group, as a terminal does, at a random moment of the whole command, and
asks for all of this:

- it ends within seconds, with 143 or 130; with 0 where the run was finished by then;
- it says so in a sentence, without a traceback (before Python has started the program, and when it has ended, Python
  itself speaks);
- none of its processes is left, no temporary file is, in its folder or in that of the system;
- resumed, it ends bit for bit as an undisturbed run.

Exit code 1 where one of them does not hold; the folder of such a run stays.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kills import (
    STANDS,
    Undisturbed,
    all_undisturbed,
    checkpoints,
    compared,
    go_on,
    read_arguments,
    start,
    wait_for,
    where_it_stood,
    workers,
    write_pictures,
)
from processes import of_session

EARLY = 0.3  # share of the signals that come at any moment from the start to the first checkpoint, the others later
MOST_S = 30  # a job manager waits about so long before it kills


@dataclass(frozen=True)
class Trial:
    """A run that was asked to stop.

    Args:
        signal: its name.
        stood: how far it had come.
        code: its exit code, as a shell gives it.
        stopped_s: seconds from the signal to the end.
        faults: what was not as it should be.
    """

    signal: str
    stood: str
    code: int
    stopped_s: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """A process after the signal.

    Args:
        code: its exit code, as Python gives it: minus the signal's number where the signal itself ended it.
        stopped_s: seconds from the signal to the end.
        orphans: those of its processes that are still there.
    """

    code: int
    stopped_s: float
    orphans: list[int]


def interrupt(
    command: list[str], which: signal.Signals, is_time: Callable[[], bool], seconds: float, system: Path, errors: Path
) -> Ended | None:
    """Starts a command, waits until it is time and some seconds more, and sends it a signal.

    Args:
        command: to start.
        which: SIGTERM goes to the process, SIGINT to its whole group.
        is_time: asked again and again.
        seconds: from then on.
        system: where the process finds the system's folder for temporary files.
        errors: takes what it says.

    Returns:
        How it ended; None where it had before the signal.
    """
    with errors.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(system)},
        )
        try:
            wait_for(process, is_time)
            process.wait(seconds)
        except subprocess.TimeoutExpired:  # still running
            (os.killpg if which == signal.SIGINT else os.kill)(process.pid, which)
        else:
            return None
        sent = time.perf_counter()
        try:
            process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # which is a fault: its exit code tells
            process.wait()
    return Ended(process.returncode, time.perf_counter() - sent, of_session(process.pid))


def trial(number: int, configuration: str, whole: Undisturbed, data: Path, *, seed: int) -> Trial:
    """Asks one run to stop.

    Args:
        number: of the trial: with the seed it decides on the moment, and it chooses the signal.
        configuration: its name.
        whole: the undisturbed run.
        data: the pictures.
        seed: of the moment.
    """
    moments = random.Random(f"{seed} {number}")
    folder = whole.folder.with_name(f"{whole.folder.name}-{number}")
    system, errors = folder.with_suffix(".tmp"), folder.with_suffix(".err")
    which = signal.SIGTERM if number % 2 == 0 else signal.SIGINT
    ended = None
    while ended is None:  # where the run was faster than the signal, again
        for earlier in (folder, system):
            shutil.rmtree(earlier, ignore_errors=True)
        system.mkdir()
        is_early = moments.random() < EARLY
        ended = interrupt(
            start(data, configuration, folder),
            which,
            lambda is_early=is_early: is_early or any(checkpoints(folder)),
            moments.uniform(0, whole.start_s + whole.before_s if is_early else whole.after_s),
            system,
            errors,
        )
    stood = where_it_stood(folder)
    faults = list(faults_of(ended, which, folder, errors.read_text()))
    of_ours = (path for path in system.iterdir() if not path.name.startswith("torchinductor_"))  # torch's own cache
    if left := [*folder.rglob(".sightline-unfinished-*"), *of_ours]:
        faults.append(f"files left: {', '.join(map(str, left))}")
    different, verdict = compared(go_on(data, configuration, folder), folder, whole.folder)
    if different:
        faults.append(verdict)
    if not faults:
        shutil.rmtree(system)
        errors.unlink()
    code = ended.code if ended.code >= 0 else 128 - ended.code
    return Trial(which.name, stood, code, ended.stopped_s, tuple(faults))


def faults_of(ended: Ended, which: signal.Signals, folder: Path, said: str) -> Iterator[str]:
    """What is wrong about how a process ended, before anything is done about its run."""
    is_finished, has_begun = (folder / "report.html").exists(), (folder / "run.json").exists()
    by_python = ended.code == -which and (not has_begun or is_finished)  # nobody asks for the signal yet, or any more
    if not (ended.code == 128 + which or by_python or (ended.code == 0 and is_finished)):
        yield f"exit code {ended.code}"
    if ended.code == 128 + which and which.name not in said:
        yield f"no word of the signal:\n{said}"
    if "Traceback" in said and not by_python:
        yield f"a traceback:\n{said}"
    if ended.orphans:
        yield f"processes left: {ended.orphans}"


def table(trials: Sequence[Trial]) -> str:
    """A row a signal and a stage of the run."""
    lines = ["| signal | moment | runs | exit codes | longest to stop | all well |", "|---" * 6 + "|"]
    for name in ("SIGTERM", "SIGINT"):
        for stood in STANDS:
            here = [trial for trial in trials if (trial.signal, trial.stood) == (name, stood)]
            if not here:
                continue
            codes = ", ".join(map(str, sorted({trial.code for trial in here})))
            longest_s = max(trial.stopped_s for trial in here)
            well = sum(not trial.faults for trial in here)
            lines.append(f"| {name} | {stood} | {len(here)} | {codes} | {longest_s:.1f} s | {well} of {len(here)} |")
    return "\n".join(lines)


def main() -> None:
    args = read_arguments(__doc__, "--signals", 50)
    temporary = Path(tempfile.mkdtemp(prefix="sightline-terms-"))
    data = write_pictures(temporary / "pictures")
    with workers(args.jobs) as pool:
        wholes = all_undisturbed(pool, args.only, data, temporary)
        waiting = []
        for number in range(args.signals):
            name = args.only[number // 2 % len(args.only)]  # each with both signals
            waiting.append((name, pool.submit(trial, number, name, wholes[name], data, seed=args.seed)))
        trials = []
        for name, each in waiting:
            trials.append(found := each.result())
            verdict = "; ".join(found.faults) or "well"
            print(
                f"{len(trials)}/{len(waiting)} {name}: {found.signal} {found.stood}, exit code {found.code} after "
                f"{found.stopped_s:.1f} s: {verdict}",
                flush=True,
            )
    wrong = sum(bool(trial.faults) for trial in trials)
    print(f"\n{table(trials)}\n\n{len(trials) - wrong} of {len(trials)} stopped and went on as they should")
    if not wrong:
        shutil.rmtree(temporary)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
