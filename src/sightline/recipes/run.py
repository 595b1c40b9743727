"""One whole run: open the data, choose, train, calibrate, save, score, report."""

import dataclasses
import datetime
import json
import os
import shlex
import sys
from pathlib import Path

import torch
from rich.console import Console

from sightline.atomic import sweep
from sightline.bundle import CONFIG
from sightline.config import from_mapping
from sightline.data.catalog import Catalog
from sightline.data.preprocess import Preprocess
from sightline.data.sources import Data
from sightline.errors import ConfigError, Interrupted
from sightline.evaluation import evaluate, write_results
from sightline.models.base import Classifier
from sightline.predict import Predictor, load
from sightline.predict.answers import as_utf8
from sightline.pretrained import Source, find_weights, spelled
from sightline.progress import say
from sightline.recipes.beginning import first_network, require_network, weights_to_begin_with
from sightline.recipes.data import (
    decode_all,
    initialise_from_pictures,
    lock_data,
    open_split,
    picture_source,
    reopenable,
    with_full_paths,
)
from sightline.recipes.fitting import at_once, fit_plan, train_loader
from sightline.recipes.folder import (
    RUN_FILE,
    RunFile,
    as_json,
    from_json,
    has_checkpoint,
    new_folder,
    read_run,
    require_same_settings,
    require_same_weights,
    settings_of_machine,
    withdraw,
    write_run,
)
from sightline.recipes.frozen import look_at_weights, say_baselines
from sightline.recipes.plan import Plan, make_plan
from sightline.recipes.prepare import told
from sightline.recipes.settings import Settings
from sightline.recipes.shipping import save, shipped_net
from sightline.report.html import write_report
from sightline.runtime import Runtime, choose_runtime
from sightline.training.distributed import World, is_restart, join_world
from sightline.training.events import write_history


def train(
    data: Data | None,
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
        data: anything that `open_data` takes: a folder, a table, the name of a known set, (images, labels) arrays, a
            `Catalog`, ... With `resume`, None takes the data of the interrupted run.
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
    settings = with_full_paths(settings)
    _require_known_folder(output)
    folder = None if output is None else Path(output)
    before = _interrupted(folder, settings) if resume else None
    machine = settings if before is None else settings_of_machine(settings, before.settings)
    runtime = choose_runtime(device=machine.device, amp=machine.amp, threads=machine.threads)
    with join_world(runtime.device) as world:
        runtime = dataclasses.replace(runtime, device=world.device)
        console = console if world.is_main else Console(quiet=True)
        has_begun = world.is_main and folder is not None and (folder / RUN_FILE).exists()
        if world.highest(is_restart()) and world.highest(has_begun):  # not every machine is told of a restart
            before = _interrupted(folder, settings)
        if folder is not None and before is not None:
            return _resume(folder, before, data, runtime, world, console)
        if data is None:
            raise ConfigError("no data given. Give a folder of class folders or a known name such as cifar10.")
        return _start(data, settings, runtime, world, output=output, console=console)


def _start(
    data: Data,
    settings: Settings,
    runtime: Runtime,
    world: World,
    *,
    output: str | Path | None,
    console: Console,
) -> Predictor:
    """Plans a run, says the plan, and runs it."""
    _require_alike(runtime, world)
    catalog, notes = open_split(data, settings, console)
    if world.is_main:
        weights, at_hand = weights_to_begin_with(settings, catalog)
        plan = make_plan(settings, catalog, runtime, weights, world_size=world.size)
        require_network(plan, num_classes=len(catalog.classes))
        if weights is not None:
            settings = dataclasses.replace(settings, pretrained=weights.spelled)
        folder, made = new_folder(output, f"{catalog.name}-{plan.model}", data=catalog)
        run = RunFile(
            data=reopenable(data),
            settings=settings,
            plan=plan,
            command=_command(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            runtime=runtime.to_dict(),
            world_size=world.size,
        )
        write_run(folder, run)
        world.from_main(json.dumps([str(folder), as_json(run)]))
    else:  # as the main process has planned, whatever lies on this machine
        told_folder, told_run = json.loads(world.from_main(""))
        folder, run, made, at_hand = Path(told_folder), from_json(told_run), [], []
        asked = run.settings.pretrained
        weights = None if asked is None else find_weights(asked, model=run.plan.model)
    _say_plan(console, catalog, [*notes, *at_hand], run.plan, runtime, folder)
    try:
        return _run(folder, run, catalog, runtime, world, weights, console=console, resume=False)
    except BaseException:
        if world.is_main:
            withdraw(folder, made)
        raise


def _require_known_folder(output: str | Path | None) -> None:
    """A run that torchrun may start again must find its own folder then."""
    if output is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise ConfigError(
            "torchrun may start this run again (--max-restarts), and it would not find what it saved. "
            "Name its folder with --output."
        )


def _interrupted(folder: Path | None, settings: Settings) -> RunFile:
    """What is to be gone on with."""
    if folder is None:
        raise ConfigError("resume needs the folder of the interrupted run: give output (--resume runs/NAME).")
    run = read_run(folder)
    if settings.pretrained is not None:
        settings = dataclasses.replace(settings, pretrained=spelled(settings.pretrained))
    require_same_settings(settings, run, folder)
    if settings.workers is not None:  # they decide when a batch is prepared, not what is in it
        run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, workers=settings.workers))
    if settings.cache is not None:
        run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, cache=settings.cache))
    return run


def _require_alike(runtime: Runtime, world: World) -> None:
    """All processes compute in the same way, or their sums would not be of one kind."""
    kind = f"{runtime.device.type} in {runtime.precision}"
    if (first := world.from_main(kind)) != kind:
        raise ConfigError(
            f"process {world.rank} would compute on {kind}, the first one on {first}. "
            "Give --device, and --amp or --no-amp, so that all do the same."
        )


def _resume(
    folder: Path,
    run: RunFile,
    data: Data | None,
    runtime: Runtime,
    world: World,
    console: Console,
) -> Predictor:
    """Goes on with an interrupted run, with its own plan."""
    if (folder / CONFIG).exists() and (folder / "report.html").exists():
        say(console, f"{folder} is finished: nothing to resume.")
        return load(folder)
    source = data if data is not None else run.data
    if source is None:
        raise ConfigError(f"{folder} was trained on arrays, which it does not keep: give them again as data.")
    if world.is_main:
        sweep(folder)  # that of the checkpoints is swept by Checkpoints
    began = {**run.runtime, "processes": run.world_size}
    goes_on = {**runtime.to_dict(), "processes": world.size}
    if began != goes_on:
        say(console, f"the run began on {began} and goes on with {goes_on}: its end will not be the same bit for bit")
    catalog, notes = open_split(source, run.settings, console)
    weights = None
    if run.settings.pretrained is not None and not has_checkpoint(folder):  # once there is one, it has all of them
        weights = find_weights(run.settings.pretrained, model=run.plan.model)
        require_same_weights(weights, run)
    _say_plan(console, catalog, notes, run.plan, runtime, folder)
    return _run(folder, run, catalog, runtime, world, weights, console=console, resume=True)


def _run(
    folder: Path,
    run: RunFile,
    catalog: Catalog,
    runtime: Runtime,
    world: World,
    weights: Source | None,
    *,
    console: Console,
    resume: bool,
) -> Predictor:
    """The run itself, in order."""
    plan = run.plan
    skip_bad = bool(run.settings.skip_bad)
    runtime = dataclasses.replace(runtime, compile=plan.compile)
    net, loaded = first_network(plan, weights, num_classes=len(catalog.classes))
    if loaded is not None:
        for note in loaded.notes:
            say(console, f"  {note}")
        run = dataclasses.replace(run, pretrained=loaded.provenance())
        if world.is_main:
            write_run(folder, run)
    elif net.stem_reason and run.settings.pretrained is None:
        say(console, f"  {net.stem_reason}")
    _check_size(net, plan.preprocess)
    train_store, val_store, skipped = decode_all(
        catalog, plan, runtime, skip_bad=skip_bad, console=console, cache=run.settings.cache
    )
    lock = lock_data(folder / "data.lock.json", catalog, skipped, world)
    loader = train_loader(train_store, plan, runtime, world, num_classes=len(catalog.classes))
    if run.settings.pretrained is None:
        initialise_from_pictures(net, loader)
    if weights is not None:
        if world.is_main:
            run = look_at_weights(folder, run, net, weights, train_store, val_store, runtime, console)
        world.barrier()

    state = fit_plan(folder, run, net, loader, val_store, runtime, world, lock, console=console, resume=resume)
    shipped = shipped_net(plan.model, net, state)
    if world.is_main:
        write_history(folder / "history.csv", state.history)
        try:
            save(folder, run, shipped, state, catalog, val_store, runtime, lock)
            shipped_bundle = load(folder, device=str(runtime.device))
            result = evaluate(
                shipped_bundle, catalog, skip_bad=skip_bad, batch_size=at_once(plan), cache=run.settings.cache
            )
            write_results(folder, result)
            report = write_report(folder, picture=picture_source(catalog))
        except Interrupted as stop:
            left = f"{stop}: trained, not yet scored and reported. Go on with --resume {folder}."
            raise Interrupted(left, exit_code=stop.exit_code) from stop
        say(console, as_utf8(str(result)))
        say_baselines(console, run, state)
        say(console, f"bundle: {folder}\nreport: {report}")
    world.barrier()  # the bundle is there
    return load(folder, device=str(runtime.device))


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


def _say_plan(console: Console, catalog: Catalog, notes: list[str], plan: Plan, runtime: Runtime, folder: Path) -> None:
    """What will be done and why, before it is done."""
    for line in (*told(plan, catalog, tuple(notes), runtime), f"writing to {folder}"):
        say(console, as_utf8(f"  {line}"))
