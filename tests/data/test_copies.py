"""Exact copies, found by the files alone: kept together by a draw, and refused where splits share them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.data.catalog import SPLITS, ArrayImages, Catalog
from sightline.data.copies import exact_copies, joined, keep_together, kept_together, leaking_pairs, refuse_leaks
from sightline.data.sources import open_data
from sightline.data.split import assign_splits
from sightline.errors import DataError


def write(path: Path, seed: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def flat(root: Path, copies: int = 5) -> Path:
    """20 pictures of each class, of which the first few are in the folder once more."""
    for kind, name in enumerate(("a", "b")):
        for number in range(20):
            write(root / name / f"{number:02}.png", number + 100 * kind)
        for number in range(copies):
            (root / name / f"copy{number}.png").write_bytes((root / name / f"{number:02}.png").read_bytes())
    return root


def divided(root: Path) -> Path:
    for place, split in enumerate(("train", "val", "test")):
        for kind, name in enumerate(("a", "b")):
            for number in range(3):
                write(root / split / name / f"{number}.png", number + 10 * kind + 100 * place)
    return root


def test_copies_are_those_of_equal_bytes(tmp_path: Path) -> None:
    catalog = open_data(flat(tmp_path, copies=2))
    copies = exact_copies(catalog.images, threads=2)
    names = [catalog.images.name(index) for index in range(len(catalog))]
    found = {names[index]: names[first] for index, first in enumerate(copies.tolist()) if index != first}
    assert found == {f"{name}/copy{number}.png": f"{name}/{number:02}.png" for name in "ab" for number in (0, 1)}


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = open_data(flat(tmp_path, copies=1))
    for index in range(len(catalog)):
        path = catalog.images.path(index)
        if "copy" not in path.name and path.name != "00.png":
            path.write_bytes(path.read_bytes() + b"\0" * (index + 1))
    read: list[str] = []
    monkeypatch.setattr("sightline.data.catalog.read_bytes", lambda path: read.append(path.name) or path.read_bytes())
    exact_copies(catalog.images, threads=1)
    assert set(read) == {"00.png", "copy0.png"}


def test_files_that_are_gone_or_empty_are_no_copies(tmp_path: Path) -> None:
    catalog = open_data(flat(tmp_path, copies=0))
    for index in (0, 1, 2):
        catalog.images.path(index).write_bytes(b"")
    catalog.images.path(3).unlink()
    assert exact_copies(catalog.images, threads=1).tolist() == list(range(40))


def test_a_draw_does_not_divide_copies(tmp_path: Path) -> None:
    opened = open_data(flat(tmp_path, copies=20))  # everything twice
    copies = exact_copies(opened.images, threads=1)
    alone, _ = assign_splits(opened, seed=1)
    assert len(leaking_pairs(alone, copies)) > 5  # what a draw does by itself
    drawn, _ = assign_splits(keep_together(opened, copies), seed=1)
    assert len(leaking_pairs(drawn, copies)) == 0
    assert 8 <= len(drawn.select("test")) <= 16
    assert 8 <= len(drawn.select("val")) <= 16
    said = "40 pictures are exact copies of others: copies were kept in one split when it was drawn."
    assert kept_together(opened, drawn, copies) == [said]


def test_without_copies_the_draw_is_as_ever(tmp_path: Path) -> None:
    opened = open_data(flat(tmp_path, copies=0))
    copies = exact_copies(opened.images, threads=1)
    assert keep_together(opened, copies) is opened
    drawn, _ = assign_splits(opened)
    assert kept_together(opened, drawn, copies) == []
    assert refuse_leaks(opened, drawn, copies, allowed=False) == []


def test_groups_of_the_data_are_joined_and_not_lost(tmp_path: Path) -> None:
    opened = open_data(flat(tmp_path, copies=5))
    groups = np.arange(len(opened)) // 2
    grouped = replace(opened, groups=groups, group_names=tuple(f"g{n}" for n in range(groups.max() + 1)))
    copies = exact_copies(opened.images, threads=1)
    together = keep_together(grouped, copies)
    for index, first in enumerate(copies.tolist()):
        assert together.groups[index] == together.groups[first]
    for group in range(groups.max() + 1):
        assert len(set(together.groups[groups == group])) == 1


def test_joined_follows_chains() -> None:
    count = 50
    pairs, shifted = np.arange(count) // 2, (np.arange(count) + 1) // 2
    assert joined(pairs, shifted).tolist() == [0] * count
    assert joined(pairs, np.arange(count)).tolist() == pairs.tolist()
    assert joined(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_a_split_that_leaks_is_refused_with_the_pairs_and_the_way_out(tmp_path: Path) -> None:
    root = divided(tmp_path / "photos")
    for number in range(3):
        (root / "test" / "b" / f"{number}.png").write_bytes((root / "train" / "a" / f"{number}.png").read_bytes())
    (root / "val" / "a" / "x.png").write_bytes((root / "test" / "a" / "0.png").read_bytes())
    opened = open_data(root)
    copies = exact_copies(opened.images, threads=1)
    drawn, _ = assign_splits(opened)
    with pytest.raises(DataError) as caught:
        refuse_leaks(opened, drawn, copies, allowed=False)
    assert str(caught.value) == (
        "photos: 4 held-out pictures are exact copies of some in another split, so scores would be too good:\n"
        "  test/a/0.png (test) = val/a/x.png (val)\n"
        "  test/b/0.png (test) = train/a/0.png (train)\n"
        "  test/b/1.png (test) = train/a/1.png (train)\n"
        "  test/b/2.png (test) = train/a/2.png (train)\n"
        f"Remove one of each; or write a clean split with `sightline check {root} --fix-split clean.csv` and train on "
        "clean.csv; or train all the same with --allow-leaks (allow_leaks=True)."
    )
    said = refuse_leaks(opened, drawn, copies, allowed=True)
    assert said == [
        "4 held-out pictures are exact copies of some in another split, which is allowed here: scores will be too good."
    ]


def arrays(name: str, *, published: bool, divided: bool) -> Catalog:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    pixels[30:] = pixels[:10]
    splits = np.repeat([SPLITS.index("train"), SPLITS.index("test")], [30, 10]).astype(np.uint8)
    return Catalog(
        name,
        None,
        ("a", "b"),
        ArrayImages(pixels, (("train", 30), ("test", 10))),
        np.arange(40) % 2,
        splits if divided else np.full(40, SPLITS.index("unassigned"), np.uint8),
        source_files=(Path("train.bin"),) if published else (),
    )


def test_a_published_set_is_not_refused_for_its_own_copies() -> None:
    opened = arrays("cifar10", published=True, divided=True)
    copies = exact_copies(opened.images, threads=1)
    drawn, _ = assign_splits(opened)
    notes = refuse_leaks(opened, drawn, copies, allowed=False)
    assert any("10 held-out" in note and "as cifar10 was published" in note for note in notes)
    mine = replace(opened, source_files=())
    with pytest.raises(DataError, match="10 held-out"):
        refuse_leaks(mine, drawn, copies, allowed=False)


def test_what_a_draw_from_arrays_divides_is_told() -> None:
    """Their splits are drawn again by an evaluation, from the seed alone, so the draw stays as it is."""
    opened = arrays("arrays", published=False, divided=False)
    copies = exact_copies(opened.images, threads=1)
    assert keep_together(opened, copies) is opened
    drawn, _ = assign_splits(opened)
    count = len(leaking_pairs(drawn, copies))
    assert count > 0
    (note,) = refuse_leaks(opened, drawn, copies, allowed=False)
    assert note.startswith(f"{count} held-out") and note.endswith("in another split, by the draw.")
