"""How a run uses its machine: workers, compiling, and what several processes share."""

from collections.abc import Callable

import torch
from torch import nn

from sightline.data.augment import Augment
from sightline.data.catalog import Catalog
from sightline.data.kept import Keeping
from sightline.data.shard_images import ShardImages
from sightline.data.shelf import available_bytes, has_room, in_words
from sightline.data.streaming import WINDOW_FRACTION, window_of
from sightline.errors import ConfigError
from sightline.recipes.chooser import Chooser
from sightline.recipes.facts import Facts
from sightline.training.options import TrainOptions
from sightline.training.sync_norm import FEWEST_PICTURES, has_batch_norm

MOST_WORKERS = 8


def streaming(choose: Chooser, catalog: Catalog, keeping: Keeping) -> tuple[bool, int]:
    """Whether training pictures are decoded when their batch is made, and how many shards are shuffled together.

    Args:
        choose: of the run.
        catalog: with its splits assigned.
        keeping: what would be kept of each picture.
    """
    needed = keeping.expected_bytes(catalog.typical_size) * len(catalog.select("train"))
    if has_room(needed):
        is_streamed = choose.unless_off("stream", False)
    else:
        is_streamed = choose("stream", True, f"{in_words(needed)} of decoded pictures fit neither memory nor disk")
    if not is_streamed or not isinstance(catalog.images, ShardImages):
        return is_streamed, 0
    window = window_of(catalog.images, available_bytes())
    total = len(catalog.images.shards)
    choose.tell(
        "window",
        window,
        f"of {total:,} shards, shuffled together: {WINDOW_FRACTION:.0%} of the memory is free for them",
    )
    return True, window


def workers(choose: Chooser, facts: Facts, augment: Augment, *, is_streamed: bool = False) -> int:
    """Threads that prepare batches ahead of the training step.

    Args:
        choose: of the run.
        facts: of the run.
        augment: what they have to do.
        is_streamed: whether pictures are decoded when their batch is made.

    Raises:
        ConfigError: fewer than none were asked for.
    """
    if (asked := choose.asked.workers) is not None and asked < 0:
        raise ConfigError(f"workers is {asked}; it must be 0 or more.")
    if is_streamed:
        return choose("workers", 2, "the next batches are read and decoded while this one is learned from")
    if facts.device == "cpu":
        return choose("workers", 0, "the training step uses every core itself")
    if augment.scale is None:
        return choose("workers", 0, "pictures of one size are augmented in whole batches, on the GPU where they fit")
    count = max(0, min(MOST_WORKERS, facts.cores - 1))
    return choose("workers", count, "the CPU crops pictures while the GPU trains")


def is_compiled(choose: Chooser, facts: Facts) -> bool:
    """Whether the network is compiled for the training.

    Args:
        choose: of the run.
        facts: of the run.
    """
    if facts.device == "cpu":  # two cores of an AMD EPYC Zen 4, torch 2.13
        reason = "measured on a CPU: no gain, and it takes half a minute to compile"
        return choose("compile", False, reason)
    return choose("compile", False, f"on {facts.device} what it gains is not measured yet")


def shared(
    choose: Chooser, facts: Facts, options: TrainOptions, world_size: int, build: Callable[[], nn.Module]
) -> tuple[bool, bool]:
    """Whether batch norm sees the pictures of all processes, and whether weights are split over them.

    Args:
        choose: of the run.
        facts: of the run.
        options: the batch that they share.
        world_size: how many processes there are.
        build: makes the network, to look at its layers.

    Raises:
        ConfigError: there are more processes than pictures in a batch; or batch norm was asked for over all of them,
            and the network has none.
    """
    if world_size == 1:
        return False, False
    each = options.batch_size // world_size
    if each < 1:
        raise ConfigError(
            f"{world_size} processes share each batch, and batch_size is {options.batch_size}. "
            f"Give --batch-size {world_size} or more, or start fewer processes."
        )
    choose.tell("processes", world_size, f"{each} pictures of each batch of {options.batch_size} in each")
    with torch.device("meta"):  # no numbers, no time
        net = build()
    sync_bn = _is_synchronised(choose, facts, options, net, at_a_time=max(1, each // options.grad_accum_steps))
    return sync_bn, choose("fsdp", False, "the network fits into each process")


def _is_synchronised(choose: Chooser, facts: Facts, options: TrainOptions, net: nn.Module, *, at_a_time: int) -> bool:
    """Whether batch norm sees the pictures of all processes, where each puts so many through the network at a time."""
    if not has_batch_norm(net):
        if choose.asked.sync_bn:
            raise ConfigError(
                "sync_bn: asked for, and without effect: the network has no batch norm. Change that, or leave it out."
            )
        return choose("sync_bn", False, "the network has no batch norm")
    if options.freeze_bn:
        return choose.over_recipe("sync_bn", False, "the batch norms keep their statistics")
    if facts.device != "cuda":
        return choose("sync_bn", False, "it would send every layer's statistics between the processes")
    is_rough = at_a_time < FEWEST_PICTURES
    told = f"too few: under {FEWEST_PICTURES} the error rises" if is_rough else "enough for batch norm's statistics"
    return choose("sync_bn", is_rough, f"{at_a_time} pictures at a time are {told} (arXiv:1803.08494, Table 2)")
