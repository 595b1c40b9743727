"""`sightline train`"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.recipes.settings import Settings

_DATA = "Data"
_MODEL = "Model and picture size"
_TRAINING = "Training"
_AUGMENTATION = "Augmentation"
_MACHINE = "Machine"


def command(
    data: Annotated[
        str | None,
        typer.Argument(help="A folder of class folders, of train/val/test folders, or a known name (cifar10)."),
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="TOML file of these flags; flags win.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle. Default: runs/DATA-MODEL.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the interrupted run in this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of `sightline models`.", rich_help_panel=_MODEL)] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="[WEIGHTS]",
            help="Begin with trained weights. Alone: those known for the network. Or: a file that ends in "
            ".safetensors, .pth, .pt or .bin; a bundle's folder; hf-hub:org/name; after = anything.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    stem: Annotated[
        Literal["imagenet", "small"] | None,
        typer.Option(help="First layers: the paper's, or for small pictures.", rich_help_panel=_MODEL),
    ] = None,
    drop: Annotated[float | None, typer.Option(help="Dropout before the last layer.", rich_help_panel=_MODEL)] = None,
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth.", rich_help_panel=_MODEL)] = None,
    aux_heads: Annotated[
        bool | None, typer.Option("--aux-heads", help="GoogLeNet: auxiliary classifiers.", rich_help_panel=_MODEL)
    ] = None,
    memory_efficient: Annotated[
        bool | None,
        typer.Option("--memory-efficient", help="DenseNet: less memory, more time.", rich_help_panel=_MODEL),
    ] = None,
    img_size: Annotated[int | None, typer.Option(help="Input height and width, px.", rich_help_panel=_MODEL)] = None,
    in_chans: Annotated[int | None, typer.Option(help="1 grey, 3 colour.", rich_help_panel=_MODEL)] = None,
    interpolation: Annotated[
        Literal["bilinear", "bicubic"] | None, typer.Option(help="Resize filter.", rich_help_panel=_MODEL)
    ] = None,
    crop_pct: Annotated[
        float | None, typer.Option(help="Share kept by the centre crop.", rich_help_panel=_MODEL)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", rich_help_panel=_TRAINING)] = None,
    batch_size: Annotated[
        int | None, typer.Option("-b", "--batch-size", help="Pictures a step.", rich_help_panel=_TRAINING)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel=_TRAINING)] = None,
    opt: Annotated[
        Literal["sgd", "momentum", "adam", "adamw"] | None,
        typer.Option(help="Optimiser; sgd has Nesterov momentum.", rich_help_panel=_TRAINING),
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Momentum of SGD.", rich_help_panel=_TRAINING)] = None,
    sched: Annotated[
        Literal["cosine", "onecycle", "constant"] | None,
        typer.Option(help="Learning-rate schedule.", rich_help_panel=_TRAINING),
    ] = None,
    warmup_epochs: Annotated[float | None, typer.Option(help="Length of the rise.", rich_help_panel=_TRAINING)] = None,
    min_lr: Annotated[float | None, typer.Option(help="Learning rate at the end.", rich_help_panel=_TRAINING)] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Not on norms, biases.", rich_help_panel=_TRAINING)] = None,
    smoothing: Annotated[float | None, typer.Option(help="Label smoothing.", rich_help_panel=_TRAINING)] = None,
    clip_grad: Annotated[float | None, typer.Option(help="Largest gradient norm.", rich_help_panel=_TRAINING)] = None,
    model_ema: Annotated[
        bool | None, typer.Option("--model-ema/--no-model-ema", help="Average the weights.", rich_help_panel=_TRAINING)
    ] = None,
    model_ema_decay: Annotated[float | None, typer.Option(help="Decay of it.", rich_help_panel=_TRAINING)] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.", rich_help_panel=_TRAINING)] = None,
    hflip: Annotated[float | None, typer.Option(help="Share mirrored.", rich_help_panel=_AUGMENTATION)] = None,
    crop_padding: Annotated[int | None, typer.Option(help="Shift by up to, px.", rich_help_panel=_AUGMENTATION)] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="Area of random crops.", rich_help_panel=_AUGMENTATION)
    ] = None,
    ratio: Annotated[
        tuple[float, float] | None, typer.Option(help="Shape of random crops.", rich_help_panel=_AUGMENTATION)
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share held out to watch.", rich_help_panel=_DATA)] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share held out to score.", rich_help_panel=_DATA)] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="List unreadable pictures and go on.", rich_help_panel=_DATA)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", rich_help_panel=_MACHINE)] = None,
    amp: Annotated[
        bool | None, typer.Option("--amp/--no-amp", help="bfloat16 autocast.", rich_help_panel=_MACHINE)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", rich_help_panel=_MACHINE)] = None,
    checkpoint_every: Annotated[
        float | None, typer.Option(help="Seconds between checkpoints.", rich_help_panel=_MACHINE)
    ] = None,
) -> None:
    """Train a network on labelled pictures and write a bundle.

    What you leave out is chosen from the data and the machine, and printed with its reason.

    Example: sightline train photos/ --model resnet18 --epochs 30 --output runs/photos

    Go on after an interruption: sightline train --resume runs/photos
    """
    flags = dict(locals())
    from sightline.recipes.run import train

    settings = _settings(flags)
    if resume is not None and output is not None and output != resume:
        raise ConfigError(f"--resume {resume} and --output {output} name two folders. Give --resume alone.")
    train(data, settings=settings, output=resume or output, resume=resume is not None)


def _settings(flags: dict[str, object]) -> "Settings":
    """The TOML file's settings with the flags on top."""
    from sightline.config import from_mapping, read_toml
    from sightline.recipes.settings import Settings

    config = flags["config"]
    base = dataclasses.asdict(read_toml(config, Settings)) if isinstance(config, Path) else {}
    given = {field.name: flags[field.name] for field in dataclasses.fields(Settings)}
    return from_mapping({**base, **{k: v for k, v in given.items() if v is not None}}, Settings, source="flags")
