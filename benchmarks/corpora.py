"""Reads odd, broken and hostile pictures, and asks that each is used or refused with a reason.

    python benchmarks/corpora.py [FOLDER] [--fuzz 10000] [--seed 0] [--jobs 2]

With a folder: every file in it goes through `decode` and `read_header`, in a process of 3 GB whose clock is watched;
then a folder of two classes is made of the same files, and `sightline train` and `sightline predict` run on it. Such
files come with the tests of image libraries; none are part of this project.

With --fuzz: so many damaged pictures of each of six formats (`mutations.py`) are decoded in the same way.

Exit code 1 where a picture hangs, ends the process, raises anything but `BadImage`, is refused without a reason, has
another shape than its header says or makes a library print, and where a command ends with a traceback or the files used
and the files refused are not all the files.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import FORMATS, mutant
from watchdog import Outcome, Task, outcomes

from sightline.data.decode import SUFFIXES

RUN = ("--model", "simple_cnn", "--recipe", "textbook", "--epochs", "1", "--img-size", "32", "--device", "cpu")
LIMIT_S = 1800
BATCH = 5000  # damaged pictures of a process


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(path: Path) -> Path:
    return path


def report(title: str, names: Sequence[str], found: Iterable[Outcome]) -> int:
    """Prints what became of pictures; the number of faults."""
    began, counts, faults = time.perf_counter(), Counter[tuple[str, str]](), 0
    slowest, most = (0.0, ""), 0
    for name, outcome in zip(names, found, strict=True):
        counts[outcome.format or "no header", _kind(outcome.reason)] += 1
        slowest = max(slowest, (outcome.seconds, name))
        most = max(most, outcome.peak_bytes)
        if outcome.fault:
            faults += 1
            print(f"FAULT {name}: {outcome.fault}", flush=True)
    print(f"\n{title}\n\n| by its header | what became of it | files |\n|---|---|---|")
    for (format, kind), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"| {format} | {kind} | {count:,} |")
    decoded = sum(count for (_, kind), count in counts.items() if kind == "decoded")
    print(
        f"\n{len(names):,} pictures in {time.perf_counter() - began:.0f} s: {decoded:,} decoded, "
        f"{len(names) - decoded:,} refused, {faults} faults; the slowest {slowest[0]:.2f} s ({slowest[1]}), "
        f"the most memory {most / 1e6:.0f} MB\n",
        flush=True,
    )
    return faults


def _kind(reason: str) -> str:
    """A reason without its numbers and names, for a table."""
    return re.sub(r"[\d,]*\d", "n", re.sub(r"b?'[^']*'|\"[^\"]*\"", "'...'", reason)).replace("|", "/") or "decoded"


# ------------------------------------------------------------------------------------------------------------- fuzzing


def fuzz(format: str, count: int, seed: int) -> Iterator[Outcome]:
    """Decodes damaged pictures of a format."""
    for start in range(0, count, BATCH):
        yield from outcomes([(mutant, (seed, format, number)) for number in range(start, min(start + BATCH, count))])


def fuzz_all(count: int, seed: int, jobs: int) -> int:
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda format: list(fuzz(format, count, seed)), FORMATS)
        return sum(
            report(f"{count:,} damaged {format}", [f"{format} {number}" for number in range(count)], each)
            for format, each in zip(FORMATS, found, strict=True)  # each as soon as it is through
        )


# ------------------------------------------------------------------------------------------------------------ commands


def class_folders(files: Sequence[Path], folder: Path) -> None:
    """Two classes of links to the files; one without the name of a picture gets one, so that it is tried, too."""
    for number, path in enumerate(files):
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
        link = folder / ("even", "odd")[number % 2] / f"{number:05d}{suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())


def run(*arguments: str) -> tuple[int, str, str]:
    """A command's exit code, what it prints and what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "sightline", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "COLUMNS": "200"},
    )
    return ended.returncode, ended.stdout, ended.stderr


def try_commands(files: Sequence[Path]) -> int:
    """Trains on the files and predicts them; the number of faults."""
    faults = 0

    def expect(holds: bool, what: str) -> None:
        nonlocal faults
        faults += not holds
        print(f"{'well' if holds else 'FAULT'}: {what}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        data, bundle, short = (Path(temporary) / name for name in ("files", "bundle", "smoke"))
        class_folders(files, data)
        for output, more in ((short, ["--smoke"]), (bundle, RUN)):
            code, said, errors = run("train", str(data), "--skip-bad", *more, "--output", str(output))
            told = f"train --skip-bad {' '.join(more)}"
            expect(code == 0 and "Traceback" not in said + errors, f"{told} ends with {code}{_tail(errors, code)}")
            if code:
                continue
            lock = json.loads((output / "data.lock.json").read_text())
            used, refused = len(lock["files"]), len(lock["skipped"])
            expect(all(row["reason"].strip() for row in lock["skipped"]), f"its {refused:,} refusals have reasons")
            if output == bundle:
                expect(used + refused == len(files), f"{used:,} used + {refused:,} refused of {len(files):,} files")
        if (bundle / "config.json").exists():
            code, said, errors = run("predict", str(bundle), str(data), "--json", "--device", "cpu")
            expect(code in (0, 1) and "Traceback" not in errors, f"predict ends with {code}{_tail(errors, code > 1)}")
            answered = json.loads(said)
            counts = len(answered["predictions"]), len(answered["refused"])
            expect(sum(counts) == len(files), f"{counts[0]:,} answered + {counts[1]:,} refused of {len(files):,} files")
            expect(all(row["reason"].strip() for row in answered["refused"]), "every refusal has a reason")
    return faults


def _tail(errors: str, is_wrong: bool | int) -> str:
    return f":\n{errors[-2000:]}" if is_wrong else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of picture files of every kind")
    parser.add_argument("--fuzz", type=int, default=0, help="damaged pictures of each format")
    parser.add_argument("--seed", type=int, default=0, help="of the damages")
    parser.add_argument("--jobs", type=int, default=2, help="formats at a time")
    args = parser.parse_args()
    if args.folder is None and not args.fuzz:
        parser.error("give a folder, or --fuzz, or both")

    faults = 0
    if args.folder is not None:
        files = files_below(args.folder)
        if not files:
            parser.error(f"{args.folder} holds no files")
        tasks: list[Task] = [(same, (path,)) for path in files]
        faults += report(str(args.folder), [str(path) for path in files], outcomes(tasks))
        faults += try_commands(files)
    if args.fuzz:
        faults += fuzz_all(args.fuzz, args.seed, args.jobs)
    print(f"{faults} faults")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
