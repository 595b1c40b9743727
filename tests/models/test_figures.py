"""The shipped figures are those of the networks: every one is computed again, and many are published elsewhere."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from sightline.errors import ConfigError
from sightline.models import zoo
from sightline.models.figures import FILE, read_figures, select
from sightline.recipes.figures import figures_of, to_text

STALE = "figures.json is stale: run `python -m sightline.recipes.figures`"
TEXT = (files("sightline.models") / FILE).read_text(encoding="utf-8")
ROWS = json.loads(TEXT)
COUNTS = json.loads((Path(__file__).parents[1] / "paper" / "data" / "counts.json").read_text())


def test_every_network_has_its_line_in_the_zoos_order() -> None:
    assert list(ROWS) == zoo.names(), STALE
    assert to_text(ROWS) == TEXT, STALE


@pytest.mark.parametrize("name", zoo.names())
def test_figures_are_fresh(name: str) -> None:
    assert ROWS.get(name) == figures_of(name), STALE


def test_published_counts_agree() -> None:
    """Libraries' own metadata, independent implementations, formulae of the papers: see tests/paper/test_counts.py."""
    compared = 0
    for row in COUNTS:
        ours = ROWS[row["name"]]
        if (row["classes"], row["size"]) == (ours["num_classes"], ours["input_size"]) and not row.get("options"):
            if "parameters" in row:
                assert row["parameters"] == ours["parameters"], row
                compared += 1
            if "macs" in row and not row["source"].endswith("millions"):
                assert row["macs"] == ours["macs"], row
                compared += 1
    assert compared > 80


def test_rows_come_back_as_written() -> None:
    for row in read_figures():
        entry = zoo.ZOO[row.name]
        assert (row.year, row.paper, row.input_size) == (entry.year, entry.paper, entry.input_size)
        assert (row.num_classes, row.options) == (entry.num_classes, entry.options)
        assert row.receptive_field is not None and row.receptive_field["size_px"] > 1


def test_they_are_read_without_torch() -> None:
    code = "import sightline.models.figures as f, sys; f.select('resnet*'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def names(**options: object) -> list[str]:
    return [row.name for row in select(**options)]  # type: ignore[arg-type]


def test_rows_are_chosen_and_sorted() -> None:
    assert names() == names(pattern="*") == zoo.names()
    assert names(pattern="resnet1?") == ["resnet18"] and names(pattern="RESNET18") == ["resnet18"]
    assert names(pattern="resnet??", max_params="1m") == ["resnet20", "resnet32", "resnet44", "resnet56"]
    assert names(pattern="ResNet") == zoo.names("*resnet*") and names(pattern="resnet50") == ["resnet50"]
    assert names(pattern="resne") == names(pattern="*resne*") and names(pattern="resnet5[1-9]") == ["resnet56"]
    assert names(pattern="resnet??", max_params="1,000,000") == names(pattern="resnet??", max_params="1m")
    assert names(pattern="resnet??", max_macs="0.09G") == ["resnet20", "resnet32"]
    assert names(pattern="vgg*", year=2014, sort="name")[:2] == ["vgg11", "vgg11_bn"] and names(year=1997) == []
    assert names(pattern="resnet[15]?", sort="params") == ["resnet56", "resnet18", "resnet50"]
    assert names(pattern="resnet[15]?", sort="macs") == ["resnet56", "resnet18", "resnet50"]
    assert names(pattern="resnet[15]?", sort="receptive-field") == ["resnet56", "resnet50", "resnet18"]
    assert names(pattern="[lv]*5*", sort="year") == names(pattern="lenet5*")
    first, *_, last = (ROWS[name]["year"] for name in names(sort="year"))
    assert (first, last) == (1998, max(row["year"] for row in ROWS.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_params": "ten"},
            r"^'ten' is no amount\. Write a number with k, M or G behind it, such as 10M or 1\.5G\.$",
        ),
        ({"max_macs": "-1G"}, r"^'-1G' is no amount\."),
        ({"max_macs": "1,5G"}, r"^'1,5G' is no amount\."),
        ({"max_macs": ""}, r"^'' is no amount\."),
        ({"max_params": "nan"}, r"^'nan' is no amount\."),
        ({"sort": "size"}, r"^sort is 'size'; it must be one of name, year, params, macs, receptive-field\.$"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(**options)  # type: ignore[arg-type]
