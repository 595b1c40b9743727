"""Groups: never divided between splits, drawn by seed and name alone, and the classes' shares kept as they allow."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.data.catalog import SPLITS, ArrayImages, Catalog, FileImages
from sightline.data.folds import fold_numbers
from sightline.data.lock import data_lock, verify_lock
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import ConfigError, DataError

MakePicture = Callable[..., Path]


def grouped(sizes: list[tuple[int, int]], *, names: tuple[str, ...] | None = None) -> Catalog:
    """A catalog with a group for each (class, size)."""
    labels = np.repeat([label for label, _ in sizes], [size for _, size in sizes]).astype(np.int64)
    groups = np.repeat(np.arange(len(sizes)), [size for _, size in sizes])
    return Catalog(
        "made",
        None,
        tuple("abcdefgh"[: max(label for label, _ in sizes) + 1]),
        ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8), (("image", len(labels)),)),
        labels,
        np.full(len(labels), SPLITS.index("unassigned"), np.uint8),
        groups=groups,
        group_names=names or tuple(f"g{number:03d}" for number in range(len(sizes))),
    )


def splits_of_groups(catalog: Catalog) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    assert catalog.groups is not None
    for group, split in zip(catalog.groups.tolist(), catalog.splits.tolist(), strict=True):
        found[catalog.group_name(group)].add(SPLITS[split])
    return found


Sizes = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=40)


@settings(max_examples=25)
@given(sizes=Sizes, val=st.floats(0, 0.4), test=st.floats(0, 0.4), seed=st.integers(0, 99))
def test_a_group_never_spans_splits_and_no_class_leaves_the_training(
    sizes: list[tuple[int, int]], val: float, test: float, seed: int
) -> None:
    catalog, _ = assign_splits(grouped(sizes), val_fraction=val, test_fraction=test, seed=seed)
    assert all(len(splits) == 1 for splits in splits_of_groups(catalog).values())
    present = catalog.class_counts() > 0
    assert ((catalog.class_counts(catalog.select("train")) > 0) == present).all()
    groups = np.array([sum(label == each for label, _ in sizes) for each in range(len(catalog.classes))])
    held_out = {split: share for split, share in (("val", val), ("test", test)) if share * len(catalog) >= 0.5}
    for split in held_out:  # every class with enough groups is there
        least = 1 + len(held_out)
        assert (catalog.class_counts(catalog.select(split)) > 0)[groups >= least].all()


@settings(max_examples=25)
@given(sizes=Sizes, folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_folds_keep_groups_whole_and_test_each_picture_once(
    sizes: list[tuple[int, int]], folds: int, seed: int
) -> None:
    made = grouped(sizes)
    try:
        runs = [assign_splits(made, folds=folds, fold=fold, seed=seed)[0] for fold in range(folds)]
    except (ConfigError, DataError):
        return
    assert (sum((run.splits == SPLITS.index("test")).astype(int) for run in runs) == 1).all()
    for run in runs:
        assert all(len(splits) == 1 for splits in splits_of_groups(run).values())
        assert ((run.class_counts(run.select("train")) > 0) == (run.class_counts() > 0)).all()


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_each_picture_is_in_exactly_one_test_fold_and_folds_are_alike(folds: int) -> None:
    counts = (50, 23, 11, 7)
    made = replace(grouped([(label, count) for label, count in enumerate(counts)]), groups=None, group_names=())
    runs = [assign_splits(made, folds=folds, fold=fold, seed=4)[0] for fold in range(folds)]
    tested = np.stack([run.splits == SPLITS.index("test") for run in runs])
    assert (tested.sum(axis=0) == 1).all()
    sizes = tested.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    for run in runs:
        of_class = run.class_counts(run.select("test"))
        assert (np.abs(of_class - np.array(counts) / folds) < 1).all()
        assert len(run.select("unassigned")) == 0
        assert abs(len(run.select("val")) - 0.15 * (sum(counts) - len(run.select("test")))) < 2  # a picture a class


def test_folds_are_told_and_other_seeds_give_other_ones() -> None:
    made = replace(grouped([(0, 20), (1, 20)]), groups=None, group_names=())
    catalog, said = assign_splits(made, folds=4, fold=1, seed=7)
    assert catalog.counts() == {"train": {"a": 12, "b": 13}, "val": {"a": 3, "b": 2}, "test": {"a": 5, "b": 5}}
    assert said == [
        "25 of 40 pictures are for training, 5 for validation and 10 for test: fold 1 of 4 is the test split, drawn "
        "with seed 7, in each class alike."
    ]
    pool = np.arange(40)
    assert fold_numbers(made, pool, 4, seed=7).tolist() == fold_numbers(made, pool, 4, seed=7).tolist()
    assert fold_numbers(made, pool, 4, seed=7).tolist() != fold_numbers(made, pool, 4, seed=8).tolist()


def test_shares_of_classes_are_kept_where_groups_allow() -> None:
    rng = np.random.default_rng(0)
    sizes = [(label, int(size)) for label in range(3) for size in rng.integers(1, 9, 60)]
    catalog, said = assign_splits(grouped(sizes), val_fraction=0.2, test_fraction=0.1, seed=1)
    total = catalog.class_counts()
    for split, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        np.testing.assert_allclose(catalog.class_counts(catalog.select(split)) / total, share, atol=0.02)
    assert said[0].endswith("drawn with seed 1, group by group, of each class as alike as they allow.")
    # Groups of one size, drawn from 99 seeds: each has its chance to be tested.
    tested = {
        name
        for seed in range(99)
        for name, split in splits_of_groups(
            assign_splits(grouped([(n % 2, 3) for n in range(20)]), seed=seed)[0]
        ).items()
        if split == {"test"}
    }
    assert len(tested) == 20


def test_splits_do_not_depend_on_the_order_of_rows_or_of_group_numbers() -> None:
    rng = np.random.default_rng(1)
    paths = [f"{n:03d}.png" for n in range(120)]
    labels, groups = rng.integers(0, 3, 120), rng.integers(0, 30, 120)

    def splits(order: np.ndarray, numbers: np.ndarray, **options: int) -> dict[str, int]:
        names = [""] * 30
        for group in range(30):
            names[numbers[group]] = f"patient {group}"
        catalog = Catalog(
            "made", None, ("a", "b", "c"), FileImages(Path(), [paths[each] for each in order]),
            labels[order], np.full(120, 3, np.uint8), groups=numbers[groups[order]], group_names=tuple(names),
        )  # fmt: skip
        divided, _ = assign_splits(catalog, seed=5, **options)
        return {catalog.images.name(place): int(split) for place, split in enumerate(divided.splits)}

    for options in ({}, {"folds": 5, "fold": 2}):
        plain = splits(np.arange(120), np.arange(30), **options)
        assert plain == splits(rng.permutation(120), rng.permutation(30), **options)


def test_large_groups_and_classes_of_one_group_are_said() -> None:
    catalog, said = assign_splits(grouped([(0, 50), (0, 10), (0, 10), (0, 10), (1, 20)]))
    assert catalog.class_counts(catalog.select("train"))[1] == 20
    assert said[1:] == [
        "Too few groups to give any to the validation split: b.",
        "Too few groups to give any to the test split: b.",
        "2 of 5 groups have more pictures than a held-out split should, 15: g000 (50), g004 (20). The shares of the "
        "splits are as near as that allows.",
    ]


def test_own_splits_that_divide_a_group_are_refused() -> None:
    made = grouped([(0, 2), (0, 2), (1, 4)])
    divided = replace(made, splits=np.array([0, 2, 0, 0, 0, 0, 0, 0], np.uint8))
    with pytest.raises(
        DataError, match=r"made brings along divide 1 groups: g000 \(train, test\). Pictures of one group"
    ):
        assign_splits(divided)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 5}, "folds is given without fold: --folds 5 --fold 0 tests"),
        ({"fold": 0}, "fold is given without folds"),
        ({"folds": 1, "fold": 0}, "folds must be at least 2, got 1"),
        ({"folds": 3, "fold": 3}, "fold must be from 0 to 2, got 3"),
        ({"folds": 3, "fold": -1}, "fold must be from 0 to 2, got -1"),
        ({"folds": 3, "fold": 0, "test_fraction": 0.1}, "with folds the test split is one fold"),
        ({"folds": 9, "fold": 0}, "9 folds need at least as many groups, and made has 4"),
    ],
)
def test_folds_that_cannot_work(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assign_splits(grouped([(0, 5), (0, 5), (1, 5), (1, 5)]), **options)  # type: ignore[arg-type]


def test_folds_of_data_with_splits_of_its_own_or_with_a_class_of_one_group() -> None:
    made = grouped([(0, 5), (0, 5), (1, 5), (1, 5)])
    own = replace(made, splits=np.array([0] * 15 + [2] * 5, np.uint8))
    with pytest.raises(ConfigError, match=r"folds divide all pictures, but made brings splits of its own along"):
        assign_splits(own, folds=2, fold=0)
    with pytest.raises(DataError, match=r"fold \d would hold every picture of b, and the training none"):
        assign_splits(grouped([(0, 5), (0, 5), (0, 5), (1, 5)]), folds=3, fold=0)


def test_multilabel_pictures_are_stratified_by_each_label() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((400, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.uint8)
    images = ArrayImages(np.zeros((400, 1, 1, 1), np.uint8), (("image", 400),))
    made = Catalog("many", None, tuple("abcd"), images, labels, np.full(400, 3, np.uint8))
    catalog, _ = assign_splits(made, val_fraction=0.2, test_fraction=0.2)
    for split in ("val", "test"):
        chosen = catalog.select(split)
        assert abs(len(chosen) - 80) <= 2
        assert (np.abs(catalog.class_counts(chosen) - 0.2 * labels.sum(axis=0)) <= 1.5).all()


# ----------------------------------------------------------------------------------------------------------- group_by


@pytest.fixture
def patients(tmp_path: Path, make_picture: MakePicture) -> Path:
    for kind in ("benign", "malignant"):
        for patient in range(4):
            for number in range(2):
                make_picture(f"p/{kind}/patient{patient}/{number}.png")
        make_picture(f"p/{kind}/loose_{kind}.png")
    return tmp_path / "p"


def groups_of(catalog: Catalog) -> dict[str, str]:
    assert catalog.groups is not None
    return {catalog.images.name(i): catalog.group_name(group) for i, group in enumerate(catalog.groups.tolist())}


def test_by_folder_the_patients_of_both_classes_are_one(patients: Path) -> None:
    catalog = open_data(patients, group_by="folder")
    found = groups_of(catalog)
    assert found["benign/patient2/0.png"] == found["malignant/patient2/1.png"] == "patient2"
    assert found["benign/loose_benign.png"] == "benign/loose_benign.png"  # alone
    assert catalog.notes == (
        "18 pictures are in 6 groups, by the pictures' folders: a group is never divided between splits.",
        "2 pictures have no group and are one each.",
    )


def test_by_folder_below_split_folders(tmp_path: Path, make_picture: MakePicture) -> None:
    for name in ("train/a/p1/1.png", "train/b/p2/1.png", "test/a/p3/1.png", "test/b/p3/1.png"):
        make_picture(f"p/{name}")
    found = groups_of(open_data(tmp_path / "p", group_by="folder"))
    assert sorted(found.values()) == ["p1", "p2", "p3", "p3"]


def test_by_a_part_of_the_path(patients: Path) -> None:
    catalog = open_data(patients, group_by=r"(malignant|benign)/(?:patient|loose)")
    assert catalog.group_names == ("benign", "malignant")
    again = open_data(open_data(patients), group_by=r"patient(\d)")
    assert again.group_names[:4] == ("0", "1", "2", "3")


def test_by_a_column_of_a_table(patients: Path) -> None:
    lines = ["path,label,group,Session"]
    lines += [
        f"{kind}/patient{n}/0.png,{kind},g{n % 2},{'' if n else 's'}"
        for kind in ("benign", "malignant")
        for n in range(4)
    ]
    (patients / "t.csv").write_text("\n".join(lines))
    assert open_data(patients / "t.csv").group_names == ("g0", "g1")  # without being asked
    catalog = open_data(patients / "t.csv", group_by="session")
    assert len(catalog.group_names) == 7  # s, and six pictures without one


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("patient", r"group_by 'patient' is neither a column, nor 'folder', nor a regular expression with one group"),
        (r"(a)(b)", r"nor a regular expression with one group"),
        (r"(a", r"is no regular expression: missing \)"),
        (r"doctor(\d)", r"gives no picture of p a group"),
    ],
)
def test_what_groups_nothing_is_refused(patients: Path, group_by: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_data(patients, group_by=group_by)
    with pytest.raises(ConfigError, match=r"needs pictures in files"):
        open_data((np.zeros((2, 2, 2), np.uint8), np.array([0, 1])), group_by="folder")


def test_the_lock_records_groups_and_labels(patients: Path) -> None:
    catalog = open_data(patients, group_by="folder")
    lock = data_lock(catalog)
    assert {row["path"]: row["group"] for row in lock["files"]} == groups_of(catalog)
    assert verify_lock(lock, catalog) == []
    other = open_data(patients, group_by=r"(benign|malignant)")
    assert verify_lock(lock, other)[0] == (
        "benign/loose_benign.png had the group benign/loose_benign.png and has now benign"
    )
    assert "group" not in data_lock(open_data(patients))["files"][0]
    many = replace(
        catalog, labels=np.stack([catalog.class_numbers, 1 - catalog.class_numbers], axis=1).astype(np.uint8)
    )
    assert {row["label"] for row in data_lock(many)["files"]} == {"benign", "malignant"}


def test_the_lock_of_arrays_records_groups() -> None:
    made = grouped([(0, 2), (1, 2)])
    assert verify_lock(data_lock(made), replace(made, groups=np.array([0, 0, 1, 2]))) != []


def test_groups_must_be_one_a_picture() -> None:
    with pytest.raises(DataError, match=r"made has 4 images and groups of shape \(3,\)"):
        replace(grouped([(0, 2), (1, 2)]), groups=np.zeros(3, np.int64))
