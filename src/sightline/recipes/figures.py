"""Computes what every network of the zoo costs and sees, for `sightline models`.

    python -m sightline.recipes.figures

writes `sightline/models/figures.json`; run it after a change to the zoo. No network is given weights: the 90 and more
take a minute or two.
"""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from sightline.atomic import write_text
from sightline.inspection.costs import macs
from sightline.inspection.receptive_field import follow
from sightline.inspection.trace import record
from sightline.models import zoo
from sightline.models.figures import FILE


def figures_of(name: str) -> dict[str, Any]:
    """One network's row of the file, at its paper's input size and number of classes.

    Args:
        name: in the zoo.

    Example:
        >>> figures_of("lenet5")["receptive_field"]
        {'size_px': 16, 'stride_px': 4, 'padding_px': 0}
    """
    entry = zoo.ZOO[name]
    with torch.device("meta"):
        net = zoo.build(name, image_size=entry.input_size[1:])
    run = record(net, entry.input_size)
    fields = follow(run)
    for problem in fields.problems:
        raise problem
    *_, last = [{}, *fields.by_name().values()]
    return {
        "year": entry.year,
        "paper": entry.paper,
        "input_size": list(entry.input_size),
        "num_classes": entry.num_classes,
        "options": list(entry.options),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "macs": sum(macs(operation) for operation in run.operations),
        "receptive_field": asdict(last["height"]) if last else None,
    }


def to_text(rows: dict[str, dict[str, Any]]) -> str:
    """The file's text: a line a network.

    Args:
        rows: by name.
    """
    lines = (f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Writes the file."""
    path = Path(str(files("sightline.models"))) / FILE
    write_text(path, to_text({name: figures_of(name) for name in zoo.names()}))
    print(path)


if __name__ == "__main__":
    main()
