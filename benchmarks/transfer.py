"""What trained weights are worth: 447 photographs of the sky and CIFAR-10, with EfficientNet-Lite0's ImageNet weights.

    python benchmarks/transfer.py PHOTOS [--part folds shots normalisation cifar] [--arms "fine-tuned" "head alone"]
        [--folds 5] [--output runs/transfer] [--json]

PHOTOS is a folder of class folders. The parts:

    folds          5 stratified folds, each picture tested once: fine-tuning, the same without the phase of the head,
                   the head alone, the recipe from scratch, nearest neighbours and a linear probe on held features
    shots          5, 10 and 20 training pictures a class, tested on all others, three draws each
    normalisation  what the check of the normalisation says of right and wrong ones, and what the wrong ones cost on
                   held features, and fine-tuned
    cifar          100 training pictures a class of CIFAR-10, enlarged, tested on 2,000

Shares are over all pictures, with Wilson's interval, and compared with the first row by McNemar's exact test on the
same pictures. Finished runs are kept in the output folder and not repeated, and an interrupted one goes on. Hours on
two cores, minutes on a GPU. To see that it works: --smoke, which does a little of each part with 8 pictures a class.
"""

import argparse
import csv
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from imagenet_photos import fetch as fetch_photographs

import sightline as sl
from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages
from sightline.data.loader import EvalLoader
from sightline.data.preprocess import Preprocess
from sightline.data.split import assign_splits
from sightline.data.store import Store
from sightline.evaluation.baselines import linear_probe, nearest_neighbours
from sightline.evaluation.features import Features, features
from sightline.metrics import mcnemar, wilson
from sightline.pretrained import load_pretrained
from sightline.pretrained.normalisation import USUAL, Normalisation, check_normalisation
from sightline.recipes.settings import Settings
from sightline.runtime import choose_runtime

MODEL = "efficientnet_lite0"
FOLDS = 5
SHOTS, DRAWS = (5, 10, 20), 3
CIFAR_TRAIN, CIFAR_TEST = 100, 200  # pictures a class
VAL_FRACTION = 0.1  # of what is not tested on: for the temperature and the curve, not for a choice
SMOKE_PICTURES = 8  # of each class

TRAIN, _, TEST, _ = range(len(SPLITS))
ARMS = {
    "fine-tuned": Settings(recipe="finetune", pretrained="auto"),
    "fine-tuned, no head phase": Settings(recipe="finetune", pretrained="auto", head_epochs=0),
    "head alone": Settings(recipe="finetune", pretrained="auto", epochs=10, head_epochs=10),
    "from scratch": Settings(recipe="scratch-small"),
}
FEW_ARMS = ("fine-tuned", "head alone", "from scratch")
CIFAR_ARMS = {
    "fine-tuned": ARMS["fine-tuned"],
    "head alone": ARMS["head alone"],
    "from scratch": Settings(recipe="fast"),
}

Rights = Mapping[str, bool]  # from each tested picture to whether the answer was right


@dataclass(frozen=True)
class Bench:
    """Where results are kept, and how much is done.

    Args:
        output: a folder.
        is_smoke: whether runs of seconds are enough.
        device: to compute on; None for the machine's choice.
        arms: names of the trainings to compare.
        folds: how many of the five, where hours are short.
    """

    output: Path
    is_smoke: bool
    device: str | None
    arms: Sequence[str]
    folds: int = FOLDS

    def some(self, of: Iterable[Any]) -> Iterable[Any]:
        """All of them, or of a smoke run the first."""
        return itertools.islice(of, 1) if self.is_smoke else of

    def train(self, key: str, catalog: Catalog, settings: Settings) -> Rights:
        """Trains, unless the folder has the run, and gives its answers on the test pictures."""
        folder = self.output / "runs" / key
        if not (folder / "report.html").exists():
            settings = replace(settings, smoke=self.is_smoke or None, device=self.device)
            sl.train(catalog, settings=settings, output=folder, resume=(folder / "run.json").exists())
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as rows:
            return {row["source"]: row["is_correct"] == "True" for row in csv.DictReader(rows)}

    def baselines(self, key: str, catalog: Catalog, found: Features) -> dict[str, Rights]:
        """The answers on held features; `found` has those of the whole catalog."""
        parts = {name: catalog.select(name) for name in ("train", "test")}
        train, test = (Features(found.values[rows], found.labels[rows]) for rows in parts.values())
        names = [catalog.images.name(int(index)) for index in parts["test"]]
        rights = {}
        for method in (nearest_neighbours, linear_probe):
            baseline = method(train, {"test": test})
            print(f"{key}: {baseline}")
            right = baseline.answers["test"] == test.labels.numpy()
            rights[baseline.method] = dict(zip(names, right.tolist(), strict=True))
        return rights

    def features(self, key: str, catalog: Catalog, normalised: Normalisation | None = None) -> Features:
        """Of every picture of a catalog, kept in a file; without a normalisation of one's own, under the weights'."""
        path = self.output / f"features-{key}.pt"
        if not path.exists():
            runtime = choose_runtime(device=self.device, amp=False)
            loaded = load_pretrained(MODEL, num_classes=len(catalog.classes))
            net = loaded.net.to(runtime.device, memory_format=torch.channels_last)
            preprocess = loaded.preprocess
            if normalised is not None:
                preprocess = replace(preprocess, mean=normalised.mean, std=normalised.std)
            loader = EvalLoader(_store(catalog, preprocess), preprocess, 64, runtime.device)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(tuple(features(net, loader)), path)
        return Features(*torch.load(path, weights_only=True))


def folds(bench: Bench, catalog: Catalog, _: Preprocess) -> dict[str, Any]:
    """Every picture tested once."""
    arms: dict[str, dict[str, bool]] = {name: {} for name in bench.arms}
    found = bench.features(catalog.name, catalog)
    for fold, split in enumerate(bench.some(_folds(catalog)[: bench.folds])):
        for name in bench.arms:
            asked = replace(ARMS[name], val_fraction=VAL_FRACTION)
            arms[name] |= bench.train(f"fold{fold}-{_file(name)}", split, asked)
        learned, _ = assign_splits(split, val_fraction=VAL_FRACTION)  # as the training divides it
        for name, rights in bench.baselines(f"fold {fold}", learned, found).items():
            arms.setdefault(name, {}).update(rights)
    return {"folds": _compared(arms)}


def shots(bench: Bench, catalog: Catalog, _: Preprocess) -> dict[str, Any]:
    """Few pictures a class."""
    results = {}
    found = bench.features(catalog.name, catalog)
    fewest = int(np.bincount(catalog.labels).min())
    for count in bench.some(count for count in SHOTS if count < fewest):
        few = [name for name in FEW_ARMS if name in bench.arms]
        arms: dict[str, dict[str, bool]] = {name: {} for name in few}
        for draw in bench.some(range(DRAWS)):
            chosen = _draw(catalog, count, seed=draw)
            for name in few:
                asked = replace(ARMS[name], val_fraction=0.0, seed=draw)
                rights = bench.train(f"shots{count}-{draw}-{_file(name)}", chosen, asked)
                arms[name] |= {f"{draw} {source}": right for source, right in rights.items()}
            for name, rights in bench.baselines(f"{count} a class, draw {draw}", chosen, found).items():
                arms.setdefault(name, {}).update({f"{draw} {source}": right for source, right in rights.items()})
        results[f"{count} pictures a class"] = _compared(arms)
    return results


def normalisation(bench: Bench, catalog: Catalog, preprocess: Preprocess) -> dict[str, Any]:
    """What the check says, and what a wrong normalisation costs."""
    right = Normalisation("that of the weights", preprocess.mean, preprocess.std)
    checked = {}
    for pictures, where in (
        (_some(catalog, preprocess), catalog.name),
        (_some(sl.open_data("cifar10"), preprocess), "cifar10"),
        (_photographs(preprocess), "photographs"),
    ):
        for each in (right, USUAL[0], *USUAL[2:]):
            asked = replace(preprocess, mean=each.mean, std=each.std)
            found = check_normalisation(load_pretrained(MODEL).net, pictures, asked)
            told = "nothing wrong" if found is None else f"drift {found.drift:.1f}, {found.fitting.name}"
            checked[f"{where}, {each.name}"] = told
            print(f"check on {where}, {each.name}: {told}")
    cost = {}
    for method, arms in _under_each(bench, catalog, right).items():
        print(f"{method}:")
        cost[method] = _compared(arms)
    return {"the check": checked, "the cost": cost}


def _under_each(bench: Bench, catalog: Catalog, right: Normalisation) -> dict[str, dict[str, dict[str, bool]]]:
    """The answers on held features, and where asked for fine-tuned, under each normalisation, the right one first."""
    methods: dict[str, dict[str, dict[str, bool]]] = {}
    for each in (right, USUAL[0], *USUAL[2:]):
        is_right = each is right  # then features and trainings are those of the folds
        key = "" if is_right else f" {USUAL.index(each)}"
        found = bench.features(f"{catalog.name}{key}", catalog, each)
        for fold, split in enumerate(bench.some(_folds(catalog)[: bench.folds])):
            learned, _ = assign_splits(split, val_fraction=VAL_FRACTION)
            for method, rights in bench.baselines(f"fold {fold}, {each.name}", learned, found).items():
                methods.setdefault(method, {}).setdefault(each.name, {}).update(rights)
            if "fine-tuned" in bench.arms:
                asked = replace(ARMS["fine-tuned"], val_fraction=VAL_FRACTION)
                if not is_right:
                    asked = replace(asked, mean=each.mean, std=each.std)
                rights = bench.train(f"fold{fold}-{_file(f'fine-tuned{key}')}", split, asked)
                methods.setdefault("fine-tuned", {}).setdefault(each.name, {}).update(rights)
    return methods


def cifar(bench: Bench, _: Catalog, __: Preprocess) -> dict[str, Any]:
    """Small pictures, enlarged for the weights."""
    whole = sl.open_data("cifar10")
    train, test = (SMOKE_PICTURES, SMOKE_PICTURES) if bench.is_smoke else (CIFAR_TRAIN, CIFAR_TEST)
    taken = [_spread(whole, split, count) for split, count in (("train", train), ("test", test))]
    chosen = np.concatenate(taken)
    lengths = (("train", len(taken[0])), ("test", len(taken[1])))
    images = ArrayImages(np.stack([whole.images.read(int(index)) for index in chosen]), lengths)
    catalog = replace(whole, images=images, labels=whole.labels[chosen], splits=whole.splits[chosen])
    arms = {
        name: bench.train(f"cifar-{_file(name)}", catalog, replace(settings, val_fraction=VAL_FRACTION))
        for name, settings in CIFAR_ARMS.items()
        if name in bench.arms
    }
    learned, _ = assign_splits(catalog, val_fraction=VAL_FRACTION)
    found = bench.features(f"cifar10-{len(catalog)}", catalog)
    return {"cifar10": _compared({**arms, **bench.baselines("cifar10", learned, found)})}


PARTS: dict[str, Callable[[Bench, Catalog, Preprocess], dict[str, Any]]] = {
    "folds": folds, "shots": shots, "normalisation": normalisation, "cifar": cifar,
}  # fmt: skip


def _compared(arms: Mapping[str, Rights]) -> dict[str, Any]:
    """Each arm's share of right answers, and whether it differs from the first's."""
    first = next(iter(arms))
    pictures = list(arms[first])
    rows = {}
    for name, rights in arms.items():
        answers = [rights[picture] for picture in pictures]
        share = wilson(sum(answers), len(answers))
        rows[name] = {"accuracy": share.to_dict(), "pictures": len(answers)}
        test = None if name == first else mcnemar(answers, [arms[first][picture] for picture in pictures])
        rows[name] |= {} if test is None else {"against_first": asdict(test)}
        told = "" if test is None else f"; alone right {test.only_first} : {test.only_second}, p = {test.p_value:.2g}"
        print(f"  {name:<40} {share} of {len(answers):,}{told}")
    return rows


def _folds(catalog: Catalog) -> list[Catalog]:
    """The same pictures with another fifth of each class as test pictures."""
    place = _places(catalog, seed=0)
    return [replace(catalog, splits=np.where(place % FOLDS == f, TEST, TRAIN).astype(np.uint8)) for f in range(FOLDS)]


def _draw(catalog: Catalog, count: int, *, seed: int) -> Catalog:
    """So many training pictures of each class; all others are test pictures."""
    return replace(catalog, splits=np.where(_places(catalog, seed=seed) < count, TRAIN, TEST).astype(np.uint8))


def _places(catalog: Catalog, *, seed: int) -> np.ndarray:
    """The place of each picture in a random order of its class."""
    rng = np.random.default_rng(seed)
    place = np.empty(len(catalog), np.int64)
    for label in range(len(catalog.classes)):
        (of_class,) = np.nonzero(catalog.labels == label)
        place[rng.permutation(of_class)] = np.arange(len(of_class))
    return place


def _spread(catalog: Catalog, split: str, count: int) -> np.ndarray:
    """The first pictures of each class of a split."""
    indices = catalog.select(split)
    return np.sort(np.concatenate([indices[catalog.labels[indices] == label][:count] for label in range(10)]))


def _some(catalog: Catalog, preprocess: Preprocess, count: int = 48) -> torch.Tensor:
    chosen = np.linspace(0, len(catalog) - 1, count).astype(int)
    return torch.from_numpy(np.stack([preprocess.picture(catalog.images.read(int(index))) for index in chosen]))


def _photographs(preprocess: Preprocess) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as folder:
        pictures = [preprocess.picture(path) for path in fetch_photographs(Path(folder))]
    return torch.from_numpy(np.stack(pictures))


def _store(catalog: Catalog, preprocess: Preprocess) -> Store:
    everything = np.arange(len(catalog))
    store, _ = Store.build(
        catalog, everything, preprocess=preprocess, keep_margin=None, threads=torch.get_num_threads(), skip_bad=False
    )
    return store


def _file(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _reduced(catalog: Catalog) -> Catalog:
    """A few pictures of each class."""
    (chosen,) = np.nonzero(_places(catalog, seed=0) < SMOKE_PICTURES)
    images = FileImages(catalog.root, [catalog.images.name(int(index)) for index in chosen], catalog.channels)
    return replace(catalog, images=images, labels=catalog.labels[chosen], splits=catalog.splits[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--arms", nargs="*", choices=list(ARMS), default=list(ARMS), metavar="NAME", help=", ".join(ARMS)
    )
    parser.add_argument("--folds", type=int, choices=range(1, FOLDS + 1), default=FOLDS, help="only the first so many")
    parser.add_argument("--output", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--device")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--json", action="store_true", help="write results.json into the output folder")
    args = parser.parse_args()
    catalog = sl.open_data(args.photos)
    preprocess = load_pretrained(MODEL).preprocess
    bench = Bench(args.output / "smoke" if args.smoke else args.output, args.smoke, args.device, args.arms, args.folds)
    results = {}
    for part in args.part:
        print(f"{part}:")
        results |= PARTS[part](bench, _reduced(catalog) if args.smoke else catalog, preprocess)
    if args.json:
        (bench.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
