"""One whole run: open the data, choose, train, calibrate, save, score, report."""

import dataclasses
import datetime
import shlex
import sys
from pathlib import Path

import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import sightline
from sightline import metrics
from sightline.atomic import sweep
from sightline.bundle import CONFIG, save_bundle
from sightline.config import from_mapping
from sightline.data.catalog import Catalog
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.sources import Arrays
from sightline.data.store import Store
from sightline.errors import ConfigError, MissingExtraError
from sightline.evaluation import evaluate, write_results
from sightline.models import zoo
from sightline.models.base import Classifier, InitialisesFromData
from sightline.predict import Predictor, load
from sightline.predict.answers import as_utf8
from sightline.predict.precision import full_float32
from sightline.pretrained import Source, find_weights, load_pretrained, spelled
from sightline.progress import say
from sightline.recipes.data import decode_all, first_pictures, lock_data, open_split, picture_source, reopenable
from sightline.recipes.folder import (
    RunFile,
    has_checkpoint,
    new_folder,
    read_run,
    require_same_settings,
    require_same_weights,
    settings_of_machine,
    withdraw,
    write_run,
)
from sightline.recipes.plan import Plan, make_plan
from sightline.recipes.settings import Settings
from sightline.report.html import write_report
from sightline.runtime import Runtime, choose_runtime, environment
from sightline.training.events import HistoryFile, Listener, Listeners, TensorBoard, write_history
from sightline.training.loop import Validate, fit
from sightline.training.state import Checkpoints, TrainState
from sightline.training.terminal import Terminal

WHITENING_SAMPLE = 5000  # pictures; arXiv:2404.00498, Sec. 3.2


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
    weights = None
    if settings.pretrained is not None:
        weights = find_weights(settings.pretrained, model=settings.model)
        settings = dataclasses.replace(settings, pretrained=weights.spelled)
    catalog, notes = open_split(data, settings, console)
    plan = make_plan(settings, catalog, runtime, weights)
    folder, made = new_folder(output, f"{catalog.name}-{plan.model}", data=catalog)
    run = RunFile(
        data=reopenable(data),
        settings=settings,
        plan=plan,
        command=_command(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        runtime=runtime.to_dict(),
    )
    write_run(folder, run)
    _say_plan(console, catalog, notes, plan, runtime, folder)
    try:
        return _run(folder, run, catalog, runtime, weights, console=console, resume=False)
    except BaseException:
        withdraw(folder, made)
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
    run = read_run(folder)
    if settings.pretrained is not None:
        settings = dataclasses.replace(settings, pretrained=spelled(settings.pretrained))
    require_same_settings(settings, run.settings, folder)
    if (folder / CONFIG).exists() and (folder / "report.html").exists():
        say(console, f"{folder} is finished: nothing to resume.")
        return load(folder)
    source = data if data is not None else run.data
    if source is None:
        raise ConfigError(f"{folder} was trained on arrays, which it does not keep: give them again as data.")
    sweep(folder)  # that of the checkpoints is swept by Checkpoints
    machine = settings_of_machine(settings, run.settings)
    runtime = choose_runtime(device=machine.device, amp=machine.amp, threads=machine.threads)
    if runtime.to_dict() != run.runtime:
        say(
            console,
            f"the run began on {run.runtime} and goes on with {runtime.to_dict()}: its end will not be the same "
            "bit for bit",
        )
    catalog, notes = open_split(source, run.settings, console)
    weights = None
    if run.settings.pretrained is not None and not has_checkpoint(folder):  # once there is one, it has all of them
        weights = find_weights(run.settings.pretrained, model=run.plan.model)
        require_same_weights(weights, run)
    _say_plan(console, catalog, notes, run.plan, runtime, folder)
    return _run(folder, run, catalog, runtime, weights, console=console, resume=True)


def _run(
    folder: Path,
    run: RunFile,
    catalog: Catalog,
    runtime: Runtime,
    weights: Source | None,
    *,
    console: Console,
    resume: bool,
) -> Predictor:
    """The run itself, in order."""
    plan = run.plan
    skip_bad = bool(run.settings.skip_bad)
    net, run = _network(folder, run, len(catalog.classes), weights, console)
    _check_size(net, plan.preprocess)
    train_store, val_store, skipped = decode_all(catalog, plan, runtime, skip_bad=skip_bad, console=console)
    lock = lock_data(folder / "data.lock.json", catalog, skipped)
    loader = TrainLoader(
        train_store,
        plan.preprocess,
        plan.augment,
        batch_size=plan.options.batch_size,
        seed=plan.options.seed,
        device=runtime.device,
    )
    if isinstance(net, InitialisesFromData) and run.settings.pretrained is None:
        net.initialise_from(first_pictures(loader, WHITENING_SAMPLE))

    state = _fit(folder, run, net, loader, val_store, runtime, lock, console=console, resume=resume)
    write_history(folder / "history.csv", state.history)
    bundle = _save(folder, run, net, state, catalog, val_store, runtime, lock)
    predictor = load(bundle, device=str(runtime.device))
    result = evaluate(predictor, catalog, skip_bad=bool(run.settings.skip_bad))
    write_results(folder, result)
    report = write_report(folder, picture=picture_source(catalog))
    say(console, as_utf8(str(result)))
    say(console, f"bundle: {folder}\nreport: {report}")
    return predictor


def _network(
    folder: Path, run: RunFile, num_classes: int, weights: Source | None, console: Console
) -> tuple[Classifier, RunFile]:
    """The network that the training begins with; what came with trained weights is noted in `run.json`."""
    plan = run.plan
    torch.manual_seed(plan.options.seed)
    options: zoo.Options = {**plan.model_options, "image_size": plan.preprocess.input_size[1:]}
    channels = plan.preprocess.channels
    if weights is None:
        net = zoo.build(plan.model, num_classes=num_classes, in_channels=channels, **options)
        if net.stem_reason and run.settings.pretrained is None:
            say(console, f"  {net.stem_reason}")
        return net, run
    loaded = load_pretrained(plan.model, weights, num_classes=num_classes, in_channels=channels, **options)
    for note in loaded.notes:
        say(console, f"  {note}")
    run = dataclasses.replace(run, pretrained=loaded.provenance())
    write_run(folder, run)
    return loaded.net, run


def _command() -> str:
    program = Path(sys.argv[0])
    is_ours = program.stem == "sightline" or program.parent.name == "sightline"  # the script, or python -m
    return shlex.join(["sightline", *sys.argv[1:]]) if is_ours else "sightline.train(...)"


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
        say=lambda text: say(console, text),
    )
    total_steps = options.epochs * loader.steps_per_epoch
    with Terminal(total_steps=total_steps, epochs=options.epochs, console=console) as terminal:
        listeners: list[Listener] = [terminal, HistoryFile(folder)]
        try:
            listeners.append(TensorBoard(folder))
        except MissingExtraError as missing:
            say(console, f"no TensorBoard events: {missing}")
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
    net.load_state_dict(state.final_net.state_dict())
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
        **({} if run.pretrained is None else {"pretrained": run.pretrained}),
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
    with torch.inference_mode(), full_float32(runtime.device):
        logits = [
            net(batch.images).float().cpu()
            for batch in EvalLoader(store, plan.preprocess, batch_size=256, device=runtime.device)
        ]
    return metrics.fit_temperature(torch.cat(logits).numpy(), store.labels.numpy())


def _say_plan(console: Console, catalog: Catalog, notes: list[str], plan: Plan, runtime: Runtime, folder: Path) -> None:
    """What will be done and why, before it is done."""
    counts = ", ".join(f"{sum(row.values()):,} {split}" for split, row in catalog.counts().items())
    lines = [f"{catalog.name}: {len(catalog.classes)} classes, {counts} pictures", *notes]
    lines += [f"on {reason}" if number == 0 else reason for number, reason in enumerate(runtime.reasons)]
    width = max(len(choice.name) for choice in plan.choices)
    lines += [f"{choice.name:<{width}}  {choice.value}  ({choice.reason})" for choice in plan.choices]
    lines.append(f"writing to {folder}")
    for line in lines:
        say(console, as_utf8(f"  {line}"))
