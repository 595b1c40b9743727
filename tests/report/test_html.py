import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from sightline.data.catalog import Problem
from sightline.data.decode import BadImage
from sightline.errors import BundleError
from sightline.report.contents import read_contents
from sightline.report.html import write_report
from tests.report.conftest import ANSWERS, PROVENANCE, MakeRun, history
from tests.report.page import Page

OPTIONAL = (
    "history.csv",
    "timing.csv",
    "metrics.json",
    "per_class.csv",
    "predictions.csv",
    "calibration.json",
    "data.lock.json",
)


def read(folder: Path, **options: object) -> Page:
    path = write_report(folder, **options)
    assert path == folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.broken == []
    return page


def test_headline_is_in_plain_words(make_run: MakeRun) -> None:
    text = read(make_run()).text("headline")
    # Wilson's interval of 90 in 100: 82.6 % to 94.5 %
    assert "right on about 90 of 100 pictures" in text
    assert "With 100 test pictures the true figure lies between 83 and 94 of 100 (95% interval)" in text
    assert "always answering the largest class, cat, would give: 50.0%" in text
    assert "Macro F1 90.0%" in text
    assert "Calibration error 15.4%" in text


def test_numbers_are_those_of_the_answers(make_run: MakeRun) -> None:
    page = read(make_run())
    matrix, pairs = page.rows("confusion", 0), page.rows("confusion", 1)
    assert matrix == [
        ["", "cat", "dog", "bird"],
        ["cat", "45", "4", "1"],
        ["dog", "3", "27", ""],
        ["bird", "", "2", "18"],
    ]
    assert pairs[1:] == [
        ["cat", "dog", "4", "8.0%", "40.0%", "3"],
        ["dog", "cat", "3", "10.0%", "30.0%", "4"],
        ["bird", "dog", "2", "10.0%", "20.0%", "0"],
        ["cat", "bird", "1", "2.0%", "10.0%", "0"],
    ]
    classes = [[cell.split(" ")[0] for cell in row[:5]] for row in page.rows("classes")[1:]]
    assert classes == [  # the weakest F1 first
        ["dog", "30", "81.8%", "90.0%", "85.7%"],
        ["cat", "50", "93.8%", "90.0%", "91.8%"],
        ["bird", "20", "94.7%", "90.0%", "92.3%"],
    ]
    assert "stated probabilities average 85.7%, and 90.0% of the answers are right" in page.text("calibration")
    assert page.rows("data")[1:] == [
        ["cat", "150", "50", ""],
        ["dog", "90", "30", ""],
        ["bird", "60", "20", ""],
        ["All", "300", "100", ""],
    ]


def test_says_what_was_trained_and_why(make_run: MakeRun) -> None:
    page = read(make_run())
    text = page.text("trained")
    for fact in ("simple_cnn", "94,986", "32 × 32 px, RGB", "6, 60 steps", "30 s", "200 pictures a second", "bfloat16"):
        assert fact in text
    assert page.rows("trained")[1:] == [
        ["lr", "0.001", "the usual rate of Adam"],
        ["scale", "0.35, 1", "as asked"],
        ["machine", "bfloat16 autocast", "this CPU multiplies bfloat16 in hardware"],
    ]


def test_provenance_holds_digests_that_can_be_checked(make_run: MakeRun) -> None:
    folder = make_run()
    text = read(folder).text("provenance")
    for name in ("data.lock.json", "model.safetensors"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in text
    for fact in ("2026-11-21 14:11 UTC", "sightline train photos/ --epochs 6", "Seed 17", "torch 2.13.0"):
        assert fact in text


def test_commands_have_the_bundle_and_the_data_quoted_for_a_shell(make_run: MakeRun) -> None:
    folder = make_run("two words")
    text = read(folder).text("use")
    assert f"sightline predict '{folder}' photo.jpg" in text
    assert f"sightline evaluate '{folder}' 'my photos/'" in text
    assert f"sl.load('{folder}')" in text


def test_worst_mistakes_come_surest_first_with_their_pictures(make_run: MakeRun) -> None:
    asked: list[str] = []

    def picture(name: str) -> np.ndarray:
        asked.append(name)
        return np.full((40, 50, 3), 200, np.uint8)

    page = read(make_run(), picture=picture)
    wrong = [(number, answer) for number, answer in enumerate(ANSWERS) if answer[0] != answer[1]]
    surest = sorted(wrong, key=lambda each: -each[1][2])
    assert asked == [f"{answer[0]}/{number:03d}-0.png" for number, answer in surest]
    assert "bird 97% is cat cat/049-0.png" in page.text("mistakes")
    pictures = [tag for tag in page.named("img") if tag["alt"] in asked]
    assert len(pictures) == 10
    assert all(tag["src"].startswith("data:image/png;base64,") for tag in pictures)


def test_shows_24_mistakes_at_most_and_says_of_how_many(make_run: MakeRun) -> None:
    answers = [("cat", "dog", 0.5 + number / 1000) for number in range(60)] + [("dog", "dog", 0.9)] * 60
    calls: list[str] = []
    page = read(make_run(answers=answers, classes=("cat", "dog")), picture=lambda name: calls.append(name))
    assert len(calls) == 24
    assert "The 24 of 60 mistakes" in page.text("mistakes")
    assert "pictures themselves were not at hand" in page.text("mistakes")


@pytest.mark.parametrize("error", [BadImage("x", "truncated"), FileNotFoundError("x"), KeyError("x")])
def test_a_picture_that_is_gone_leaves_its_name(make_run: MakeRun, error: Exception) -> None:
    def picture(name: str) -> np.ndarray:
        raise error

    text = read(make_run(), picture=picture).text("mistakes")
    assert "picture not at hand" in text
    assert "cat/049-0.png" in text


def test_page_is_small(make_run: MakeRun) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000, 3), dtype=np.uint8)
    answers = [("cat", "dog", 0.9)] * 50 + [("dog", "dog", 0.9)] * 50
    folder = make_run(answers=answers, classes=("cat", "dog"))
    assert write_report(folder, picture=lambda name: noise).stat().st_size < 1_000_000  # noise does not compress


def test_nothing_is_requested_from_outside(make_run: MakeRun) -> None:
    page = read(make_run(), picture=lambda name: np.zeros((8, 8, 3), np.uint8))
    asking = {"src", "href", "data", "action", "srcset", "poster", "formaction", "background", "xlink:href"}
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in asking]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "embed", "base", "form")]


def test_content_security_policy_allows_this_script_alone(make_run: MakeRun) -> None:
    folder = make_run()
    page = read(folder)
    html = (folder / "report.html").read_text(encoding="utf-8")
    policy = next(tag["content"] for tag in page.named("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert html.count("<script") == 1
    assert "url(" not in html
    assert "@import" not in html


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }} & $x^2$", "日本語 ‮ العربية 🐈")


def test_names_are_text_and_nothing_else(make_run: MakeRun) -> None:
    answers = [(name, HOSTILE[0], 0.6) for name in HOSTILE for _ in range(5)]
    provenance = {**PROVENANCE, "command": "<b>bold</b>", "data": {"name": "<i>data</i>", "source": "<u>"}}
    refused = [Problem("<script>.png", "<style>*{display:none}</style>")]
    page = read(make_run(answers=answers, classes=HOSTILE, refused=refused, provenance=provenance))
    assert [row[0] for row in page.rows("confusion")[1:]] == list(HOSTILE)
    assert "<script>.png" in page.text("fix")
    assert "<b>bold</b>" in page.text("provenance")
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert tags.count("style") == 1
    assert not {"u", "svg", "iframe"} & set(tags)
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_a_name_that_is_no_utf8_is_written_as_an_escape(make_run: MakeRun) -> None:
    folder = make_run(provenance={**PROVENANCE, "command": "train photos\udcff"})
    assert "train photos\\udcff" in read(folder).text("provenance")


@pytest.mark.parametrize("missing", OPTIONAL)
def test_a_missing_file_is_named_with_the_command_that_makes_it(make_run: MakeRun, missing: str) -> None:
    folder = make_run()
    (folder / missing).unlink()
    text = " ".join(read(folder).texts.values())
    if missing == "per_class.csv":  # metrics.json has the same figures
        assert "not in the bundle" not in text
        return
    assert f"{missing} is not in the bundle." in text
    verb = "train" if missing in ("history.csv", "data.lock.json", "timing.csv") else "evaluate"
    if missing != "timing.csv":
        assert f"sightline {verb} " in text


DAMAGE = (b"", b"{", b"[]", b"{}", b'{"bins": [], "skipped": 3}', b"a,b\n1,2\n", b"\xff\xfe\x00", b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
def test_damaged_files_do_not_stop_the_page(make_run: MakeRun, content: bytes) -> None:
    folder = make_run()
    for name in OPTIONAL:
        (folder / name).write_bytes(content)
    text = " ".join(read(folder).texts.values())
    for name in ("history.csv", "timing.csv", "metrics.json", "calibration.json", "data.lock.json"):
        assert f"{name} cannot be used: " in text


@pytest.mark.parametrize("damaged", OPTIONAL)
def test_a_damaged_file_does_not_hide_the_others(make_run: MakeRun, damaged: str) -> None:
    folder = make_run()
    (folder / damaged).write_bytes(b"\xff")
    gaps = read_contents(folder).gaps
    assert list(gaps) == ([] if damaged == "per_class.csv" else [damaged])
    read(folder)


def test_only_a_bundle_is_left(make_run: MakeRun) -> None:
    folder = make_run(provenance={})
    for name in OPTIONAL:
        (folder / name).unlink()
    page = read(folder)
    assert "Not evaluated yet: nothing here says how good the model is" in page.text("headline")
    assert "simple_cnn" in page.text("trained")
    assert "sightline evaluate" in page.text("headline")


@pytest.mark.parametrize(("name", "key"), [("metrics.json", "top1"), ("calibration.json", "bins")])
@pytest.mark.parametrize("share", [float("nan"), 1.5, -0.1, 0.0])
def test_a_share_outside_its_interval_is_not_shown(make_run: MakeRun, name: str, key: str, share: float) -> None:
    folder = make_run()
    content = json.loads((folder / name).read_text())
    (content[key] if key == "top1" else content[key][-1]["accuracy"])["value"] = share
    (folder / name).write_text(json.dumps(content))
    page = read(folder)
    assert f"{name} cannot be used: {share} (" in " ".join(page.texts.values())


def test_an_almost_perfect_model_is_not_called_perfect(make_run: MakeRun) -> None:
    answers = [("cat", "cat", 0.99)] * 2500 + [("dog", "dog", 0.99)] * 2500 + [("dog", "cat", 0.9)]
    text = read(make_run(answers=answers, classes=("cat", "dog"))).text("headline")
    # Wilson's interval of 5000 in 5001: 99.89 % to 99.996 %
    assert "The model is right on about 9,998 of 10,000 pictures" in text
    assert "lies between 9,989 and over 9,999 of 10,000" in text


def test_scores_of_other_classes_are_not_shown(make_run: MakeRun) -> None:
    folder = make_run()
    other = make_run("other", answers=[("x", "x", 0.9), ("y", "y", 0.9)], classes=("x", "y"))
    (folder / "metrics.json").write_bytes((other / "metrics.json").read_bytes())
    assert "its classes are not the bundle's" in read(folder).text("headline")


@pytest.mark.parametrize("field", ["num_samples", "confusion"])
def test_scores_that_do_not_add_up_are_not_shown(make_run: MakeRun, field: str) -> None:
    folder = make_run()
    content = json.loads((folder / "metrics.json").read_text())
    content[field] = 99 if field == "num_samples" else [[1]]
    (folder / "metrics.json").write_text(json.dumps(content))
    assert "metrics.json cannot be used: its confusion matrix" in read(folder).text("headline")


def test_without_scores_the_last_validation_is_a_hint(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "metrics.json").unlink()
    text = read(folder).text("headline")
    assert "After the last epoch 91.3% of the validation pictures were right, which is a hint and not a result" in text


def test_one_epoch_without_validation(make_run: MakeRun) -> None:
    page = read(make_run(rows=history(1, val=False)))
    alts = [tag["alt"] for tag in page.named("img")]
    assert "Loss by epoch, first to last of 1: training 1.000 to 1.000." in alts


def test_no_mistakes(make_run: MakeRun) -> None:
    answers = [("cat", "cat", 0.9)] * 300 + [("dog", "dog", 0.9)] * 300
    page = read(make_run(answers=answers, classes=("cat", "dog")))
    assert "right on about 1,000 of 1,000 pictures" in page.text("headline")
    assert "all 600 answers are right" in page.text("confusion")
    assert "There is no mistake to show" in page.text("mistakes")


def test_validation_pictures_are_called_so(make_run: MakeRun) -> None:
    page = read(make_run(split="val", test_looks=0))
    assert "With 100 validation pictures" in page.text("headline")
    assert "watched while training" in page.text("fix")


def test_notes_of_the_evaluation_are_shown(make_run: MakeRun) -> None:
    assert "Only half was scored." in read(make_run(notes=("Only half was scored.",))).text("headline")


def test_a_class_without_pictures(make_run: MakeRun) -> None:
    page = read(make_run(classes=("cat", "dog", "bird", "yeti")))
    assert ["yeti", "0", "–", "–", "–", ""] in page.rows("classes")


def test_no_test_split_at_all(make_run: MakeRun) -> None:
    folder = make_run()
    for name in ("metrics.json", "per_class.csv", "predictions.csv", "calibration.json"):
        (folder / name).unlink()
    page = read(folder)
    for section in ("confusion", "classes", "calibration", "mistakes"):
        assert f"sightline evaluate {folder} 'my photos/' --output {folder}" in page.text(section)
    assert page.rows("data")


def many(count: int) -> tuple[list[tuple[str, str, float]], tuple[str, ...]]:
    names = tuple(f"kind {number}" for number in range(count))
    answers = [(name, name, 0.8) for name in names for _ in range(4)]
    return answers + [(names[7], names[3], 0.7)] * 3, names


def test_31_to_100_classes_have_a_drawing_and_all_counts(make_run: MakeRun) -> None:
    answers, names = many(60)
    page = read(make_run(answers=answers, classes=names))
    assert [tag for tag in page.named("img") if tag["alt"].startswith("Confusion matrix of 60 classes: 240 of 243")]
    matrix = page.rows("confusion", 0)
    assert len(matrix) == 61
    assert matrix[8][4] == "3"  # kind 7 taken for kind 3


def test_200_classes_have_their_pairs(make_run: MakeRun) -> None:
    answers, names = many(200)
    page = read(make_run(answers=answers, classes=names))
    assert "A matrix of 200 classes does not fit a page" in page.text("confusion")
    assert page.rows("confusion", 0)[1] == ["kind 7", "kind 3", "3", "42.9%", "100.0%", "0"]
    assert len(page.rows("classes")) == 201


def test_refused_files_are_listed_with_reasons(make_run: MakeRun) -> None:
    refused = [Problem(f"cat/{number}.jpg", "truncated") for number in range(201)]
    page = read(make_run(refused=refused))
    assert len(page.rows("data", 1)) == 201
    assert page.rows("data", 1)[1] == ["cat/0.jpg", "truncated"]
    assert "201 files left out" in page.text("data")
    assert "The first 200; data.lock.json lists all." in page.text("data")


def test_the_same_files_give_the_same_page(make_run: MakeRun) -> None:
    folder = make_run()
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_an_error(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    write_report(folder)
    before = (folder / "report.html").read_bytes()
    (folder / "history.csv").unlink()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(BundleError, match=r"cannot write .*report\.html: No space left on device\. Free space, or"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert not list(folder.glob(".sightline-unfinished-*"))
