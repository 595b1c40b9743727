"""The drawings of the report: SVG for an <img> of its own, with a sentence for readers who do not see it.

Only `matplotlib.figure.Figure` is used, never pyplot, so that no window system and no global figure is involved. Text
stays text in the SVG: small files, any script, sharp at any zoom. Colours are Okabe and Ito's blue and vermilion, which
every common kind of colour vision tells apart ("Color Universal Design", 2008).
"""

import base64
import io
import math
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sightline.report.scores import Calibration
from sightline.training.state import HistoryRow
from sightline.training.task import WORDS

BLUE = "#0072b2"
VERMILION = "#d55e00"
INK = "#1f2933"
PALE = "#9aa5b1"

_FONT = "DejaVu Sans"  # comes with matplotlib: what text is measured with
_PAGE_FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans'"  # what it is shown in
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "sightline",  # the same figures give the same file, byte for byte
}


@dataclass(frozen=True)
class Drawing:
    """A drawing for the page.

    Args:
        uri: the whole drawing, as the `src` of an <img>.
        text: what it shows, in words and numbers.
    """

    uri: str
    text: str


def plain(text: str, *, limit: int = 28) -> str:
    """A name as an SVG file can hold it: one line, no control characters, not endless.

    Args:
        text: a class name, say.
        limit: characters kept.

    Example:
        >>> plain("a\\nb\\x00")
        'a b\ufffd'
    """
    shown = "".join(
        "\ufffd" if unicodedata.category(letter) in ("Cc", "Cs", "Cn") else letter for letter in " ".join(text.split())
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def curves(history: Sequence[HistoryRow]) -> tuple[Drawing, ...]:
    """Loss, score and learning rate against the epoch.

    Args:
        history: one row or more.
    """
    epochs = [row.epoch for row in history]
    train_loss = [row.train_loss for row in history]
    val_loss = [row.val_loss for row in history]
    train_score = [row.train_score for row in history]
    val_score = [row.val_score for row in history]
    score = WORDS.get(history[0].score, history[0].score)
    rates = [row.learning_rate for row in history]
    return (
        _curve("Loss", epochs, train_loss, val_loss, percent=False),
        _curve(score[0].upper() + score[1:], epochs, train_score, val_score, percent=True),
        _rate_curve(epochs, rates),
    )


def reliability(calibration: Calibration, *, is_multilabel: bool = False) -> Drawing:
    """Accuracy against stated probability, and under it how many pictures each point stands for.

    Args:
        calibration: the bins.
        is_multilabel: whether they are of labels that are there or not, and of questions in the place of pictures.
    """
    came_true, counted = ("there", "questions") if is_multilabel else ("right", "pictures")
    bins = calibration.bins
    stated, right = [each.confidence for each in bins], [each.accuracy.value for each in bins]
    reach = [[each.accuracy.value - each.accuracy.low, each.accuracy.high - each.accuracy.value] for each in bins]
    middles, widths = [(each.lower + each.upper) / 2 for each in bins], [each.upper - each.lower for each in bins]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        top.plot([0, 1], [0, 1], color=PALE, linestyle=(0, (4, 3)), linewidth=1.2)
        whiskers = {"elinewidth": 1, "capsize": 2, "yerr": np.clip(reach, 0, None).T}
        top.errorbar(stated, right, color=BLUE, marker="o", markersize=4.5, linewidth=1.4, **whiskers)
        top.set(ylim=(-0.02, 1.02), xlim=(-0.02, 1.02), ylabel=f"really {came_true}")
        bottom.bar(middles, [each.count for each in bins], width=0.9 * np.array(widths), color=BLUE, alpha=0.75)
        bottom.set(ylabel=counted, xlabel="probability stated")
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axis in (top.xaxis, top.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        uri = uri_of(figure)
    words = "; ".join(
        f"stated {each.confidence:.0%}, {came_true} {each.accuracy.value:.0%} of {each.count:,}" for each in bins
    )
    return Drawing(uri, f"Reliability diagram. {words}.")


def confusion_map(confusion: NDArray[np.int64], classes: Sequence[str]) -> Drawing:
    """The confusion matrix as a picture, for more classes than a table of numbers shows well.

    Args:
        confusion: counts (K, K), rows true, columns predicted.
        classes: names in index order.
    """
    count = len(classes)
    size = float(np.clip(360 / count, 3.0, 9.0))  # points: the labels just do not touch
    names = [plain(name, limit=24) for name in classes]
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(10, 9.6), layout="constrained")
        axes = figure.subplots()
        axes.imshow(cell_colours(confusion), interpolation="none", aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(count), labels=names, fontsize=size)
            for label in axis.get_ticklabels():
                label.set_parse_math(False)
        axes.tick_params(axis="x", rotation=90, bottom=False)
        axes.tick_params(axis="both", length=0, pad=2)
        axes.set(xlabel="predicted", ylabel="true")
        uri = uri_of(figure)
    right = int(np.trace(confusion))
    return Drawing(
        uri, f"Confusion matrix of {count} classes: {right:,} of {int(confusion.sum()):,} pictures on the diagonal."
    )


def cell_colours(confusion: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A colour for each cell: blue for right answers, vermilion for wrong ones, darker for a larger share of the row.

    Args:
        confusion: counts (K, K), rows true, columns predicted.

    Returns:
        uint8 RGB (K, K, 3). Wrong shares are drawn by their square root: a pair confused in 4 of 100 is worth seeing.

    Example:
        >>> cell_colours(np.array([[9, 1], [0, 0]]))[1].tolist()
        [[255, 255, 255], [255, 255, 255]]
    """
    support = confusion.sum(axis=1, keepdims=True)
    share = confusion / np.maximum(support, 1)
    right = np.eye(len(confusion), dtype=bool)
    strength = np.where(right, share, np.sqrt(share))[..., None]
    full = np.where(right[..., None], _rgb(BLUE), _rgb(VERMILION))
    return np.asarray(np.rint(255 + (full - 255) * strength), dtype=np.uint8)


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=np.float64)


def _curve(
    title: str, epochs: Sequence[int], train: Sequence[float], val: Sequence[float | None], *, percent: bool
) -> Drawing:
    """Training and validation against the epoch, each line named at its end."""
    lines = [("training", train, BLUE)]
    seen = [math.nan if value is None else value for value in val]
    if not all(math.isnan(value) for value in seen):
        lines.append(("validation", seen, VERMILION))
    with mpl.rc_context(STYLE):
        figure, axes = _axes(title, epochs)
        for name, values, colour in lines:
            axes.plot(epochs, values, color=colour, label=name, marker="o" if len(epochs) < 3 else None, markersize=5)
        axes.legend(loc="best", frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=1.2)
        if percent:
            low, high = axes.get_ylim()
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low > 0.05 else 1))
        uri = uri_of(figure)
    words = [f"{name} {_shown(values[0], percent)} to {_shown(values[-1], percent)}" for name, values, _ in lines]
    return Drawing(uri, f"{title} by epoch, first to last of {len(epochs)}: {'; '.join(words)}.")


def _rate_curve(epochs: Sequence[int], rates: Sequence[float]) -> Drawing:
    with mpl.rc_context(STYLE):
        figure, axes = _axes("Learning rate", epochs)
        axes.plot(epochs, rates, color="#52606d", marker="o" if len(epochs) < 3 else None, markersize=5)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=False)
        uri = uri_of(figure)
    return Drawing(uri, f"Learning rate at the end of each epoch: highest {max(rates):.3g}, last {rates[-1]:.3g}.")


def _axes(title: str, epochs: Sequence[int]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.7, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(epochs) == 1:  # one epoch is a point: give it room
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    return figure, axes


def _shown(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3f}"


def uri_of(figure: Figure) -> str:
    """The figure as a data URI of SVG."""
    text = io.StringIO()
    with warnings.catch_warnings():
        # the reader's browser has the letters that the measuring font lacks
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue().replace(f"'{_FONT}', sans-serif", f"{_PAGE_FONTS}, sans-serif")
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
