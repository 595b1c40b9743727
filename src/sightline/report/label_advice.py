"""What to fix next where a picture may have several labels; the thresholds are chosen as those of `report.advice`."""

from collections.abc import Callable, Iterator

from sightline.report.advice import ENOUGH_TO_CALIBRATE, FEW_PICTURES, MISCALIBRATED, SHARED_RULES, Advice
from sightline.report.contents import Contents

WIDE_INTERVAL = 0.04  # of mAP, low to high
WEAK_LABEL = 0.10  # average precision below the mean of the labels
UNEVEN = 2.0  # wrong claims for a missed one, or the other way round


def advise_labels(contents: Contents) -> tuple[Advice, ...]:
    """Applies every rule: first whether the figures can be trusted, then how to raise them.

    Args:
        contents: of the bundle.
    """
    return tuple(item for rule in (*SHARED_RULES, *_RULES) for item in rule(contents))


def _wide_interval(contents: Contents) -> Iterator[Advice]:
    scores = contents.labels
    area = scores.mean_average_precision if scores else None
    if scores is None or area is None or area.high - area.low <= WIDE_INTERVAL:
        return
    yield Advice(
        f"Too few {scores.split_words} to be sure.",
        f"With {scores.num_samples:,} the 95% interval of the mAP is {(area.high - area.low) * 100:.0f} points wide, "
        f"{area.low:.0%} to {area.high:.0%}: models that differ by less cannot be told apart. Four times as many "
        "pictures halve it.",
    )


def _weak_label(contents: Contents) -> Iterator[Advice]:
    scores = contents.labels
    rows = [
        (row, row.average_precision.value)
        for row in (scores.per_class if scores else ())
        if row.support >= FEW_PICTURES and row.average_precision is not None
    ]
    if len(rows) < 3:
        return
    mean = sum(area for _, area in rows) / len(rows)
    row, area = rows[0]
    if area < mean - WEAK_LABEL:
        yield Advice(
            "One label lags behind.",
            f"“{row.name}” has an average precision of {area:.0%}, the mean of the labels is {mean:.0%}: its pictures "
            "are not put before the others, whatever the threshold. It needs more, and more varied, pictures, or "
            "labels that are looked through again.",
        )


def _uneven(contents: Contents) -> Iterator[Advice]:
    scores = contents.labels
    if scores is None:
        return
    for row in scores.per_class:
        hits = round(row.recall.value * row.support) if row.recall else 0
        claimed, missed = row.predicted - hits, row.support - hits
        if max(claimed, missed) >= FEW_PICTURES and max(claimed, missed) > UNEVEN * min(claimed, missed):
            more, less = ("claimed where it is not", "missed") if claimed > missed else ("missed", "claimed wrongly")
            way = "Raise" if claimed > missed else "Lower"
            yield Advice(
                "One threshold leans to a side.",
                f"“{row.name}” is {more} {max(claimed, missed):,} times and {less} {min(claimed, missed):,} times at "
                f"its threshold of {row.threshold:.2f}, which has the best F1 on the validation pictures. Where one "
                f"costs more than the other, move it: its curve is below. {way} it for fewer of these.",
            )
            return


def _calibration(contents: Contents) -> Iterator[Advice]:
    calibration, scores = contents.calibration, contents.labels
    if calibration is None or scores is None or scores.num_samples < ENOUGH_TO_CALIBRATE:
        return
    if calibration.ece > MISCALIBRATED:
        cure = "Training with a validation split fits a temperature." if calibration.temperature == 1 else ""
        yield Advice(
            "Its probabilities are off.",
            f"Over all labels it states {calibration.stated:.0%} on average, and {calibration.right:.0%} are there "
            f"(expected calibration error {calibration.ece * 100:.1f} points). Class weights do that by design; the "
            f"thresholds are chosen with it. {cure}".rstrip(),
        )


_RULES: tuple[Callable[[Contents], Iterator[Advice]], ...] = (_wide_interval, _weak_label, _uneven, _calibration)
