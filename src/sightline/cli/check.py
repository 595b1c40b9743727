"""`sightline check`"""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.settings_flags import settings_of


def command(
    data: Annotated[str, typer.Argument(help="A folder, a table or a known name, as `sightline train` takes it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every finding with every file.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write a page with thumbnails: a name in .html, or a folder for check.html.")
    ] = None,
    fix_split: Annotated[
        Path | None, typer.Option("--fix-split", help="Write a split without leaks to this CSV, to train on.")
    ] = None,
    near: Annotated[
        bool, typer.Option("--near/--no-near", help="Look for altered copies, too; else for equal pixels only.")
    ] = True,
    suspects: Annotated[
        bool | None,
        typer.Option(
            "--suspects/--no-suspects", help="Look for wrong labels; by default where it takes 3 min or less."
        ),
    ] = None,
    suspects_with: Annotated[
        Path | None, typer.Option(help="A bundle that judges the labels; else the cheapest that works.")
    ] = None,
    suspects_csv: Annotated[Path | None, typer.Option(help="Write the suspicious labels to this CSV.")] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="TOML file of the flags of `sightline train`; flags win.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split, as in a training.")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share held out to watch a training.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share held out for the last score.")] = None,
    group_by: Annotated[
        str | None, typer.Option(help="What belongs together: a column, `folder`, or a pattern with one group.")
    ] = None,
    class_map: Annotated[str | None, typer.Option(help="File that fixes the classes and their order.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
) -> None:
    """Look through a data set before training on it; no file of it is touched.

    Every picture is decoded. Found are unreadable files, copies (also altered ones)
    within and across splits and classes, groups in two splits, pictures unlike the
    others, and labels that are probably wrong. Exit code 1 on a leak or an unreadable
    file, so that a CI run can stop; a suspicious label is for a person to judge.

    Example: sightline check photos/ --output check.html

    A split without leaks: sightline check photos/ --fix-split clean.csv
    """
    flags = dict(locals())
    import json

    from rich.console import Console

    from sightline.predict.answers import as_utf8
    from sightline.recipes.check import check
    from sightline.report.check_result import as_path

    result = check(
        data,
        settings=settings_of(flags),
        near=near,
        suspects=suspects,
        suspects_with=suspects_with,
        suspects_csv=suspects_csv,
        output=output,
        fix_split=fix_split,
        console=Console(stderr=True),
    )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=1))
    else:
        typer.echo(as_utf8(str(result)))
        if output is not None:
            typer.echo(as_utf8(f"page: {as_path(output)}"))
    raise typer.Exit(result.exit_code)
