"""What to fix next: rules over the figures of a bundle, each a sentence with the number that made it speak.

The thresholds are not from papers. They were chosen so that a rule speaks where a person looking at the same table
would, and keeps quiet over differences that the intervals do not support.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sightline.report.contents import Contents
from sightline.report.scores import Scores, confused_pairs
from sightline.training.task import WORDS

WIDE_INTERVAL = 0.04  # of accuracy, low to high: plus or minus two points
FEW_PICTURES = 30  # of a class in the scored split: one picture moves its recall by 3 points
IMBALANCE = 3.0  # largest class over smallest, training split
GAP = 0.10  # training over validation accuracy
LOSS_RISE = 1.10  # last validation loss over the lowest
STILL_FALLING = 0.97  # last validation loss over that of a fifth of the run earlier
PAIR_SHARE = 0.05  # of all errors, for one ordered pair of classes
PAIR_PICTURES = 5  # below, a pair is an accident
WEAK_CLASS = 0.10  # F1 below the mean of the classes
MISCALIBRATED = 0.05  # expected calibration error
ENOUGH_TO_CALIBRATE = 200  # with fewer pictures the expected calibration error is mostly noise


@dataclass(frozen=True)
class Advice:
    """One thing to look into.

    Args:
        title: what it is about, a few words and a full stop.
        text: the number, what it means and what to do.
    """

    title: str
    text: str


def advise(contents: Contents) -> tuple[Advice, ...]:
    """Applies every rule: first whether the figures can be trusted, then how to raise them.

    Args:
        contents: of the bundle.
    """
    return tuple(item for rule in _RULES for item in rule(contents))


def pictures_for(scores: Scores, *, width: float) -> int:
    """How many pictures an interval of a given width takes, at about the accuracy seen; rounded up to two digits.

    Args:
        scores: of the evaluation.
        width: of the 95% interval, as a fraction.
    """
    # of the accuracies that the interval allows, the one nearest to one half needs most
    share = min(max(0.5, scores.accuracy.low), scores.accuracy.high)
    needed = share * (1 - share) * (2 * 1.96 / width) ** 2
    step = int(10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1))
    return math.ceil(needed / step) * step


def _copies(contents: Contents) -> Iterator[Advice]:
    data = contents.data
    if data is not None and data.leaked:
        yield Advice(
            "Held-out pictures are in the training data.",
            f"{_number(data.leaked, 'validation or test picture')} also in the training split, byte for byte, the "
            f"first {data.leaked[0]}. The scores flatter: remove the copies and train again.",
        )
    if data is not None and data.contradictions:
        one, other = data.contradictions[0]
        yield Advice(
            "The same picture has two labels.",
            f"{_number(data.contradictions, 'file')} the copy of another that has a different class, the first {other} "
            f"(of {one}). Decide which label is right.",
        )


def _unscored(contents: Contents) -> Iterator[Advice]:
    scores = contents.scores or contents.labels
    if scores is None:
        gap = contents.gaps["metrics.json"]
        yield Advice("There is no score yet.", f"{gap.reason} Run {gap.command}")
    elif scores.split == "val":
        yield Advice(
            "The score is of the validation pictures.",
            "They were watched while training, so the accuracy on pictures never seen is probably a little lower. "
            "Keep a test split that nothing is decided on.",
        )
    elif scores.test_looks > 1:
        yield Advice(
            "The test split was looked at more than once.",
            f"This was look number {scores.test_looks:,}. If anything was changed because of an earlier one, the "
            "accuracy is no longer that of unseen pictures: decide on the validation split.",
        )


def _refused(contents: Contents) -> Iterator[Advice]:
    if contents.data is None or not contents.data.refused:
        return
    refused = contents.data.refused
    share = len(refused) / (len(refused) + contents.data.num_used)
    yield Advice(
        "Files were left out.",
        f"{_number(refused, 'file')} not used, {share:.1%} of what was found; the first is {refused[0].path} "
        f"({refused[0].reason}). Repair or remove them, so that the model sees what you think it sees.",
    )


def _wide_interval(contents: Contents) -> Iterator[Advice]:
    scores = contents.scores
    if scores is None or (width := scores.accuracy.high - scores.accuracy.low) <= WIDE_INTERVAL:
        return
    yield Advice(
        f"Too few {scores.split_words} to be sure.",
        f"With {scores.num_samples:,} the 95% interval is {width * 100:.0f} points wide, {scores.accuracy.low:.0%} to "
        f"{scores.accuracy.high:.0%}: models that differ by less cannot be told apart. About "
        f"{pictures_for(scores, width=WIDE_INTERVAL):,} pictures would narrow it to {WIDE_INTERVAL * 100:.0f} points.",
    )


def _curves(contents: Contents) -> Iterator[Advice]:
    rows = [(row, row.val_loss, row.val_score) for row in contents.history or ()]
    seen = [(row, loss, score) for row, loss, score in rows if loss is not None and score is not None]
    if not seen:
        return
    last, last_loss, score = seen[-1]
    best, lowest, _ = min(seen, key=lambda each: each[1])
    gap = last.train_score - score
    words = WORDS.get(last.score, last.score)
    if gap > GAP:
        yield Advice(
            "It learns the training pictures by heart.",
            f"Training {words} is {last.train_score:.1%}, validation {words} {score:.1%}: {gap * 100:.0f} "
            "points lower. More pictures help most; then stronger augmentation, more weight decay, a smaller model.",
        )
    if last_loss > LOSS_RISE * lowest:
        yield Advice(
            "It was trained past its best.",
            f"The validation loss was lowest after epoch {best.epoch} ({lowest:.3f}) and ended at {last_loss:.3f}: "
            f"try about {best.epoch} epochs, so that the learning rate comes to rest there.",
        )
    earlier = seen[max(0, len(seen) - 1 - max(1, len(seen) // 5))]
    if gap < GAP / 2 and last_loss == lowest < STILL_FALLING * earlier[1]:
        yield Advice(
            "It had not finished learning.",
            f"From epoch {earlier[0].epoch} to {last.epoch} the validation loss still fell from {earlier[1]:.3f} to "
            f"{lowest:.3f}, and training {words} is {_points(gap)} validation's. Train for more "
            "epochs, or take a larger model.",
        )


def _confused_pair(contents: Contents) -> Iterator[Advice]:
    pairs = confused_pairs(contents.scores, most=1) if contents.scores else ()
    if pairs and pairs[0].of_errors > PAIR_SHARE and pairs[0].count >= PAIR_PICTURES:
        pair = pairs[0]
        yield Advice(
            "One confusion stands out.",
            f"“{pair.true}” was taken for “{pair.predicted}” {pair.count:,} times: {pair.of_class:.0%} of its pictures "
            f"and {pair.of_errors:.0%} of all errors (the other way round: {pair.reverse:,}). Look at these pictures: "
            "are the labels right, can you tell them apart at this size, has one kind too few examples?",
        )


def _imbalance(contents: Contents) -> Iterator[Advice]:
    counts = contents.data.counts.get("train", {}) if contents.data else {}
    present = [(number, name) for name, number in counts.items() if number]
    if len(present) < 2:
        return
    (least, rare), (most, common) = min(present), max(present)
    if most < IMBALANCE * least:
        return
    scores = contents.scores or contents.labels
    recalls = {row.name: row.recall for row in (scores.per_class if scores else ())}
    recall = recalls.get(rare)
    found = f" Of “{rare}”, {recall.value:.0%} are found." if recall else ""
    yield Advice(
        "The classes are unbalanced.",
        f"“{common}” has {most:,} training pictures, “{rare}” only {least:,} ({most / least:.1f} to 1).{found} "
        f"New pictures of “{rare}” are worth more than new ones of “{common}”.",
    )


def _weak_class(contents: Contents) -> Iterator[Advice]:
    per_class = contents.scores.per_class if contents.scores else ()
    rows = [(row, row.f1.value) for row in per_class if row.support >= FEW_PICTURES and row.f1 is not None]
    if len(rows) < 3:
        return
    mean = sum(f1 for _, f1 in rows) / len(rows)
    row, f1 = rows[0]
    if f1 >= mean - WEAK_CLASS or row.recall is None:
        return
    if row.precision is None or row.recall.value <= row.precision.value:
        why = f"missed (recall {row.recall.value:.0%}) than claimed wrongly: it needs more, and more varied, pictures."
    else:
        why = f"claimed wrongly (precision {row.precision.value:.0%}) than missed: look at what else is called so."
    yield Advice(
        "One class lags behind.",
        f"“{row.name}” has F1 {f1:.0%}, the mean of the classes is {mean:.0%}. It is more often {why}",
    )


def _few_pictures(contents: Contents) -> Iterator[Advice]:
    scores = contents.scores or contents.labels
    few = [(row.support, row.name) for row in (scores.per_class if scores else ()) if row.support < FEW_PICTURES]
    if scores is not None and few:
        least, name = min(few)
        yield Advice(
            "Some classes are hardly tested.",
            f"{len(few):,} of {len(scores.classes):,} classes {'has' if len(few) == 1 else 'have'} fewer than "
            f"{FEW_PICTURES} {scores.split_words}; “{name}” has {least}. "
            "Read their figures with the interval beside them.",
        )


def _calibration(contents: Contents) -> Iterator[Advice]:
    calibration = contents.calibration
    if calibration is None or calibration.ece <= MISCALIBRATED or calibration.num_samples < ENOUGH_TO_CALIBRATE:
        return
    if calibration.temperature == 1:
        cure = "No temperature was fitted: training with a validation split fits one."
    else:
        cure = "The temperature fitted on the validation pictures does not carry over: are these of another kind?"
    yield Advice(
        "It promises too much." if calibration.stated > calibration.right else "It promises too little.",
        f"It states {calibration.stated:.0%} on average and is right {calibration.right:.0%} of the time "
        f"(expected calibration error {calibration.ece * 100:.1f} points). {cure}",
    )


def _number(things: tuple[object, ...], noun: str) -> str:
    """ "1 file is" or "3 files are"."""
    return f"{len(things):,} {noun} is" if len(things) == 1 else f"{len(things):,} {noun}s are"


def _points(gap: float) -> str:
    """How far one accuracy lies from another, in words that end before a genitive."""
    points = round(abs(gap) * 100)
    if points == 0:
        return "no higher than"
    return f"{points} {'point' if points == 1 else 'points'} {'above' if gap > 0 else 'below'}"


SHARED_RULES: tuple[Callable[[Contents], Iterator[Advice]], ...] = (
    _copies,
    _unscored,
    _refused,
    _curves,
    _imbalance,
    _few_pictures,
)
"""Those that hold whether a picture has one class or several labels."""

_RULES: tuple[Callable[[Contents], Iterator[Advice]], ...] = (
    _copies,
    _unscored,
    _refused,
    _wide_interval,
    _curves,
    _confused_pair,
    _imbalance,
    _weak_class,
    _few_pictures,
    _calibration,
)
