"""Pictures with several labels, made of real ones, and a plain PyTorch loop to compare with.

There is no public multi-label set of this size that anyone may pass on, so this makes one: mosaics of 2 x 2 pictures of
Fashion-MNIST, 56 x 56 px. Each place is empty, faint noise, with a chance of 0.35; classes come with chances of 1 to
0.25, so that some labels are four times as rare as others. The labels of a mosaic are the classes in it: none to four.
Training mosaics are of training pictures, test mosaics of test pictures.

    python benchmarks/multilabel.py make mosaic --train 4000 --test 1000
    sightline train mosaic/labels.csv --model resnet20 --img-size 32 --epochs 6 --threads 1 --output runs/mosaic
    python benchmarks/multilabel.py plain mosaic runs/mosaic

The second command trains with Sightline and scores the test split. The third trains the same network with as many
epochs in a loop of its own: a `DataLoader`, `BCEWithLogitsLoss`, AdamW with the same rate and decay, one-cycle; no
augmentation but the mirror image, since that is what such loops have; and all training pictures, of which Sightline
holds a tenth out for its thresholds. It scores both with an average precision of its
own (the one in the loop below), so that the two figures are made in one way.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sightline.data.sources import open_data
from sightline.models import zoo

EMPTY = 0.35
NOISE = 40  # levels in an empty place, so that no two mosaics are copies
SIDE = 28  # px of a Fashion-MNIST picture
NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
CHANCES = np.linspace(1, 0.25, len(NAMES))


def make(folder: Path, counts: dict[str, int], seed: int) -> None:
    """Writes the mosaics as PNG files, and labels.csv beside them."""
    catalog = open_data("fashion-mnist")
    random = np.random.default_rng(seed)
    rows = [("path", "label", "split")]
    for split, count in counts.items():
        indices = catalog.select(split)
        of_class = [indices[catalog.class_numbers[indices] == number] for number in range(len(NAMES))]
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            mosaic = random.integers(0, NOISE, (2 * SIDE, 2 * SIDE), dtype=np.uint8)
            labels = set()
            for place in range(4):
                if random.random() < EMPTY:
                    continue
                kind = int(random.choice(len(NAMES), p=CHANCES / CHANCES.sum()))
                top, left = SIDE * (place // 2), SIDE * (place % 2)
                picture = catalog.images.read(int(random.choice(of_class[kind])))
                mosaic[top : top + SIDE, left : left + SIDE] = picture[:, :, 0]
                labels.add(NAMES[kind])
            path = f"{split}/{number:05d}.png"
            Image.fromarray(mosaic).save(folder / path)
            rows.append((path, ";".join(sorted(labels)), split))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    without = sum(not label for _, label, _ in rows[1:])
    print(f"{len(rows) - 1:,} mosaics in {folder}, {without:,} of them without a label")


def plain(folder: Path, run: Path, *, threads: int) -> dict[str, float]:
    """Trains the run's network in a plain loop, and gives the test mAP of both."""
    torch.set_num_threads(threads)
    told = json.loads((run / "config.json").read_text(encoding="utf-8"))["sightline"]
    options, classes = told["provenance"]["options"], told["classes"]
    _, height, width = told["preprocess"]["input_size"]
    train, test = (_tensors(folder, split, classes, (height, width)) for split in ("train", "test"))
    torch.manual_seed(options["seed"])
    net = zoo.build(told["model"], num_classes=len(classes), in_channels=1, image_size=(height, width))
    loader = DataLoader(TensorDataset(*train), batch_size=options["batch_size"], shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options["lr"], weight_decay=options["weight_decay"])
    steps = options["epochs"] * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options["lr"], total_steps=steps, pct_start=0.2)
    loss_of = nn.BCEWithLogitsLoss()
    started = time.perf_counter()
    for _ in range(options["epochs"]):
        net.train()
        for images, labels in loader:
            mirrored = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images, images.flip(3))
            optimizer.zero_grad()
            loss_of(net(mirrored), labels).backward()
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - started
    net.eval()
    with torch.inference_mode():
        answers = torch.cat([net(images) for images, _ in DataLoader(TensorDataset(*test), batch_size=256)])
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours = np.array([[float(row[f"p:{name}"]) for name in classes] for row in rows])
    truth = np.array([[name in row["true"].split(";") for name in classes] for row in rows])
    return {
        "mAP of Sightline": mean_average_precision(ours, truth),
        "mAP of the plain loop": mean_average_precision(answers.numpy(), test[1].numpy() > 0),
        "seconds of the plain loop": round(seconds, 1),
    }


def mean_average_precision(scores: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> float:
    """The mean over the labels of the precision at each picture that has the label, best first."""
    areas = []
    for number in range(truth.shape[1]):
        is_there = truth[np.argsort(-scores[:, number], kind="stable"), number]
        areas.append(float((np.cumsum(is_there) / np.arange(1, len(is_there) + 1))[is_there].mean()))
    return float(np.mean(areas))


def _tensors(folder: Path, split: str, classes: list[str], size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (N, 1, H, W), normalised, and labels (N, K) of a split."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    pictures = [
        np.asarray(Image.open(folder / row["path"]).resize(size[::-1], Image.Resampling.BICUBIC)) for row in rows
    ]
    images = torch.from_numpy(np.stack(pictures))[:, None].float() / 255
    labels = [[float(name in row["label"].split(";")) for name in classes] for row in rows]
    return (images - images.mean()) / images.std(), torch.tensor(labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="write the mosaics")
    making.add_argument("folder", type=Path)
    making.add_argument("--train", type=int, default=4000)
    making.add_argument("--test", type=int, default=1000)
    making.add_argument("--seed", type=int, default=0)
    comparing = verbs.add_parser("plain", help="train the same network in a plain loop")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("run", type=Path)
    comparing.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.verb == "make":
        make(given.folder, {"train": given.train, "test": given.test}, given.seed)
    else:
        for name, value in plain(given.folder, given.run, threads=given.threads).items():
            print(f"{name}: {value:.4f}" if "mAP" in name else f"{name}: {value}")
