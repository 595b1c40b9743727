"""Results come in order and the same, whoever prepares them; no thread outlives its iterator."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from sightline.data.prefetch import THREAD_NAME, prefetched

WORKERS = [0, 1, 2, 4, 9]


def threads_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads_alive() == []


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads for each operation of torch, as the training might have."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_results_come_in_the_order_of_the_steps(workers: int, count: int) -> None:
    def prepare(step: int) -> int:
        time.sleep(0.002 * (step % 3))  # later ones may be done first
        return step * step

    assert list(prefetched(prepare, range(3, 3 + count), workers=workers)) == [i * i for i in range(3, 3 + count)]
    assert threads_alive() == []


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_at_most_one_more_than_the_workers_wait(workers: int) -> None:
    """With no bound, 40 results that cost nothing would all be made while the first is in use."""
    started: list[int] = []

    def prepare(step: int) -> int:
        started.append(step)
        return step

    results = prefetched(prepare, range(40), workers=workers)
    for taken in range(1, 10):
        next(results)
        time.sleep(0.01)
        assert len(started) <= taken + workers + 1
    del results


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_work_side_by_side(workers: int) -> None:
    """Each waits for the others, which would take for ever if one came after the other."""
    together = threading.Barrier(workers, timeout=60)

    def prepare(step: int) -> int:
        together.wait()
        return step

    assert list(prefetched(prepare, range(workers), workers=workers)) == list(range(workers))


def test_without_workers_nothing_is_prepared_before_it_is_asked_for() -> None:
    started: list[int] = []
    results = prefetched(lambda step: started.append(step), range(5), workers=0)
    assert started == []
    next(results)
    assert started == [0]


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_at_its_own_step_with_its_own_message(workers: int) -> None:
    def prepare(step: int) -> int:
        if step == 6:
            raise ValueError("picture 6 is torn")
        return step

    results = prefetched(prepare, range(20), workers=workers)
    assert [next(results) for _ in range(6)] == list(range(6))
    with pytest.raises(ValueError, match=r"^picture 6 is torn$"):
        next(results)
    assert threads_alive() == []
    with pytest.raises(StopIteration):
        next(results)


class Stop(BaseException):
    """As KeyboardInterrupt, which would end the tests themselves if it got away."""


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stop])
def test_leaving_with_an_exception_ends_the_threads(workers: int, error: type[BaseException]) -> None:
    def train() -> None:
        for step in prefetched(lambda step: step, range(100), workers=workers):
            if step == 3:
                assert threads_alive()
                raise error

    with pytest.raises(error) as caught:
        train()
    assert threads_alive() == []  # while the traceback, with the frame of `train`, is still there
    assert caught.tb is not None


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_leaving_with_a_break_ends_the_threads(workers: int) -> None:
    for step in prefetched(lambda step: step, range(100), workers=workers):
        if step == 3:
            break
    assert threads_alive() == []


def test_leaving_does_not_wait_for_what_has_not_begun() -> None:
    """Two are under way and three wait in line; those are never begun."""
    begun: list[int] = []
    go_on = threading.Event()

    def prepare(step: int) -> int:
        begun.append(step)
        if step > 0:
            go_on.wait(60)
        return step

    results = prefetched(prepare, range(100), workers=2)
    next(results)
    while len(begun) < 3:  # steps 1 and 2 hold the two threads
        time.sleep(0.001)
    leaving = threading.Thread(target=results.close)  # type: ignore[attr-defined]
    leaving.start()
    time.sleep(0.05)
    go_on.set()
    leaving.join(60)
    assert sorted(begun) == [0, 1, 2]


def test_an_interrupt_while_waiting_for_a_result_ends_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes where the training waits for a batch."""
    from concurrent.futures import Future

    results = prefetched(lambda step: step, range(100), workers=2)
    next(results)
    with monkeypatch.context() as patched:
        patched.setattr(Future, "result", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            next(results)
    assert threads_alive() == []


def test_a_machine_without_room_for_another_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that did start do not wait for the one that did not."""
    start = threading.Thread.start

    def start_two(self: threading.Thread) -> None:
        if len(threads_alive()) == 2:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match=r"^can't start new thread$"):
        next(prefetched(lambda step: step, range(10), workers=4))
    assert threads_alive() == []


@pytest.mark.usefixtures("two_threads")
def test_each_worker_computes_on_one_core_and_nobody_else_notices() -> None:
    def count(step: int = 0) -> int:
        torch.ones(100_000).exp()  # torch reads the number again at a thread's first operation
        return torch.get_num_threads()

    outside: list[int] = []
    for inside in prefetched(count, range(12), workers=3):
        assert inside == 1
        assert torch.get_num_threads() == 2
        fresh = threading.Thread(target=lambda: outside.append(count()))
        fresh.start()
        fresh.join()
    assert outside == [2] * 12
