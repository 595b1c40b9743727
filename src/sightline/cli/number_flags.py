"""Flags that take several numbers, as many as there are: `--decay-milestones 90 180`."""

import re
from typing import Any

from sightline.cli.weights_flag import WithWeights

FLAGS = ("--mean", "--std", "--decay-milestones")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


class WithNumbers(WithWeights):
    """A command whose `--decay-milestones` takes the numbers behind it; and whose `--pretrained` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives the flag to each number before the arguments are taken apart."""
        return super().parse_args(ctx, with_flags(args))


def with_flags(arguments: list[str]) -> list[str]:
    """Writes the flag before each of its numbers: a flag that comes again is how the parser takes a list.

    Args:
        arguments: of the verb.

    Example:
        >>> with_flags(["photos/", "--mean", "0.5", ".4", "4e-1", "--lr", "0.1"])
        ['photos/', '--mean=0.5', '--mean=.4', '--mean=4e-1', '--lr', '0.1']
        >>> with_flags(["--std", "photos/"])
        ['--std', 'photos/']
    """
    written: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":  # nothing behind it is a flag
            return [*written, argument, *rest]
        if argument not in FLAGS or not (rest and _NUMBER.fullmatch(rest[0])):
            written.append(argument)
            continue
        while rest and _NUMBER.fullmatch(rest[0]):
            written.append(f"{argument}={rest.pop(0)}")
    return written
