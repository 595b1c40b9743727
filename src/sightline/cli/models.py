"""`sightline models`"""

import json
from typing import Annotated

import typer


def command(
    pattern: Annotated[str, typer.Argument(help="A name with wildcards, such as 'resnet*'.")] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print the names as JSON.")] = False,
) -> None:
    """List the networks.

    Example: sightline models 'resnet*'
    """
    from sightline.models.zoo import names

    found = names(pattern)
    typer.echo(json.dumps(found) if as_json else "\n".join(found))
