"""The training of a plan: its batches, its files and its progress bar."""

import dataclasses
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.store import Store
from sightline.errors import MissingExtraError
from sightline.models.base import Classifier
from sightline.nn.fusion import FusedForEvaluation
from sightline.progress import say
from sightline.recipes.folder import RunFile
from sightline.recipes.plan import Plan
from sightline.runtime import Runtime
from sightline.training.distributed import World
from sightline.training.events import HistoryFile, Listener, Listeners, TensorBoard
from sightline.training.figures import sum_dtype
from sightline.training.full_state import is_sharded
from sightline.training.loop import Validate, fit
from sightline.training.options import TrainOptions
from sightline.training.sharding import require_shardable, shard
from sightline.training.state import Checkpoints, TrainState
from sightline.training.sync_norm import synchronise_batch_norm
from sightline.training.task import task_of
from sightline.training.terminal import Terminal


def train_loader(store: Store, plan: Plan, runtime: Runtime, world: World, *, num_classes: int) -> TrainLoader:
    """This process's training batches.

    Args:
        store: the training pictures.
        plan: of the run.
        runtime: where the batches go.
        world: the processes that share them.
        num_classes: of the data.
    """
    return TrainLoader(
        store,
        plan.preprocess,
        plan.augment,
        batch_size=plan.options.batch_size,
        seed=plan.options.seed,
        device=runtime.device,
        mix=plan.mix,
        sampler=plan.sampler,
        workers=plan.workers,
        rank=world.rank,
        world_size=world.size,
        num_classes=num_classes,
        window=plan.window,
    )


def fit_plan(
    folder: Path,
    run: RunFile,
    net: Classifier,
    loader: TrainLoader,
    val_store: Store | None,
    runtime: Runtime,
    world: World,
    data_digest: str,
    *,
    console: Console,
    resume: bool,
) -> TrainState:
    """Trains a network as planned.

    Args:
        folder: of the run: checkpoints, history and events go there.
        run: what it is.
        net: the network to begin with, the same in every process.
        loader: this process's training batches.
        val_store: the validation pictures; None where there are none.
        runtime: the machine.
        world: the processes that train together.
        data_digest: of `data.lock.json`.
        console: where progress is shown.
        resume: go on from the newest checkpoint.
    """
    options = run.plan.options
    identity = {
        "model": run.plan.model,
        "model_args": net.model_args,
        "augment": dataclasses.asdict(run.plan.augment),
        "mix": None if run.plan.mix is None else dataclasses.asdict(run.plan.mix),
        "sampler": run.plan.sampler,
        "preprocess": run.plan.preprocess.to_dict(),
        "options": dataclasses.asdict(options),
        "data": data_digest,
    }
    checkpoints = Checkpoints(
        folder / "checkpoints",
        identity=identity,
        every_s=options.checkpoint_every_s,
        say=lambda text: say(console, text),
        world=world,
    )
    if run.plan.sync_bn:
        synchronise_batch_norm(net, world)
    if run.plan.fsdp:
        require_shardable(options)
        shard(net, world)
    total_steps = options.epochs * loader.steps_per_epoch
    with ExitStack() as stack:
        return fit(
            net,
            loader,
            options,
            runtime=runtime,
            checkpoints=checkpoints,
            listener=_listeners(folder, options, total_steps, stack, console) if world.is_main else Listeners(()),
            validate=None if val_store is None else _validator(val_store, run.plan, runtime, world),
            resume=resume,
            world=world,
        )


def _listeners(folder: Path, options: TrainOptions, total_steps: int, stack: ExitStack, console: Console) -> Listeners:
    """The progress bar and the run's files; they are closed with the stack."""
    terminal = stack.enter_context(Terminal(total_steps=total_steps, epochs=options.epochs, console=console))
    listeners: list[Listener] = [terminal, HistoryFile(folder)]
    try:
        listeners.append(stack.enter_context(closing(TensorBoard(folder))))
    except MissingExtraError as missing:
        say(console, f"no TensorBoard events: {missing}")
    return Listeners(listeners)


def at_once(plan: Plan) -> int:
    """Pictures that an evaluation takes at once: as many as a step of the training, which take more memory there."""
    return max(8, min(512, plan.options.batch_size // plan.options.grad_accum_steps))


def _validator(store: Store, plan: Plan, runtime: Runtime, world: World) -> Validate:
    """Scores a network on the validation pictures, in the training's precision: for the curve, not for the record.

    The processes share the pictures, each of which counts once, and add up. Batch norms are folded into the
    convolutions before them, which leaves a CPU less to read and write.
    """
    pictures = EvalLoader(
        store, plan.preprocess, batch_size=at_once(plan), device=runtime.device, rank=world.rank, world_size=world.size
    )

    task = task_of(store.labels)
    fused: FusedForEvaluation | None = None

    def validate(net: nn.Module) -> tuple[float, float]:
        nonlocal fused
        net.eval()
        world.copy_from_main(net.buffers())  # batch norm's statistics are each process's own; the main one's are kept
        if is_sharded(net):
            runner = net
        else:
            fused = fused or FusedForEvaluation(net, plan.preprocess.input_size)
            runner = fused.update(net)
        sums = torch.zeros(3, dtype=sum_dtype(runtime.device), device=runtime.device)
        with torch.inference_mode(), runtime.autocast():
            for batch in pictures:
                logits = runner(batch.images).float()
                loss = task.plain_loss(logits, batch.labels)
                sums += torch.cat((loss[None].to(sums.dtype), task.tally(logits, batch.targets).to(sums.dtype)))
        loss_sum, num_correct, num_asked = world.total(sums).tolist()
        return loss_sum / len(store), num_correct / max(num_asked, 1)

    return validate
