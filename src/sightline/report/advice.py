"""What to fix next: rules over the figures of a bundle, each a sentence with the number that made it speak.

The thresholds are not from papers. They were chosen so that a rule speaks where a person looking at the same table
would, and keeps quiet over differences that the intervals do not support.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sightline.report.contents import Contents, Scores

WIDE_INTERVAL = 0.04  # of accuracy, low to high: plus or minus two points
FEW_PICTURES = 30  # of a class in the evaluated split: one picture moves its recall by 3 points
IMBALANCE = 3.0  # largest class over smallest, training split
GAP = 0.10  # training over validation accuracy
LOSS_RISE = 1.10  # last validation loss over the lowest
STILL_FALLING = 0.97  # last validation loss over that of a fifth of the run earlier
PAIR_SHARE = 0.05  # of all errors, for one ordered pair of classes
WEAK_CLASS = 0.10  # F1 below the mean of all classes
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
    """Applies every rule, the most urgent first: first whether the figures can be trusted, then how to raise them.

    Args:
        contents: of the bundle.
    """
    return tuple(item for rule in _RULES for item in rule(contents))


def _leaks(contents: Contents) -> Iterator[Advice]:
    data = contents.data
    if data is None:
        return
    if data.num_leaked:
        yield Advice(
            "Test pictures are in the training data.",
            f"{_pictures(data.num_leaked)} of the test or validation split {_are(data.num_leaked)} byte for byte in the training split too, "
            f"for example {data.leaked_example}. The accuracy flatters: remove the copies and train again.",
        )
    if data.num_contradictions:
        yield Advice(
            "The same picture has two labels.",
            f"{_pictures(data.num_contradictions)} of the same content {_are(data.num_contradictions)} filed under different classes, "
            f"for example {data.contradiction_example}. Decide which label is right.",
        )


def _refused(contents: Contents) -> Iterator[Advice]:
    if contents.data is None or not contents.data.refused:
        return
    refused = contents.data.refused
    share = len(refused) / (len(refused) + contents.data.num_used)
    yield Advice(
        "Files were left out.",
        f"{len(refused):,} {'file was' if len(refused) == 1 else 'files were'} left out, {share:.1%} of what was found; "
        f"the first is {refused[0].path}: {refused[0].reason}. Repair or remove them, so that the model sees what you think it sees.",
    )


def _unscored(contents: Contents) -> Iterator[Advice]:
    if contents.scores is None:
        yield Advice("There is no score yet.", f"Nothing was measured on pictures kept apart. Run: {contents.evaluate_command}")
    elif contents.scores.split == "val":
        yield Advice(
            "The score is of the validation pictures.",
            "They were watched while training, so the accuracy on pictures never seen is probably a little lower. "
            "Keep a test split that nothing is decided on.",
        )
    elif (looks := contents.scores.test_looks) > 1:
        yield Advice(
            "The test split was looked at more than once.",
            f"This was look number {looks:,}. If anything was changed in between because of what it showed, the accuracy is "
            "no longer that of unseen pictures: decide on the validation split.",
        )


def _wide_interval(contents: Contents) -> Iterator[Advice]:
    scores = contents.scores
    if scores is None or (width := scores.accuracy.high - scores.accuracy.low) <= WIDE_INTERVAL:
        return
    needed = pictures_for(scores, width=WIDE_INTERVAL)
    yield Advice(
        f"Too few {scores.split_name} pictures to be sure.",
        f"With {scores.num_samples:,} the 95% interval is {width * 100:.0f} points wide ({scores.accuracy.low:.0%} to {scores.accuracy.high:.0%}): two models that "
        f"differ by less cannot be told apart. About {needed:,} pictures would bring it to {WIDE_INTERVAL * 100:.0f} points.",
    )


def pictures_for(scores: Scores, *, width: float) -> int:
    """How many pictures an interval of a given width takes, at about the accuracy seen; two digits.

    Args:
        scores: of the evaluation.
        width: of the 95% interval, as a fraction.
    """
    # the accuracy's nearer end to one half: the cautious side of the variance p (1 - p)
    nearest_half = min(max(0.5, scores.accuracy.low), scores.accuracy.high)
    needed = nearest_half * (1 - nearest_half) * (2 * 1.96 / width) ** 2
    step = 10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1)
    return math.ceil(needed / step) * step


def _few_pictures(contents: Contents) -> Iterator[Advice]:
    scores = contents.scores
    if scores is None:
        return
    few = [(int(count), name) for count, name in zip(scores.confusion.sum(axis=1), contents.classes, strict=True) if count < FEW_PICTURES]
    if few:
        least, name = min(few)
        yield Advice(
            "Some classes are hardly tested.",
            f"{len(few):,} of {len(contents.classes):,} classes have fewer than {FEW_PICTURES} {scores.split_name} pictures, the fewest {name} with {least}: "
            "read their figures with the interval beside them.",
        )


def _gap(contents: Contents) -> Iterator[Advice]:
    history = contents.history
    if not history or (val_accuracy := history[-1].val_accuracy) is None:
        return
    last = history[-1]
    losses = [(row.val_loss, row.epoch) for row in history if row.val_loss is not None]
    lowest, best_epoch = min(losses, default=(math.inf, 0))
    gap = last.train_accuracy - val_accuracy
    if gap > GAP:
        yield Advice(
            "It learns the training pictures by heart.",
            f"Training accuracy {last.train_accuracy:.1%}, validation {val_accuracy:.1%}: a gap of {gap * 100:.0f} points. More pictures help most; "
            "then stronger augmentation, more weight decay, a smaller model.",
        )
    if losses and lowest > 0 and losses[-1][0] > LOSS_RISE * lowest:
        yield Advice(
            "It was trained past its best.",
            f"The validation loss was lowest after epoch {best_epoch} ({lowest:.3f}) and ended at {losses[-1][0]:.3f}: "
            f"try about {best_epoch} epochs, so that the learning rate ends there.",
        )
    earlier = len(losses) - 1 - max(1, len(losses) // 5)
    if gap < GAP / 2 and earlier >= 1 and losses[-1][0] == lowest and lowest < STILL_FALLING * losses[earlier][0]:
        yield Advice(
            "It had not finished learning.",
            f"The validation loss still fell from {losses[earlier][0]:.3f} to {lowest:.3f} in the last {losses[-1][1] - losses[earlier][1]} epochs and training is only "
            f"{gap * 100:.0f} points ahead: train for longer (now {last.epoch} epochs) or take a larger model.",
        )


def _imbalance(contents: Contents) -> Iterator[Advice]:
    if contents.data is None:
        return
    counts = [(number, name) for name, number in contents.data.train_counts.items() if number]
    if len(counts) < 2:
        return
    (least, rare), (most, common) = min(counts), max(counts)
    if most < IMBALANCE * least:
        return
    recall = contents.recall_of(rare)
    seen = f" Its recall is {recall:.0%}." if recall is not None else ""
    yield Advice(
        "The classes are unbalanced.",
        f"{common} has {most:,} training pictures, {rare} only {least:,} ({most / least:.1f} to 1).{seen} More pictures of {rare} are worth more than more of {common}.",
    )


def _confused_pair(contents: Contents) -> Iterator[Advice]:
    pairs = contents.pairs(1)
    if pairs and pairs[0].of_errors > PAIR_SHARE and pairs[0].count >= 5:
        pair = pairs[0]
        yield Advice(
            "One confusion stands out.",
            f"{pair.true} was taken for {pair.predicted} {pair.count:,} times ({pair.of_class:.0%} of {pair.true}, {pair.of_errors:.0%} of all errors; "
            f"the other way round {pair.reverse:,}). Look at these pictures: are the labels right, can you tell them apart at this size, does a variety have too few examples?",
        )


def _weak_class(contents: Contents) -> Iterator[Advice]:
    rows = [row for row in contents.class_scores or () if row.support >= FEW_PICTURES and row.f1 is not None]
    if len(rows) < 3:
        return
    mean = sum(row.f1.value for row in rows if row.f1) / len(rows)
    weakest = rows[0]
    if weakest.f1 and weakest.recall and weakest.precision and weakest.f1.value < mean - WEAK_CLASS:
        missed = weakest.recall.value < weakest.precision.value
        yield Advice(
            "One class lags behind.",
            f"{weakest.name} has F1 {weakest.f1.value:.0%}, the mean of the classes is {mean:.0%}. It is more often "
            + (
                f"missed (recall {weakest.recall.value:.0%}) than claimed wrongly: it needs more, and more varied, pictures."
                if missed
                else f"claimed wrongly (precision {weakest.precision.value:.0%}) than missed: look at what else is called so."
            ),
        )


def _calibration(contents: Contents) -> Iterator[Advice]:
    calibration = contents.calibration
    if calibration is None or calibration.ece <= MISCALIBRATED or calibration.count < ENOUGH_TO_CALIBRATE:
        return
    stated, right = calibration.mean_confidence, calibration.accuracy
    kind = "promises too much" if stated > right else "promises too little"
    yield Advice(
        f"It {kind}.",
        f"It states {stated:.0%} on average and is right {right:.0%} of the time (expected calibration error {calibration.ece:.1%}). "
        "Where decisions hang on the probability, fit a temperature on the validation pictures; the answers do not change.",
    )


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


_RULES: tuple[Callable[[Contents], Iterator[Advice]], ...] = (
    _leaks,
    _unscored,
    _refused,
    _wide_interval,
    _gap,
    _confused_pair,
    _imbalance,
    _weak_class,
    _few_pictures,
    _calibration,
)
