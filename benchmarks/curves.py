"""How long a recipe needs to an accuracy, over several seeds.

    python benchmarks/curves.py --recipe fast --data cifar10 [--seeds 0 1 2] [--epochs 8] [--set lr=0.5 mixup=0.2]
        [--goals 0.8 0.9 0.92 0.94] [--output runs/curves]

Runs `sightline train DATA --recipe NAME --seed SEED`, with any further flags of it as KEY=VALUE, and keeps every run,
history.csv and timing.csv among it, in a folder of its own. Finished runs are not repeated; one that was interrupted
begins again, since half a run has no time. Prints when the validation accuracy passes the goals at the end of an epoch:
in seconds of training steps alone, and in seconds from the first step, validation and saving included; the final test
accuracy of each run with its 95 % interval, mean and standard deviation over the seeds; and the curve.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GOALS = (0.80, 0.90, 0.92, 0.94)
NO_TRAINING = ("saving_s", "validation_s")  # columns of timing.csv
BAR = 40  # characters


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch.

    Args:
        training_s: seconds of training steps since the start.
        wall_s: seconds since the first step.
        accuracy: on the validation pictures.
    """

    training_s: float
    wall_s: float
    accuracy: float


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        seed: of everything random.
        epochs: in order.
        accuracy: on the test pictures.
        interval: around it, 95 %.
        command_s: seconds of the whole command, from start-up to report.
    """

    seed: int
    epochs: tuple[Epoch, ...]
    accuracy: float
    interval: tuple[float, float]
    command_s: float

    def first(self, goal: float) -> Epoch | None:
        """The first epoch whose accuracy is at least the goal."""
        return next((epoch for epoch in self.epochs if epoch.accuracy >= goal), None)


def train(folder: Path, data: str, flags: Sequence[str]) -> None:
    """Trains into a folder, unless it holds the finished run."""
    if (folder / "seconds.txt").exists():
        return
    if (folder / "run.json").exists():
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "sightline", "train", data, *flags, "--output", str(folder)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    (folder / "seconds.txt").write_text(f"{time.perf_counter() - began:.1f}\n")


def read(folder: Path, seed: int) -> Run:
    """A finished run's figures."""
    epochs: list[Epoch] = []
    training_s = wall_s = 0.0
    with (folder / "history.csv").open() as history, (folder / "timing.csv").open() as timing:
        for row, times in zip(csv.DictReader(history), csv.DictReader(timing), strict=True):
            laps = {name: float(text) for name, text in times.items() if name.endswith("_s") and name != "images_per_s"}
            wall_s += sum(laps.values())
            training_s += sum(seconds for name, seconds in laps.items() if name not in NO_TRAINING)
            if not row["val_accuracy"]:
                sys.exit(f"{folder} has no validation pictures: give --set val_fraction=0.1")
            epochs.append(Epoch(training_s, wall_s, float(row["val_accuracy"])))
    score = json.loads((folder / "metrics.json").read_text())["top1"]
    command_s = float((folder / "seconds.txt").read_text())
    return Run(seed, tuple(epochs), score["value"], (score["low"], score["high"]), command_s)


def table(runs: Sequence[Run], goals: Sequence[float]) -> str:
    """A row a seed, and their mean."""
    header = ["seed", *(f"s to {goal:.0%} (wall)" for goal in goals)]
    header += ["training s (wall)", "whole command s", "validation, best", "test accuracy"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for run in runs:
        times = [_seconds([run.first(goal)]) for goal in goals]
        best = max(epoch.accuracy for epoch in run.epochs)
        score = f"{run.accuracy:.2%} [{run.interval[0]:.2%}, {run.interval[1]:.2%}]"
        cells = [str(run.seed), *times, _seconds([run.epochs[-1]]), f"{run.command_s:.0f}", f"{best:.2%}", score]
        lines.append(f"| {' | '.join(cells)} |")
    times = [_seconds([run.first(goal) for run in runs]) for goal in goals]
    scores = [run.accuracy for run in runs]
    spread = f" ± {statistics.stdev(scores):.2%}" if len(runs) > 1 else ""
    best = statistics.mean(max(epoch.accuracy for epoch in run.epochs) for run in runs)
    cells = ["mean", *times, _seconds([run.epochs[-1] for run in runs])]
    cells += [f"{statistics.mean(run.command_s for run in runs):.0f}", f"{best:.2%}"]
    lines.append(f"| {' | '.join([*cells, f'{statistics.mean(scores):.2%}{spread}'])} |")
    return "\n".join(lines)


def _seconds(epochs: Sequence[Epoch | None]) -> str:
    """Mean seconds of training, and on the wall in brackets; how many got there where not all did."""
    there = [epoch for epoch in epochs if epoch is not None]
    if not there:
        return "never"
    training_s = statistics.mean(epoch.training_s for epoch in there)
    wall_s = statistics.mean(epoch.wall_s for epoch in there)
    share = "" if len(there) == len(epochs) else f", {len(there)} of {len(epochs)}"
    return f"{training_s:.1f} ({wall_s:.1f}{share})"


def curve(runs: Sequence[Run]) -> str:
    """Means over the seeds at the end of each epoch, with a bar from 0 to 100 %."""
    lines = []
    for number, epochs in enumerate(zip(*(run.epochs for run in runs), strict=False), start=1):
        accuracy = statistics.mean(epoch.accuracy for epoch in epochs)
        training_s = statistics.mean(epoch.training_s for epoch in epochs)
        lines.append(f"epoch {number:3} {training_s:8.1f} s {accuracy:7.2%} {'#' * round(BAR * accuracy)}")
    return "\n".join(lines)


def flags_of(recipe: str | None, epochs: int | None, more: Sequence[str]) -> list[str]:
    """The flags of `sightline train`; KEY=true and KEY=false are those without a value."""
    flags = [] if recipe is None else ["--recipe", recipe]
    if epochs is not None:
        flags += ["--epochs", str(epochs)]
    for each in more:
        key, equals, value = each.partition("=")
        if not equals:
            sys.exit(f"--set {each}: give KEY=VALUE, such as lr=0.5 or model_ema=true")
        key = key.replace("_", "-")
        if value in ("true", "false"):
            flags.append(f"--{key}" if value == "true" else f"--no-{key}")
        else:
            flags += [f"--{key}", *value.split(",")]
    return flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", help="of `sightline train`; default: what it chooses")
    parser.add_argument("--data", default="cifar10", help="a known set or a folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further flags; scale=0.3,1 for two")
    parser.add_argument("--goals", type=float, nargs="+", default=GOALS)
    parser.add_argument("--output", type=Path, default=Path("runs/curves"))
    args = parser.parse_args()

    flags = flags_of(args.recipe, args.epochs, args.set)
    words = [Path(args.data).name, *(word.removeprefix("--") for word in flags)]
    folder = args.output / "-".join(word.replace("/", "_") for word in words)
    runs = []
    for seed in args.seeds:
        train(folder / f"seed-{seed}", args.data, [*flags, "--seed", str(seed)])
        runs.append(read(folder / f"seed-{seed}", seed))
    print(f"sightline train {args.data} {' '.join(flags)}\n\n{table(runs, args.goals)}\n\n{curve(runs)}")
    (folder / "curve.md").write_text(f"{table(runs, args.goals)}\n\n```\n{curve(runs)}\n```\n")


if __name__ == "__main__":
    main()
