"""Our training against Keras, PyTorch Lightning, fastai and the loop of the guides, interleaved, on the CPU.

    make bench-peers                                    or, in environments of your own,
    python benchmarks/peers.py [NAME ...] [--network simple_cnn] [--epochs 6] [--rounds 3]
        --keras-python .venv-peers/bin/python --torch-python .venv-peers-torch/bin/python

The same network with the same first weights (each contender proves it by its logits), the same pictures of CIFAR-10,
flip and crop, batch, AdamW, cosine and number of epochs. Each trains in a process of its own, in turn, round after
round, tests after every epoch, and is otherwise left as its guide sets it up: float32 with all of them but ours, which
chooses bfloat16 where the machine has it. A name with -bf16 or -float32 behind it asks for that.

Prints medians over the rounds: training pictures a second (of the epochs after the first, which compile and start
workers), seconds of training until the test accuracy passes what all of them reach, interpolated between epochs, and
the peak memory of all processes. Ratios are taken within a round. Finished runs are kept in --output, and not repeated.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_task import PICTURES, WEIGHTS, Task
from processes import PeakMemory

HERE = Path(__file__).parent
CROP_PADDING = 4
PROBES = 16


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Args:
        script: trains.
        python: whose environment it needs: "ours", "torch" or "keras".
        backend: of Keras.
    """

    script: str
    python: str
    backend: str = ""


CONTENDERS = {
    "ours": Contender("peer_ours.py", "ours"),
    "plain": Contender("peer_plain.py", "torch"),
    "lightning": Contender("peer_lightning.py", "torch"),
    "fastai": Contender("peer_fastai.py", "torch"),
    "keras-tensorflow": Contender("peer_keras.py", "keras", "tensorflow"),
    "keras-jax": Contender("peer_keras.py", "keras", "jax"),
    "keras-torch": Contender("peer_keras.py", "keras", "torch"),
}
PRECISIONS = {"bf16": "bfloat16", "float32": "float32"}
RECIPES = {"simple_cnn": {"lr": 1e-3, "weight_decay": 1e-4}, "resnet20": {"lr": 1e-3, "weight_decay": 1e-4}}


def prepare(folder: Path, args: argparse.Namespace, seed: int) -> Task:
    """Writes the pictures, the first weights and the task of a round."""
    import torch

    from sightline.data.preprocess import Preprocess
    from sightline.data.sources import open_data
    from sightline.models.zoo import build

    catalog = open_data("cifar10")
    chosen = {
        "train": catalog.select("train")[: args.train_pictures],
        "test": catalog.select("test")[: args.test_pictures],
    }
    arrays = {}
    for split, indices in chosen.items():
        arrays[f"{split}_images"] = catalog.images.pixels[indices]  # type: ignore[attr-defined]
        arrays[f"{split}_labels"] = catalog.labels[indices]
    mean, std = (getattr(arrays["train_images"], name)((0, 1, 2)) / 255 for name in ("mean", "std"))
    torch.manual_seed(seed)
    net = build(args.network, num_classes=len(catalog.classes), in_channels=catalog.channels)
    task = Task(
        network=args.network,
        epochs=args.epochs,
        batch_size=args.batch_size,
        **RECIPES[args.network],
        crop_padding=CROP_PADDING,
        seed=seed,
        mean=tuple(mean.round(4).tolist()),
        std=tuple(std.round(4).tolist()),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
    )
    probe = Preprocess((catalog.channels, *catalog.typical_size), task.mean, task.std).tensor(
        arrays["test_images"][:PROBES]
    )
    with torch.inference_mode():
        logits = net.eval()(probe)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / PICTURES, **arrays)
    np.savez(folder / WEIGHTS, **weights, probe=probe.contiguous().numpy(), logits=logits.numpy())
    task.write(folder)
    return task


def measure(name: str, task: Task, folder: Path, pythons: dict[str, str]) -> dict[str, Any]:
    """One contender's run of a round, in a process of its own; taken from the folder where it is there already."""
    path = folder / f"{name}.json"
    if path.exists() and (found := json.loads(path.read_text()))["task"] == asdict(task):
        return found
    contender, precision = entered(name)
    command = [pythons[contender.python], str(HERE / contender.script), str(folder)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": contender.backend or "tensorflow"}
    environment.pop("OMP_NUM_THREADS", None)  # all cores for all of them
    errors = (folder / f"{name}.err").open("w+")
    with (
        errors,
        subprocess.Popen(
            [*command, *(["--precision", precision] if precision else [])],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        with PeakMemory(process.pid) as memory:
            output, _ = process.communicate()
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{name} failed:\n{errors.read()}")
    found = {"task": asdict(task), "peak_memory_mb": memory.mb, **json.loads(output.splitlines()[-1])}
    path.write_text(json.dumps(found, indent=1))
    return found


def entered(name: str) -> tuple[Contender, str | None]:
    """Who a name is, and the precision that it asks for."""
    known, _, precision = name.rpartition("-") if name not in CONTENDERS else (name, "", "")
    return CONTENDERS[known], PRECISIONS[precision] if precision else None


def known_name(text: str) -> str:
    """A name as `entered` takes it."""
    try:
        entered(text)
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(CONTENDERS)}, nor one of them with -bf16 or -float32 behind it"
        ) from None
    return text


def images_per_s(result: dict[str, Any]) -> float:
    """Training pictures a second, the median of the epochs after the first."""
    epochs = result["epochs"]
    return statistics.median(each["pictures"] / each["train_s"] for each in epochs[1:] or epochs)


def seconds_to(result: dict[str, Any], accuracy: float) -> float | None:
    """Seconds of training until the test accuracy passes a goal, on straight lines between the epochs' ends.

    Before the first epoch's end nothing is known: a goal that it passes has its time.
    """
    elapsed, before = 0.0, None
    for each in result["epochs"]:
        began, elapsed = elapsed, elapsed + each["train_s"]
        reached = each["test_accuracy"]
        if reached >= accuracy:
            if before is None:
                return elapsed
            return began + (elapsed - began) * (accuracy - before) / (reached - before)
        before = reached
    return None


def summary(rounds: dict[str, list[dict[str, Any]]], goals: list[float]) -> str:
    """A row a contender; ratios to the first one, the median of those within a round."""
    shared = min(max(each["test_accuracy"] for each in run["epochs"]) for runs in rounds.values() for run in runs)
    goals = [*goals, int(shared * 1000) / 1000]  # what each of them reached in each round
    first = next(iter(rounds))
    header = ["contender", "images/s", f"{first} is", *(f"s to {goal:.1%}" for goal in goals)]
    header += [f"{first} takes", "test accuracy at the end", "memory"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, runs in rounds.items():
        rates = statistics.median(map(images_per_s, runs))
        pairs = list(zip(rounds[first], runs, strict=True))
        faster = statistics.median(images_per_s(a) / images_per_s(b) for a, b in pairs)
        sooner = statistics.median(seconds_to(a, goals[-1]) / seconds_to(b, goals[-1]) for a, b in pairs)
        cells = [name, f"{rates:,.0f}", f"{faster:.2f}x as fast"]
        for goal in goals:
            times = [seconds_to(run, goal) for run in runs]
            cells.append("never" if None in times else f"{statistics.median(times):,.1f}")
        last = [run["epochs"][-1]["test_accuracy"] for run in runs]
        cells += [f"{sooner:.2f} of its time", f"{statistics.median(last):.1%} [{min(last):.1%}, {max(last):.1%}]"]
        cells.append(f"{statistics.median(run['peak_memory_mb'] for run in runs):,.0f} MB")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", type=known_name, help="default: all whose environment is given")
    parser.add_argument("--network", choices=list(RECIPES), default="simple_cnn")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--goals", type=float, nargs="*", default=[], help="test accuracies, such as 0.5 0.6")
    parser.add_argument("--train-pictures", type=int, help="the first so many alone, to try this script")
    parser.add_argument("--test-pictures", type=int, help="likewise")
    parser.add_argument("--keras-python", help="python of an environment with Keras, TensorFlow, JAX and torch")
    parser.add_argument("--torch-python", help="python of an environment with torchvision, Lightning, fastai and ours")
    parser.add_argument("--output", type=Path, default=Path("runs/peers"))
    args = parser.parse_args()
    pythons = {"ours": sys.executable, "torch": args.torch_python, "keras": args.keras_python}
    names = args.names or [name for name, contender in CONTENDERS.items() if pythons[contender.python]]
    if lacking := [name for name in names if not pythons[entered(name)[0].python]]:
        parser.error(f"{', '.join(lacking)}: give the environment, --torch-python or --keras-python")

    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(args.rounds):
        folder = args.output / f"{args.network}-{number}"
        task = prepare(folder, args, seed=number)
        for name in names:
            found = measure(name, task, folder, pythons)
            rounds[name].append(found)
            last = found["epochs"][-1]["test_accuracy"]
            print(f"round {number + 1} {name:18} {images_per_s(found):7,.0f} images/s, test {last:.1%}", flush=True)
    print()
    print(*(f"{name}: {runs[-1]['versions']}" for name, runs in rounds.items()), sep="\n")
    print(f"\n{summary(rounds, args.goals)}")


if __name__ == "__main__":
    main()
