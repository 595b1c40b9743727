"""How good answers are: scores with their uncertainty, pure functions on NumPy arrays.

`probabilities` is the one way from a network's logits to the numbers that a user sees.
"""

from sightline.metrics.calibration import (
    NUM_BINS,
    Bin,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
from sightline.metrics.classification import (
    ClassMetrics,
    Metrics,
    balanced_accuracy,
    class_metrics,
    macro_f1,
    measure,
)
from sightline.metrics.multilabel import LabelMetrics, MultilabelMetrics, measure_multilabel
from sightline.metrics.proportion import Interval, McNemar, mcnemar, wilson
from sightline.metrics.ranking import confusion_matrix, negative_log_likelihood, probabilities, ranking, top_k_correct
from sightline.metrics.thresholds import Thresholds, choose_thresholds, fit_binary_temperature, sigmoid

__all__ = [
    "NUM_BINS",
    "Bin",
    "ClassMetrics",
    "Interval",
    "LabelMetrics",
    "McNemar",
    "Metrics",
    "MultilabelMetrics",
    "Thresholds",
    "balanced_accuracy",
    "brier_score",
    "choose_thresholds",
    "class_metrics",
    "confusion_matrix",
    "expected_calibration_error",
    "fit_binary_temperature",
    "fit_temperature",
    "macro_f1",
    "mcnemar",
    "measure",
    "measure_multilabel",
    "negative_log_likelihood",
    "probabilities",
    "ranking",
    "reliability_bins",
    "sigmoid",
    "top_k_correct",
    "wilson",
]
