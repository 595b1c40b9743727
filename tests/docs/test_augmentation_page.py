"""docs/augmentation.md names every flag, with its default, and every operation, with its range."""

import re
from dataclasses import fields
from pathlib import Path

from sightline.data.augment import Augment
from sightline.data.mix import Mix
from sightline.data.operation import Spans, augmix_spans, rand_spans, trivial_spans
from sightline.recipes.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text("utf-8")
OF_THE_PLAN = {"crop_padding": "2", "scale": "0.35 1.0"}  # either, by the size of the pictures


def table(heading: str) -> list[list[str]]:
    """The rows of the table that has this heading, without it."""
    _, text = PAGE.split(f"| {heading} |")
    rows = re.match(r"[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", text)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def as_written(value: object) -> str:
    if value is None or value is False:
        return "off"
    return " ".join(f"{each:.5g}" for each in value) if isinstance(value, tuple) else f"{value}".removesuffix(".0")


def test_every_flag_is_there_with_its_default() -> None:
    names = [field.name for field in fields(Settings)]
    wanted = names[names.index("hflip") : names.index("mixup_switch_prob") + 1]
    defaults = {
        **{field.name: as_written(field.default) for field in fields(Augment)},
        "mixup": "0",
        "cutmix": "0",
        "mixup_prob": str(Mix.prob),
        "mixup_switch_prob": str(Mix.switch_prob),
        **OF_THE_PLAN,
    }
    found = {row[0].strip("`-").replace("-", "_"): row[1] for row in table("flag")}
    assert sorted(found) == sorted(wanted)
    assert found == {name: defaults[name] for name in found}


def test_every_operation_is_there_with_its_range() -> None:
    spans: list[Spans] = [rand_spans(1000, 1000), trivial_spans(1000, 1000), augmix_spans(1000, 1000)]
    for name, *cells in table("operation"):
        for operation in name.split(":")[0].split(", "):
            for one, cell in zip(spans, cells, strict=True):
                assert (cell == "no") == (operation not in one), (operation, cell)
                if cell in ("no", "yes"):
                    continue
                most = one[operation].most
                number = float(re.findall(r"[\d.]+", cell.removeprefix("1 ± "))[0])
                if cell.endswith("% of the side"):
                    assert abs(most - 10 * number) < 0.5
                elif cell.startswith("1 ± "):
                    assert most == 1 + number
                else:
                    assert max(most, 1 if operation == "Posterize" else 0) == number, operation
                assert one[operation].is_signed == ("±" in cell)
    assert {each for row in table("operation") for each in row[0].split(":")[0].split(", ")} == set(spans[0])
