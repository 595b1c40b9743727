"""Sightline: from a folder of labelled images to a convolutional network that you understand, trust and can ship.

Example:
    >>> import sightline as sl
    >>> "resnet18" in sl.list_models("resnet*")
    True
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sightline.data.sources import open_data
    from sightline.evaluation import evaluate
    from sightline.exporting import export
    from sightline.inspection import inspect, receptive_field
    from sightline.models.zoo import names as list_models
    from sightline.predict import load
    from sightline.pretrained import create_model
    from sightline.recipes.check import check
    from sightline.recipes.find_lr import find_lr
    from sightline.recipes.run import train
    from sightline.recipes.settings import Settings

__all__ = [
    "Settings",
    "check",
    "create_model",
    "evaluate",
    "export",
    "find_lr",
    "inspect",
    "list_models",
    "load",
    "open_data",
    "receptive_field",
    "train",
]

# Resolved at the first use: `import sightline` and `sightline --help` must not wait for torch.
_HOMES = {
    "Settings": ("sightline.recipes.settings", "Settings"),
    "check": ("sightline.recipes.check", "check"),
    "create_model": ("sightline.pretrained", "create_model"),
    "evaluate": ("sightline.evaluation", "evaluate"),
    "export": ("sightline.exporting", "export"),
    "find_lr": ("sightline.recipes.find_lr", "find_lr"),
    "inspect": ("sightline.inspection.summary", "inspect"),
    "list_models": ("sightline.models.zoo", "names"),
    "load": ("sightline.predict", "load"),
    "open_data": ("sightline.data.sources", "open_data"),
    "receptive_field": ("sightline.inspection.receptive_field", "receptive_field"),
    "train": ("sightline.recipes.run", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}; public names: {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
