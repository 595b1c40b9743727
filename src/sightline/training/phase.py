"""Head first, then everything: what of a network learns in which epoch.

A new head on trained weights answers at random, and its first gradients are large: through them the layers under it
would unlearn what they know. So the head learns alone for some epochs, on features that hold still.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sightline.errors import ConfigError
from sightline.training.options import TrainOptions

_HELD = "_held_for_the_head"  # marks a parameter that is frozen by the phase and by nothing else


def enter_phase(net: nn.Module, options: TrainOptions, epoch: int) -> None:
    """Sets what learns in an epoch, and what is held.

    In the first `options.head_epochs` epochs the head learns alone, and auxiliary heads with it, which are as new.
    Everything else needs no gradient and is in evaluation mode: batch norms answer with their running statistics, which
    do not move, dropout and stochastic depth leave nothing out. So a picture has the same features whenever it comes,
    those that it will have after the training; noise in layers that do not learn would protect nothing, and the head
    would learn to answer the noise. The one dropout that stays on is that right before the head: it belongs to the
    head. Torch keeps nothing of the held layers for the backward pass, since nothing in them needs a gradient.

    Afterwards everything is in training mode, and what needed a gradient before needs it again; what did not, such as
    Airbench's whitening filters, stays frozen. With `options.freeze_bn` batch norms go on answering with the statistics
    that they came with: a handful of pictures would give them worse ones.

    Nothing but the network as it was built and the number of the epoch decides, so a resumed run has the same phases.
    Call it at the start of every epoch, and again after weights were loaded into the network.

    Args:
        net: any module with an attribute `classifier_head`, or with an nn.Linear, the last of which is taken.
        options: `head_epochs`, `freeze_bn`.
        epoch: from 0.

    Raises:
        ConfigError: the head is to learn alone, and the network has none, or nothing in it can learn.

    Reference:
        Chollet, "Transfer learning and fine-tuning", Keras guide, 2020: the held part in evaluation mode, and batch
        norms after the head's phase as well. Howard and
        Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", arXiv:1801.06146, Sec. 3.3:
        unfreezing from the last layer on. Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and
        Underperform Out-of-Distribution", arXiv:2202.10054: why the head should come first.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        >>> options = TrainOptions(epochs=5, batch_size=8, lr=1e-3, head_epochs=2, head_lr=1e-2)
        >>> enter_phase(net, options, 0)
        >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad], net[1].training
        (['3.weight', '3.bias'], False)
        >>> enter_phase(net, options, 2)
        >>> all(parameter.requires_grad for parameter in net.parameters()), net[1].training
        (True, True)
    """
    if epoch < options.head_epochs:
        _head_alone(net)
    else:
        _everything(net)
        if options.freeze_bn:
            for norm in _batch_norms(net):
                norm.eval()


def head_of(net: nn.Module) -> nn.Module | None:
    """The layer whose outputs are the classes: `classifier_head`, else the last nn.Linear; None where there is neither.

    Args:
        net: any module.

    Example:
        >>> head_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Identity()))
        Linear(in_features=3, out_features=4, bias=True)
    """
    named = getattr(net, "classifier_head", None)
    if isinstance(named, nn.Module):
        return named
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def auxiliary_heads(net: nn.Module) -> list[nn.Module]:
    """Further classifiers that the network was built with, such as GoogLeNet's.

    Args:
        net: any module; `optional_parts` names them.
    """
    parts = (getattr(net, name, None) for name in getattr(net, "optional_parts", ()))
    return [part for part in parts if isinstance(part, nn.Module)]


def _head_alone(net: nn.Module) -> None:
    head = head_of(net)
    if head is None:
        raise ConfigError(
            f"{type(net).__name__} has no head to train alone: neither an attribute classifier_head nor an nn.Linear. "
            "Leave out --head-epochs, or give it the attribute."
        )
    heads = [head, *auxiliary_heads(net)]
    learning = {id(parameter) for part in heads for parameter in part.parameters() if parameter.requires_grad}
    if not learning:
        raise ConfigError(
            f"the head of {type(net).__name__}, a {type(head).__name__}, has nothing to learn, so it cannot be trained "
            "alone. Leave out --head-epochs."
        )
    for parameter in net.parameters():
        if parameter.requires_grad and id(parameter) not in learning:
            parameter.requires_grad_(False)
            setattr(parameter, _HELD, True)
    net.eval()
    for module in _around(net, head):
        module.training = True  # of the network itself: it is being trained, whatever is held in it
    for part in (*heads, *_dropout_before(net, head)):
        part.train()


def _everything(net: nn.Module) -> None:
    for parameter in net.parameters():
        if getattr(parameter, _HELD, False):
            delattr(parameter, _HELD)
            parameter.requires_grad_(True)
    net.train()


def _batch_norms(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def _around(net: nn.Module, part: nn.Module) -> Iterator[nn.Module]:
    """The network, and every module in it that holds the part."""
    for module in net.modules():
        if module is not part and any(inner is part for inner in module.modules()):
            yield module


def _dropout_before(net: nn.Module, head: nn.Module) -> list[nn.Module]:
    """The dropout between the last layer with parameters and the head, by the order of the modules."""
    found: list[nn.Module] = []
    for module in net.modules():
        if module is head:
            break
        if isinstance(module, nn.Dropout):
            found.append(module)
        elif next(module.parameters(recurse=False), None) is not None:
            found.clear()
    return found
