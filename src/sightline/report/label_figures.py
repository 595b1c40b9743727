"""The drawings of the report that only several labels a picture have."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sightline.report.figures import BLUE, PALE, STYLE, VERMILION, Drawing, plain, uri_of
from sightline.report.label_scores import LabelAnswers, LabelScores

_COLUMNS = 4


def precision_recall(answers: LabelAnswers, scores: LabelScores, names: Sequence[str]) -> Drawing | None:
    """A precision-recall curve for each of some labels, with the place of its threshold.

    Args:
        answers: of the evaluation.
        scores: likewise.
        names: of the labels, each with a picture or more.

    Returns:
        The drawing; None where there is no label to draw.
    """
    if not names:
        return None
    rows = {row.name: row for row in scores.per_class}
    num_rows = -(-len(names) // _COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.35 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            number, row = scores.classes.index(name), rows[name]
            truth, stated = answers.truth[:, number], answers.stated[:, number]
            order = np.argsort(-stated, kind="stable")
            ends = np.append(np.flatnonzero(np.diff(stated[order])), len(order) - 1)
            found = np.cumsum(truth[order])[ends]
            axes.step(found / truth.sum(), found / (ends + 1), where="post", color=BLUE, linewidth=1.5)
            axes.axhline(truth.mean(), color=PALE, linestyle=(0, (4, 3)), linewidth=1)
            if row.recall is not None and row.precision is not None:
                axes.plot(row.recall.value, row.precision.value, "o", color=VERMILION, markersize=5)
            told = f"AP {row.average_precision.value:.1%}" if row.average_precision else ""
            title = axes.set_title(f"{plain(name, limit=18)}  {told}", loc="left", fontsize=9)
            title.set_parse_math(False)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("recall", fontsize=9)
        figure.supylabel("precision", fontsize=9)
        uri = uri_of(figure)
    words = "; ".join(
        f"{name} {area.value:.1%}" for name in names if (area := rows[name].average_precision) is not None
    )
    return Drawing(uri, f"Precision against recall. Average precision: {words}.")
