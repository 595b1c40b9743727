"""Weights that someone else has trained: found, checked, fitted onto a network."""

from sightline.pretrained.finding import find_weights, spelled
from sightline.pretrained.loading import (
    Pretrained,
    create_model,
    in_channels_of,
    load_pretrained,
    options_of,
    save_pretrained,
)
from sightline.pretrained.source import Source

__all__ = [
    "Pretrained",
    "Source",
    "create_model",
    "find_weights",
    "in_channels_of",
    "load_pretrained",
    "options_of",
    "save_pretrained",
    "spelled",
]
