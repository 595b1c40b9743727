"""Where a training step's time goes, network by network, and how near it comes to what the machine can do.

    python benchmarks/steps.py [NAME ...] [--batch-size N] [--size PX] [--rounds 5] [--compile] [--json]

Each network trains in a process of its own on random pictures: our loader, optimiser and precision, as `sightline
train` runs them, stage by stage: data (taking, augmenting, normalising), forward (with the loss), backward and the
optimiser's step. In the same process, in turn with the steps, large matrix products and convolutions show the peak of
the machine at that moment. Achieved GFLOP/s count 6 operations a multiply-accumulate of `sightline inspect`: 2 forward,
4 backward. Figures are medians over the rounds. With --compile every round has the same steps with `torch.compile`,
too, from a cold cache. On a GPU the stages are measured by events on its stream, and images a second by the clock.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

NAMES = [
    "airbench_small", "airbench94", "simple_cnn", "resnet20", "wrn16_8",
    "resnet18", "resnet50", "efficientnet_b0", "efficientnet_lite0", "mobilenet_v2", "convnext_tiny",
]  # fmt: skip
SIZES = {"cpu": 128, "cuda": 224}  # px, of the networks that were made for more
BATCH_SIZES = {("cpu", True): 128, ("cpu", False): 32, ("cuda", True): 1024, ("cuda", False): 256}  # True: under 96 px
STAGES = ("data", "forward", "backward", "step")
WARMUP_STEPS = 3
BATCHES = 4  # of different pictures, in turn


class Clock:
    """Marks in time and the milliseconds between them: on a GPU on its stream, elsewhere on the wall."""

    def __init__(self, device: Any) -> None:
        self._is_cuda = device.type == "cuda"

    def mark(self) -> Any:
        """Now, or where the GPU's stream will have come to this."""
        if not self._is_cuda:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Until the GPU has done all that it was asked for."""
        if self._is_cuda:
            import torch

            torch.cuda.synchronize()

    def ms(self, earlier: Any, later: Any) -> float:
        """Between two marks, after `wait`."""
        return float(earlier.elapsed_time(later)) if self._is_cuda else 1000 * (later - earlier)


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One network's figures, in this process."""
    from sightline.runtime import choose_runtime  # before torch allocates anything

    runtime = choose_runtime(device=args.device, amp=args.amp, threads=args.threads)
    import torch

    import sightline as sl
    from sightline.models import zoo
    from sightline.training.distributed import SINGLE
    from sightline.training.figures import Figures
    from sightline.training.loss import build_loss
    from sightline.training.optim import build_optimizer
    from sightline.training.options import TrainOptions

    kind = "cuda" if runtime.device.type == "cuda" else "cpu"
    size = args.size or min(SIZES[kind], zoo.ZOO[name].input_size[1])
    batch_size = args.batch_size or BATCH_SIZES[kind, is_small(size)]
    torch.manual_seed(0)
    net = zoo.build(name, in_channels=3, image_size=(size, size))
    summary = sl.inspect(net, (3, size, size))
    net.to(runtime.device, memory_format=runtime.memory_format).train()
    options = TrainOptions(epochs=1, batch_size=batch_size, lr=1e-4, opt=args.opt)
    optimizer, loss_of, figures = build_optimizer(net, options), build_loss(options), Figures(runtime.device, SINGLE)
    batches = endless_batches(size, batch_size, net.num_classes, runtime)
    clock = Clock(runtime.device)
    forms: dict[str, Callable[[Any], Any]] = {"eager": net}
    if args.compile:
        forms["compiled"] = replace(runtime, compile=True).compiled(net)

    def steps(forward: Callable[[Any], Any], count: int) -> tuple[dict[str, float], float]:
        """Milliseconds of each stage, the median of the steps, and seconds a step by the clock on the wall."""
        marks = []
        clock.wait()
        began = time.perf_counter()
        for number in range(count):
            here = [clock.mark()]
            batch = next(batches)
            here.append(clock.mark())
            with runtime.autocast():
                logits = forward(batch.images)
            losses = loss_of(logits.float(), batch.targets)
            figures.add(losses, logits, batch.targets)
            here.append(clock.mark())
            (losses.sum() / batch.global_size).backward()
            here.append(clock.mark())
            norm = torch.nn.utils.get_total_norm(each.grad for each in net.parameters() if each.grad is not None)
            figures.end_step(number, batch, gradient_norm=norm)
            if figures.is_due():
                figures.read()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            here.append(clock.mark())
            marks.append(here)
        clock.wait()
        wall_s = (time.perf_counter() - began) / count
        laps = [[clock.ms(*pair) for pair in itertools.pairwise(here)] for here in marks]
        return dict(zip(STAGES, map(statistics.median, zip(*laps, strict=True)), strict=True)), wall_s

    first_s = {form: steps(forward, 1)[1] for form, forward in forms.items()}
    for forward in forms.values():
        steps(forward, WARMUP_STEPS)
    rounds: dict[str, list[tuple[dict[str, float], float]]] = {form: [] for form in forms}
    peaks: list[dict[str, float]] = []
    for _ in range(args.rounds):
        peaks.append(peak(runtime.device, clock))
        for form, forward in forms.items():
            rounds[form].append(steps(forward, args.steps))
    found = {
        "name": name,
        "size": size,
        "batch_size": batch_size,
        "device": str(runtime.device),
        "precision": runtime.precision,
        "threads": runtime.threads,
        "parameters": summary.parameters,
        "macs": summary.macs,
        "peak_gflops": {kind: statistics.median(each[kind] for each in peaks) for kind in peaks[0]},
        "memory_mb": _memory_mb(runtime.device),
    }
    for form, results in rounds.items():
        step_s = statistics.median(wall_s for _, wall_s in results)
        found[form] = {
            "ms": {stage: statistics.median(laps[stage] for laps, _ in results) for stage in STAGES},
            "step_ms": 1000 * step_s,
            "images_per_s": batch_size / step_s,
            "gflops": 6e-9 * summary.macs * batch_size / step_s,
        }
    if args.compile:
        found["compile_s"] = compile_s = first_s["compiled"] - found["compiled"]["step_ms"] / 1000
        saved_s = (found["eager"]["step_ms"] - found["compiled"]["step_ms"]) / 1000
        found["pays_after_steps"] = round(compile_s / saved_s) if saved_s > 0 else None
    return found


def is_small(size: int) -> bool:
    """Whether pictures of this size are shifted, as the recipes decide it, and not cut out of larger ones."""
    return size < 96


def endless_batches(size: int, batch_size: int, num_classes: int, runtime: Any) -> Iterator[Any]:
    """Batches of random pictures from our loader: shifted ones at 32 px, cut out of larger ones and resized above."""
    import numpy as np

    from sightline.data.augment import Augment
    from sightline.data.loader import TrainLoader
    from sightline.data.preprocess import Preprocess
    from sightline.data.sources import open_data
    from sightline.data.store import Store

    side = size if is_small(size) else size * 5 // 4
    count = BATCHES * batch_size
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, side, side, 3), np.uint8)
    catalog = open_data((pixels, np.arange(count) % min(num_classes, 10)))
    preprocess = Preprocess((3, size, size), (0.5,) * 3, (0.25,) * 3)
    store, _ = Store.build(
        catalog,
        np.arange(count),
        preprocess=preprocess,
        keep_margin=None if is_small(size) else 1.25,
        threads=runtime.threads,
        skip_bad=False,
    )
    augment = Augment(hflip=0.5, crop_padding=2) if is_small(size) else Augment(hflip=0.5, scale=(0.35, 1.0))
    loader = TrainLoader(store, preprocess, augment, batch_size=batch_size, seed=0, device=runtime.device)
    return itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())


def peak(device: Any, clock: Clock) -> dict[str, float]:
    """The most GFLOP/s that the machine gives now in matrix products and convolutions, in each precision it has."""
    import torch

    from sightline.runtime import has_bfloat16

    side, number, channels = (8192, 256, 256) if device.type == "cuda" else (2048, 64, 64)
    found = {}
    for dtype in (torch.bfloat16, torch.float32) if has_bfloat16(device) else (torch.float32,):  # emulated: minutes
        a = torch.randn(side, side, dtype=dtype, device=device)
        x = torch.randn(number, channels, 32, 32, dtype=dtype, device=device)
        x = x.contiguous(memory_format=torch.channels_last)
        conv = torch.nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False, dtype=dtype, device=device)
        conv = conv.to(memory_format=torch.channels_last)
        name = str(dtype).removeprefix("torch.")
        with torch.inference_mode():
            found[f"matmul {name}"] = 2e-6 * side**3 / _median_ms(lambda a=a: a @ a, clock)
            macs = number * 32 * 32 * channels * 2 * channels * 9
            found[f"convolution {name}"] = 2e-6 * macs / _median_ms(lambda x=x, conv=conv: conv(x), clock)
    return found


def _median_ms(call: Callable[[], Any], clock: Clock) -> float:
    times = []
    for _ in range(8):
        clock.wait()
        earlier = clock.mark()
        call()
        later = clock.mark()
        clock.wait()
        times.append(clock.ms(earlier, later))
    return statistics.median(times[2:])


def _memory_mb(device: Any) -> float:
    """The most that was taken: of the GPU's memory, or resident in the machine's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def in_a_process(name: str) -> dict[str, Any]:
    """The same, in a process of its own, whose compiler finds nothing compiled."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, __file__, "--only", name, *sys.argv[1:]],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
        )
    if done.returncode:
        sys.exit(f"{name} failed")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


HEADER = (
    "| network | px | batch | form | data | forward | backward | step | a step | images/s | GFLOP/s | of the peak |\n"
    + "|---" * 12 + "|"
)  # fmt: skip


def lines(row: dict[str, Any]) -> Iterator[str]:
    """A row of the table for each form of the network, and what compiling costs."""
    highest = max(value for kind, value in row["peak_gflops"].items() if row["precision"] in kind)
    for form in ("eager", "compiled"):
        if form not in row:
            continue
        found = row[form]
        stages = " | ".join(f"{found['ms'][stage]:.2f} ms" for stage in STAGES)
        yield (
            f"| `{row['name']}` | {row['size']} | {row['batch_size']} | {form} | {stages} | {found['step_ms']:.2f} ms "
            f"| {found['images_per_s']:,.0f} | {found['gflops']:,.0f} | {found['gflops'] / highest:.0%} |"
        )


def notes(row: dict[str, Any]) -> Iterator[str]:
    """What the table has no room for."""
    peaks = ", ".join(f"{kind} {value:,.0f}" for kind, value in row["peak_gflops"].items())
    yield (
        f"{row['name']}: {row['parameters']:,} parameters, {row['macs'] / 1e6:,.1f} million multiply-accumulates a "
        f"picture, {row['memory_mb']:,.0f} MB at most; peak GFLOP/s: {peaks}"
    )
    if "compiled" in row:
        after = row["pays_after_steps"]
        pays = "it never pays back" if after is None else f"it pays back after {after:,} steps"
        ratio = row["eager"]["step_ms"] / row["compiled"]["step_ms"]
        yield f"{row['name']}: compiling took {row['compile_s']:.1f} s, the step is {ratio:.2f}x as fast: {pays}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of the zoo; default: {' '.join(NAMES)}")
    parser.add_argument("--batch-size", type=int, help="default: 128 at 32 px, else 32; on a GPU 1024 and 256")
    parser.add_argument("--size", type=int, help="px; default: the paper's, at most 128, on a GPU 224")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="in a round")
    parser.add_argument("--opt", default="adamw", help="optimiser")
    parser.add_argument("--device")
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, help="bfloat16; default: where it is fast")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compile", action="store_true", help="the compiled step, too")
    parser.add_argument("--json", action="store_true", help="a JSON object a network")
    parser.add_argument("--only", help="measure one network in this process and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return
    rows = []
    for name in args.names or NAMES:
        rows.append(in_a_process(name))
        print(json.dumps(rows[-1]) if args.json else "\n".join(notes(rows[-1])), flush=True)
    if not args.json:
        print("", f"{rows[0]['device']}, {rows[0]['precision']}, {rows[0]['threads']} threads", "", HEADER, sep="\n")
        print(*itertools.chain.from_iterable(map(lines, rows)), sep="\n")


if __name__ == "__main__":
    main()
