"""The claim of the guides, and how long the default recipe needs for the same accuracy.

    python benchmarks/claim.py [--seeds 3] [--output runs/claim]

Claimed: `simple_cnn` on CIFAR-10 with AdamW 1e-3, weight decay 1e-4, cosine, 30 epochs, flip and crop reaches 80-82 %.
Trains it with several seeds, then the default recipe once, and times the textbook loop's epochs in the same run. Runs
that are in the output folder already are not repeated. An hour on two cores.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

from textbook_loop import run as textbook

TEXTBOOK = [
    "--model", "simple_cnn", "--epochs", "30", "-b", "128", "--opt", "adamw", "--lr", "1e-3", "--weight-decay", "1e-4",
    "--sched", "cosine", "--smoothing", "0", "--crop-padding", "4", "--val-fraction", "0.02",
]  # fmt: skip
TEXTBOOK_EPOCHS, TRAINING_PICTURES = 30, 50_000


def train(folder: Path, flags: list[str]) -> float:
    """Trains on CIFAR-10 unless the folder holds the run; returns the test accuracy."""
    if not (folder / "report.html").exists():
        command = [sys.executable, "-m", "sightline", "train", "cifar10", *flags, "--output", str(folder)]
        subprocess.run(command, check=True)
    accuracy: float = json.loads((folder / "metrics.json").read_text())["top1"]["value"]
    return accuracy


def seconds_to(folder: Path, accuracy: float) -> float | None:
    """Training, saving and validation until the first epoch whose validation accuracy is at least this."""
    elapsed = 0.0
    with (folder / "history.csv").open() as history, (folder / "timing.csv").open() as timing:
        for row, times in zip(csv.DictReader(history), csv.DictReader(timing), strict=True):
            elapsed += sum(
                float(value) for name, value in times.items() if name.endswith("_s") and name != "images_per_s"
            )
            if float(row["val_accuracy"]) >= accuracy:
                return elapsed
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/claim"))
    args = parser.parse_args()
    scores = [train(args.output / f"textbook-{s}", [*TEXTBOOK, "--seed", str(s)]) for s in range(args.seeds)]
    default = train(args.output / "default", [])
    rates = [textbook("cifar10", epochs=1, max_steps=160, warmup_steps=10).images_per_s for _ in range(3)]
    loop_s = TEXTBOOK_EPOCHS * TRAINING_PICTURES / statistics.median(rates)

    print(f"the guides' recipe, test accuracy: {', '.join(f'{score:.1%}' for score in scores)} (claimed: 80-82 %)")
    print(f"the textbook loop: {statistics.median(rates):,.0f} images/s, so {loop_s:,.0f} s for its 30 epochs")
    print(f"the default recipe, test accuracy: {default:.1%}")
    for goal in (statistics.mean(scores), 0.80, 0.82):
        needed = seconds_to(args.output / "default", goal)
        if needed is not None:
            print(
                f"  validation accuracy {goal:.1%} after {needed:.0f} s, "
                f"1/{loop_s / needed:.0f} of the textbook loop's time"
            )


if __name__ == "__main__":
    main()
