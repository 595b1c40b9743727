"""Kills training at random moments, resumes it, and compares the end with an undisturbed run, bit for bit.

    python benchmarks/kills.py [--kills 100] [--seed 0] [--jobs 2] [--only ema swa]

A configuration after the other, each with an undisturbed run of its own: `sightline train` on 1,500 pictures of
CIFAR-10, in a process of one thread, gets SIGKILL at a random moment (decoding, training, validation, calibration,
scoring and report alike; before the first file of the run there is nothing to lose), is resumed, and every third time
killed again on the way. Compared are the final weights, the last checkpoint (weights, averages, optimiser, sums), the
history, the test predictions and the record of the data. Exit code 1 on a difference, whose folder stays.
"""

import argparse
import filecmp
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

COMMON = [
    "--model", "simple_cnn", "--epochs", "6", "--batch-size", "64", "--checkpoint-every", "0.2", "--threads", "1",
]  # fmt: skip
CONFIGURATIONS = {  # what a resumed run has to find again, beside the weights and the optimiser
    "ema": ["--model-ema", "--model-ema-decay", "0.98"],
    "mixed": ["--mixup", "0.2", "--cutmix", "1", "--workers", "0"],
    "accumulated": ["--grad-accum-steps", "2", "--clip-grad", "1"],
    "workers": ["--workers", "2", "--aa", "rand-m9-n2", "--reprob", "0.25"],
    "head first": ["--head-epochs", "2", "--head-lr", "0.01"],
    "swa": ["--swa-epochs", "3"],
    "balanced": ["--sampler", "balanced"],
    "muon": ["--opt", "muon"],
    "patience": ["--patience", "1", "--opt", "sgd"],
    "mixed in workers": ["--cutmix", "1", "--workers", "2", "--grad-accum-steps", "2", "--model-ema"],
}
PER_CLASS = {"train": (60, 180), "val": (15, 15), "test": (15, 15)}  # pictures of the first and of the last class
SAME_FILES = ("model.safetensors", "history.csv", "predictions.csv", "data.lock.json")
STANDS = ("before the first checkpoint", "in training", "after training")
EARLY = 0.1  # share of the runs that are killed before their first checkpoint
LIMIT_S = 300  # a run takes seconds: one that takes this long hangs


@dataclass(frozen=True)
class Undisturbed:
    """A whole run of a configuration.

    Args:
        folder: its files.
        start_s: seconds from the start to its first file.
        before_s: seconds from its first file to its first checkpoint.
        after_s: seconds from there to the end.
    """

    folder: Path
    start_s: float
    before_s: float
    after_s: float


@dataclass(frozen=True)
class Trial:
    """A run that was killed, resumed and ended.

    Args:
        configuration: its name.
        stands: how far it had come at each kill, of `STANDS`.
        differences: the files in which its end is not the undisturbed run's.
        words: the same for people.
    """

    configuration: str
    stands: tuple[str, ...]
    differences: tuple[str, ...]
    words: str


def write_pictures(folder: Path) -> Path:
    """Some pictures of CIFAR-10 as a folder of PNG files: classes of different sizes, so that balancing matters."""
    from PIL import Image

    from sightline.data.sources import open_data

    catalog = open_data("cifar10")
    unused = {
        number: [i for i in catalog.select("train")[:6000].tolist() if catalog.labels[i] == number]
        for number in range(len(catalog.classes))
    }
    for split, (fewest, most) in PER_CLASS.items():
        for number, name in enumerate(catalog.classes):
            (folder / split / name).mkdir(parents=True)
            for _ in range(fewest + (most - fewest) * number // (len(catalog.classes) - 1)):
                index = unused[number].pop()
                Image.fromarray(catalog.images.read(index)).save(folder / split / name / f"{index:05d}.png")
    return folder


def start(data: Path, configuration: str, folder: Path) -> list[str]:
    """The command of a new run."""
    return train(str(data), *COMMON, *CONFIGURATIONS[configuration], "--output", str(folder))


def go_on(data: Path, configuration: str, folder: Path) -> list[str]:
    """The command that goes on with a run, or starts it again where it had written nothing to go on with."""
    if (folder / "run.json").exists():
        return train("--resume", str(folder))
    return start(data, configuration, folder)


def train(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sightline", "train", *arguments]


def run(command: list[str]) -> None:
    """Runs a command to its end."""
    with running(command) as process:
        process.wait(LIMIT_S)


def undisturbed(data: Path, configuration: str, folder: Path) -> Undisturbed:
    """Runs a configuration to its end and notes how long the parts of it take."""
    times = [time.perf_counter()]
    with running(start(data, configuration, folder)) as process:
        for name in ("run.json", "checkpoints/step-*.safetensors"):
            wait_for(process, lambda name=name: any(folder.glob(name)))
            times.append(time.perf_counter())
        process.wait(LIMIT_S)
        times.append(time.perf_counter())
    start_s, before_s, after_s = (later - earlier for earlier, later in itertools.pairwise(times))
    flags = " ".join(CONFIGURATIONS[configuration])
    print(f"undisturbed: {configuration} ({flags}), {times[-1] - times[0]:.1f} s", flush=True)
    return Undisturbed(folder, start_s, before_s, after_s)


def all_undisturbed(pool: Executor, names: Sequence[str], data: Path, folder: Path) -> dict[str, Undisturbed]:
    """The undisturbed runs of some configurations, as many at a time as the trials will be."""
    folders = [folder / name.replace(" ", "-") for name in names]
    return dict(zip(names, pool.map(undisturbed, [data] * len(names), names, folders), strict=True))


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Runs so many things at a time; after an error in the block, nothing more begins."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def kill(command: list[str], is_time: Callable[[], bool], seconds: float) -> bool:
    """Starts a command, waits until it is time and some seconds more, and kills it; whether it was still running."""
    with running(command) as process:
        wait_for(process, is_time)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Starts a command; at the end of the block it must have ended well, or by SIGKILL."""
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, text=True) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
        if process.returncode not in (0, -signal.SIGKILL):
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()}")


def wait_for(process: "subprocess.Popen[str]", is_time: Callable[[], bool]) -> None:
    """Waits until it is time, or the process has ended."""
    until = time.perf_counter() + LIMIT_S
    while process.poll() is None and not is_time():
        if time.perf_counter() > until:
            raise subprocess.TimeoutExpired(process.args, LIMIT_S)
        time.sleep(0.01)


def differences(one: Path, other: Path) -> tuple[str, ...]:
    """The files of two finished runs that are not the same, bit for bit."""
    found = [name for name in SAME_FILES if not filecmp.cmp(one / name, other / name, shallow=False)]
    if last_checkpoint(one) != last_checkpoint(other):
        found.append("checkpoints")
    return tuple(found)


def compared(command: list[str], folder: Path, whole: Path) -> tuple[tuple[str, ...], str]:
    """Brings a run to its end, compares it, and removes its folder where all is well; differences, and a verdict."""
    try:
        run(command)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return ("no end",), f"FAILED: {error}"
    found = differences(whole, folder)
    if found:
        return found, f"DIFFERS in {', '.join(found)}: {folder}"
    shutil.rmtree(folder)
    return (), "identical"


def last_checkpoint(folder: Path) -> tuple[str, str]:
    """The newest checkpoint's state and the SHA-256 over its weights, averages, optimiser state, sums and history."""
    with safe_open(checkpoints(folder)[-1], framework="pt") as file:
        metadata = file.metadata()
    return metadata["state"], metadata["sha256"]


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    return sorted((folder / "checkpoints").glob("step-*.safetensors"))


def where_it_stood(folder: Path) -> str:
    """How far an interrupted run had come, of `STANDS`."""
    if (folder / "config.json").exists():
        return STANDS[2]
    return STANDS[1] if checkpoints(folder) else STANDS[0]


def trial(number: int, kills: int, configuration: str, whole: Undisturbed, data: Path, *, seed: int) -> Trial:
    """Kills a run so many times, lets it end and compares it.

    Args:
        number: of the trial: with the seed it decides on the moments.
        kills: how often.
        configuration: its name.
        whole: the undisturbed run.
        data: the pictures.
        seed: of the moments.
    """
    moments = random.Random(f"{seed} {number}")
    folder = whole.folder.with_name(f"{whole.folder.name}-{number}")
    stands: list[str] = []
    steps: list[str] = []
    while len(stands) < kills:
        if moments.random() < EARLY and not stands:
            was_killed = kill(
                start(data, configuration, folder),
                lambda: (folder / "run.json").exists(),
                moments.uniform(0, whole.before_s),
            )
        else:
            known = checkpoints(folder)
            was_killed = kill(
                go_on(data, configuration, folder),
                lambda known=known: checkpoints(folder) != known or (folder / "config.json").exists(),
                moments.uniform(0, whole.after_s / (1 + len(stands))),  # the second time less is left
            )
        if was_killed:
            stands.append(where_it_stood(folder))
            steps.append(f"{stands[-1]} ({checkpoints(folder)[-1].stem})" if checkpoints(folder) else stands[-1])
        else:
            shutil.rmtree(folder)  # it had ended: again, from the start
            stands, steps = [], []
    found, verdict = compared(go_on(data, configuration, folder), folder, whole.folder)
    return Trial(configuration, tuple(stands), found, f"{configuration}: killed {' and '.join(steps)}: {verdict}")


def table(trials: Sequence[Trial]) -> str:
    """A row a configuration."""
    lines = [f"| configuration | runs | kills | {' | '.join(STANDS)} | bit-identical |", "|---" * 7 + "|"]
    for name in dict.fromkeys(trial.configuration for trial in trials):
        runs = [trial for trial in trials if trial.configuration == name]
        counts = Counter(stand for trial in runs for stand in trial.stands)
        identical = sum(not trial.differences for trial in runs)
        cells = [len(runs), counts.total(), *(counts[stand] for stand in STANDS), f"{identical} of {len(runs)}"]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def read_arguments(doc: str | None, count: str, default: int) -> argparse.Namespace:
    """The flags of a benchmark that interrupts runs; `count` names that of how often."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(count, type=int, default=default)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", nargs="+", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS), metavar="NAME")
    return parser.parse_args()


def main() -> None:
    args = read_arguments(__doc__, "--kills", 100)
    temporary = Path(tempfile.mkdtemp(prefix="sightline-kills-"))
    data = write_pictures(temporary / "pictures")
    began = time.perf_counter()
    with workers(args.jobs) as pool:
        wholes = all_undisturbed(pool, args.only, data, temporary)
        waiting, left = [], args.kills
        while left > 0:
            number = len(waiting)
            kills = min(left, 2 if number % 3 == 2 else 1)
            name = args.only[number % len(args.only)]
            waiting.append(pool.submit(trial, number, kills, name, wholes[name], data, seed=args.seed))
            left -= kills
        trials = []
        for each in waiting:
            trials.append(each.result())
            print(f"{len(trials)}/{len(waiting)} {trials[-1].words}", flush=True)
    wrong = sum(bool(trial.differences) for trial in trials)
    minutes = (time.perf_counter() - began) / 60
    print(
        f"\n{table(trials)}\n\n{args.kills} kills in {len(trials)} runs, {len(trials) - wrong} of them bit-identical, ",
        end="",
    )
    print(f"{minutes:.0f} min")
    if not wrong:
        shutil.rmtree(temporary)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
