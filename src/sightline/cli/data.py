"""`sightline data`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sightline.cli.settings_flags import settings_of

app = typer.Typer(help="Known data sets, and what a training makes of pictures.", no_args_is_help=True)

_AUGMENTATION = "Augmentation"


@app.callback()
def group() -> None:
    """Holds the verbs of `sightline data`."""


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="cifar10, cifar100, fashion-mnist or mnist.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where to keep it. Default: $SIGHTLINE_DATA, else ~/.cache/sightline/data.")
    ] = None,
) -> None:
    """Fetch a known data set and check it.

    Example: sightline data get cifar10
    """
    from rich.console import Console

    from sightline.data.known import fetch
    from sightline.progress import bars, labelled

    with bars(Console(stderr=True)) as bar:
        folder = fetch(name, data_dir=data_dir, progress=labelled(bar))
    typer.echo(folder)


@app.command("shards")
def shards(
    data: Annotated[str, typer.Argument(help="A folder, a table, a known name, ..., as `sightline train` takes it.")],
    output: Annotated[Path, typer.Argument(help="Folder of the shards: a new one, or empty.")],
    shard_size: Annotated[str, typer.Option(help="Most of a shard: bytes, or with kB, MB or GB.")] = "256MB",
    split: Annotated[str | None, typer.Option(help="The split to write: train, val, test, unassigned. All.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order in the shards.")] = 0,
    class_map: Annotated[str | None, typer.Option(help="File that fixes the classes and their order.")] = None,
    group_by: Annotated[
        str | None, typer.Option(help="What belongs together: a column, `folder`, or a pattern with one group.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="List unreadable pictures and go on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every shard with its pictures.")] = False,
) -> None:
    """Write a data set as tar shards in WebDataset's naming, for data beyond one machine.

    Files of pictures are copied byte for byte, shuffled within their split so that
    every shard has some of each class; the same data gives the same shards. The
    folder appears when all of it is written. `sightline train OUTPUT` reads it.

    Example: sightline data shards photos/ shards/ --shard-size 256MB
    """
    import json

    from rich.console import Console

    from sightline.data.shard_writer import write_shards
    from sightline.data.sources import open_data
    from sightline.predict.answers import as_utf8
    from sightline.progress import bars, labelled
    from sightline.quantities import amount

    with bars(Console(stderr=True)) as bar:
        written = write_shards(
            open_data(data, class_map=class_map, group_by=group_by, progress=labelled(bar)),
            output,
            shard_bytes=int(amount(shard_size.rstrip("Bb"))),  # 256MB and 256M alike
            split=split,
            seed=seed,
            skip_bad=skip_bad,
            progress=bar("writing"),
        )
    typer.echo(json.dumps(written.to_dict(), indent=1) if as_json else as_utf8(str(written)))
    if not as_json:
        for problem in written.skipped:
            typer.echo(as_utf8(f"  left out: {problem}"), err=True)


@app.command("preview")
def preview(
    data: Annotated[str, typer.Argument(help="A folder of class folders, of train/val/test folders, or a known name.")],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="TOML file of the flags of `sightline train`; flags win.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("preview.png"),
    columns: Annotated[int, typer.Option("--epochs", help="Columns: how many epochs, from the first.")] = 4,
    count: Annotated[int, typer.Option(help="Rows: how many pictures, of as many classes as there are.")] = 8,
    seed: Annotated[int | None, typer.Option(help="Of the training.")] = None,
    img_size: Annotated[int | None, typer.Option(help="Input height and width, px.")] = None,
    hflip: Annotated[float | None, typer.Option(help="Share mirrored.", rich_help_panel=_AUGMENTATION)] = None,
    alternating_flip: Annotated[
        bool | None,
        typer.Option("--alternating-flip", help="Mirror in every other epoch.", rich_help_panel=_AUGMENTATION),
    ] = None,
    vflip: Annotated[float | None, typer.Option(help="Share upside down.", rich_help_panel=_AUGMENTATION)] = None,
    crop_padding: Annotated[int | None, typer.Option(help="Shift by up to, px.", rich_help_panel=_AUGMENTATION)] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="Area of random crops.", rich_help_panel=_AUGMENTATION)
    ] = None,
    ratio: Annotated[
        tuple[float, float] | None, typer.Option(help="Shape of random crops.", rich_help_panel=_AUGMENTATION)
    ] = None,
    rotation: Annotated[float | None, typer.Option(help="Largest angle.", rich_help_panel=_AUGMENTATION)] = None,
    color_jitter: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="Brightness, contrast, saturation, hue.", rich_help_panel=_AUGMENTATION),
    ] = None,
    aa: Annotated[
        str | None, typer.Option(help="rand-m9-n2, trivial, augmix-m3-w3, none.", rich_help_panel=_AUGMENTATION)
    ] = None,
    reprob: Annotated[float | None, typer.Option(help="Share with a hole.", rich_help_panel=_AUGMENTATION)] = None,
    remode: Annotated[
        Literal["const", "pixel"] | None, typer.Option(help="Filled so.", rich_help_panel=_AUGMENTATION)
    ] = None,
    mixup: Annotated[float | None, typer.Option(help="Alpha of Mixup.", rich_help_panel=_AUGMENTATION)] = None,
    cutmix: Annotated[float | None, typer.Option(help="Alpha of CutMix.", rich_help_panel=_AUGMENTATION)] = None,
    mixup_prob: Annotated[
        float | None, typer.Option(help="Share of batches mixed.", rich_help_panel=_AUGMENTATION)
    ] = None,
    mixup_switch_prob: Annotated[
        float | None, typer.Option(help="Share of them by CutMix.", rich_help_panel=_AUGMENTATION)
    ] = None,
) -> None:
    """Draw what the network will see: training pictures as prediction sees them, then as each epoch shows them.

    What you leave out is chosen as `sightline train` chooses it, so without flags this is the default training.

    Example: sightline data preview photos/ --aa rand-m9-n2 --reprob 0.25
    """
    flags = dict(locals())
    from sightline.recipes.preview import preview

    typer.echo(preview(data, settings=settings_of(flags), epochs=columns, count=count, output=output))
