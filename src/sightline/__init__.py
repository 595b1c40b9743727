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
    from sightline.models.zoo import build as create_model
    from sightline.models.zoo import names as list_models
    from sightline.predict import load
    from sightline.recipes.run import train
    from sightline.recipes.settings import Settings

__all__ = ["Settings", "create_model", "evaluate", "export", "list_models", "load", "open_data", "train"]

# Resolved at the first use: `import sightline` and `sightline --help` must not wait for torch.
_HOMES = {
    "Settings": ("sightline.recipes.settings", "Settings"),
    "create_model": ("sightline.models.zoo", "build"),
    "evaluate": ("sightline.evaluation", "evaluate"),
    "export": ("sightline.exporting", "export"),
    "list_models": ("sightline.models.zoo", "names"),
    "load": ("sightline.predict", "load"),
    "open_data": ("sightline.data.sources", "open_data"),
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
