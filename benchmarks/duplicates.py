"""Duplicates: planted copies that must be found, what the data sets hold themselves, and sheets of pairs to look at.

    python benchmarks/duplicates.py [cifar10 fashion-mnist FOLDER ...] [--each 10] [--pictures N]
                                    [--truth FILE] [--output DIR]

For each data set, altered copies of test pictures (of any, where there is no test split) are added to the training
pictures, `--each` of a kind, and all duplicates are sought once. Printed are, of each kind, how many are paired with
their original; pairs of a copy with a picture that is no duplicate of its original; the scores of the copies; and what
the data set holds of its own: pairs, test pictures with a duplicate in the training set, pairs in two classes.

With `--truth`, the list of CIFAR-10's duplicates by Barz and Denzler (duplicates_cifar10.csv of cvjena/cifair; Judgment
0 and 1: one shot, 2: very similar), it prints how many of those are found. With `--output`, it draws pairs just above
and just below the score that is asked for, and the planted ones.
"""

import argparse
import csv
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import sightline as sl
from sightline.data import duplicates
from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.duplicates import Pair, clusters, find_duplicates
from sightline.data.fingerprint import Fingerprints, fingerprint
from sightline.data.modes import Pixels
from sightline.runtime import choose_runtime

SHOWN_PX = 96
PER_ROW = 6
SHOWN = 48

Alter = Callable[[Pixels, np.random.Generator], Pixels]


def saved(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 60 to 90."""
    file = io.BytesIO()
    as_image(pixels).save(file, "JPEG", quality=int(rng.integers(60, 91)))
    return np.asarray(Image.open(file)).reshape(pixels.shape)


def resized(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """70 to 130 % of both sides."""
    factor = rng.uniform(0.7, 1.3)
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return np.asarray(as_image(pixels).resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)


def cropped(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """5 to 10 % taken off both the height and the width, anywhere."""
    height, width = pixels.shape[:2]
    less_high, less_wide = (max(1, round(side * rng.uniform(0.05, 0.1))) for side in (height, width))
    top, left = rng.integers(0, less_high + 1), rng.integers(0, less_wide + 1)
    return pixels[top : height - less_high + top, left : width - less_wide + left]


def trimmed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """5 to 10 % taken off each of the four edges."""
    height, width = pixels.shape[:2]
    top, bottom = (max(1, round(height * rng.uniform(0.05, 0.1))) for _ in range(2))
    left, right = (max(1, round(width * rng.uniform(0.05, 0.1))) for _ in range(2))
    return pixels[top : height - bottom, left : width - right]


def lit(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """20 % brighter or darker."""
    return np.clip(pixels * rng.choice([0.8, 1.2]) + 0.5, 0, 255).astype(np.uint8)


KINDS: dict[str, Alter] = {
    "exact": lambda pixels, rng: pixels,
    "JPEG": saved,
    "resized": resized,
    "cropped": cropped,
    "trimmed": trimmed,
    "lit": lit,
    "mirrored": lambda pixels, rng: saved(pixels[:, ::-1], rng),
}


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def main() -> None:
    """Prints a paragraph a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["cifar10", "fashion-mnist"])
    parser.add_argument("--each", type=int, default=10, help="copies of a kind")
    parser.add_argument("--pictures", type=int, help="take only so many, evenly spaced, for a quick look")
    parser.add_argument("--truth", type=Path, help="the published list of CIFAR-10's duplicates")
    parser.add_argument("--output", type=Path, help="where the sheets are drawn")
    options = parser.parse_args()
    print("; ".join(choose_runtime().reasons), flush=True)
    for name in options.data:
        examine(name, options)


def examine(name: str, options: argparse.Namespace) -> None:
    """Plants copies, seeks duplicates, and says what was found."""
    catalog = thinned(sl.open_data(name), options.pictures)
    rng = np.random.default_rng(0)
    pool = catalog.select("test") if len(catalog.select("test")) else np.arange(len(catalog))
    originals = rng.choice(pool, len(KINDS) * options.each, replace=False)
    kinds = np.repeat(list(KINDS), options.each)
    copies = [
        np.ascontiguousarray(KINDS[kind](catalog.images.read(int(at)), rng))
        for kind, at in zip(kinds, originals, strict=True)
    ]

    def read(number: int) -> Pixels:
        return catalog.images.read(number) if number < len(catalog) else copies[number - len(catalog)]

    start = time.perf_counter()
    prints = Fingerprints.of(fingerprint(read(number)) for number in range(len(catalog) + len(copies)))
    seen = time.perf_counter()
    close: dict[str, np.ndarray] = {}
    pairs = watched_search(prints, close)
    done = time.perf_counter()
    print(f"\n{catalog}")
    print(f"  fingerprints {seen - start:.0f} s, search {done - seen:.0f} s")
    print(f"  score asked, median of the candidates: {np.median(close['least']):.3f}")
    say_planted(pairs, originals, kinds, len(catalog), close)
    own = [pair for pair in pairs if pair.second < len(catalog)]
    say_own(catalog, own)
    if options.truth and name == "cifar10" and options.pictures is None:
        say_truth(options.truth, own)
    if options.output:
        draw_all(options.output, name, read, pairs, close, len(catalog))


def thinned(catalog: Catalog, most: int | None) -> Catalog:
    """At most so many of a catalog's pictures, evenly spaced."""
    if most is None or most >= len(catalog):
        return catalog
    kept = np.linspace(0, len(catalog) - 1, most).astype(np.int64)
    images = catalog.images
    if isinstance(images, ArrayImages):
        images = ArrayImages(images.pixels[kept], (("thinned", most),))
    else:
        images = replace(images, paths=[images.paths[at] for at in kept])  # type: ignore[attr-defined]
    return replace(catalog, images=images, labels=catalog.labels[kept], splits=catalog.splits[kept])


def watched_search(prints: Fingerprints, close: dict[str, np.ndarray]) -> list[Pair]:
    """The search; keeps the scores of the candidates, those below the score that is asked for, too."""
    search: Any = duplicates  # its parts are watched from outside
    compare, ask = search.likeness, search.least_scores
    _, numbers = np.unique(prints.digests, axis=0, return_index=True)
    numbers.sort()

    def watched_compare(lumas: Any, found: Any) -> Any:
        result = compare(lumas, found)
        close.update(first=numbers[found.first], second=numbers[found.second], mirrored=found.mirrored.numpy())
        close.update(score=result.score.numpy(), relief=result.relief.numpy())
        return result

    def watched_ask(*arguments: Any) -> Any:
        least = ask(*arguments)
        close["least"] = least.numpy()
        return least

    search.likeness, search.least_scores = watched_compare, watched_ask
    try:
        return find_duplicates(prints)
    finally:
        search.likeness, search.least_scores = compare, ask


def say_planted(
    pairs: list[Pair], originals: np.ndarray, kinds: np.ndarray, count: int, close: dict[str, np.ndarray]
) -> None:
    together = {number: cluster for cluster in clusters(pairs) for number in cluster}
    own = {number: set(c) for c in clusters(pair for pair in pairs if pair.second < count) for number in c}
    direct = {(pair.first, pair.second) for pair in pairs}
    keys = zip(np.minimum(close["first"], close["second"]), np.maximum(close["first"], close["second"]), strict=True)
    scores: dict[tuple[int, int], float] = {}
    for key, score in zip(keys, close["score"], strict=True):
        scores[key] = max(score, scores.get(key, -1))
    for kind in KINDS:
        at = np.flatnonzero(kinds == kind)
        found = [i for i in at if count + i in together.get(int(originals[i]), ())]
        paired = [i for i in at if (int(originals[i]), count + i) in direct]
        got = sorted(scores.get((int(originals[i]), count + int(i)), np.nan) for i in at) if kind != "exact" else []
        worst = f", scores from {got[0]:.3f}, median {got[len(got) // 2]:.3f}" if got else ""
        print(f"  {kind:<9} {len(found)} of {len(at)} found, {len(paired)} paired with the original itself{worst}")
    wrong = [
        pair
        for pair in pairs
        if pair.second >= count
        and pair.first < count
        and pair.first != (it := int(originals[pair.second - count]))
        and pair.first not in own.get(it, ())
    ]
    print(f"  {len(wrong)} pairs of a copy with a picture that is no duplicate of its original")


def say_own(catalog: Catalog, own: list[Pair]) -> None:
    counts = {kind: sum(pair.kind == kind for pair in own) for kind in ("exact", "near", "mirrored")}
    groups = clusters(own)
    train, test = (SPLITS.index(split) for split in ("train", "test"))
    leaking = {
        number
        for group in groups
        if any(catalog.splits[each] == train for each in group)
        for number in group
        if catalog.splits[number] == test
    }
    direct = {
        number
        for pair in own
        if {catalog.splits[pair.first], catalog.splits[pair.second]} == {train, test}
        for number in (pair.first, pair.second)
        if catalog.splits[number] == test
    }
    two_classes = sum(catalog.labels[pair.first] != catalog.labels[pair.second] for pair in own)
    print(f"  own: {counts}, {len(groups)} groups, the largest of {max(map(len, groups), default=0)}")
    print(f"  test pictures with a duplicate in train: {len(direct)} paired, {len(leaking)} in a group with one")
    print(f"  pairs in two classes: {two_classes}")


def say_truth(path: Path, own: list[Pair]) -> None:
    with path.open(newline="") as file:
        rows = [
            (int(row["TrainID"]), 50_000 + int(row["TestID"]), int(row["Judgment"])) for row in csv.DictReader(file)
        ]
    direct = {(pair.first, pair.second) for pair in own}
    across = {pair.second for pair in own if pair.first < 50_000 <= pair.second}
    for name, judgments in (("one shot", (0, 1)), ("very similar", (2,))):
        listed = [(train, test) for train, test, judgment in rows if judgment in judgments]
        as_pair = sum(pair in direct for pair in listed)
        any_way = sum(test in across for _, test in listed)
        print(f"  published, {name}: {as_pair} of {len(listed)} pairs found, {any_way} of the test pictures in a pair")
    print(f"  test pictures in a pair that the list does not name: {len(across - {test for _, test, _ in rows})}")


def draw_all(
    folder: Path, name: str, read: Callable[[int], Pixels], pairs: list[Pair], close: dict[str, np.ndarray], count: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    title = Path(name).name
    own = (close["first"] < count) & (close["second"] < count)
    for kind, mirrored in (("near", False), ("mirrored", True)):
        of_kind = np.flatnonzero(own & (close["mirrored"] == mirrored) & (close["relief"] >= duplicates.LEAST_RELIEF))
        margin = close["score"] - close["least"]
        of_kind = of_kind[np.argsort(margin[of_kind])]
        cut = int(np.searchsorted(margin[of_kind], 0))
        draw(folder / f"{title}-{kind}-just-below.png", read, rows(close, of_kind[max(0, cut - SHOWN) : cut]))
        draw(folder / f"{title}-{kind}-just-above.png", read, rows(close, of_kind[cut : cut + SHOWN]))
        above = of_kind[cut:]
        some = np.sort(np.random.default_rng(0).choice(len(above), min(SHOWN, len(above)), replace=False))
        draw(folder / f"{title}-{kind}-all-above.png", read, rows(close, above[some]))
    planted = [(pair.first, pair.second, f"{pair.kind} {pair.score:.3f}") for pair in pairs if pair.second >= count]
    draw(folder / f"{title}-planted.png", read, planted[: 2 * SHOWN])


def rows(close: dict[str, np.ndarray], which: np.ndarray) -> list[tuple[int, int, str]]:
    return [(int(close["first"][i]), int(close["second"][i]), f"{close['score'][i]:.3f}") for i in which]


def draw(path: Path, read: Callable[[int], Pixels], pairs: list[tuple[int, int, str]]) -> None:
    """A sheet of pairs, side by side."""
    if not pairs:
        return
    cell = (2 * SHOWN_PX + 16, SHOWN_PX + 20)
    sheet = Image.new("RGB", (cell[0] * PER_ROW, cell[1] * -(-len(pairs) // PER_ROW)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (first, second, text) in enumerate(pairs):
        x, y = place % PER_ROW * cell[0], place // PER_ROW * cell[1]
        pen.text((x + 2, y + 2), text, fill="black")
        for offset, number in ((0, first), (SHOWN_PX + 2, second)):
            picture = as_image(read(number)).convert("RGB").resize((SHOWN_PX, SHOWN_PX), Image.Resampling.BILINEAR)
            sheet.paste(picture, (x + offset, y + 16))
    sheet.save(path)
    print(f"  {path}")


if __name__ == "__main__":
    main()
