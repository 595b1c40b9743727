"""A bundle in formats that other programs run, each proven to answer as the bundle does."""

from sightline.exporting.onnx import export

__all__ = ["export"]
