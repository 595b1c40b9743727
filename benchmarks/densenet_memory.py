"""A training step of DenseNet-121 with and without `memory_efficient`: memory, and time.

    python benchmarks/densenet_memory.py [--batch-size 8] [--size 224] [--rounds 3] [--steps 2]

Each form runs in a process of its own, in turn, round after round; the figures are medians. After a step on two tiny
pictures, which brings what stays (gradients, momentum, libraries), peak growth is by how much the first whole step
raises the process's resident memory; kept is what the graph holds for the backward pass, weights aside. That step is
not timed. Both forms begin with the same weights and pictures, and the losses after the last step are printed: they
should be one number.
"""

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FORMS = {"plain": False, "memory_efficient": True}
MB = 1e6


def measure(form: str, args: argparse.Namespace) -> dict[str, float]:
    """One process's figures: peak growth and kept in bytes, seconds a step, and the last loss."""
    from sightline.runtime import choose_runtime  # before torch allocates anything

    choose_runtime()
    import torch
    from torch import nn

    from sightline.models.zoo import build

    torch.manual_seed(0)
    net = build(args.model, num_classes=10, memory_efficient=FORMS[form]).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(args.batch_size, 3, args.size, args.size), torch.arange(args.batch_size) % 10
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers(), images)}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # which keeps it alive, so that no address comes twice

    def step(images: torch.Tensor, watch: Any) -> float:
        optimizer.zero_grad()
        with watch:
            loss = nn.functional.cross_entropy(net(images), labels[: len(images)])
        loss.backward()
        optimizer.step()
        return loss.item()

    step(images[:2, :, :32, :32], contextlib.nullcontext())
    _forget_peak()
    before = _peak_bytes()
    loss = step(images, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor))
    growth, kept_bytes = _peak_bytes() - before, sum(kept.values())
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        loss = step(images, contextlib.nullcontext())
        times.append(time.perf_counter() - start)
    return {"growth": growth, "kept": kept_bytes, "step_s": statistics.median(times), "loss": loss}


def _forget_peak() -> None:
    """Lets the peak begin again at what is resident now; elsewhere than on Linux it stays, and growth may be less."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """Most resident memory of this process so far; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_a_process(form: str, args: argparse.Namespace) -> dict[str, Any]:
    """The same, in a process of its own."""
    numbers = {"--batch-size": args.batch_size, "--size": args.size, "--steps": args.steps, "--model": args.model}
    flags = [str(part) for pair in numbers.items() for part in pair]
    done = subprocess.run([sys.executable, __file__, "--only", form, *flags], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{form} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="densenet121", help="any DenseNet of the zoo")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures, px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps in each process")
    parser.add_argument("--only", choices=list(FORMS), help="run one form once and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return

    rounds: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(args.rounds):
        for form in FORMS:
            rounds[form].append(in_a_process(form, args))
    losses = {result["loss"] for results in rounds.values() for result in results}
    print(f"{args.model}, batch {args.batch_size}, {args.size} px, {args.rounds} rounds; medians\n")
    print(f"{'':16}  peak growth        kept    a step")
    for form, results in rounds.items():
        growth, kept, step_s = (statistics.median(r[key] for r in results) for key in ("growth", "kept", "step_s"))
        print(f"{form:16}  {growth / MB:8,.0f} MB {kept / MB:8,.0f} MB {step_s:7.2f} s")
    growth, kept, step_s = (
        statistics.median(b[key] / a[key] for a, b in zip(*rounds.values(), strict=True))
        for key in ("growth", "kept", "step_s")
    )
    print(f"{'ratio':16}  {growth:8.2f}    {kept:8.2f}    {step_s:7.2f}")
    print(f"\nlosses after the last step: {', '.join(map(repr, sorted(losses)))}")


if __name__ == "__main__":
    main()
