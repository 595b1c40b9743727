"""Photographs from tar shards to training batches: streamed, from memory, and through WebDataset's own pipeline.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --photos DIR --pictures 4000
    python benchmarks/streaming.py --memory

JPEGs of 500 x 375 px are made from photographs (those of --photos, or of CIFAR-10 enlarged) and written as shards. Each
way makes the batches of whole epochs: random resized crops of 128 px, mirrored, normalised. They take turns in one run.
`--memory` prints the peak memory of processes that stream one epoch of ever more pictures.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sightline.data.augment import Augment
from sightline.data.loader import TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.shard_writer import write_shards
from sightline.data.sources import open_data
from sightline.data.store import Store

SIDE, BATCH, MARGIN = 128, 64, 1.25
PREPROCESS = Preprocess((3, SIDE, SIDE), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def photographs(folder: str | None) -> Iterator[Image.Image]:
    """Photographs without end."""
    images = open_data("cifar10" if folder is None else folder).images
    while True:
        for index in range(min(len(images), 500)):
            yield Image.fromarray(images.read(index)).convert("RGB")


def make_photos(target: Path, source: str | None, count: int) -> None:
    """A class folder of JPEGs, no two alike: each is another part of a photograph."""
    photos = photographs(source)
    chance = np.random.default_rng(0)
    for number in range(count):
        image = next(photos)
        left, top = chance.uniform(0, 0.3, 2) * image.size
        box = (left, top, left + 0.7 * image.width, top + 0.7 * image.height)
        path = target / f"class{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((500, 375), Image.Resampling.BICUBIC, box=box).save(path, quality=90)


def loader_of(shards: Path, *, stream: bool, threads: int) -> TrainLoader:
    catalog = open_data(shards)
    store, _ = Store.build(
        catalog, range(len(catalog)), preprocess=PREPROCESS, keep_margin=MARGIN, threads=threads, skip_bad=False,
        stream=stream, cache=False,
    )  # fmt: skip
    window = 4 if stream else 0
    return TrainLoader(
        store, PREPROCESS, Augment(scale=(0.35, 1.0)), BATCH, 0, workers=2 if stream else 0, window=window
    )


def epoch_of(loader: TrainLoader) -> Callable[[int], int]:
    return lambda epoch: sum(len(batch) for batch in loader.epoch(epoch))


def theirs(shards: Path, workers: int) -> Callable[[int], int]:
    """WebDataset as its guide has it: shuffled, decoded with Pillow, in the workers of a DataLoader."""
    import webdataset

    def prepared(sample: tuple[Image.Image, int]) -> tuple[torch.Tensor, int]:
        image, label = sample
        chance = np.random.default_rng()
        area, ratio = chance.uniform(0.35, 1.0) * image.width * image.height, np.exp(chance.uniform(-0.28, 0.28))
        width, height = min(image.width, (area * ratio) ** 0.5), min(image.height, (area / ratio) ** 0.5)
        left, top = chance.uniform(0, image.width - width), chance.uniform(0, image.height - height)
        small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        if chance.random() < 0.5:
            small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float().div_(255)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (PREPROCESS.mean, PREPROCESS.std))
        return (pixels - mean) / std, label

    files = sorted(str(path) for path in shards.glob("*.tar"))
    data = webdataset.WebDataset(files, shardshuffle=len(files)).shuffle(1000).decode("pil").to_tuple("jpg", "cls")
    loader = torch.utils.data.DataLoader(data.map(prepared), batch_size=BATCH, num_workers=workers)
    return lambda epoch: sum(len(labels) for _, labels in loader)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream_once(shards: Path) -> None:
    """One streamed epoch, for a process of its own; prints its peak memory before and after."""
    torch.set_num_threads(1)
    loader = loader_of(shards, stream=True, threads=2)
    before = peak_mb()
    count = epoch_of(loader)(0)
    print(
        f"{count:>8,} pictures: {before:7.1f} MB when opened, {peak_mb():7.1f} MB at the peak of the epoch", flush=True
    )


def memory(folder: Path, photos: Path, most: int) -> None:
    """Peak memory of an epoch over ever more pictures."""
    catalog = open_data(photos)
    for part in (8, 4, 2, 1):
        kept = folder / f"part-{part}"
        for index in range(0, len(catalog), part):
            path = kept / catalog.images.name(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(photos / catalog.images.name(index), path)
        shards = folder / f"shards-{part}"
        write_shards(open_data(kept), shards, shard_bytes=4_000_000)
        subprocess.run([sys.executable, __file__, "--once", str(shards)], check=True)
    decoded = most * int(SIDE * MARGIN) * int(SIDE * MARGIN * 4 / 3) * 3 / 1e6
    print(f"decoded, {most:,} pictures take {decoded:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", help="folder of class folders; CIFAR-10 where none is given")
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once is not None:
        stream_once(options.once)
        return
    folder = Path(tempfile.mkdtemp(prefix="streaming-"))
    os.environ["SIGHTLINE_CACHE"] = str(folder / "cache")
    try:
        photos = folder / "photos"
        make_photos(photos, options.photos, options.pictures)
        if options.memory:
            memory(folder, photos, options.pictures)
            return
        compare(folder, photos, options.epochs)
    finally:
        shutil.rmtree(folder)


def compare(folder: Path, photos: Path, epochs: int) -> None:
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    start = time.perf_counter()
    print(write_shards(open_data(photos), folder / "shards", shard_bytes=2_000_000))
    print(f"written in {time.perf_counter() - start:.1f} s")
    for which in ("first", "second"):
        start = time.perf_counter()
        open_data(folder / "shards")
        print(f"opened the {which} time in {time.perf_counter() - start:.2f} s")
        time.sleep(2.5)  # what changed just now is not remembered
        open_data(folder / "shards")
    start = time.perf_counter()
    held = loader_of(folder / "shards", stream=False, threads=cores)
    print(f"decoded into memory in {time.perf_counter() - start:.1f} s")
    ways = {
        "streamed": epoch_of(loader_of(folder / "shards", stream=True, threads=cores)),
        "from memory": epoch_of(held),
        f"webdataset, DataLoader with {cores} workers": theirs(folder / "shards", cores),
    }
    best = dict.fromkeys(ways, 0.0)
    for epoch in range(epochs):
        for name, run in ways.items():
            start = time.perf_counter()
            count = run(epoch)
            best[name] = max(best[name], count / (time.perf_counter() - start))
    print(f"{cores} cores, the best of {epochs} epochs of {count:,} pictures, 500x375 px -> crops of {SIDE} px:")
    for name, rate in best.items():
        print(f"{name:<45} {rate:8.0f} images/s  {rate / best['streamed']:5.2f}")


if __name__ == "__main__":
    main()
