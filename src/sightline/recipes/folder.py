"""`run.json` and the folder of a run: what must be there before the first checkpoint."""

import contextlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sightline.atomic import write_text
from sightline.bundle import CONFIG
from sightline.data.catalog import Catalog, FileImages
from sightline.errors import BundleError, ConfigError
from sightline.pretrained import Source
from sightline.recipes.plan import Plan
from sightline.recipes.settings import Settings

RUN_FILE = "run.json"
MACHINE_SETTINGS = ("device", "amp", "threads", "workers", "cache")  # may change between the parts of a run


@dataclass(frozen=True)
class RunFile:
    """What `run.json` holds: enough to start the same run again.

    Args:
        data: the name or path that was given; None for arrays, which must be given again.
        settings: as asked.
        plan: as chosen.
        command: the command line, for the record.
        created: when, UTC, ISO 8601.
        runtime: the machine that it began on.
        pretrained: what came with the weights to begin with, once they were read; None where there were none.
        baselines: what simple classifiers on their features reach, of `frozen_baselines`; None where nobody looked.
        world_size: processes that it began with.
    """

    data: str | None
    settings: Settings
    plan: Plan
    command: str
    created: str
    runtime: dict[str, str | int]
    pretrained: dict[str, Any] | None = None
    baselines: list[dict[str, Any]] | None = None
    world_size: int = 1


def as_json(run: RunFile) -> str:
    """What `from_json` takes back."""
    return TypeAdapter(RunFile).dump_json(run, indent=2).decode() + "\n"


def from_json(text: str | bytes) -> RunFile:
    """A run, every field checked.

    Raises:
        ValidationError: of pydantic; a field is missing, unknown or of another type.
    """
    return TypeAdapter(RunFile).validate_json(text)


def write_run(folder: Path, run: RunFile) -> None:
    """Writes `run.json`.

    Raises:
        BundleError: the folder cannot be written.
    """
    try:
        write_text(folder / RUN_FILE, as_json(run))
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}. Choose another --output.") from error


def read_run(folder: Path) -> RunFile:
    """Reads the `run.json` of an interrupted run.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    path = folder / RUN_FILE
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"no run to resume at {folder}: it has no {RUN_FILE}. Give the folder of an interrupted run."
        ) from None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Start the run again.") from error


def new_folder(output: str | Path | None, name: str, *, data: Catalog) -> tuple[Path, list[Path]]:
    """The folder of a new run, as asked or with the first free number, and the folders made for it.

    Raises:
        ConfigError: the folder that was asked for holds a run.
        BundleError: it cannot be written.
    """
    if output is not None:
        folder = Path(output)
        if (folder / RUN_FILE).exists() or (folder / CONFIG).exists():
            raise ConfigError(
                f"{folder} already holds a run. Choose another --output, or go on with it: --resume {folder}"
            )
    else:
        folder = next(
            path
            for number in range(1, 1_000_000)
            if not (path := Path("runs", name if number == 1 else f"{name}-{number}")).exists()
        )
    require_outside(folder, data)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}. Choose another --output.") from error
    return folder, made


def require_outside(path: Path, data: Catalog) -> None:
    """Refuses to write where the data is read from.

    Raises:
        ConfigError: the path lies in the folder whose every picture is taken.
    """
    scanned = data.images if isinstance(data.images, FileImages) and not data.source_files else None  # not of a table
    if scanned is not None and path.resolve().is_relative_to(scanned.root.resolve()):
        raise ConfigError(
            f"{path} lies in the data folder {scanned.root}, where it would be taken for a class or a picture. "
            "Choose an --output outside."
        )


def withdraw(folder: Path, made: list[Path]) -> None:
    """Takes back the files and folders of a run that failed before its first checkpoint: nothing could go on."""
    checkpoints = folder / "checkpoints"
    if checkpoints.is_dir() and any(checkpoints.iterdir()):
        return
    for name in (RUN_FILE, "data.lock.json"):
        (folder / name).unlink(missing_ok=True)
    for empty in (checkpoints, *made):
        with contextlib.suppress(OSError):  # not there, or it holds files of the user's
            empty.rmdir()


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has got as far as its first checkpoint."""
    return any((folder / "checkpoints").glob("step-*.safetensors"))


def require_same_weights(now: Source, run: RunFile) -> None:
    """Refuses weights to begin with that are not those the run has already read.

    Raises:
        ConfigError: the file is another.
    """
    before = None if run.pretrained is None else run.pretrained["origin"]["sha256"]
    if before not in (None, now.origin["sha256"]):
        raise ConfigError(
            f"the weights {now.spelled} are not those that the run began with (SHA-256 {before[:12]}...), and it "
            "has no checkpoint yet. Put them back, or start a new run."
        )


def require_same_settings(now: Settings, run: RunFile, folder: Path) -> None:
    """Refuses settings that are given again and differ, from what was asked or chosen then; those of the machine may.

    Raises:
        ConfigError: a setting differs.
    """
    chosen = {choice.name: choice.value for choice in run.plan.choices}
    for field in fields(Settings):
        asked, before = getattr(now, field.name), getattr(run.settings, field.name)
        if asked is None or field.name in MACHINE_SETTINGS:
            continue
        known = chosen.get(field.name) if before is None else before
        if asked != (tuple(known) if isinstance(known, list) else known):  # as JSON has kept it
            flag = f"--{field.name.replace('_', '-')}"
            was = f"was {known}" if before is not None else f"was {known}, chosen by the run itself"
            raise ConfigError(
                f"{flag} is {asked}, but in the run {folder} it {'was off' if known is None else was}: a resumed run "
                f"keeps its settings. Leave {flag} out, or start a new run."
            )


def settings_of_machine(now: Settings, then: Settings) -> Settings:
    """The settings of the run's start with the machine's as they are asked for now."""
    asked = {name: getattr(now, name) for name in MACHINE_SETTINGS if getattr(now, name) is not None}
    return replace(then, **asked)
