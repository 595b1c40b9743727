"""`--pretrained`, alone or with weights, wherever it stands on the command line."""

from pathlib import Path
from typing import Any

from typer.core import TyperCommand

FLAG = "--pretrained"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


class WithWeights(TyperCommand):
    """A command whose `--pretrained` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives the flag its value before the arguments are taken apart."""
        return super().parse_args(ctx, with_values(args))


def with_values(arguments: list[str]) -> list[str]:
    """Joins `--pretrained` to the weights behind it, or to "auto" where what follows are none.

    Weights are: auto, hf-hub:..., a name that ends as files of weights do, a folder with a config.json. So a folder of
    pictures behind the flag stays what it is.

    Args:
        arguments: of the verb.

    Example:
        >>> with_values(["--pretrained", "photos/"])
        ['--pretrained=auto', 'photos/']
        >>> with_values(["photos/", "--pretrained", "resnet18.pth", "-b", "8"])
        ['photos/', '--pretrained=resnet18.pth', '-b', '8']
    """
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":  # nothing behind it is a flag
            return [*joined, argument, *rest]
        if argument == FLAG:
            argument = f"{FLAG}={rest.pop(0) if rest and _names_weights(rest[0]) else 'auto'}"
        joined.append(argument)
    return joined


def _names_weights(argument: str) -> bool:
    if argument == "auto" or argument.startswith("hf-hub:"):
        return True
    path = Path(argument)
    return (path / "config.json").is_file() if path.is_dir() else path.suffix in _SUFFIXES
