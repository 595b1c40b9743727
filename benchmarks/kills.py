"""Kills training at random moments, resumes it, and compares the end with an undisturbed run, bit for bit.

    python benchmarks/kills.py [--kills 30] [--seed 0]

Each trial starts the same `sightline train cifar10 ...`, sends SIGKILL after a random part of the undisturbed run's
time (start-up, decoding, training, validation, evaluation and report alike), resumes, and compares the final weights,
the last checkpoint (weights, EMA, optimiser, sums), the history and the test predictions. Exit code 1 on a difference.
"""

import argparse
import filecmp
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors import safe_open

FLAGS = [
    "--model", "simple_cnn", "--epochs", "2", "--batch-size", "128", "--model-ema", "--val-fraction", "0.8",
    "--checkpoint-every", "0.5", "--threads", "1",
]  # fmt: skip
SAME_FILES = ("model.safetensors", "history.csv", "predictions.csv", "data.lock.json")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sightline", "train", *arguments]


def start(folder: Path) -> list[str]:
    return command("cifar10", *FLAGS, "--output", str(folder))


def run(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")


def kill_after(arguments: list[str], seconds: float) -> bool:
    """Starts a command and kills it; whether it was still running by then."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def differences(one: Path, other: Path) -> list[str]:
    """The files of two finished runs that are not the same, bit for bit."""
    found = [name for name in SAME_FILES if not filecmp.cmp(one / name, other / name, shallow=False)]
    if last_checkpoint(one) != last_checkpoint(other):
        found.append("checkpoints")
    return found


def last_checkpoint(folder: Path) -> tuple[str, str]:
    """The newest checkpoint's state and the SHA-256 over its weights, EMA, optimiser state, sums and history."""
    with safe_open(sorted((folder / "checkpoints").glob("step-*"))[-1], framework="pt") as file:
        metadata = file.metadata()
    return metadata["state"], metadata["sha256"]


def where_it_stood(folder: Path) -> str:
    """How far a killed run had come."""
    checkpoints = sorted((folder / "checkpoints").glob("step-*")) if folder.exists() else []
    if (folder / "report.html").exists():
        return "finished"
    if (folder / "config.json").exists():
        return "after training"
    if checkpoints:
        return checkpoints[-1].stem
    return "before the first checkpoint" if (folder / "run.json").exists() else "before run.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    moments = random.Random(args.seed)

    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        began = time.perf_counter()
        run(start(whole))
        duration = time.perf_counter() - began
        print(f"undisturbed run: {duration:.1f} s, {' '.join(FLAGS)}", flush=True)
        identical = kills = 0
        while kills < args.kills:
            folder = Path(temporary, f"run-{kills}")
            after = moments.uniform(0, duration)
            if not kill_after(start(folder), after):
                shutil.rmtree(folder)  # it had ended: no kill
                continue
            kills += 1
            stood = where_it_stood(folder)
            run(command("--resume", str(folder)) if stood != "before run.json" else start(folder))
            found = differences(whole, folder)
            identical += not found
            verdict = f"DIFFERS: {', '.join(found)}" if found else "identical"
            print(f"kill {kills:2} after {after:5.1f} s ({stood}): {verdict}", flush=True)
            shutil.rmtree(folder)
    print(f"{identical}/{kills} bit-identical")
    sys.exit(identical != kills)


if __name__ == "__main__":
    main()
