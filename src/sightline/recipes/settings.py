"""What a user may ask of a run; whatever is None is chosen from the data and the machine."""

from dataclasses import dataclass
from typing import Literal

from sightline.training.options import OptimizerName, ScheduleName


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `sightline train`, with timm's names; also the keys of its TOML file.

    Args:
        model: a name of `sightline models`.
        pretrained: weights to begin with: "auto", a file, a bundle's folder or "hf-hub:org/name".
        stem: "imagenet", the paper's, or "small", for pictures under 96 px, of the networks that have both.
        drop: dropout before the last layers, in [0, 1).
        drop_path: probability of leaving the last residual unit out of a step (stochastic depth), in [0, 1).
        aux_heads: train GoogLeNet with its auxiliary classifiers.
        memory_efficient: of DenseNet: compute concatenations again in the backward pass instead of keeping them.
        img_size: height and width of the network's input in px.
        in_chans: 1 (grey) or 3 (RGB).
        interpolation: of the resize, "bilinear" or "bicubic".
        crop_pct: share of the resized picture's shorter side that the centre crop keeps, in (0, 1].
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        lr: peak learning rate.
        opt: optimiser.
        momentum: of SGD.
        sched: learning-rate schedule.
        warmup_epochs: length of the linear rise; may be a fraction.
        min_lr: learning rate of the last step.
        weight_decay: for weights, not for norms and biases.
        smoothing: label smoothing in [0, 1).
        clip_grad: largest norm of the gradient.
        model_ema: keep a moving average of the weights, and ship it.
        model_ema_decay: its decay, in [0, 1).
        hflip: probability of a mirrored picture.
        crop_padding: px of reflected border before a random crop of the network's size; 0 for none.
        scale: (smallest, largest) share of the area that a random resized crop keeps; None for none.
        ratio: (smallest, largest) aspect ratio of that crop.
        val_fraction: share of the training pictures held out to watch the training.
        test_fraction: share held out for the one last score, where the data has no test split.
        seed: of splits, weights, order, augmentation and dropout.
        device: "cpu", "cuda", "cuda:1", "mps".
        amp: bfloat16 autocast, or not.
        threads: CPU threads.
        skip_bad: leave unreadable pictures out, listed in data.lock.json, instead of stopping.
        checkpoint_every: seconds between two checkpoints.
    """

    model: str | None = None
    pretrained: str | None = None
    stem: Literal["imagenet", "small"] | None = None
    drop: float | None = None
    drop_path: float | None = None
    aux_heads: bool | None = None
    memory_efficient: bool | None = None
    img_size: int | None = None
    in_chans: Literal[1, 3] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    crop_pct: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    opt: OptimizerName | None = None
    momentum: float | None = None
    sched: ScheduleName | None = None
    warmup_epochs: float | None = None
    min_lr: float | None = None
    weight_decay: float | None = None
    smoothing: float | None = None
    clip_grad: float | None = None
    model_ema: bool | None = None
    model_ema_decay: float | None = None
    hflip: float | None = None
    crop_padding: int | None = None
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None
    seed: int | None = None
    device: str | None = None
    amp: bool | None = None
    threads: int | None = None
    skip_bad: bool | None = None
    checkpoint_every: float | None = None
