"""The training loop: the page to read first.

Every random number of a step is a pure function of the seed and the step, the learning rate is a pure function of the
step, and everything else that the rest of the run depends on is in `TrainState`. So a run that was killed and resumed
ends in the same weights, bit for bit on the CPU, as one that was left alone.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.data.loader import Batch, TrainLoader
from sightline.errors import Interrupted, TrainingError
from sightline.models.base import HasAuxiliaryHeads
from sightline.runtime import Runtime
from sightline.training.ema import Ema
from sightline.training.events import EpochDone, Listener, StepDone
from sightline.training.optim import build_optimizer
from sightline.training.options import TrainOptions
from sightline.training.schedule import learning_rate
from sightline.training.signals import StopSignal
from sightline.training.state import Checkpoints, TrainState
from sightline.training.stopwatch import Stopwatch

Validate = Callable[[nn.Module], tuple[float, float]]  # the network -> (mean loss, accuracy)


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

    Returns:
        The state at the end; `final_net` holds the weights to keep.

    Raises:
        TrainingError: the loss is not finite; the message names the batch's pictures. Nothing was changed by that step.
        Interrupted: SIGINT or SIGTERM came; the step was finished and the state saved.
        BundleError: a checkpoint cannot be written or read.
    """
    net.to(runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]
    optimizer = build_optimizer(net, options)
    ema = None if options.model_ema_decay is None else Ema(net, decay=options.model_ema_decay)
    state = TrainState(net, optimizer, ema)
    forward, auxiliary_weight = _forward_of(net)
    steps_per_epoch = loader.steps_per_epoch
    watch = Stopwatch()

    with StopSignal() as stop:
        if not (resume and checkpoints.restore(state)):
            checkpoints.save(state)  # from here on the run can be resumed, whatever happens
        for epoch in range(state.epoch, options.epochs):
            net.train()
            watch.restart()
            for batch in loader.epoch(epoch, start_step=state.step_in_epoch):
                watch.lap("data")

                lr = learning_rate(options, state.step, steps_per_epoch=steps_per_epoch)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                torch.manual_seed(options.seed * 1_000_003 + state.step)  # dropout's numbers: a function of the step

                with runtime.autocast():
                    logits, auxiliary = forward(batch.images)
                logits = logits.float()  # the softmax wants more digits than bfloat16 has
                loss = F.cross_entropy(logits, batch.labels, label_smoothing=options.smoothing)
                for others in auxiliary:  # GoogLeNet's: not in the accuracy, and not in the network that is shipped
                    loss = loss + auxiliary_weight * F.cross_entropy(
                        others.float(), batch.labels, label_smoothing=options.smoothing
                    )
                loss_value = loss.item()
                _require_finite(loss_value, batch, state)
                watch.lap("forward")

                loss.backward()  # type: ignore[no-untyped-call]
                watch.lap("backward")

                if options.clip_grad is not None:
                    nn.utils.clip_grad_norm_(net.parameters(), options.clip_grad)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if ema is not None:
                    ema.update(net, step=state.step)
                num_correct = int((logits.argmax(dim=1) == batch.labels).sum())
                state.count(loss_value, num_correct, len(batch.labels))
                watch.num_pictures += len(batch.labels)
                watch.lap("step")

                listener.step_done(StepDone(state, lr=lr, loss=loss_value, num_pictures=len(batch.labels)))
                _stop_if_asked(stop, state, checkpoints)
                if checkpoints.is_due():
                    checkpoints.save(state)
                watch.lap("saving")

            # A run killed during the validation repeats it: the epoch closes only afterwards.
            val_loss, val_accuracy = (None, None) if validate is None else validate(state.final_net)
            watch.lap("validation")
            last_lr = learning_rate(options, state.step - 1, steps_per_epoch=steps_per_epoch)
            state.close_epoch(learning_rate=last_lr, val_loss=val_loss, val_accuracy=val_accuracy)
            listener.epoch_done(EpochDone(tuple(state.history), num_pictures=watch.num_pictures, laps_s=watch.laps_s))
            _stop_if_asked(stop, state, checkpoints)
    checkpoints.save(state)
    return state


def _forward_of(net: nn.Module) -> tuple[Callable[[Tensor], tuple[Tensor, list[Tensor]]], float]:
    """From images to the logits and those of auxiliary heads, which most networks have none of; and their weight."""
    if isinstance(net, HasAuxiliaryHeads):
        return net.forward_with_auxiliary, net.auxiliary_weight
    return lambda images: (net(images), []), 0.0


def _stop_if_asked(stop: StopSignal, state: TrainState, checkpoints: Checkpoints) -> None:
    """Saves and ends the run where a signal has asked for it."""
    if stop.signal is None:
        return
    checkpoints.save(state)
    raise Interrupted(
        f"stopped by {stop.signal.name} after step {state.step}; the state is saved in {checkpoints.folder}. "
        "Go on with --resume.",
        exit_code=128 + stop.signal,
    )


def _require_finite(loss: float, batch: Batch, state: TrainState) -> None:
    """Stops before the step that would spoil the weights."""
    if math.isfinite(loss):
        return
    names = batch.names()
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise TrainingError(
        f"the loss is {loss} at step {state.step + 1} (epoch {state.epoch + 1}); "
        f"the weights are those before this step. Lower --lr, set --clip-grad 1, or use --no-amp. The batch: {listed}."
    )
