"""Our networks against torchvision's and timm's: the same weights, forward and training step, in turn in one process.

    make bench-models                                   or, with torchvision and timm installed,
    python benchmarks/models.py [NAME ...] [--batch-size 8] [--img-size 160] [--rounds 7] [--amp] [--json]

Both networks get the same state dict (by name, so a difference there ends the run), and their logits are compared.
A round times ours and theirs in turn, first one first, then the other; the figure is the median of the rounds' ratios,
theirs to ours: above 1, ours is faster. Run it on a machine that does nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from reference import reference_libraries

from sightline.runtime import choose_runtime

NAMES = {  # ours -> theirs; one or two a family
    "alexnet": "torchvision/alexnet",
    "vgg11": "torchvision/vgg11",
    "vgg16_bn": "torchvision/vgg16_bn",
    "googlenet": "torchvision/googlenet",
    "resnet18": "torchvision/resnet18",
    "resnet50": "torchvision/resnet50",
    "resnext50_32x4d": "torchvision/resnext50_32x4d",
    "wide_resnet50_2": "torchvision/wide_resnet50_2",
    "resnetv2_50": "timm/resnetv2_50",
    "densenet121": "torchvision/densenet121",
    "squeezenet1_1": "torchvision/squeezenet1_1",
    "xception": "timm/legacy_xception",
    "mobilenet_v1": "timm/mobilenetv1_100",
    "mobilenet_v2": "torchvision/mobilenet_v2",
    "mobilenet_v3_large": "torchvision/mobilenet_v3_large",
    "efficientnet_b0": "torchvision/efficientnet_b0",
    "efficientnet_lite0": "timm/tf_efficientnet_lite0",
    "convnext_tiny": "torchvision/convnext_tiny",
}


def main() -> None:
    """Prints a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--img-size", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast and channels_last, as our training runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runtime = choose_runtime(amp=options.amp)
    torchvision, timm = reference_libraries()
    print(f"torchvision {torchvision.__version__}, timm {timm.__version__}; {'; '.join(runtime.reasons)}", flush=True)
    rows = []
    for name in options.names or NAMES:
        rows.append(compare(name, NAMES[name], options, runtime))
        print(json.dumps(rows[-1]) if options.json else line(rows[-1]), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    forward, step = row["forward"], row["step"]
    return (
        f"{row['name']:<20} forward {forward['ours_ms']:8.1f} ms, {forward['ratio']:.2f}x "
        f"[{forward['least']:.2f}, {forward['most']:.2f}]   training step {step['ours_ms']:8.1f} ms, "
        f"{step['ratio']:.2f}x [{step['least']:.2f}, {step['most']:.2f}]   logits differ by {row['difference']:.1e}"
    )


def compare(name: str, theirs_name: str, options: argparse.Namespace, runtime: Any) -> dict[str, Any]:
    """Times one network against its twin."""
    import timm
    import torch
    import torchvision

    from sightline.models import zoo

    torch.manual_seed(0)
    ours = zoo.build(name, num_classes=1000)
    library, their_name = theirs_name.split("/")
    if library == "timm":
        theirs = timm.create_model(their_name, num_classes=1000)
    else:
        extra = {"aux_logits": False, "init_weights": False} if their_name == "googlenet" else {}
        theirs = torchvision.models.get_model(their_name, num_classes=1000, **extra)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    nets = [net.to(runtime.device, memory_format=runtime.memory_format) for net in (ours, theirs)]
    images = torch.randn(options.batch_size, 3, options.img_size, options.img_size, device=runtime.device)
    images = images.contiguous(memory_format=runtime.memory_format)
    labels = torch.arange(options.batch_size, device=runtime.device)

    def forward(net: torch.nn.Module) -> torch.Tensor:
        net.eval()
        with torch.inference_mode(), runtime.autocast():
            return net(images)

    def step(net: torch.nn.Module) -> None:
        net.train()
        with runtime.autocast():
            logits = net(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        net.zero_grad(set_to_none=True)

    ours_logits, their_logits = (forward(net).float() for net in nets)
    difference = float((ours_logits - their_logits).abs().max() / their_logits.abs().max())
    return {
        "name": name,
        "reference": theirs_name,
        "difference": difference,
        "forward": timed(forward, nets, options.rounds, runtime),
        "step": timed(step, nets, options.rounds, runtime),
    }


def timed(call: Callable[[Any], Any], nets: list[Any], rounds: int, runtime: Any) -> dict[str, float]:
    """Milliseconds of ours, and the ratio theirs to ours: median, least and most of the rounds."""
    import torch

    def seconds(net: Any) -> float:
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call(net)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for net in nets:
        seconds(net)
    times = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {which: seconds(nets[which]) for which in order}
        times.append((found[0], found[1]))
    ratios = [theirs / ours for ours, theirs in times]
    return {
        "ours_ms": 1000 * statistics.median(ours for ours, _ in times),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


if __name__ == "__main__":
    main()
