"""Our training against the loop of the guides and against Keras, interleaved in one run on one machine.

    python benchmarks/training.py [--dataset cifar10] [--rounds 3] [--steps 200] [--keras .venv-peers/bin/python]

The same network (`simple_cnn`), batch 128, flip and 4 px crop, AdamW. Each contender runs in a process of its own, in
turn, round after round; the figures are medians. Prints images a second and ratios, the time of each stage of our step,
achieved GFLOP/s beside the measured peak of this machine, and peak memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 128
WARMUP_STEPS = 10
HERE = Path(__file__).parent


def ours(dataset: str, steps: int) -> dict[str, Any]:
    """Our loop, as `sightline train` runs it, for about as many steps."""
    from sightline.runtime import choose_runtime  # before torch allocates anything

    runtime = choose_runtime()
    import torch

    from sightline.data.augment import Augment
    from sightline.data.loader import TrainLoader
    from sightline.data.preprocess import Preprocess
    from sightline.data.sources import open_data
    from sightline.data.store import Store
    from sightline.models.zoo import build
    from sightline.training.events import EpochDone, StepDone
    from sightline.training.loop import fit
    from sightline.training.options import TrainOptions
    from sightline.training.state import Checkpoints

    class Watch:
        """Forgets the first steps; keeps the laps of the rest."""

        def __init__(self) -> None:
            self.events: list[EpochDone] = []

        def step_done(self, event: StepDone) -> None:
            """Nothing: the laps come with the epoch."""

        def epoch_done(self, event: EpochDone) -> None:
            self.events.append(event)

    catalog = open_data(dataset)
    preprocess = Preprocess(
        (catalog.channels, *catalog.typical_size), (0.5,) * catalog.channels, (0.25,) * catalog.channels
    )
    indices = catalog.select("train")
    stores = [
        Store.build(catalog, part, preprocess=preprocess, keep_margin=None, threads=2, skip_bad=False)[0]
        for part in (indices[: WARMUP_STEPS * BATCH_SIZE], indices[: steps * BATCH_SIZE])
    ]
    torch.manual_seed(0)
    net = build("simple_cnn", num_classes=len(catalog.classes), in_channels=catalog.channels)
    options = TrainOptions(epochs=1, batch_size=BATCH_SIZE, lr=1e-3, weight_decay=1e-4)
    watch = Watch()
    for store in stores:  # the first is the warm-up
        loader = TrainLoader(store, preprocess, Augment(hflip=0.5, crop_padding=4), batch_size=BATCH_SIZE, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            fit(
                net,
                loader,
                options,
                runtime=runtime,
                checkpoints=Checkpoints(Path(folder), identity={}, every_s=30.0),
                listener=watch,
            )
    event = watch.events[-1]
    per_step = {name: 1000 * s / loader.steps_per_epoch for name, s in event.laps_s.items()}
    return {
        "images_per_s": event.images_per_s,
        "ms_per_step": per_step,
        "peak_memory_mb": _peak_memory_mb(),
        **_loading(loader),
    }


def _loading(loader: Any) -> dict[str, Any]:
    """The data's share taken apart: gathering and augmenting pictures, and normalising them."""
    import torch

    rows = torch.arange(BATCH_SIZE)
    pictures = loader.augment.batch(loader.store, rows, seed=0, epoch=0)
    timed = {
        "load": lambda: loader.store.take(rows),
        "load + augment": lambda: loader.augment.batch(loader.store, rows, seed=0, epoch=0),
        "normalise": lambda: loader.preprocess.tensor(pictures),
    }
    return {"data_ms": {name: 1000 * _median_s(call) for name, call in timed.items()}}


def textbook(dataset: str, steps: int) -> dict[str, Any]:
    """The guides' loop."""
    sys.path.insert(0, str(HERE))
    from textbook_loop import run

    result = run(dataset, epochs=1, max_steps=steps, warmup_steps=WARMUP_STEPS)
    return {"images_per_s": result.images_per_s, "peak_memory_mb": result.peak_memory_mb}


def peak(dataset: str, steps: int) -> dict[str, Any]:
    """The most GFLOP/s that this machine gives in matrix products and convolutions, in bfloat16 and float32."""
    from sightline.runtime import choose_runtime

    choose_runtime()
    import torch

    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        a = torch.randn(2048, 2048, dtype=dtype)
        x = torch.randn(64, 64, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
        conv = torch.nn.Conv2d(64, 128, 3, padding=1, bias=False, dtype=dtype).to(memory_format=torch.channels_last)
        name = str(dtype).removeprefix("torch.")
        with torch.no_grad():
            found[f"matmul {name}"] = 2 * 2048**3 / _median_s(lambda a=a: a @ a) / 1e9
            macs = 64 * 32 * 32 * 64 * 128 * 9
            found[f"convolution {name}"] = 2 * macs / _median_s(lambda x=x, conv=conv: conv(x)) / 1e9
    return found


def _median_s(call: Any) -> float:
    times = []
    for _ in range(12):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def _peak_memory_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def macs_of_simple_cnn(size: int, channels: int) -> int:
    """Multiply-accumulates of one picture's forward pass, convolutions and the dense layer."""
    macs, width = 0, channels
    for out in (32, 64, 128):
        macs += size * size * width * out * 9
        size, width = size // 2, out
    return macs + 128 * 10


CONTENDERS = {"ours": ours, "textbook": textbook, "peak": peak}


def measure(name: str, args: argparse.Namespace, arrays: Path) -> dict[str, Any]:
    """One round of one contender, in a process of its own."""
    if name == "keras":
        command = [args.keras, str(HERE / "keras_loop.py"), str(arrays), "--steps", str(args.steps)]
    else:
        command = [sys.executable, __file__, "--only", name, "--dataset", args.dataset, "--steps", str(args.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_arrays(dataset: str, path: Path) -> tuple[int, int]:
    """The training pictures for Keras; returns their size and channels."""
    from sightline.data.sources import open_data

    catalog = open_data(dataset)
    train = catalog.select("train")
    np.savez(path, images=catalog.images.pixels[train], labels=catalog.labels[train])  # type: ignore[attr-defined]
    return catalog.typical_size[0], catalog.channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=["cifar10", "fashion-mnist"], default="cifar10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keras", help="python of an environment with Keras and TensorFlow")
    parser.add_argument("--only", choices=sorted(CONTENDERS), help="run one contender once and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(CONTENDERS[args.only](args.dataset, args.steps)))
        return

    names = ["ours", "textbook", *(["keras"] if args.keras else [])]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        size, channels = write_arrays(args.dataset, Path(folder, "arrays.npz"))
        for number in range(args.rounds):
            for name in names:
                rounds[name].append(measure(name, args, Path(folder, "arrays.npz")))
                print(f"round {number + 1} {name:9} {rounds[name][-1]['images_per_s']:7,.0f} images/s", flush=True)
        peaks = measure("peak", args, Path(folder, "arrays.npz"))
    print_summary(rounds, peaks, flop_per_image=6 * macs_of_simple_cnn(size, channels))


def print_summary(rounds: dict[str, list[dict[str, Any]]], peaks: dict[str, float], *, flop_per_image: int) -> None:
    """Medians, ratios within a round, stages and GFLOP/s."""
    print()
    for name, results in rounds.items():
        rate = statistics.median(r["images_per_s"] for r in results)
        ratio = statistics.median(
            a["images_per_s"] / b["images_per_s"] for a, b in zip(rounds["ours"], results, strict=True)
        )
        memory = statistics.median(r["peak_memory_mb"] for r in results)
        print(
            f"{name:9} {rate:7,.0f} images/s  {memory:6,.0f} MB peak"
            + ("" if name == "ours" else f"  ours is {ratio:.2f}x")
        )
    last = rounds["ours"][-1]
    print("\nour step of 128 pictures: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in last["ms_per_step"].items()))
    print("its data taken apart: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in last["data_ms"].items()))
    achieved = statistics.median(r["images_per_s"] for r in rounds["ours"]) * flop_per_image / 1e9
    print(
        f"achieved {achieved:.0f} GFLOP/s (6 FLOP a multiply-accumulate); peak here: "
        + ", ".join(f"{n} {v:.0f}" for n, v in peaks.items())
    )


if __name__ == "__main__":
    main()
