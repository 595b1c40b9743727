"""What a user may ask of a run; whatever is None is chosen from the data and the machine."""

from dataclasses import dataclass
from typing import Literal

from sightline.training.options import LossName, OptimizerName, ScheduleName

RecipeName = Literal["textbook", "fast", "best", "finetune", "scratch-small"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `sightline train`, with timm's names; also the keys of its TOML file.

    Args:
        recipe: where every default comes from; None chooses it from the data and the weights at hand.
        smoke: a run of seconds that goes through every part of the recipe, to see that it works here.
        model: a name of `sightline models`.
        pretrained: weights to begin with: "auto", a file, a bundle's folder or "hf-hub:org/name".
        stem: "imagenet", the paper's, or "small", for pictures under 96 px, of the networks that have both.
        drop: dropout before the last layers, in [0, 1).
        drop_path: probability of leaving the last residual unit out of a step (stochastic depth), in [0, 1).
        aux_heads: train GoogLeNet with its auxiliary classifiers.
        memory_efficient: of DenseNet: compute concatenations again in the backward pass instead of keeping them.
        tta: what the shipped network averages over: "none", the picture alone; "flip", its mirror image as well.
        img_size: height and width of the network's input in px.
        in_chans: 1 (grey) or 3 (RGB).
        interpolation: of the resize, "bilinear" or "bicubic".
        crop_pct: share of the resized picture's shorter side that the centre crop keeps, in (0, 1].
        mean: of each channel in [0, 1], subtracted; None takes that of the weights, or of the training pictures.
        std: of each channel, divided by.
        epochs: passes over the training pictures.
        batch_size: pictures a step, over all micro-batches and processes.
        grad_accum_steps: micro-batches that a batch is computed in.
        lr: peak learning rate.
        opt: optimiser.
        momentum: of SGD, RMSprop and Muon.
        opt_betas: decays of the averages of Adam, AdamW and Lion.
        opt_eps: what RMSprop, Adagrad, Adam and AdamW add to their divisor.
        sched: learning-rate schedule.
        warmup_epochs: length of the linear rise; may be a fraction.
        min_lr: learning rate of the last step.
        decay_epochs: of the schedule "step": epochs between two falls.
        decay_milestones: of "multistep": the epochs of the falls.
        decay_rate: of both: what a fall leaves.
        layer_decay: the rate of each layer as a part of that of the layer above it.
        head_epochs: epochs at the start that train the last layer alone.
        head_lr: their learning rate.
        freeze_bn: of trained weights: batch norms keep their statistics in all epochs.
        loss: "cross_entropy", "bce" or "focal".
        focal_gamma: of "focal".
        class_weights: "none", "balanced" (by the inverse of the counts) or "effective" (by their effective numbers).
        sampler: "shuffle", every picture once an epoch, or "balanced", every class as often.
        weight_decay: for weights, not for norms and biases.
        smoothing: label smoothing in [0, 1).
        clip_grad: largest norm of the gradient.
        model_ema: keep a moving average of the weights, and ship it.
        model_ema_decay: its decay, in [0, 1).
        swa_epochs: epochs at the end whose weights are averaged.
        patience: epochs without a lower validation loss after which the run ends with its best weights.
        max_rollbacks: how often a loss that is not finite may send the run back to its last checkpoint.
        hflip: probability of a mirrored picture.
        alternating_flip: mirror a picture every other epoch instead of at random.
        vflip: probability of a picture upside down.
        crop_padding: px of reflected border before a random crop of the network's size; 0 for none.
        scale: (smallest, largest) share of the area that a random resized crop keeps; None for none.
        ratio: (smallest, largest) aspect ratio of that crop.
        rotation: largest angle in degrees, to either side.
        color_jitter: largest change of brightness, contrast and saturation, as parts of one, and hue, as a part of the
            circle.
        aa: "rand-m9-n2" (RandAugment), "trivial" (TrivialAugment) or "augmix-m3-w3" (AugMix), with numbers of
            your own; "none" for none.
        reprob: probability of a random erased rectangle.
        remode: what it is filled with: "const" or "pixel" (noise).
        mixup: alpha of Mixup; 0 for none.
        cutmix: alpha of CutMix; 0 for none.
        mixup_prob: share of the batches that are mixed.
        mixup_switch_prob: share of these that get CutMix where both are on.
        val_fraction: share of the training pictures held out to watch the training.
        test_fraction: share held out for the one last score, where the data has no test split.
        seed: of splits, weights, order, augmentation and dropout.
        device: "cpu", "cuda", "cuda:1", "mps".
        amp: bfloat16 autocast, or not.
        threads: CPU threads.
        workers: threads that prepare batches ahead of the training step.
        compile: torch.compile.
        sync_bn: batch norm over the pictures of all processes.
        fsdp: split weights and optimiser state over the processes (FSDP).
        folds: divide the pictures into so many parts, each of which is the test split in one run.
        fold: the one that is the test split in this run, from 0.
        group_by: pictures that must share a split: a column of the table, "folder" (the picture's own, below the class
            folder), or a regular expression with one group, looked for in the path.
        class_map: a file with the order of the classes, one a line, or a JSON object from name to index.
        skip_bad: leave unreadable pictures out, listed in data.lock.json, instead of stopping.
        allow_leaks: train although held-out pictures are exact copies of pictures of another split.
        cache: keep decoded pictures on disk for later runs, and take those that are there; None where it saves time.
        stream: decode pictures when their batch is made and keep none; of tar shards a few are then shuffled together.
            None does so where neither memory nor disk has room.
        checkpoint_every: seconds between two checkpoints.
    """

    recipe: RecipeName | None = None
    smoke: bool | None = None
    model: str | None = None
    pretrained: str | None = None
    stem: Literal["imagenet", "small"] | None = None
    drop: float | None = None
    drop_path: float | None = None
    aux_heads: bool | None = None
    memory_efficient: bool | None = None
    tta: Literal["none", "flip"] | None = None
    img_size: int | None = None
    in_chans: Literal[1, 3] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    crop_pct: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    grad_accum_steps: int | None = None
    lr: float | None = None
    opt: OptimizerName | None = None
    momentum: float | None = None
    opt_betas: tuple[float, float] | None = None
    opt_eps: float | None = None
    sched: ScheduleName | None = None
    warmup_epochs: float | None = None
    min_lr: float | None = None
    decay_epochs: float | None = None
    decay_milestones: tuple[float, ...] | None = None
    decay_rate: float | None = None
    layer_decay: float | None = None
    head_epochs: int | None = None
    head_lr: float | None = None
    freeze_bn: bool | None = None
    loss: LossName | None = None
    focal_gamma: float | None = None
    class_weights: Literal["none", "balanced", "effective"] | None = None
    sampler: Literal["shuffle", "balanced"] | None = None
    weight_decay: float | None = None
    smoothing: float | None = None
    clip_grad: float | None = None
    model_ema: bool | None = None
    model_ema_decay: float | None = None
    swa_epochs: int | None = None
    patience: int | None = None
    max_rollbacks: int | None = None
    hflip: float | None = None
    alternating_flip: bool | None = None
    vflip: float | None = None
    crop_padding: int | None = None
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] | None = None
    rotation: float | None = None
    color_jitter: tuple[float, float, float, float] | None = None
    aa: str | None = None
    reprob: float | None = None
    remode: Literal["const", "pixel"] | None = None
    mixup: float | None = None
    cutmix: float | None = None
    mixup_prob: float | None = None
    mixup_switch_prob: float | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None
    seed: int | None = None
    device: str | None = None
    amp: bool | None = None
    threads: int | None = None
    workers: int | None = None
    compile: bool | None = None
    sync_bn: bool | None = None
    fsdp: bool | None = None
    folds: int | None = None
    fold: int | None = None
    group_by: str | None = None
    class_map: str | None = None
    skip_bad: bool | None = None
    allow_leaks: bool | None = None
    cache: bool | None = None
    stream: bool | None = None
    checkpoint_every: float | None = None
