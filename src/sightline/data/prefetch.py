"""Results prepared ahead of their use, in background threads, and handed over in order.

Threads and not processes: the work is a few tensor operations a batch (index_select, interpolate, normalisation), in
which torch lets go of Python's lock, so threads run side by side. And a thread's result is simply there: no copy from
process to process, no /dev/shm to fill up, no second interpreter to start, and no worker with random numbers of its
own.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

THREAD_NAME = "sightline-prefetch"


def prefetched(prepare: Callable[[int], Result], steps: Sequence[int], *, workers: int) -> Iterator[Result]:
    """`map(prepare, steps)`, with the next results prepared in background threads.

    Args:
        prepare: makes the result of a step, from nothing but the step: several run at once.
        steps: for which.
        workers: threads; 0 prepares each result in this thread, when it is asked for.

    Yields:
        The results in the order of the steps. While one is in use, at most `workers` + 1 others are ready or under way.

    Raises:
        Exception: what `prepare` raised, when its step's turn comes.

    The threads end with the iterator: at its end, at an exception, and when it is left early.
    """
    workers = min(workers, len(steps))
    if workers == 0:
        yield from map(prepare, steps)
        return
    pool = ThreadPoolExecutor(workers, THREAD_NAME)
    ahead: deque[Future[Result]] = deque()
    try:
        _give_one_core_each(pool, workers)
        for step in steps:
            ahead.append(pool.submit(prepare, step))
            if len(ahead) > workers + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # waits for what is under way: one batch at most


def _give_one_core_each(pool: ThreadPoolExecutor, workers: int) -> None:
    """Start the threads, each of which computes on one core.

    Each would else have as many threads under it as the training has, for each of its operations, and with four workers
    the machine would have five threads for a core. Besides, batches side by side use cores better than the small
    operations of one batch do.

    torch has one number of threads for the thread that sets it and for every thread that is new. So each worker sets
    its own, and then this thread puts back what new threads are to have.
    """
    threads = torch.get_num_threads()
    ready = threading.Barrier(workers + 1)
    try:
        for _ in range(workers):  # each waits at the barrier, so that each is a thread of its own
            pool.submit(_use_one_core, ready)
        ready.wait()
    except BaseException:  # no room for another thread, or Ctrl-C: those that wait must not wait for ever
        ready.abort()
        raise
    finally:
        torch.set_num_threads(threads)


def _use_one_core(ready: threading.Barrier) -> None:
    torch.get_num_threads()  # torch reads the number at a thread's first use, and would then set it over ours
    torch.set_num_threads(1)
    ready.wait()
