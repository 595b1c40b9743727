"""How the processes of one attempt find each other, and nothing that an earlier attempt left behind."""

import time
import uuid
from datetime import timedelta

from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_LOOK_EVERY_S = 0.01


def fresh_store(rank: int, size: int, timeout: timedelta) -> Store:
    """The processes' common store of names and values, empty.

    When torchrun starts the processes again after a failure, the store is that of the first attempt (torch 2.13,
    `_create_c10d_store`), and holds the addresses of processes that are gone; who reads one before it is overwritten,
    calls nobody. So the main process gives every attempt a name of its own, under which nothing lies, and hands it to
    those that answer now: an answer names what the asking process has just made up.

    Args:
        rank: number of this process.
        size: how many there are.
        timeout: how long to wait for the others.

    Raises:
        RuntimeError: torch's, where the store cannot be reached or the others do not come.
    """
    store, *_ = next(rendezvous("env://", rank, size, timeout=timeout))
    name = uuid.uuid4().hex
    if rank == 0:
        _welcome(store, name, size, timeout)
    else:
        store.set(f"question/{rank}", name)
        name = store.get(f"answer/{name}").decode()
        store.set(f"here/{name}/{rank}", "")
    return PrefixStore(name, store)


def _welcome(store: Store, name: str, size: int, timeout: timedelta) -> None:
    """Answers every process's latest question until all have the name."""
    until = time.monotonic() + timeout.total_seconds()
    missing = set(range(1, size))
    while missing:
        for rank in missing:
            if store.check([f"question/{rank}"]):
                store.set(f"answer/{store.get(f'question/{rank}').decode()}", name)
        missing = {rank for rank in missing if not store.check([f"here/{name}/{rank}"])}
        if time.monotonic() > until:
            raise distributed.DistStoreError(f"no word of process {', '.join(map(str, sorted(missing)))}")
        time.sleep(_LOOK_EVERY_S)
