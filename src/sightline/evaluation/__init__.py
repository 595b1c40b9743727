"""Scoring a bundle on labelled pictures: every picture once, nothing padded, each look at the test split counted."""

from sightline.evaluation.results import Evaluation, Scored, ScoredLabels, write_results
from sightline.evaluation.scoring import evaluate

__all__ = ["Evaluation", "Scored", "ScoredLabels", "evaluate", "write_results"]
