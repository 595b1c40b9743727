"""`sightline train`"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from sightline.cli.settings_flags import settings_of
from sightline.errors import ConfigError
from sightline.recipes.settings import RecipeName
from sightline.training.options import LossName, OptimizerName, ScheduleName

# The panels of the help.
_recipe = partial(typer.Option, rich_help_panel="Recipe")
_data = partial(typer.Option, rich_help_panel="Data")
_network = partial(typer.Option, rich_help_panel="Network")
_input = partial(typer.Option, rich_help_panel="What the network sees")
_length = partial(typer.Option, rich_help_panel="Length and batch")
_optimiser = partial(typer.Option, rich_help_panel="Optimiser")
_schedule = partial(typer.Option, rich_help_panel="Learning rate over time")
_transfer = partial(typer.Option, rich_help_panel="Trained weights")
_loss = partial(typer.Option, rich_help_panel="Loss and classes")
_end = partial(typer.Option, rich_help_panel="What ships in the end")
_augment = partial(typer.Option, rich_help_panel="Augmentation")
_mix = partial(typer.Option, rich_help_panel="Mixing")
_machine = partial(typer.Option, rich_help_panel="Machine")


def command(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder of class folders, or of train/val/test folders; a table or arrays (.csv, .parquet, .npz, "
            "...; docs/data.md); or a known name (cifar10)."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="TOML file of these flags; flags win.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle. Default: runs/DATA-MODEL.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the interrupted run in this folder.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done and why, and end.")] = False,
    recipe: Annotated[
        RecipeName | None,
        _recipe(metavar="NAME", help="Where every default is from: textbook, fast, best, finetune, scratch-small."),
    ] = None,
    smoke: Annotated[bool | None, _recipe("--smoke", help="A run of seconds through every part of it.")] = None,
    val_fraction: Annotated[float | None, _data(help="Share held out to watch the training.")] = None,
    test_fraction: Annotated[float | None, _data(help="Share held out for the last score.")] = None,
    folds: Annotated[int | None, _data(help="Parts, each the test split of one run.")] = None,
    fold: Annotated[int | None, _data(help="The part that is tested in this run, from 0.")] = None,
    group_by: Annotated[
        str | None,
        _data(
            metavar="COLUMN|folder|REGEX", help="Pictures that share a split: by column, folder or part of the path."
        ),
    ] = None,
    class_map: Annotated[
        str | None, _data(metavar="FILE", help="Order of the classes: one a line, or JSON name: index.")
    ] = None,
    sampler: Annotated[
        Literal["shuffle", "balanced"] | None, _data(help="Every picture once an epoch, or every class as often.")
    ] = None,
    skip_bad: Annotated[bool | None, _data("--skip-bad", help="List unreadable pictures and go on.")] = None,
    allow_leaks: Annotated[
        bool | None, _data("--allow-leaks", help="Train although splits share exact copies.")
    ] = None,
    cache: Annotated[
        bool | None, _data("--cache/--no-cache", help="Keep decoded pictures on disk for the next run.")
    ] = None,
    stream: Annotated[
        bool | None,
        _data("--stream/--no-stream", help="Decode pictures as they are needed and keep none. Default: without room."),
    ] = None,
    model: Annotated[str | None, _network(help="A name of `sightline models`.")] = None,
    stem: Annotated[
        Literal["imagenet", "small"] | None, _network(help="First layers: the paper's, or for small pictures.")
    ] = None,
    drop: Annotated[float | None, _network(help="Dropout before the last layer.")] = None,
    drop_path: Annotated[float | None, _network(help="Stochastic depth.")] = None,
    aux_heads: Annotated[bool | None, _network("--aux-heads", help="GoogLeNet: auxiliary classifiers.")] = None,
    memory_efficient: Annotated[
        bool | None, _network("--memory-efficient", help="DenseNet: less memory, more time.")
    ] = None,
    pretrained: Annotated[
        str | None,
        _transfer(
            metavar="[WEIGHTS]",
            help="Begin with trained weights. Alone: those known for the network. Or: a file that ends in "
            ".safetensors, .pth, .pt or .bin; a bundle's folder; hf-hub:org/name; after = anything.",
        ),
    ] = None,
    head_epochs: Annotated[int | None, _transfer(help="Epochs that train the last layer alone, at first.")] = None,
    head_lr: Annotated[float | None, _transfer(help="Learning rate of these.")] = None,
    freeze_bn: Annotated[
        bool | None, _transfer("--freeze-bn/--no-freeze-bn", help="Batch norms keep their statistics throughout.")
    ] = None,
    layer_decay: Annotated[float | None, _transfer(help="A layer's rate, as a part of the next one's.")] = None,
    img_size: Annotated[int | None, _input(help="Height and width, px.")] = None,
    in_chans: Annotated[int | None, _input(help="1 grey, 3 colour.")] = None,
    interpolation: Annotated[Literal["bilinear", "bicubic"] | None, _input(help="Resize filter.")] = None,
    crop_pct: Annotated[float | None, _input(help="Share kept by the centre crop.")] = None,
    mean: Annotated[list[float] | None, _input(metavar="N...", help="Subtracted, a number a channel.")] = None,
    std: Annotated[list[float] | None, _input(metavar="N...", help="Divided by, a number a channel.")] = None,
    epochs: Annotated[int | None, _length(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, _length("-b", "--batch-size", help="Pictures a step, in all.")] = None,
    grad_accum_steps: Annotated[int | None, _length(help="Parts that a batch is computed in.")] = None,
    seed: Annotated[int | None, _length(help="Of everything random.")] = None,
    opt: Annotated[
        OptimizerName | None,
        _optimiser(metavar="NAME", help="sgd (Nesterov), momentum, rmsprop, adagrad, adam, adamw, lion or muon."),
    ] = None,
    lr: Annotated[float | None, _optimiser(help="Peak learning rate.")] = None,
    momentum: Annotated[float | None, _optimiser(help="Of sgd, momentum, rmsprop and muon.")] = None,
    opt_betas: Annotated[
        tuple[float, float] | None, _optimiser(metavar="N N", help="Of adam, adamw, lion and muon.")
    ] = None,
    opt_eps: Annotated[float | None, _optimiser(help="Of rmsprop, adagrad, adam, adamw and muon.")] = None,
    weight_decay: Annotated[float | None, _optimiser(help="Not on norms and biases.")] = None,
    clip_grad: Annotated[float | None, _optimiser(help="Largest norm of the gradient.")] = None,
    sched: Annotated[
        ScheduleName | None,
        _schedule(metavar="NAME", help="cosine, onecycle, linear, step, multistep or constant."),
    ] = None,
    warmup_epochs: Annotated[float | None, _schedule(help="Length of the rise.")] = None,
    min_lr: Annotated[float | None, _schedule(help="Learning rate at the end.")] = None,
    decay_epochs: Annotated[float | None, _schedule(help="step: epochs between two falls.")] = None,
    decay_milestones: Annotated[
        list[float] | None, _schedule(metavar="N...", help="multistep: epochs of the falls, as in 90 180.")
    ] = None,
    decay_rate: Annotated[float | None, _schedule(help="step, multistep: what a fall leaves.")] = None,
    loss: Annotated[
        LossName | None, _loss(metavar="NAME", help="cross_entropy, bce (a yes or no for each class) or focal.")
    ] = None,
    smoothing: Annotated[float | None, _loss(help="Label smoothing.")] = None,
    focal_gamma: Annotated[float | None, _loss(help="focal: how little an easy picture counts.")] = None,
    class_weights: Annotated[
        Literal["none", "balanced", "effective"] | None, _loss(help="Rare classes count more.")
    ] = None,
    model_ema: Annotated[
        bool | None, _end("--model-ema/--no-model-ema", help="A moving average of the weights.")
    ] = None,
    model_ema_decay: Annotated[float | None, _end(help="Its decay.")] = None,
    swa_epochs: Annotated[int | None, _end(help="Last epochs whose weights are averaged.")] = None,
    patience: Annotated[int | None, _end(help="Stop so many epochs after the best, and ship that.")] = None,
    max_rollbacks: Annotated[int | None, _end(help="Leave out so many batches whose loss is not finite.")] = None,
    tta: Annotated[Literal["none", "flip"] | None, _end(help="flip: predictions see the mirror image, too.")] = None,
    hflip: Annotated[float | None, _augment(help="Share mirrored.")] = None,
    alternating_flip: Annotated[bool | None, _augment("--alternating-flip", help="Mirrored every other epoch.")] = None,
    vflip: Annotated[float | None, _augment(help="Share upside down.")] = None,
    crop_padding: Annotated[int | None, _augment(help="Shift by up to, px.")] = None,
    scale: Annotated[tuple[float, float] | None, _augment(metavar="N N", help="Area of random crops.")] = None,
    ratio: Annotated[tuple[float, float] | None, _augment(metavar="N N", help="Shape of random crops.")] = None,
    rotation: Annotated[float | None, _augment(help="Largest angle, degrees.")] = None,
    color_jitter: Annotated[
        tuple[float, float, float, float] | None,
        _augment(metavar="N N N N", help="Brightness, contrast, saturation, hue."),
    ] = None,
    aa: Annotated[str | None, _augment(help="rand-m9-n2, trivial, augmix-m3-w3, none.")] = None,
    reprob: Annotated[float | None, _augment(help="Share with an erased part.")] = None,
    remode: Annotated[Literal["const", "pixel"] | None, _augment(help="Erased to a colour, or noise.")] = None,
    mixup: Annotated[float | None, _mix(help="Blends of two pictures: alpha.")] = None,
    cutmix: Annotated[float | None, _mix(help="A part of another picture: alpha.")] = None,
    mixup_prob: Annotated[float | None, _mix(help="Share of the batches mixed.")] = None,
    mixup_switch_prob: Annotated[float | None, _mix(help="Share of these with CutMix, of both.")] = None,
    device: Annotated[str | None, _machine(help="cpu, cuda, cuda:1, mps.")] = None,
    amp: Annotated[bool | None, _machine("--amp/--no-amp", help="bfloat16 autocast.")] = None,
    compile: Annotated[bool | None, _machine("--compile/--no-compile", help="torch.compile.")] = None,
    threads: Annotated[int | None, _machine(help="CPU threads.")] = None,
    workers: Annotated[int | None, _machine(help="Threads that prepare batches.")] = None,
    sync_bn: Annotated[bool | None, _machine("--sync-bn/--no-sync-bn", help="Norms over all processes.")] = None,
    fsdp: Annotated[bool | None, _machine("--fsdp", help="Weights split over processes.")] = None,
    checkpoint_every: Annotated[float | None, _machine(help="Seconds between checkpoints.")] = None,
) -> None:
    """Train a network on labelled pictures and write a bundle.

    What you leave out is chosen by a recipe (`sightline recipes`), from the data
    and the machine, and printed with its reason; --dry-run does no more than that.
    In a TOML file, numbers that stand side by side here (N N, N...) are a list:
    scale = [0.35, 1.0].

    Example: sightline train photos/ --model resnet18 --epochs 30 --output runs/photos

    Go on after an interruption: sightline train --resume runs/photos
    """
    flags = dict(locals())
    if dry_run:
        _print_plan(data, flags)
        return
    from sightline.recipes.run import train

    settings = settings_of(flags)
    if resume is not None and output is not None and output != resume:
        raise ConfigError(f"--resume {resume} and --output {output} name two folders. Give --resume alone.")
    train(data, settings=settings, output=resume or output, resume=resume is not None)


def _print_plan(data: str | None, flags: dict[str, object]) -> None:
    """The plan alone: of a run that would begin, since one that goes on has told its own."""
    if data is None or flags["resume"] is not None:
        raise ConfigError("--dry-run plans a new run: give its data, and not --resume.")
    from rich.console import Console

    from sightline.predict.answers import as_utf8
    from sightline.recipes.prepare import prepare

    typer.echo(as_utf8(str(prepare(data, settings_of(flags), Console(stderr=True)))))
