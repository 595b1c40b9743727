"""`check` and `sightline check`: planted faults, exit codes, JSON, the page; no file of the user's is touched."""

import hashlib
import io
import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import sightline as sl
from sightline.cli.main import app
from sightline.data.catalog import ArrayImages
from sightline.data.sources import open_data
from sightline.errors import ConfigError, DataError
from sightline.recipes.check import check
from sightline.recipes.data import open_split
from sightline.report.check_result import CheckResult

QUIET = Console(quiet=True)
BAD_CLASS = "<script>alert(1)<&script>"


def photo(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-10, 10, (*size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights of this machine, and no caches."""
    monkeypatch.setattr("sightline.recipes.beginning.on_this_machine", lambda: ())
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    seed = 0
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                photo(seed).save(root / split / name / f"{number}.png")
                seed += 1
    return root


@pytest.fixture
def faulty(clean: Path, tmp_path: Path) -> Path:
    root = tmp_path / "faulty"
    for path in clean.rglob("*.png"):
        copy = root / path.relative_to(clean)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    def image(name: str) -> Image.Image:
        return Image.open(root / name).copy()

    image("train/cat/0.png").save(root / "test" / "cat" / "same.bmp")  # other bytes, equal pixels
    image("train/cat/1.png").resize((48, 36), Image.Resampling.BICUBIC).save(root / "val/cat/near.jpg", quality=80)
    image("train/dog/0.png").save(root / "train" / "cat" / "wrong.png")
    image("test/dog/0.png").save(root / "train" / "cat" / "contradiction.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image("train/dog/1.png").transpose(Image.Transpose.ROTATE_90).save(root / "train/dog/turned.png", exif=exif)
    whole = io.BytesIO()
    photo(99).save(whole, "PNG")
    (root / "train" / "dog" / "cut.png").write_bytes(whole.getvalue()[:300])
    Image.new("RGB", (64, 48), (9, 9, 9)).save(root / "train" / "dog" / "flat.png")
    return root


def state(root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
    }


def cases(result: CheckResult) -> dict[str, list[tuple[list[str], str]]]:
    return {
        finding.kind: [([each.path for each in case.sightings], case.detail) for case in finding.cases]
        for finding in result.findings
    }


def test_every_planted_fault_is_found(faulty: Path) -> None:
    result = check(faulty, console=QUIET)
    found = cases(result)
    assert set(found) == {"unreadable", "leak", "contradiction", "duplicate", "one_colour", "rotated"}
    (leak_pairs := {tuple(sorted(paths)): detail for paths, detail in found["leak"]})
    assert leak_pairs.pop(("test/cat/same.bmp", "train/cat/0.png")) == "exact"
    assert leak_pairs.pop(("test/dog/0.png", "train/cat/contradiction.png")) == "exact"
    ((near, detail),) = leak_pairs.items()
    assert near == ("train/cat/1.png", "val/cat/near.jpg")
    assert 0.93 <= float(detail.removeprefix("near, likeness ")) <= 1
    assert [paths for paths, _ in found["duplicate"]] == [
        ["train/cat/wrong.png", "train/dog/0.png"], ["train/dog/1.png", "train/dog/turned.png"]
    ]  # fmt: skip
    assert sorted(sorted(paths) for paths, _ in found["contradiction"]) == [
        ["test/dog/0.png", "train/cat/contradiction.png"], ["train/cat/wrong.png", "train/dog/0.png"]
    ]  # fmt: skip
    ((paths, reason),) = found["unreadable"]
    assert paths == ["train/dog/cut.png"] and "cannot be decoded" in reason
    assert found["rotated"] == [(["train/dog/turned.png"], "orientation 6")]
    assert found["one_colour"] == [(["train/dog/flat.png"], "")]
    assert {finding.kind: finding.severity for finding in result.findings} == {
        "unreadable": "error", "leak": "error", "contradiction": "warning", "duplicate": "warning",
        "one_colour": "warning", "rotated": "note",
    }  # fmt: skip
    assert result.has_leak and result.has_unreadable and result.exit_code == 1
    assert "val/cat/near.jpg (val)" in str(result)


def test_without_near_only_equal_pixels_are_looked_for(faulty: Path) -> None:
    found = cases(check(faulty, near=False, console=QUIET))
    assert all(detail == "exact" for kind in ("leak", "duplicate") for _, detail in found[kind])
    assert len(found["leak"]) == 2


def test_clean_data_has_nothing_to_complain_of(clean: Path) -> None:
    before = state(clean)
    result = check(clean, console=QUIET)
    assert result.findings == ()
    assert result.exit_code == 0
    assert state(clean) == before
    assert {each.about for each in result.advice} >= {"recipe", "model", "img_size"}
    assert str(result).splitlines()[0] == "clean0: 20 pictures, 2 classes"


def test_advice_is_what_a_training_would_choose(clean: Path) -> None:
    from sightline.recipes.prepare import prepare

    plan = prepare(clean, sl.Settings(), QUIET).plan
    told = {each.about: each.value for each in check(clean, console=QUIET).advice}
    assert told["model"] == plan.model
    assert told["img_size"] == str(plan.preprocess.input_size[1])


def test_groups_that_the_splits_divide_are_a_leak(clean: Path, tmp_path: Path) -> None:
    rows = [
        f"{path.relative_to(clean).as_posix()},{path.parent.name},{path.parts[-3]},"
        for path in sorted(clean.rglob("*.png"))
    ]
    rows[0] += "p1"  # test/cat/0.png
    rows[-1] += "p2"
    trained = next(place for place, row in enumerate(rows) if row.startswith("train"))
    rows[trained] += "p1"
    table = tmp_path / "table.csv"
    table.write_text(
        "path,label,split,group\n" + "".join(f"{os.path.relpath(clean, tmp_path)}/{row}\n" for row in rows)
    )
    result = check(table, console=QUIET)
    (finding,) = result.findings
    assert (finding.kind, finding.severity) == ("group_leak", "error")
    assert [case.detail for case in finding.cases] == ["group p1"]
    assert {each.split for each in finding.cases[0].sightings} == {"train", "test"}
    assert result.exit_code == 1
    fixed = tmp_path / "fixed.csv"
    check(table, fix_split=fixed, console=QUIET)
    assert check(fixed, console=QUIET).findings == ()


def test_a_fixed_split_has_no_leak_left_and_nothing_of_the_users_is_touched(faulty: Path, tmp_path: Path) -> None:
    before = state(faulty)
    path = tmp_path / "fixed.csv"
    result = check(faulty, fix_split=path, output=tmp_path / "page", console=QUIET)
    assert state(faulty) == before
    assert result.fixed[0] == f"{path}: 25 pictures, 1 moved from train to test, 1 moved from train to val, 2 left out"
    again = check(path, console=QUIET)
    assert not again.has_leak and not again.has_unreadable and again.exit_code == 0
    assert "contradiction" in cases(again)  # of one split: for a person to decide
    catalog, _ = open_split(path, sl.Settings(), QUIET)
    assert len(catalog.select("test")) == 6
    with pytest.raises(ConfigError, match="exists, and nothing is overwritten"):
        check(faulty, fix_split=path, console=QUIET)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders cannot be made read-only here")
def test_a_read_only_folder_is_checked(faulty: Path) -> None:
    folders = [faulty, *(path for path in faulty.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert check(faulty, console=QUIET).exit_code == 1
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_flat_folder_has_its_copies_on_one_side(tmp_path: Path) -> None:
    for kind, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for number in range(10):
            photo(number + 50 * kind).save(tmp_path / name / f"{number}.png")
            (tmp_path / name / f"x{number}.png").write_bytes((tmp_path / name / f"{number}.png").read_bytes())
    result = check(tmp_path, console=QUIET)
    assert not result.has_leak
    assert any("copies were kept in one split" in note for note in result.notes)
    assert set(cases(result)) == {"duplicate"}
    catalog, notes = open_split(tmp_path, sl.Settings(), QUIET)  # a training draws the same
    assert any("copies were kept in one split" in note for note in notes)
    assert catalog.groups is None
    trained, _ = open_split(tmp_path, sl.Settings(seed=5), QUIET)
    assert (catalog.splits != trained.splits).any()


def test_a_published_set_is_warned_of_and_passes() -> None:
    from dataclasses import replace

    pixels = np.stack([np.asarray(photo(seed, (32, 32))) for seed in range(40)])
    pixels[35] = pixels[0]
    opened = open_data((pixels, np.arange(40) % 2))
    splits = np.repeat([0, 2], [30, 10]).astype(np.uint8)
    known = replace(
        opened,
        name="cifar10",
        splits=splits,
        images=ArrayImages(pixels, (("train", 30), ("test", 10))),
        source_files=(Path("batch.bin"),),
    )
    result = check(known, console=QUIET)
    assert {finding.kind: finding.severity for finding in result.findings} == {
        "leak": "warning", "contradiction": "warning"
    }  # fmt: skip
    assert result.exit_code == 0
    with pytest.raises(ConfigError, match="pictures of cifar10 are not in files of their own"):
        check(known, fix_split="x.csv", console=QUIET)
    assert check(replace(known, name="mine"), console=QUIET).exit_code == 1


# ----------------------------------------------------------------------------------------------------------- training


def test_a_training_refuses_a_leaking_split_unless_told_otherwise(clean: Path, tmp_path: Path) -> None:
    root = tmp_path / "leaky"
    for path in clean.rglob("*.png"):
        (copy := root / path.relative_to(clean)).parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (root / "test" / "cat" / "0.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"test/cat/0\.png \(test\) = train/cat/0\.png \(train\)[^$]*--fix-split clean"):
        open_split(root, sl.Settings(), QUIET)
    _, notes = open_split(root, sl.Settings(allow_leaks=True), QUIET)
    assert any("scores will be too good" in note for note in notes)
    answer = CliRunner().invoke(app, ["train", str(root), "--dry-run"])
    assert isinstance(answer.exception, DataError)


# ------------------------------------------------------------------------------------------------------- command line


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["check", *arguments])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer.exit_code, answer.stdout


def test_exit_codes(clean: Path, faulty: Path) -> None:
    assert run(str(clean))[0] == 0
    assert run(str(faulty))[0] == 1
    assert run(str(clean), "--no-such-flag")[0] == 2
    leaking_only = CliRunner().invoke(app, ["check", str(faulty), "--fix-split", "x.txt"])
    assert isinstance(leaking_only.exception, ConfigError) and leaking_only.exception.exit_code == 2


def test_an_unreadable_file_alone_fails_the_check(clean: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(8):
            photo(number + (name == "b") * 20).save(tmp_path / name / f"{number}.png")
    assert check(tmp_path, console=QUIET).exit_code == 0
    (tmp_path / "a" / "bad.jpg").write_bytes(b"not a picture")
    result = check(tmp_path, console=QUIET)
    assert (result.has_unreadable, result.has_leak, result.exit_code) == (True, False, 1)


def test_the_json_keeps_its_shape(faulty: Path) -> None:
    code, text = run(str(faulty), "--json")
    assert code == 1
    told = json.loads(text)
    assert list(told) == [
        "version", "data", "counts", "figures", "findings", "suspects", "advice", "fixed", "has_leak",
        "has_unreadable", "exit_code",
    ]  # fmt: skip
    assert told["version"] == 1
    assert list(told["data"]) == ["name", "root", "classes", "pictures", "notes"]
    assert told["counts"]["val"] == {"cat": 3, "dog": 2}
    assert list(told["figures"]) == [
        "height", "width", "aspect_ratio", "num_bytes", "total_bytes", "common_sizes", "shorter_sides", "formats",
        "modes", "orientations", "num_animated", "mean", "std",
    ]  # fmt: skip
    assert told["figures"]["formats"] == {"PNG": 24, "BMP": 1, "JPEG": 1}
    assert told["figures"]["orientations"] == {"1": 25, "6": 1}
    for finding in told["findings"]:
        assert list(finding) == ["kind", "severity", "text", "rule", "count", "cases"]
        assert finding["count"] == len(finding["cases"])
        assert all(list(case) == ["pictures", "detail"] for case in finding["cases"])
    leak = next(finding for finding in told["findings"] if finding["kind"] == "leak")
    assert {"path": "test/cat/same.bmp", "split": "test", "label": "cat"} in [
        p for c in leak["cases"] for p in c["pictures"]
    ]
    assert (told["has_leak"], told["has_unreadable"], told["exit_code"]) == (True, True, 1)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_but_itself_and_escapes_every_name(faulty: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (faulty / split / "cat").rename(faulty / split / BAD_CLASS)
    page = tmp_path / "out" / "look.html"
    code, text = run(str(faulty), "--output", str(page))
    assert code == 1 and f"page: {page}" in text
    html = page.read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(html)
    assert "script" not in {tag for tag, _ in parser.tags}
    assert "&lt;script&gt;alert(1)" in html
    images = [attributes["src"] or "" for tag, attributes in parser.tags if tag == "img"]
    assert len(images) >= 10 and all(source.startswith("data:image/") for source in images)
    outside = [
        each
        for _, a in parser.tags
        for key, each in a.items()
        if key in ("href", "src") and each and not each.startswith(("#", "data:"))
    ]
    assert outside == []
    assert not re.search(r"url\(|@import|https?://", html)
    assert "Content-Security-Policy" in html
    run(str(faulty), "--output", str(tmp_path / "folder"))
    assert (tmp_path / "folder" / "check.html").exists()


def test_thumbnails_are_bounded_in_number_and_bytes(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.recipes.data import picture_source
    from sightline.report import check_page

    result, source = check(faulty, console=QUIET), picture_source(open_data(faulty))
    whole = check_page.render(result, picture=source).count("<img")
    monkeypatch.setattr(check_page, "CASES_SHOWN", 1)
    few = check_page.render(result, picture=source)
    assert 0 < few.count("<img") < whole
    assert "More, by name" in few
    monkeypatch.setattr(check_page, "MOST_BYTES", 1)
    assert check_page.render(result, picture=source).count("<img") == 1
    assert check_page.render(result, picture=lambda name: None).count("<img") == 0
