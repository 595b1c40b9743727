"""What the page of a bundle that says any number of labels shows besides what every page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.report.contents import Contents
from sightline.report.label_figures import precision_recall
from sightline.report.label_scores import LabelMistake, LabelMistakes, LabelScores, label_mistakes, misleading
from sightline.report.thumbnails import PictureSource, picture_uri
from sightline.report.words import Tile, last_tiles, of_many

CURVES_SHOWN = 12  # labels, the weakest
LABELS_WITH_MISTAKES = 8  # likewise
MISTAKES_EACH = 4  # of a label and a kind
PAIRS_SHOWN = 12


@dataclass(frozen=True)
class ShownMistake:
    """A mistake with its thumbnail; None where the picture is not at hand."""

    mistake: LabelMistake
    uri: str | None


@dataclass(frozen=True)
class MistakesOfLabel:
    """The surest mistakes of a label, with thumbnails: those claimed wrongly, and those missed."""

    counts: LabelMistakes
    claimed: Sequence[ShownMistake]
    missed: Sequence[ShownMistake]


def label_parts(contents: Contents, picture: PictureSource | None) -> dict[str, Any]:
    """The values of the template, by name.

    Args:
        contents: of the bundle.
        picture: gives the picture of a name, or None.
    """
    scores, answers = contents.labels, contents.answers
    weakest = [row.name for row in scores.per_class if row.support] if scores else list(contents.classes)
    mistakes = [
        _shown(label_mistakes(answers, contents.classes, name, most=MISTAKES_EACH), picture)
        for name in weakest
        if answers is not None
    ]
    wrong = [each for each in mistakes if each.claimed or each.missed]
    return {
        "headline": label_headline(scores),
        "tiles": label_tiles(contents),
        "drawing_of_curves": precision_recall(answers, scores, weakest[:CURVES_SHOWN]) if answers and scores else None,
        "num_curves": min(CURVES_SHOWN, len(weakest)),
        "pairs": misleading(answers, contents.classes, most=PAIRS_SHOWN) if answers else (),
        "mistakes": wrong[:LABELS_WITH_MISTAKES],
        "num_wrong": len(wrong),
        "has_pictures": any(shown.uri for each in wrong for shown in (*each.claimed, *each.missed)),
        "company": _company(contents),
    }


def label_headline(scores: LabelScores | None) -> str:
    """How good the model is, in two sentences.

    Args:
        scores: of the bundle; None where it was not evaluated.
    """
    if scores is None:
        return "Not evaluated yet: nothing here says how good the model is on pictures that it has not seen."
    right, low, high = of_many(scores.exact)
    first = f"Every label is right, and none too many, on {right} pictures ({low} to {high}, 95% interval)."
    if scores.mean_average_precision is None:
        return f"{first} No scored picture has a label, so nothing is known of how well they are found."
    return (
        f"{first} Asked for the pictures of a label, the surest first, it has an average precision of "
        f"{scores.mean_average_precision.value:.0%}, the mean over the labels."
    )


def label_tiles(contents: Contents) -> list[Tile]:
    """The figures under the headline.

    Args:
        contents: of the bundle.
    """
    scores = contents.labels
    shown = []
    if scores is not None:
        for label, share, note in (
            ("Exactly right", scores.exact, ""),
            ("Macro F1", scores.macro_f1, ", mean over the labels"),
            ("Micro F1", scores.micro_f1, ", all questions together"),
            ("Hamming loss", scores.hamming_loss, " of the answers are wrong"),
        ):
            if share is not None:
                shown.append(Tile(label, f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}{note}"))
        shown.append(Tile("Loss", f"{scores.loss:.3f}", "binary cross-entropy, nats"))
    return [*shown, *last_tiles(contents, "stated against share there")]


def _company(contents: Contents) -> str:
    """How many labels pictures have and are said to have."""
    answers = contents.answers
    if answers is None:
        return ""
    there, said = answers.truth.sum(axis=1), answers.said.sum(axis=1)
    return (
        f"Pictures have {there.mean():.2f} labels on average, and are said to have {said.mean():.2f}. "
        f"{int((there == 0).sum()):,} of {len(there):,} have none; {int((said == 0).sum()):,} are said to have none."
    )


def _shown(counts: LabelMistakes, picture: PictureSource | None) -> MistakesOfLabel:
    claimed, missed = (
        [ShownMistake(mistake, picture_uri(mistake.source, picture)) for mistake in kind]
        for kind in (counts.claimed, counts.missed)
    )
    return MistakesOfLabel(counts, claimed, missed)
