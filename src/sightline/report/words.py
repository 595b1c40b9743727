"""The figures of a bundle in plain words."""

import datetime
import shlex
from dataclasses import dataclass
from typing import Any

from sightline.bundle import Bundle
from sightline.metrics import Interval, wilson
from sightline.report.contents import Contents, data_word, section
from sightline.training.task import SINGLE_LABEL, WORDS


@dataclass(frozen=True)
class Tile:
    """One small figure under the headline."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Use:
    """One way to use the bundle."""

    title: str
    code: str


def headline(contents: Contents) -> str:
    """How good the model is, in two sentences.

    Args:
        contents: of the bundle.
    """
    scores = contents.scores
    if scores is not None:
        right, low, high = of_many(scores.accuracy)
        right = right if right.startswith(("over", "under")) else f"about {right}"
        return (
            f"The model is right on {right} pictures. With {scores.num_samples:,} {scores.split_words} the true "
            f"figure lies between {low} and {high} (95% interval)."
        )
    last = contents.history[-1] if contents.history else None
    if last is not None and last.val_score is not None:
        found = f"{last.val_score:.1%} of the validation pictures were right"
        if last.score != SINGLE_LABEL.score:
            found = f"{WORDS.get(last.score, last.score)} on the validation pictures was {last.val_score:.1%}"
        return (
            f"Not evaluated yet. After the last epoch {found}, which is a hint and not a result: they were watched "
            "while training."
        )
    return "Not evaluated yet: nothing here says how good the model is on pictures that it has not seen."


def of_many(share: Interval) -> tuple[str, str, str]:
    """A share and its interval as "so many of 100", or of 1,000 and more near the ends of the scale.

    Args:
        share: the figure to be told.

    Returns:
        The value with its base, the low end alone, the high end with its base. Rounding never makes all or none of it.

    Example:
        >>> of_many(Interval(0.913, 0.908, 0.919))
        ('91 of 100', '90.8', '91.9 of 100')
        >>> of_many(Interval(0.9996, 0.997, 0.9999))
        ('over 999 of 1,000', '997', 'over 999 of 1,000')
    """
    from_end, width = min(share.value, 1 - share.value), share.high - share.low
    base = 100 if from_end >= 0.015 else 1000 if width >= 0.002 else 10_000
    digits = 1 if base == 100 and width < 0.05 else 0
    return (
        f"{_of(share.value, base, 0)} of {base:,}",
        _of(share.low, base, digits),
        f"{_of(share.high, base, digits)} of {base:,}",
    )


def _of(value: float, base: int, digits: int) -> str:
    number = round(value * base, digits)
    if number >= base and value < 1:
        return f"over {base - 1:,}"
    if number <= 0 and value > 0:
        return "under 1"
    return f"{number:,.{digits}f}"


def calibration_words(contents: Contents) -> str:
    """Whether the stated probabilities can be believed, in a sentence.

    Args:
        contents: of the bundle.
    """
    calibration = contents.calibration
    if calibration is None:
        return ""
    stated, right = calibration.stated, calibration.right
    allowed = wilson(round(right * calibration.num_samples), calibration.num_samples)
    if abs(stated - right) < 0.02:
        verdict = "On the whole it keeps what it promises"
    elif allowed.low <= stated <= allowed.high:
        verdict = f"As far as {calibration.num_samples:,} pictures can tell, it keeps what it promises"
    elif stated > right:
        verdict = "It promises more than it keeps"
    else:
        verdict = "It is better than it says"
    return (
        f"{verdict}: the stated probabilities average {stated:.1%}, and {right:.1%} of the answers are right. "
        f"Expected calibration error: {calibration.ece * 100:.1f} points."
    )


def tiles(contents: Contents) -> list[Tile]:
    """The figures under the headline.

    Args:
        contents: of the bundle.
    """
    scores = contents.scores
    shown = []
    if scores is not None and scores.top5 is not None:
        shown.append(
            Tile("Top-5 accuracy", f"{scores.top5.value:.1%}", f"{scores.top5.low:.1%} to {scores.top5.high:.1%}")
        )
    if scores is not None:
        shown.append(Tile("Macro F1", f"{scores.macro_f1:.1%}", "mean over the classes"))
        shown.append(Tile("Loss", f"{scores.loss:.3f}", "cross-entropy, nats"))
    return [*shown, *last_tiles(contents, "stated against share right")]


def last_tiles(contents: Contents, calibrated: str) -> list[Tile]:
    """The figures that end every row of tiles.

    Args:
        contents: of the bundle.
        calibrated: what the calibration error compares.
    """
    calibration, timing = contents.calibration, contents.timing
    shown = []
    if calibration is not None:
        shown.append(Tile("Calibration error", f"{calibration.ece:.1%}", calibrated))
    if timing is not None:
        shown.append(Tile("Training time", duration(timing.seconds), f"{timing.images_per_s:,.0f} pictures a second"))
    return shown


def facts(contents: Contents) -> list[tuple[str, str]]:
    """What was trained: label and value of each line.

    Args:
        contents: of the bundle.
    """
    bundle, timing = contents.bundle, contents.timing
    training, options, runtime = (section(bundle, name) for name in ("training", "options", "runtime"))
    channels, height, width = bundle.preprocess.input_size
    rates = _named("learning rate", options.get("lr")), _named("weight decay", options.get("weight_decay"))
    lines = [
        ("Model", bundle.model_name),
        ("Parameters", _shown(training.get("parameters"))),
        ("Picture size", f"{height} × {width} px, {'grey' if channels == 1 else 'RGB'}"),
        ("Epochs", _joined(training.get("epochs"), _counted(training.get("steps"), "steps"))),
        ("Batch size", _shown(options.get("batch_size"))),
        ("Optimiser", _joined(options.get("opt"), *rates)),
        ("Time", duration(timing.seconds) if timing else contents.gaps["timing.csv"].reason),
        ("Speed", f"{timing.images_per_s:,.0f} pictures a second" if timing else ""),
        ("Machine", _joined(runtime.get("device"), _processor(bundle))),
        ("Precision", _joined(runtime.get("precision"), _counted(runtime.get("threads"), "threads"))),
    ]
    return [(label, value) for label, value in lines if value]


def choices(contents: Contents) -> list[tuple[str, str, str]]:
    """Every choice of the run: name, value, reason.

    Args:
        contents: of the bundle.
    """
    listed = contents.bundle.provenance.get("choices")
    rows = [row for row in (listed if isinstance(listed, list) else []) if isinstance(row, dict)]
    shown = [(_shown(row.get("name")), _shown(row.get("value")), _shown(row.get("reason"))) for row in rows]
    reasons = section(contents.bundle, "runtime").get("reasons")
    for sentence in reasons if isinstance(reasons, list) else []:
        value, _, reason = _shown(sentence).partition(": ")
        shown.append(("machine", value, reason))
    return shown


def provenance(contents: Contents) -> list[tuple[str, str]]:
    """Where the bundle comes from: label and value of each line.

    Args:
        contents: of the bundle.
    """
    bundle, data = contents.bundle, contents.data
    record, versions = bundle.provenance, section(bundle, "versions")
    numbers = [f"{name} {versions[name]}" for name in ("sightline", "torch", "python") if name in versions]
    lines = [
        ("Made", moment(record.get("created"))),
        ("Command", _shown(record.get("command"))),
        ("Seed", _shown(record.get("seed"))),
        ("Versions", ", ".join(numbers)),
        ("System", _joined(versions.get("system"), _processor(bundle))),
        ("data.lock.json", f"SHA-256 {data.sha256}" if data else contents.gaps["data.lock.json"].reason),
        ("model.safetensors", f"SHA-256 {bundle.weights_sha256}"),
        ("Folder", str(bundle.path)),
    ]
    return [(label, value) for label, value in lines if value]


def uses(contents: Contents) -> list[Use]:
    """How to use the bundle: commands with its own path in them.

    Args:
        contents: of the bundle.
    """
    path = shlex.quote(str(contents.bundle.path))
    python = (
        "import sightline as sl\n\n"
        f"model = sl.load({str(contents.bundle.path)!r})\n"
        'answer = model.predict("photo.jpg")\n'
        + ("print(answer.labels)" if contents.bundle.is_multilabel else "print(answer.label, answer.probability)")
    )
    return [
        Use("Ask it", f"sightline predict {path} photo.jpg\nsightline predict {path} photos/ --csv > answers.csv"),
        Use("From Python", python),
        Use("Score it on labelled pictures", f"sightline evaluate {path} {data_word(contents.bundle)}"),
        Use("Take it elsewhere", f"sightline export {path} --format onnx"),
    ]


def moment(stamp: object) -> str:
    """A time of ISO 8601 as a reader writes it; anything else as it is, None as nothing.

    Args:
        stamp: of the bundle's provenance.

    Example:
        >>> moment("2026-11-21T14:11:03+00:00")
        '2026-11-21 14:11 UTC'
    """
    try:
        return datetime.datetime.fromisoformat(str(stamp)).astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return _shown(stamp)


def duration(seconds: float) -> str:
    """A time in two units at most.

    Args:
        seconds: zero or more.

    Example:
        >>> duration(8.25), duration(75), duration(7500)
        ('8.2 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _processor(bundle: Bundle) -> str:
    versions = section(bundle, "versions")
    return _joined(versions.get("processor"), _counted(versions.get("cores"), "cores"))


def _shown(value: Any) -> str:
    """A JSON value as a reader writes it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(each) for each in value)
    return str(value)


def _counted(value: Any, noun: str) -> str:
    text = _shown(value)
    return f"{text} {noun[:-1] if text == '1' else noun}" if text else ""


def _named(name: str, value: Any) -> str:
    return f"{name} {_shown(value)}" if value is not None else ""


def _joined(*parts: Any) -> str:
    return ", ".join(text for part in parts if (text := _shown(part)))
