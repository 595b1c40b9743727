"""Looking at a network without training it: what each layer costs, what it sees, and what is worth a change.

Takes any `nn.Module`, and names no architecture.
"""

from sightline.inspection.effective import EffectiveField, effective_receptive_field
from sightline.inspection.linter import Finding
from sightline.inspection.receptive_field import receptive_field
from sightline.inspection.summary import Row, Summary, inspect

__all__ = [
    "EffectiveField",
    "Finding",
    "Row",
    "Summary",
    "effective_receptive_field",
    "inspect",
    "receptive_field",
]
