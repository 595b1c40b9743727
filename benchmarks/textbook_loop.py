"""The training loop that every guide teaches, as a fair reference.

A `Dataset` that hands out one PIL image at a time, torchvision's transforms, a `DataLoader` with four workers, float32
NCHW, eager; AdamW (1e-3, weight decay 1e-4) and a cosine per epoch. Torchvision itself is not needed: the transforms do
what its own do on PIL images, operation by operation. Only the pictures come from Sightline, and the network, so that
both loops train the same one.

    python benchmarks/textbook_loop.py --dataset cifar10 --epochs 30 --seed 0 --json
"""

import argparse
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sightline.data.sources import open_data
from sightline.models.zoo import build

# Of the training pictures, as the guides quote them.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}
BATCH_SIZE = 128
NUM_WORKERS = 4
CROP_PADDING = 4


@dataclass
class Result:
    """What a run measured.

    Args:
        dataset: its name.
        seed: of the run.
        num_steps: training steps done.
        images_per_s: training pictures a second, from asking for a batch to the end of the step; without the warm-up.
        train_s: training time of each epoch begun.
        test_s: evaluation time of each epoch that was finished.
        test_accuracy: after each epoch that was finished, in [0, 1].
        peak_memory_mb: of this process and its workers together, shared pages counted once (PSS).
    """

    dataset: str
    seed: int
    num_steps: int = 0
    images_per_s: float = 0.0
    train_s: list[float] = field(default_factory=list)
    test_s: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    peak_memory_mb: float = 0.0


# ------------------------------------------------------------------------------------- torchvision's transforms, on PIL

Transform = Callable[[Image.Image], Image.Image] | Callable[[Image.Image], Tensor] | Callable[[Tensor], Tensor]


class RandomCrop:
    """Pad with black, then crop the picture's size at a random place."""

    def __init__(self, size: tuple[int, int], padding: int) -> None:
        self.size = size
        self.padding = padding

    def __call__(self, image: Image.Image) -> Image.Image:
        image = ImageOps.expand(image, border=self.padding, fill=0)
        height, width = self.size
        top = int(torch.randint(0, image.height - height + 1, size=(1,)).item())
        left = int(torch.randint(0, image.width - width + 1, size=(1,)).item())
        return image.crop((left, top, left + width, top + height))


class RandomHorizontalFlip:
    """Mirror half of the pictures."""

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(1) < 0.5:
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


class ToTensor:
    """uint8 (H, W, C) picture -> float32 (C, H, W) in [0, 1]."""

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        pixels = pixels.view(image.height, image.width, len(image.getbands()))
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """(value - mean) / std, for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, tensor: Tensor) -> Tensor:
        mean = torch.as_tensor(self.mean, dtype=tensor.dtype).view(-1, 1, 1)
        std = torch.as_tensor(self.std, dtype=tensor.dtype).view(-1, 1, 1)
        return tensor.clone().sub_(mean).div_(std)


class Pictures(Dataset[tuple[Tensor, int]]):
    """One picture at a time, as torchvision's CIFAR10 gives it."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transforms: Sequence[Transform]) -> None:
        self.pixels = pixels.squeeze(3) if pixels.shape[3] == 1 else pixels
        self.labels = labels.tolist()
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.pixels[index])
        for transform in self.transforms:
            picture = transform(picture)
        return picture, self.labels[index]


# ------------------------------------------------------------------------------------------------------------ the loop


def run(
    dataset: str = "cifar10",
    *,
    epochs: int = 30,
    seed: int = 0,
    max_steps: int | None = None,
    warmup_steps: int = 0,
    on_epoch: Callable[[Result], None] | None = None,
) -> Result:
    """Train and test.

    Args:
        dataset: "cifar10" or "fashion-mnist".
        epochs: of the cosine, and of the run.
        seed: for weights, order and augmentation.
        max_steps: end after so many training steps; the epoch under way is then not tested.
        warmup_steps: first steps that `images_per_s` leaves out, so that a short run does not count the workers' start.
        on_epoch: called with the result so far after each epoch.
    """
    torch.manual_seed(seed)
    train_loader, test_loader, num_classes, channels = loaders(dataset)
    net = build("simple_cnn", num_classes=num_classes, in_channels=channels)
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    result = Result(dataset, seed)
    num_counted, counted_s = 0, 0.0

    with watched_memory(result):
        for _ in range(epochs):
            net.train()
            start = last = time.perf_counter()
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = loss_of(net(images), labels)
                loss.backward()
                optimizer.step()
                loss.item()  # the guides print a running loss
                result.num_steps += 1
                now = time.perf_counter()
                if result.num_steps > warmup_steps:
                    num_counted, counted_s = num_counted + len(labels), counted_s + now - last
                last = now
                if result.num_steps == max_steps:
                    break
            result.train_s.append(time.perf_counter() - start)
            result.images_per_s = num_counted / counted_s if counted_s else 0.0
            if result.num_steps == max_steps:
                break
            scheduler.step()
            start = time.perf_counter()
            result.test_accuracy.append(accuracy(net, test_loader))
            result.test_s.append(time.perf_counter() - start)
            if on_epoch is not None:
                on_epoch(result)
    return result


def loaders(dataset: str) -> tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]], int, int]:
    """The training and test loaders, the number of classes and of channels."""
    catalog = open_data(dataset)
    mean, std = STATISTICS[dataset]
    pixels = {}
    for split in ("train", "test"):
        indices = catalog.select(split)
        part = slice(indices[0], indices[-1] + 1)  # a known set's splits lie one after the other: a view, not a copy
        pixels[split] = catalog.images.pixels[part], catalog.labels[part]  # type: ignore[attr-defined]
    size = pixels["train"][0].shape[1:3]
    as_numbers = [ToTensor(), Normalize(mean, std)]
    train = Pictures(*pixels["train"], [RandomCrop(size, CROP_PADDING), RandomHorizontalFlip(), *as_numbers])
    test = Pictures(*pixels["test"], as_numbers)
    return (
        DataLoader(train, batch_size=BATCH_SIZE, shuffle=True, num_workers=NUM_WORKERS),
        DataLoader(test, batch_size=BATCH_SIZE, shuffle=False, num_workers=NUM_WORKERS),
        len(catalog.classes),
        catalog.channels,
    )


@torch.no_grad()
def accuracy(net: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
    """The fraction of pictures whose highest logit is their class's."""
    net.eval()
    num_correct = num_seen = 0
    for images, labels in loader:
        num_correct += int((net(images).argmax(dim=1) == labels).sum())
        num_seen += len(labels)
    return num_correct / num_seen


@contextmanager
def watched_memory(result: Result, every_s: float = 2.0) -> Iterator[None]:
    """Look again and again how much memory this process and its workers have, and note the most.

    Each look costs some milliseconds, so they are rare enough to take less than 1% of the time.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            pids = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
            result.peak_memory_mb = max(result.peak_memory_mb, sum(map(resident_mb, pids)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def resident_mb(pid: str) -> float:
    """A process's memory, a page shared by n processes counted as 1/n; 0 where the process is gone or not told of."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="The training loop that every guide teaches, measured.")
    parser.add_argument("--dataset", choices=sorted(STATISTICS), default="cifar10")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-steps", type=int, default=None, help="end after so many training steps")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object, and nothing else")
    options = parser.parse_args()

    def print_epoch(result: Result) -> None:
        if not options.json:
            print(
                f"epoch {len(result.test_accuracy)}/{options.epochs}: test accuracy {result.test_accuracy[-1]:.2%}, "
                f"training {result.train_s[-1]:.1f} s, test {result.test_s[-1]:.1f} s",
                flush=True,
            )

    result = run(
        options.dataset,
        epochs=options.epochs,
        seed=options.seed,
        max_steps=options.max_steps,
        on_epoch=print_epoch,
    )
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(f"{result.images_per_s:,.0f} images/s in training, peak memory {result.peak_memory_mb:,.0f} MB")


if __name__ == "__main__":
    main()
