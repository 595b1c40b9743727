"""Loading photographs for training: ours, cold and warm, against Pillow in a torch DataLoader, interleaved, on the CPU.

    make bench-loading                                  or
    python benchmarks/loading.py [--pictures 2000] [--rounds 3] [--epochs 3] [--workers 0 2 4]
    python benchmarks/loading.py --files 1300000        how long a catalog takes to open, first and later
    python benchmarks/loading.py --reduced              what decoding JPEGs at a part of their size gains and changes

The pictures are JPEGs of 500 x 375 px: mosaics of CIFAR-10, which a JPEG finds about as hard as photographs. Batches of
64 at 224 px, normalised float32, from the same random boxes (the kept picture's of ours, the file's of the others),
mirrored alike, Pillow's bilinear resize. Each contender runs in a process of its own, which opens the folder and makes
epoch after epoch of batches; nothing is trained. Prints medians over the rounds: pictures a second in the first epoch,
with everything before its first batch, and in later ones; and the peak memory of all its processes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from processes import PeakMemory

HEIGHT, WIDTH, SIZE, BATCH, SEED = 375, 500, 224, 64, 0
SCALE, RATIO = (0.35, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES, FILES_A_CLASS, TILE = 10, 1300, 32


def mosaics(count: int, height: int, width: int) -> Iterator[Image.Image]:
    """Pictures of CIFAR-10 side by side."""
    from sightline.data.sources import open_data

    tiles = open_data("cifar10").images.pixels  # type: ignore[attr-defined]
    rng = np.random.default_rng(SEED)
    rows, columns = -(-height // TILE), -(-width // TILE)
    for _ in range(count):
        chosen = tiles[rng.integers(0, len(tiles), rows * columns)].reshape(rows, columns, TILE, TILE, 3)
        whole = chosen.swapaxes(1, 2).reshape(rows * TILE, columns * TILE, 3)
        yield Image.fromarray(np.ascontiguousarray(whole[:height, :width]))


def make_photos(folder: Path, count: int) -> None:
    if folder.exists():
        return
    unfinished = folder.with_name(f"unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for number, image in enumerate(mosaics(count, HEIGHT, WIDTH)):
        path = unfinished / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    unfinished.rename(folder)


# --------------------------------------------------------------------------------------------------------- contenders


def ours(folder: Path, epochs: int, *, cache: bool) -> Iterator[int]:
    """How many pictures each epoch had."""
    import torch

    from sightline.data.augment import Augment
    from sightline.data.loader import TrainLoader
    from sightline.data.preprocess import Preprocess
    from sightline.data.sources import open_data
    from sightline.data.store import Store

    threads = torch.get_num_threads()
    catalog = open_data(folder)
    preprocess = Preprocess((3, SIZE, SIZE), mean=MEAN, std=STD, interpolation="bilinear")
    store, _ = Store.build(
        catalog, range(len(catalog)), preprocess=preprocess, keep_margin=1.25, threads=threads, skip_bad=False,
        cache=cache,
    )  # fmt: skip
    print(store.location, file=sys.stderr)
    augment = Augment(hflip=0.5, scale=SCALE, ratio=RATIO)
    loader = TrainLoader(store, preprocess, augment, batch_size=BATCH, seed=SEED, workers=1)
    for epoch in range(epochs):
        yield sum(len(batch) for batch in loader.epoch(epoch))


def pillow(folder: Path, epochs: int, *, workers: int) -> Iterator[int]:
    """How many pictures each epoch had."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from sightline.data.crop import BOX_COLUMNS, random_boxes
    from sightline.data.draw import AUGMENT_STREAM, draw

    paths = sorted(folder.rglob("*.jpg"))
    labels = [int(path.parent.name[-1]) for path in paths]
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))

    class Photos(Dataset[tuple[torch.Tensor, int]]):
        def draw_crops(self, epoch: int) -> None:
            """All at once, so that they cost as little as ours."""
            numbers = draw(SEED, epoch, np.arange(len(paths)), 1 + BOX_COLUMNS, stream=AUGMENT_STREAM)
            sizes = torch.tensor([[HEIGHT, WIDTH]]).expand(len(paths), 2)
            self.boxes = random_boxes(sizes, numbers[:, 1:], scale=SCALE, ratio=RATIO).tolist()
            self.mirrored = (numbers[:, 0] < 0.5).tolist()

        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(paths[index]) as file:
                image = file.convert("RGB")
            top, left, height, width = self.boxes[index]
            crop = image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            if self.mirrored[index]:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous()
            return (pixels.float() / 255 - mean) / std, labels[index]

    data = Photos()
    for epoch in range(epochs):
        data.draw_crops(epoch)
        loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers)
        yield sum(len(images) for images, _ in loader)


def member(name: str, folder: Path, epochs: int) -> None:
    """Runs one contender, and prints the seconds of each epoch."""
    import torch  # noqa: F401 - not a part of what is measured: a training has it in any case

    start = time.perf_counter()
    if name.startswith("ours"):
        counts = ours(folder, epochs, cache=name != "ours-no-cache")
    else:
        counts = pillow(folder, epochs, workers=int(name.rpartition("-")[2]))
    rates = []
    for count in counts:
        now = time.perf_counter()
        rates.append(count / (now - start))
        start = now
    print(json.dumps(rates))


def measured(name: str, args: argparse.Namespace, cache: Path) -> dict[str, float]:
    """One contender in a process of its own."""
    if name == "ours-cold":
        shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, __file__, "--member", name, "--folder", args.folder, "--epochs", str(args.epochs),
               "--pictures", str(args.pictures)]  # fmt: skip
    environment = {**os.environ, "SIGHTLINE_CACHE": str(cache)}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    with PeakMemory(program.pid, every_s=0.2) as memory:
        answer = program.communicate()[0]
    if program.returncode:
        raise SystemExit(f"{name} failed")
    rates = json.loads(answer.splitlines()[-1])
    return {"first": rates[0], "later": statistics.median(rates[1:] or rates), "mb": memory.mb}


def compare(args: argparse.Namespace) -> None:
    names = ["ours-no-cache", "ours-cold", "ours-warm", *(f"pillow-{workers}" for workers in args.workers)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=args.folder) as cache:
        for round_ in range(args.rounds):
            for name in names:
                found[name].append(measured(name, args, Path(cache) / "cache"))
                print(f"round {round_ + 1}", name, found[name][-1], flush=True)
    print(f"\n{args.pictures} JPEGs, {os.cpu_count()} cores, medians of {args.rounds} rounds")
    print(f"{'':16}{'first epoch':>14}{'later epochs':>14}{'peak memory':>14}")
    for name, rows in found.items():
        first, later, mb = (statistics.median(row[key] for row in rows) for key in ("first", "later", "mb"))
        print(f"{name:16}{first:>10.0f} /s{later:>11.0f} /s{mb:>11.0f} MB")


# -------------------------------------------------------------------------------------- the catalog, the reduced JPEGs


def catalog(folder: Path, count: int) -> None:
    """Opens a folder of many tiny files in fresh processes: first, and once its names are remembered."""
    root = folder / f"catalog-{count}"
    if not root.exists():
        tiny = folder / "tiny.png"
        Image.new("RGB", (2, 2)).save(tiny)
        content = tiny.read_bytes()
        unfinished = folder / f"unfinished-{count}"
        shutil.rmtree(unfinished, ignore_errors=True)
        for number in range(count):
            path = unfinished / f"n{number // FILES_A_CLASS:08d}" / f"n{number // FILES_A_CLASS:08d}_{number}.png"
            if number % FILES_A_CLASS == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        unfinished.rename(root)
        time.sleep(3)  # what changed just now is not remembered
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        for what in ("first", "remembered", "cache off"):
            setting = "off" if what == "cache off" else cache
            command = [sys.executable, __file__, "--open", str(root)]
            environment = {**os.environ, "SIGHTLINE_CACHE": setting}
            answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            print(f"{count:,} files, {what}: {answer.stdout.strip()}", flush=True)
            if not answer.stdout.startswith(f"{count:,} "):
                raise SystemExit(f"{root} does not hold {count:,} files. Remove it: it is made again.")


def open_once(root: Path) -> None:
    import resource

    from sightline.data.catalog import FileImages
    from sightline.data.hashes import HashMemory
    from sightline.data.sources import open_data

    begin, before = time.perf_counter(), time.process_time()
    opened = open_data(root)
    seconds, busy = time.perf_counter() - begin, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    images = opened.images
    begin = time.perf_counter()
    if isinstance(images, FileImages):
        HashMemory(images.root, Path("nowhere")).look_up(list(images.paths))
    stats = time.perf_counter() - begin
    print(
        f"{len(opened):,} opened in {seconds:.1f} s ({busy:.1f} s busy), peak {peak:.0f} MB; sizes and times read in "
        f"{stats:.1f} s"
    )


def reduced() -> None:
    """Decoding and shrinking to 280 px, which random crops of 224 px are taken from; in processor time."""
    import io

    from sightline.data.decode import decode
    from sightline.data.kept import DRAFT_ROOM
    from sightline.data.preprocess import resize_to_cover

    cover = (280, 280)
    for height, width in ((375, 500), (1200, 1600), (3000, 4000)):
        seconds: dict[str, list[float]] = {"whole": [], "part": []}
        differences = []
        for image in mosaics(5, height // 4, width // 4):
            file = io.BytesIO()
            image.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            at_least = (DRAFT_ROOM * cover[0], DRAFT_ROOM * cover[1])
            kept = {}
            for name, enough in (("whole", None), ("part", at_least)):
                begin = time.process_time()
                kept[name] = resize_to_cover(decode(file.getvalue(), at_least=enough), cover).astype(int)
                seconds[name].append(time.process_time() - begin)
            short = min(kept[name].shape[1] for name in kept)
            differences.append(np.abs(kept["whole"][:, :short] - kept["part"][:, :short]))
        whole, part = (1000 * statistics.median(seconds[name]) for name in ("whole", "part"))
        difference = np.concatenate([each.ravel() for each in differences])
        print(f"{width}x{height}: {whole:.1f} ms whole, {part:.1f} ms in part ({whole / part:.1f}x); levels differ by")
        print(
            f"    {difference.mean():.2f} on average, {np.quantile(difference, 0.99):.0f} at 99 %, "
            f"{difference.max()} at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2, 4])
    parser.add_argument("--folder", default="build/loading", help="of the pictures; they are made once")
    parser.add_argument("--files", type=int, help="time the catalog of so many instead")
    parser.add_argument("--reduced", action="store_true", help="measure reduced JPEGs instead")
    parser.add_argument("--member", help=argparse.SUPPRESS)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    folder = Path(args.folder)
    photos = folder / f"photos-{args.pictures}"
    if args.member:
        member(args.member, photos, args.epochs)
    elif args.open:
        open_once(args.open)
    elif args.reduced:
        reduced()
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if args.files:
            catalog(folder, args.files)
        else:
            make_photos(photos, args.pictures)
            compare(args)


if __name__ == "__main__":
    main()
