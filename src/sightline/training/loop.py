"""The training loop: the page to read first.

Every random number of a step is a pure function of the seed and the step, the learning rate is a pure function of the
step, and everything else that the rest of the run depends on is in `TrainState`. So a run that was killed and resumed
ends in the same weights, bit for bit on the CPU, as one that was left alone.
"""

import dataclasses
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from sightline.data.loader import Batch, TrainLoader
from sightline.errors import ConfigError, Interrupted, TrainingError
from sightline.models.base import HasAuxiliaryHeads
from sightline.runtime import Runtime
from sightline.training.average import build_average
from sightline.training.best import Best
from sightline.training.distributed import SINGLE, World
from sightline.training.events import EpochDone, Listener, StepDone
from sightline.training.figures import Figures, StepFigures
from sightline.training.full_state import is_sharded, whole
from sightline.training.loss import Loss
from sightline.training.optim import build_optimizer, set_learning_rate
from sightline.training.options import TrainOptions
from sightline.training.phase import enter_phase
from sightline.training.recovery import GoBack, NoMemory, NotFinite, is_out_of_memory
from sightline.training.schedule import learning_rate
from sightline.training.sharding import avoid_fused_kernels
from sightline.training.signals import StopSignal
from sightline.training.state import Checkpoints, TrainState
from sightline.training.stopwatch import Stopwatch
from sightline.training.task import task_of

FEWEST_AT_ONCE = 2  # pictures in a micro-batch: batch norm has nothing to normalise over in one

Validate = Callable[[nn.Module], tuple[float, float]]  # the network -> (mean loss, the task's score)


def fit(
    net: nn.Module,
    loader: TrainLoader,
    options: TrainOptions,
    *,
    runtime: Runtime,
    checkpoints: Checkpoints,
    listener: Listener,
    validate: Validate | None = None,
    resume: bool = False,
    world: World = SINGLE,
) -> TrainState:
    """Trains a network.

    Args:
        net: any module from images (N, C, H, W) to logits (N, K).
        loader: the training batches, in an order that depends on the seed and the epoch alone.
        options: every number of the run.
        runtime: device, precision and memory layout.
        checkpoints: where the state is saved.
        listener: is told of every step and epoch.
        validate: scores the network after each epoch; None where there is nothing to validate on.
        resume: go on from the newest whole checkpoint, where there is one.
        world: the processes that train together; each has its share of every batch in its `loader`.

    Returns:
        The state at the end; `final_net` holds the weights to keep.

    Raises:
        ConfigError: there is nothing to train, or nothing to be patient with.
        TrainingError: the loss or its gradient is not finite; the message names the batch's pictures. Or memory ran
            out with two pictures at a time.
        Interrupted: SIGINT or SIGTERM came; the step was finished and the state saved.
        BundleError: a checkpoint cannot be written or read.
    """
    if options.patience is not None and validate is None:
        raise ConfigError(
            f"patience is {options.patience} and there are no validation pictures to be patient with. "
            "Leave it out, or hold some out with --val-fraction."
        )
    if not is_sharded(net):  # which lies where it must
        net.to(runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]
    if resume:
        checkpoints.restore_weights(net)  # they may decide what is trained, as whitened filters do
    best = None if options.patience is None else Best(net)
    task = task_of(loader.store.labels)
    state = TrainState(net, build_optimizer(net, options), build_average(net, options), best, task=task)
    avoid_fused_kernels(state.optimizer)
    loss_of = task.build_loss(options)
    steps_per_epoch = loader.steps_per_epoch
    figures = Figures(runtime.device, world, task=task)
    watch = Stopwatch()
    runner, is_head_phase = None, False

    with StopSignal() as stop:
        if resume and checkpoints.restore(state) is not None:
            checkpoints.say(f"going on after epoch {state.epoch}, step {state.step_in_epoch} of the next")
        else:
            checkpoints.save(state)  # from here on the run can be resumed, whatever happens
        while not state.is_over(options):
            enter_phase(net, options, state.epoch)
            if runner is None or is_head_phase != (state.epoch < options.head_epochs):
                is_head_phase = state.epoch < options.head_epochs
                runner = None  # with the hooks of the one before, which exchanged the gradients of other parameters
                runner = world.wrap(runtime.compiled(Runner(net)))
            watch.restart()
            setback: NotFinite | NoMemory | None = None
            try:
                for batch in loader.epoch(state.epoch, start_step=state.step_in_epoch):
                    watch.lap("data")
                    if state.step in state.left_out:
                        state.advance()
                        continue

                    lr = learning_rate(options, state.step, steps_per_epoch=steps_per_epoch)
                    set_learning_rate(state.optimizer, lr)
                    # dropout's numbers: a function of the step, and of the process that draws them
                    torch.manual_seed(options.seed * 1_000_003 + state.step + (world.rank << 33))

                    parts = batch.parts(options.grad_accum_steps * state.memory_factor)
                    with _within_memory(parts, world):
                        _backward(runner, parts, loss_of, runtime, world, figures, watch)
                        figures.end_step(state.step, batch, gradient_norm=_clip(net, options.clip_grad))
                        is_read = figures.is_due() or bool(world.highest(_wanted(stop, checkpoints)))
                        read = figures.read() if is_read else []
                        _require_finite(read, state)  # on a CPU before the step, on a GPU before a checkpoint

                        state.optimizer.step()  # the first one makes room for its averages
                        state.optimizer.zero_grad(set_to_none=True)
                        if state.average is not None:
                            state.average.step_done(net, step=state.step)
                    state.advance()
                    watch.num_pictures += batch.global_size
                    watch.lap("step")

                    _tell(read, state, listener, lr)
                    if is_read:  # what is saved has been looked at
                        _save_or_stop(world.highest(_wanted(stop, checkpoints)), state, checkpoints)
                    watch.lap("saving")
                rest = figures.read()
                _require_finite(rest, state)
            except GoBack as back:
                setback = back.setback
            if setback is not None:
                figures.forget()
                _go_back(setback, state, checkpoints, options)
                _save_or_stop(world.highest(_wanted(stop, checkpoints)), state, checkpoints)
                continue
            last_lr = learning_rate(options, state.step - 1, steps_per_epoch=steps_per_epoch)
            _tell(rest, state, listener, last_lr)

            # A run killed during the validation repeats it: the epoch closes only afterwards.
            if state.average is not None:
                state.average.epoch_done(net, epoch=state.epoch)
                if state.epoch == options.epochs - 1 and not options.freeze_bn:
                    pictures = dataclasses.replace(loader, rank=0, world_size=1, mix=None)  # the same in every process
                    with runtime.autocast():
                        state.average.finish(
                            part.images for batch in pictures.epoch(0) for part in batch.parts(options.grad_accum_steps)
                        )
            watch.lap("step")
            val_loss, val_score = (None, None) if validate is None else validate(state.current_net)
            watch.lap("validation")
            state.close_epoch(learning_rate=last_lr, val_loss=val_loss, val_score=val_score)
            listener.epoch_done(EpochDone(tuple(state.history), num_pictures=watch.num_pictures, laps_s=watch.laps_s))
            _save_or_stop(world.highest(_wanted(stop, checkpoints)), state, checkpoints)
    checkpoints.save(state)
    return state


class Runner(nn.Module):
    """The logits, and those of auxiliary heads with their weight, by one `forward`, which `World.wrap` can wrap.

    Args:
        net: the network.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, list[tuple[Tensor, float]]]:
        if not isinstance(self.net, HasAuxiliaryHeads):  # most networks
            return self.net(images), []
        logits, auxiliary = self.net.forward_with_auxiliary(images)
        return logits, [(others, self.net.auxiliary_weight) for others in auxiliary]


def losses_of_pictures(runner: nn.Module, batch: Batch, loss_of: Loss, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """The loss of each picture, auxiliary heads' included, and the logits.

    Args:
        runner: a `Runner`, wrapped or not.
        batch: N pictures.
        loss_of: of the task.
        runtime: the precision.

    Returns:
        (N,) in nats, and (N, K).
    """
    with runtime.autocast():
        logits, auxiliary = runner(batch.images)
    losses = loss_of(_precise(logits), batch.targets)
    for others, weight in auxiliary:  # GoogLeNet's: not in the network that is shipped
        losses = losses + weight * loss_of(_precise(others), batch.targets)
    return losses, logits


def _backward(
    runner: nn.Module,
    parts: Sequence[Batch],
    loss_of: Loss,
    runtime: Runtime,
    world: World,
    figures: Figures,
    watch: Stopwatch,
) -> None:
    """The gradients of the batch's mean loss, micro-batch by micro-batch."""
    for number, part in enumerate(parts, 1):
        with world.no_sync(runner) if number < len(parts) else nullcontext():
            losses, logits = losses_of_pictures(runner, part, loss_of, runtime)
            figures.add(losses, logits, part.targets)
            watch.lap("forward")
            # divided by the whole batch's size; the gradients of several processes are averaged
            (losses.sum() * (world.size / part.global_size)).backward()  # type: ignore[no-untyped-call]
            watch.lap("backward")


@contextmanager
def _within_memory(parts: Sequence[Batch], world: World) -> Iterator[None]:
    """Where memory runs out in the block, which is a step, the run goes back and takes fewer pictures at a time."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if world.size > 1:  # the others wait for this process's gradients: it cannot go back alone
            raise TrainingError(
                f"memory ran out in process {world.rank} with {len(parts[0])} pictures at a time. "
                f"Raise --grad-accum-steps, now {len(parts)}: the step stays the same and takes less."
            ) from error
        raise GoBack(NoMemory(num_pictures=len(parts[0]))) from None


def _clip(net: nn.Module, largest: float | None) -> Tensor:
    """The norm of the whole gradient; where it is above `largest`, the gradient is shortened to that."""
    if largest is not None:
        norm = nn.utils.clip_grad_norm_(net.parameters(), largest)
    else:
        norm = nn.utils.get_total_norm(each.grad for each in net.parameters() if each.grad is not None)
    return whole(norm)


def _precise(logits: Tensor) -> Tensor:
    """The softmax wants more digits than bfloat16 has."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _require_finite(read: Sequence[StepFigures], state: TrainState) -> None:
    """Ends the step at a loss or a gradient that is not a finite number."""
    for each in read:
        loss = each.loss_sum / each.num_pictures
        if math.isfinite(loss) and math.isfinite(each.gradient_norm):
            continue
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {each.gradient_norm}"
        names = each.names() if each.is_at_fault or math.isfinite(loss) else []
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise GoBack(
            NotFinite(
                step=each.step,
                error=TrainingError(
                    f"{what} at step {each.step + 1} (epoch {state.epoch + 1}); nothing of this step was saved. "
                    "Lower --lr, set --clip-grad 1, use --no-amp, or leave such batches out with --max-rollbacks 3. "
                    f"The batch: {listed or 'of another process'}."
                ),
            )
        )


def _go_back(setback: NotFinite | NoMemory, state: TrainState, checkpoints: Checkpoints, options: TrainOptions) -> None:
    """Restores the last checkpoint, and saves what is different from now on, so that a resumed run knows it too."""
    left_out, memory_factor = list(state.left_out), state.memory_factor
    if isinstance(setback, NotFinite):
        if len(left_out) >= options.max_rollbacks:
            raise setback.error
        left_out.append(setback.step)
        said = (
            f"the loss or its gradient is not finite at step {setback.step + 1}: "
            "going back to the last checkpoint, and leaving that step out"
        )
    else:
        if setback.num_pictures < 2 * FEWEST_AT_ONCE:
            raise TrainingError(
                f"memory ran out with {setback.num_pictures} pictures at a time, the fewest that batch norm can take. "
                "Lower --img-size, or choose a smaller --model."
            )
        memory_factor *= 2
        said = (
            f"memory ran out with {setback.num_pictures} pictures at a time: going on from the last checkpoint with "
            f"half as many; a step still takes {options.batch_size} (batch norm sees a part)"
        )
    state.optimizer.zero_grad(set_to_none=True)
    if checkpoints.restore(state) is None:
        raise TrainingError(f"there is no checkpoint to go back to in {checkpoints.folder}. Start the run again.")
    state.left_out, state.memory_factor = left_out, memory_factor
    checkpoints.save(state)
    checkpoints.say(said)


def _tell(read: Sequence[StepFigures], state: TrainState, listener: Listener, lr: float) -> None:
    """Adds the figures to the epoch's sums, and tells the listener of them."""
    for each in read:
        state.count(each.loss_sum, each.num_correct, each.num_asked, each.num_pictures)
    if read:
        last = read[-1]
        num_pictures = sum(each.num_pictures for each in read)
        loss = last.loss_sum / last.num_pictures
        listener.step_done(StepDone(state, lr=lr, loss=loss, num_steps=len(read), num_pictures=num_pictures))


def _wanted(stop: StopSignal, checkpoints: Checkpoints) -> int:
    """What this process wants: twice the number of the signal that came, and one more where a checkpoint is due."""
    return 2 * (stop.signal or 0) + checkpoints.is_due()


def _save_or_stop(wanted: int, state: TrainState, checkpoints: Checkpoints) -> None:
    """Saves where that is wanted, and ends the run where a signal has asked for it, in whichever process."""
    if not wanted:
        return
    checkpoints.save(state)
    number = wanted // 2
    if number:
        raise Interrupted(
            f"stopped by {signal.Signals(number).name} after step {state.step}; "
            f"the state is saved in {checkpoints.folder}. Go on with --resume.",
            exit_code=128 + number,
        )
