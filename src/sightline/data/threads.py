"""Work done by several threads, a bounded part of it ahead of who takes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 64  # results for each thread that may wait to be taken


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[tuple[Item, Result]]:
    """As `pool.map`, which would start on everything at once and keep what nobody has taken.

    Args:
        pool: does the work.
        work: on one item.
        items: in order.
        threads: of the pool.

    Yields:
        Each item with its result, in order.

    Example:
        >>> with ThreadPoolExecutor(2) as pool:
        ...     list(in_order(pool, lambda number: number**2, [3, 2], threads=2))
        [(3, 9), (2, 4)]
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            if len(waiting) == threads * _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((item, pool.submit(work, item)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
