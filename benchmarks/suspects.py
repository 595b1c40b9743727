"""Suspicious labels: wrong ones are planted, and the list of `sightline check` is held against them.

    python benchmarks/suspects.py [fashion-mnist cifar10 FOLDER ...] [--pictures 10000] [--flips 0.05]
        [--kinds symmetric pairs none] [--with BUNDLE] [--threads 1] [--in-sample] [--save FOLDER] [--cleanlab FOLDER]

Of each data set's training pictures (of all, where it has no splits; at most `--pictures`, evenly spaced, 0 for all),
the share `--flips` gets a wrong label: "symmetric", any other class alike; "pairs", the class that is taken for it most
often (shirt and T-shirt, cat and dog; of a folder, the next class). Printed are the recall and the precision of the
list, by each way of pruning, and the average precision of the order by self-confidence and by the margin; with
`--in-sample` also those of a quick network that is asked about the very pictures it has learned from. "none" plants
nothing: how long is the list then?

`--save` keeps the probabilities, and `--cleanlab` reads them and prints the answer of cleanlab 2.x to the same. That is
under the AGPL-3.0: install it beside; it is no part of Sightline, and nothing else needs it.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

import sightline as sl
from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.measure import Measures, measure
from sightline.data.store import Store
from sightline.evaluation.suspects import Pruning, find_suspects
from sightline.recipes import suspect_training
from sightline.recipes.suspect_folds import Judged, judged
from sightline.recipes.suspect_judges import MANY, choose_judge
from sightline.recipes.suspect_training import quick_plan
from sightline.runtime import Runtime, choose_runtime

# Confused most often, after published confusion matrices: each class with the one that it becomes.
LOOK_ALIKES = {
    "fashion-mnist": {0: 6, 6: 0, 2: 4, 4: 2, 7: 9, 9: 7, 5: 7, 1: 3, 3: 1, 8: 5},
    "cifar10": {3: 5, 5: 3, 9: 1, 1: 9, 2: 0, 0: 2, 4: 7, 7: 4, 6: 3, 8: 0},
}
KINDS = ("symmetric", "pairs", "none")


def main() -> None:
    """Prints a paragraph for each data set and kind of flip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["fashion-mnist", "cifar10"])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--flips", type=float, default=0.05)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=["symmetric", "pairs"])
    parser.add_argument("--with", dest="bundle", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--in-sample", action="store_true", help="also judge pictures that were learned from")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--cleanlab", type=Path)
    options = parser.parse_args()
    if options.cleanlab is not None:
        ask_cleanlab(options.cleanlab)
        return
    for name in options.data:
        for kind in options.kinds:
            examine(name, kind, options)


def examine(name: str, kind: str, options: argparse.Namespace) -> None:
    """Plants flips, judges, and says what was found."""
    clean = thinned(sl.open_data(name), options.pictures)
    true = clean.class_numbers
    given = true if kind == "none" else planted(true, kind, options.flips, LOOK_ALIKES.get(name), len(clean.classes))
    catalog = replace(clean, labels=given, splits=np.zeros(len(clean), np.uint8))
    runtime = choose_runtime(threads=options.threads)
    start = time.perf_counter()
    measures = measure(catalog, threads=runtime.threads)
    pictures = judged(catalog, measures.readable, [])
    looked = time.perf_counter() - start
    judge = choose_judge(pictures, measures, sl.Settings(seed=0), runtime, bundle=options.bundle, looking_s=looked)
    print(
        f"\n{name}, {len(pictures):,} pictures, {kind}: {judge.words}, {judge.folds} folds, said {judge.seconds:.0f} s"
    )
    start = time.perf_counter()
    folds = np.zeros(len(pictures), np.int64) if judge.folds == 1 else pictures.folds(judge.folds, seed=0)
    probabilities = judge.judge(folds, lambda done, total: None)
    seconds, true = time.perf_counter() - start, np.searchsorted(pictures.classes, true[pictures.pool])
    report(probabilities, pictures.labels, true)
    print(f"  {seconds:.0f} s", flush=True)
    if options.in_sample and judge.name == "networks":
        print("  asked about what it has learned from:")
        report(in_sample(pictures, measures, runtime), pictures.labels, true)
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        stem = Path(name).name
        np.savez(options.save / f"{stem}-{kind}.npz", probabilities=probabilities, given=pictures.labels, true=true)


def in_sample(pictures: Judged, measures: Measures, runtime: Runtime) -> np.ndarray:
    """The answers of one quick network to the pictures that it was trained on, wrong labels and all."""
    plan = quick_plan(pictures, measures, runtime, folds=MANY, seed=0)
    store, _ = Store.build(
        pictures.catalog, pictures.pool, preprocess=plan.preprocess, keep_margin=None, threads=1, skip_bad=False
    )
    bar = suspect_training._Bar(lambda done, total: None, total=1)
    net = suspect_training._trained(pictures, store, plan, runtime, bar)
    return suspect_training._answers(net, pictures, store, plan, runtime)


def thinned(catalog: Catalog, most: int) -> Catalog:
    """The training pictures, or all where there are no splits; at most so many, evenly spaced."""
    pool = catalog.select("train") if len(catalog.select("train")) else np.arange(len(catalog))
    kept = pool if not most or len(pool) <= most else pool[np.linspace(0, len(pool) - 1, most).astype(np.int64)]
    images = catalog.images
    if isinstance(images, ArrayImages):
        images = ArrayImages(images.pixels[kept], (("image", len(kept)),))
    else:
        images = replace(images, paths=[images.paths[at] for at in kept])  # type: ignore[attr-defined]
    return replace(catalog, images=images, labels=catalog.labels[kept], splits=catalog.splits[kept], groups=None)


def planted(
    true: np.ndarray, kind: str, share: float, look_alikes: dict[int, int] | None, num_classes: int
) -> np.ndarray:
    """The labels with a share of wrong ones."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(true), round(share * len(true)), replace=False)
    given = true.copy()
    if kind == "symmetric":
        given[chosen] = (true[chosen] + rng.integers(1, num_classes, len(chosen))) % num_classes
    else:
        become = look_alikes or {label: (label + 1) % num_classes for label in range(num_classes)}
        given[chosen] = np.array([become[label] for label in true[chosen].tolist()])
    return given


def report(probabilities: np.ndarray, given: np.ndarray, true: np.ndarray) -> None:
    """Prints recall and precision of the list, by pruning, and the average precision of the orders."""
    is_wrong = given != true
    own = probabilities[np.arange(len(given)), given]
    answers = probabilities.argmax(axis=1)
    print(f"  agrees with {(answers == given).mean():.1%} of the labels, is right in {(answers == true).mean():.1%}")
    if is_wrong.any():
        orders = {"self-confidence": 1 - own, "margin": probabilities.max(axis=1) - own}
        told = ", ".join(f"by {name} {average_precision(scores, is_wrong):.3f}" for name, scores in orders.items())
        print(f"  average precision {told}; by chance {is_wrong.mean():.3f}")
    for pruning in get_args(Pruning):
        found = find_suspects(probabilities, given, pruning=pruning)
        say(pruning, found.indices, is_wrong, found.suggested == true[found.indices])


def say(name: str, indices: np.ndarray, is_wrong: np.ndarray, is_right_class: np.ndarray | None = None) -> None:
    """Prints a line about a list."""
    hits = is_wrong[indices]
    line = f"  {name:<16} {len(indices):>6,} listed"
    if is_wrong.any():
        line += f"  recall {hits.sum() / is_wrong.sum():.1%}  precision {hits.mean() if len(hits) else 0:.1%}"
        line += f"  of the first {min(100, len(hits))} {hits[:100].mean() if len(hits) else 0:.0%}"
        if is_right_class is not None and hits.any():
            line += f"  suggested class right {is_right_class[hits].mean():.1%}"
    print(line)


def average_precision(scores: np.ndarray, is_wrong: np.ndarray) -> float:
    """The mean precision at each wrong label, from the most suspicious on: the area under precision and recall."""
    hits = is_wrong[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def ask_cleanlab(folder: Path) -> None:
    """Prints cleanlab's answer to saved probabilities."""
    from cleanlab.filter import find_label_issues

    names = {
        "noise_rate": "prune_by_noise_rate",
        "self_confidence": "prune_by_class",
        "both": "both",
        "confident": "confident_learning",
    }
    for path in sorted(folder.glob("*.npz")):
        saved = np.load(path)
        values = saved["probabilities"].astype(np.float64)
        values /= values.sum(axis=1, keepdims=True)
        is_wrong = saved["given"] != saved["true"]
        print(path.stem)
        for ours, theirs in names.items():
            found = find_label_issues(
                saved["given"], values, filter_by=theirs, return_indices_ranked_by="self_confidence", n_jobs=1
            )
            own = find_suspects(values, saved["given"], pruning=ours)
            say(theirs, found, is_wrong)
            print(f"    in both lists: {len(np.intersect1d(found, own.indices)):,}, in ours {len(own):,}")


if __name__ == "__main__":
    main()
