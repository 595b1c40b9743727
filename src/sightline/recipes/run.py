"""One whole run: open the data, choose, train, calibrate, save, score, report."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import sightline
from sightline import metrics
from sightline.atomic import sweep, write_text
from sightline.bundle import CONFIG, save_bundle
from sightline.config import from_mapping
from sightline.data.catalog import Catalog, Problem
from sightline.data.decode import BadImage
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.lock import data_lock, verify_lock
from sightline.data.preprocess import Preprocess
from sightline.data.sources import Arrays, open_data
from sightline.data.split import assign_splits
from sightline.data.store import Store
from sightline.errors import BundleError, ConfigError, DataError, MissingExtraError
from sightline.evaluation import evaluate, write_results
from sightline.models import zoo
from sightline.models.base import Classifier, InitialisesFromData
from sightline.predict import Predictor, load
from sightline.progress import bars, labelled
from sightline.recipes.plan import Plan, make_plan
from sightline.recipes.settings import Settings
from sightline.report.html import write_report
from sightline.runtime import Runtime, choose_runtime, environment
from sightline.training.events import HistoryFile, Listener, Listeners, TensorBoard, write_history
from sightline.training.loop import Validate, fit
from sightline.training.state import Checkpoints, TrainState
from sightline.training.terminal import Terminal

WHITENING_SAMPLE = 5000  # pictures; arXiv:2404.00498, Sec. 3.2
RUN_FILE = "run.json"  # what a resumed run must know before its first checkpoint is read


@dataclass(frozen=True)
class RunFile:
    """What `run.json` holds: enough to start the same run again.

    Args:
        data: the name or path that was given; None for arrays, which must be given again.
        settings: as asked.
        plan: as chosen.
        command: the command line, for the record.
        created: when, UTC, ISO 8601.
    """

    data: str | None
    settings: Settings
    plan: Plan
    command: str
    created: str


def train(
    data: str | Path | Catalog | Arrays | None,
    *,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Predictor:
    """Trains a network on labelled pictures and writes a bundle; whatever is not given is chosen and said.

    Args:
        data: a folder, the name of a known set, a `Catalog`, or (images, labels) arrays. With `resume`, None takes the
            data of the interrupted run.
        model: a name of `list_models()`.
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        lr: peak learning rate.
        seed: of splits, weights, order, augmentation and dropout.
        settings: everything else that can be asked for; the arguments above win over it.
        output: the bundle's folder; None makes `runs/<data>-<model>`, with a number where that is taken.
        resume: go on with the interrupted run in `output`.
        console: where to print; None prints to standard error.

    Returns:
        The trained bundle, ready to predict; its `path` is the folder.

    Raises:
        ConfigError: a setting is wrong, or `output` holds another run.
        DataError: pictures cannot be read (and `settings.skip_bad` is not set), or the data cannot be trained on.
        TrainingError: the loss is not finite.
        Interrupted: a signal came; the state is saved.
        BundleError: files cannot be written, or the interrupted run cannot be read.
    """
    console = console or Console(stderr=True)
    asked = {"model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    settings = from_mapping({**dataclasses.asdict(settings or Settings()), **given}, Settings, source="train")
    if resume:
        return _resume(data, settings, given_output=output, console=console)
    if data is None:
        raise ConfigError("no data given. Give a folder of class folders or a known name such as cifar10.")

    runtime = choose_runtime(device=settings.device, amp=settings.amp, threads=settings.threads)
    catalog, notes = _open(data, settings, console)
    plan = make_plan(settings, catalog, runtime)
    folder, made = _new_folder(output, f"{catalog.name}-{plan.model}")
    run = RunFile(
        data=str(data) if isinstance(data, str | Path) else None,
        settings=settings,
        plan=plan,
        command=shlex.join(["sightline", *sys.argv[1:]])
        if Path(sys.argv[0]).stem == "sightline"
        else "sightline.train(...)",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    write_text(folder / RUN_FILE, TypeAdapter(RunFile).dump_json(run, indent=2).decode() + "\n")
    _say_plan(console, catalog, notes, plan, runtime, folder)
    try:
        return _run(folder, run, catalog, runtime, console=console, resume=False)
    except BaseException:
        _withdraw(folder, made)
        raise


def _resume(
    data: str | Path | Catalog | Arrays | None,
    settings: Settings,
    *,
    given_output: str | Path | None,
    console: Console,
) -> Predictor:
    """Goes on with an interrupted run, with its own plan."""
    if given_output is None:
        raise ConfigError("resume needs the folder of the interrupted run: give output (--resume runs/NAME).")
    folder = Path(given_output)
    run = _read_run(folder)
    _require_same_settings(settings, run.settings, folder)
    if (folder / CONFIG).exists() and (folder / "report.html").exists():
        console.print(f"{folder} is finished: nothing to resume.")
        return load(folder)
    source = data if data is not None else run.data
    if source is None:
        raise ConfigError(f"{folder} was trained on arrays, which it does not keep: give them again as data.")
    for left in (folder, folder / "checkpoints"):
        sweep(left)
    keep = {
        name: getattr(settings, name) for name in ("device", "amp", "threads") if getattr(settings, name) is not None
    }
    machine = dataclasses.replace(run.settings, **keep)
    runtime = choose_runtime(device=machine.device, amp=machine.amp, threads=machine.threads)
    catalog, notes = _open(source, run.settings, console)
    _say_plan(console, catalog, notes, run.plan, runtime, folder)
    return _run(folder, run, catalog, runtime, console=console, resume=True)


def _run(
    folder: Path, run: RunFile, catalog: Catalog, runtime: Runtime, *, console: Console, resume: bool
) -> Predictor:
    """The run itself, in order."""
    plan = run.plan
    skip_bad = bool(run.settings.skip_bad)
    train_store, val_store, skipped = _stores(catalog, plan, runtime, skip_bad=skip_bad, console=console)
    lock = _lock(folder / "data.lock.json", catalog, skipped)

    torch.manual_seed(plan.options.seed)
    net = zoo.build(
        plan.model,
        num_classes=len(catalog.classes),
        in_channels=plan.preprocess.channels,
        stem=plan.stem,
        dropout=plan.drop,
        image_size=plan.preprocess.input_size[1:],
    )
    if net.stem_reason:
        console.print(f"  {net.stem_reason}", highlight=False)
    loader = TrainLoader(
        train_store,
        plan.preprocess,
        plan.augment,
        batch_size=plan.options.batch_size,
        seed=plan.options.seed,
        device=runtime.device,
    )
    _check_size(net, plan.preprocess)
    if isinstance(net, InitialisesFromData):
        net.initialise_from(_first_pictures(loader, WHITENING_SAMPLE))

    state = _fit(folder, run, net, loader, val_store, runtime, lock, console=console, resume=resume)
    write_history(folder / "history.csv", state.history)
    bundle = _save(folder, run, net, state, catalog, val_store, runtime, lock)
    predictor = load(bundle, device=str(runtime.device))
    result = evaluate(predictor, catalog, skip_bad=bool(run.settings.skip_bad))
    write_results(folder, result)
    report = write_report(folder, picture=_picture_source(catalog))
    console.print(str(result), highlight=False, markup=False)
    console.print(f"bundle: {folder}\nreport: {report}", highlight=False)
    return predictor


def _open(data: str | Path | Catalog | Arrays, settings: Settings, console: Console) -> tuple[Catalog, list[str]]:
    """The catalog with its splits assigned, and sentences about how."""
    with bars(console) as bar:
        opened = open_data(data, channels=settings.in_chans, progress=labelled(bar))
    catalog, notes = assign_splits(
        opened,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed or 0,
    )
    if not len(catalog.select("train")):
        raise DataError(
            f"{catalog.name} has no training pictures. Add a train folder, or lower the held-out fractions."
        )
    return catalog, [*catalog.notes, *notes]


def _stores(
    catalog: Catalog, plan: Plan, runtime: Runtime, *, skip_bad: bool, console: Console
) -> tuple[Store, Store | None, list[Problem]]:
    """The decoded pictures of the training and validation splits, and what was left out.

    The test pictures are decoded, too, and let go again: a bad one must be known now and not after the training.
    """
    if catalog.problems and not skip_bad:
        listed = "".join(f"\n  {problem}" for problem in catalog.problems[:20])
        more = f"\n  and {len(catalog.problems) - 20} more" if len(catalog.problems) > 20 else ""
        raise DataError(
            f"{len(catalog.problems)} files of {catalog.name} cannot be used:{listed}{more}\n"
            "Repair or remove them, or leave them out with --skip-bad (they are then listed in data.lock.json)."
        )
    skipped: list[Problem] = []
    stores: dict[str, Store] = {}
    with bars(console) as bar:
        for split in ("train", "val", "test"):
            indices = catalog.select(split)
            if len(indices):
                stores[split], problems = Store.build(
                    catalog,
                    indices,
                    preprocess=plan.preprocess,
                    keep_margin=plan.keep_margin if split == "train" else None,
                    threads=runtime.threads,
                    skip_bad=skip_bad,
                    progress=bar(f"decoding {split}"),
                )
                skipped += problems
    for problem in skipped:
        console.print(f"  left out: {problem}", highlight=False, markup=False)
    return stores["train"], stores.get("val"), skipped


def _lock(path: Path, catalog: Catalog, skipped: list[Problem]) -> str:
    """Writes what the run uses; of a resumed run, checks that it is still the same. Returns its digest."""
    if path.exists():
        lock = json.loads(path.read_text(encoding="utf-8"))
        if differences := verify_lock(lock, catalog):
            raise DataError(
                f"the data has changed since this run began: {'; '.join(differences[:3])}. "
                "Put it back as it was, or start a new run with another --output."
            )
    else:
        lock = data_lock(catalog, skipped)
        write_text(path, json.dumps(lock, indent=1) + "\n")
    return hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()


def _first_pictures(loader: TrainLoader, count: int) -> torch.Tensor:
    """The first normalised training pictures of epoch 0, on the CPU, where the network is built."""
    batches = []
    for batch in loader.epoch(0):
        batches.append(batch.images.cpu())
        if sum(map(len, batches)) >= count:
            break
    return torch.cat(batches)[:count]


def _check_size(net: Classifier, preprocess: Preprocess) -> None:
    """One picture through the network before anything long begins: its size error comes now."""
    net.eval()
    with torch.inference_mode():
        net(torch.zeros(1, *preprocess.input_size))
    net.train()


def _fit(
    folder: Path,
    run: RunFile,
    net: Classifier,
    loader: TrainLoader,
    val_store: Store | None,
    runtime: Runtime,
    data_digest: str,
    *,
    console: Console,
    resume: bool,
) -> TrainState:
    """The training itself, with its files and its progress bar."""
    options = run.plan.options
    identity = {
        "model": run.plan.model,
        "model_args": net.model_args,
        "augment": dataclasses.asdict(run.plan.augment),
        "preprocess": run.plan.preprocess.to_dict(),
        "options": dataclasses.asdict(options),
        "data": data_digest,
    }
    checkpoints = Checkpoints(
        folder / "checkpoints",
        identity=identity,
        every_s=options.checkpoint_every_s,
        say=lambda text: console.print(text, highlight=False),
    )
    total_steps = options.epochs * loader.steps_per_epoch
    with Terminal(total_steps=total_steps, epochs=options.epochs, console=console) as terminal:
        listeners: list[Listener] = [terminal, HistoryFile(folder)]
        with contextlib.suppress(MissingExtraError):
            listeners.append(TensorBoard(folder))
        return fit(
            net,
            loader,
            options,
            runtime=runtime,
            checkpoints=checkpoints,
            listener=Listeners(listeners),
            validate=None if val_store is None else _validator(val_store, run.plan, runtime),
            resume=resume,
        )


def _validator(store: Store, plan: Plan, runtime: Runtime) -> Validate:
    """Scores a network on the validation pictures, in the training's precision: for the curve, not for the record."""

    def validate(net: nn.Module) -> tuple[float, float]:
        net.eval()
        loss, correct = 0.0, 0
        with torch.inference_mode(), runtime.autocast():
            for batch in EvalLoader(store, plan.preprocess, batch_size=512, device=runtime.device):
                logits = net(batch.images).float()
                loss += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
                correct += int((logits.argmax(dim=1) == batch.labels).sum())
        return loss / len(store), correct / len(store)

    return validate


def _save(
    folder: Path,
    run: RunFile,
    net: Classifier,
    state: TrainState,
    catalog: Catalog,
    val_store: Store | None,
    runtime: Runtime,
    data_digest: str,
) -> Path:
    """Calibrates on the validation pictures and writes the bundle."""
    net.load_state_dict(state.best_net.state_dict())
    net.eval().to("cpu")
    temperature = 1.0 if val_store is None else _fit_temperature(net, val_store, run.plan, runtime)
    provenance = {
        "created": run.created,
        "command": run.command,
        "seed": run.plan.options.seed,
        "versions": {"sightline": sightline.__version__, **environment()},
        "runtime": {**runtime.to_dict(), "reasons": list(runtime.reasons)},
        "options": dataclasses.asdict(run.plan.options),
        "augment": dataclasses.asdict(run.plan.augment),
        "choices": [dataclasses.asdict(choice) for choice in run.plan.choices],
        "data": {
            "name": catalog.name,
            "source": run.data,
            "val_fraction": run.settings.val_fraction,
            "test_fraction": run.settings.test_fraction,
            "seed": run.plan.options.seed,
            "counts": catalog.counts(),
            "digest": data_digest,
        },
        "training": {
            "epochs": state.epoch,
            "steps": state.step,
            "parameters": sum(p.numel() for p in net.parameters()),
        },
    }
    save_bundle(
        folder,
        net=net,
        model_name=run.plan.model,
        classes=catalog.classes,
        preprocess=run.plan.preprocess,
        temperature=temperature,
        provenance=provenance,
    )
    return folder


def _fit_temperature(net: Classifier, store: Store, plan: Plan, runtime: Runtime) -> float:
    """The temperature of the validation pictures, in float32 as every later answer."""
    net.to(runtime.device)
    with torch.inference_mode():
        logits = [
            net(batch.images).float().cpu()
            for batch in EvalLoader(store, plan.preprocess, batch_size=256, device=runtime.device)
        ]
    return metrics.fit_temperature(torch.cat(logits).numpy(), store.labels.numpy())


def _new_folder(output: str | Path | None, name: str) -> tuple[Path, list[Path]]:
    """The folder of a new run, as asked or with the first free number, and the folders made for it."""
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
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RUN_FILE, "")  # said now, not after the decoding
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}. Choose another --output.") from error
    return folder, made


def _withdraw(folder: Path, made: list[Path]) -> None:
    """Takes back the files and folders of a run that failed before its first checkpoint: nothing could go on."""
    checkpoints = folder / "checkpoints"
    if checkpoints.is_dir() and any(checkpoints.iterdir()):
        return
    for name in (RUN_FILE, "data.lock.json"):
        (folder / name).unlink(missing_ok=True)
    for empty in (checkpoints, *made):
        with contextlib.suppress(OSError):  # not there, or it holds files of the user's
            empty.rmdir()


def _read_run(folder: Path) -> RunFile:
    path = folder / RUN_FILE
    try:
        return TypeAdapter(RunFile).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"no run to resume at {folder}: it has no {RUN_FILE}. Give the folder of an interrupted run."
        ) from None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Start the run again.") from error


_MACHINE_SETTINGS = ("device", "amp", "threads")  # may change between the parts of a run


def _require_same_settings(now: Settings, then: Settings, folder: Path) -> None:
    for field in dataclasses.fields(Settings):
        asked, before = getattr(now, field.name), getattr(then, field.name)
        if asked is not None and asked != before and field.name not in _MACHINE_SETTINGS:
            flag = f"--{field.name.replace('_', '-')}"
            was = "was chosen by the run itself" if before is None else f"was {before}"
            raise ConfigError(
                f"{flag} is {asked}, but in the run {folder} it {was}: a resumed run keeps its settings. "
                f"Leave {flag} out, or start a new run."
            )


def _say_plan(console: Console, catalog: Catalog, notes: list[str], plan: Plan, runtime: Runtime, folder: Path) -> None:
    """What will be done and why, before it is done."""
    counts = ", ".join(f"{sum(row.values()):,} {split}" for split, row in catalog.counts().items())
    lines = [f"{catalog.name}: {len(catalog.classes)} classes, {counts} pictures", *notes]
    lines += [f"on {reason}" if number == 0 else reason for number, reason in enumerate(runtime.reasons)]
    width = max(len(choice.name) for choice in plan.choices)
    lines += [f"{choice.name:<{width}}  {choice.value}  ({choice.reason})" for choice in plan.choices]
    lines.append(f"writing to {folder}")
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _picture_source(catalog: Catalog) -> Callable[[str], npt.NDArray[np.uint8] | None]:
    """From a picture's name to its pixels, for the report."""
    number = {catalog.images.name(index): index for index in range(len(catalog))}

    def picture(name: str) -> npt.NDArray[np.uint8] | None:
        try:
            return catalog.images.read(number[name])
        except (KeyError, BadImage):
            return None

    return picture
