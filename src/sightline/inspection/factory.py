"""A network from "package.module:factory", as a user types it."""

import importlib

from torch import nn

from sightline.errors import ConfigError


def make(path: str) -> nn.Module:
    """Imports a module and calls what makes a network in it.

    Importing runs the module's code, so this is for what a user types in a call or on the command line, and for
    nothing that is read from a file.

    Args:
        path: "package.module:factory"; the factory takes no arguments: a function, or a module's class.

    Raises:
        ConfigError: there is no such module or factory, or it makes something else.

    Example:
        >>> make("torch.nn:Identity")
        Identity()
    """
    where, colon, name = path.partition(":")
    if not colon or not where or not name:
        raise ConfigError(
            f"{path!r} names no network. Write package.module:factory; a network of the zoo is made by "
            f"sightline.create_model({path!r})."
        )
    try:
        factory = importlib.import_module(where)
        for part in name.split("."):
            factory = getattr(factory, part)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path}: {error}. Start in the folder of the module, or install it.") from error
    except AttributeError as error:
        raise ConfigError(f"{path}: {error}. Name what makes the network in {where}.") from None
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ConfigError(f"{path} is {type(factory).__name__}, not a callable that makes a network.")
    try:
        net = factory()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # it was called, and failed inside
        raise ConfigError(f"{path} cannot be called without arguments: {error}.") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{path} made {type(net).__name__}, not a torch.nn.Module.")
    return net
