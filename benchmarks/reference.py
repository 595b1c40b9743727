"""torchvision and timm, imported beside any build of torch."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch.library


def reference_libraries(*names: str) -> tuple[ModuleType, ...]:
    """torchvision and timm, or those of the two that are named.

    Their networks are plain Python. But torchvision's wheels hold compiled operators (boxes, for detection) for one
    build of torch, and beside another the import fails where it describes the first of them; so that is passed over.

    Raises:
        ImportError: one of them is not installed.
    """
    register = torch.library.register_fake

    def register_others(operator: Any, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        if str(operator).startswith("torchvision::"):
            return lambda function: function
        return register(operator, *args, **kwargs)

    torch.library.register_fake = register_others
    try:
        return tuple(importlib.import_module(name) for name in names or ("torchvision", "timm"))
    finally:
        torch.library.register_fake = register
