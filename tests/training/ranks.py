"""Runs a function in several processes that are one run, as torchrun would start them; for the tests of that."""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from sightline.training.distributed import join_world

ROOT = Path(__file__).parents[2]
LONGEST = timedelta(seconds=60)  # no test takes so long: a process that hangs ends with its error, not with the suite

# A clean process that has imported everything, from which the members fork: none waits for its imports.
_server = multiprocessing.get_context("forkserver")
_TESTS = [f"tests.training.test_{name}" for name in ("distributed", "sync_norm", "sharding", "fit_on_ranks")]
_server.set_forkserver_preload([*_TESTS, "numpy.random", "torch._dynamo", "torch.distributed.fsdp"])


def on_ranks(
    size: int,
    function: Callable[..., Any],
    folder: Path,
    /,
    *,
    store: Any = None,
    late_s: float = 0,
    longest: timedelta = LONGEST,
    **arguments: Any,
) -> list[Any]:
    """What a function returns in each process.

    Args:
        size: how many processes.
        function: of a module, takes the `World` and the arguments.
        folder: an empty one, where the results are passed.
        store: of `agent_store`, where they meet; None for a new one.
        late_s: how much later than the others the main process comes.
        longest: how long a process waits for another.
        arguments: what it is called with.

    Returns:
        The results by rank. Of a process that raised, the traceback; None of one that died.
    """
    if str(ROOT) not in sys.path:  # the members import the function by its module's name
        sys.path.append(str(ROOT))
    with_store = store or agent_store()
    folder.mkdir(exist_ok=True)
    members = [
        _server.Process(
            target=_member, args=(rank, size, with_store.port, late_s, longest, function, folder, arguments)
        )
        for rank in range(size)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(timeout=2 * LONGEST.total_seconds())
        member.kill()
    results = [folder / f"{rank}.pt" for rank in range(size)]
    return [torch.load(result, weights_only=False) if result.exists() else None for result in results]


def agent_store() -> distributed.TCPStore:
    """The part of torchrun itself: where its processes meet, at a port that was free."""
    return distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def in_all(size: int, function: Callable[..., Any], folder: Path, /, **arguments: Any) -> list[Any]:
    """`on_ranks` where no process may fail."""
    results = on_ranks(size, function, folder, **arguments)
    failed = [result for result in results if result is None or isinstance(result, str)]
    assert not failed, "\n".join(map(str, failed))
    return results


def _member(
    rank: int,
    size: int,
    port: int,
    late_s: float,
    longest: timedelta,
    function: Callable[..., Any],
    folder: Path,
    arguments: dict[str, Any],
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    time.sleep(0 if rank else late_s)
    try:
        with join_world(torch.device("cpu"), timeout=longest) as world:
            result = function(world, **arguments)
    except BaseException:
        result = traceback.format_exc()
    if distributed.is_initialized():
        result = f"the process group is open after its end: {result}"
    torch.save(result, folder / f"{rank}.pt")
