"""Worker processes for long jobs: progress comes back, an interrupt and a death end them all.

Must not import ROS or torch.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Advance = Callable[[int], None]
Run = Callable[[T, Advance], R]

_POLL_S = 0.1
_counter: Any = None  # of this worker process


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def counting(update: Callable[[int], object]) -> Advance:
    """An `advance` for run_all, which tells ten times a second and mostly of nothing."""

    def advance(count: int) -> None:
        if count:
            update(count)

    return advance


def changed_choice(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What keeps an unfinished job from being gone on with, in words; '' for nothing.

    Args:
        begun: the choices that it was begun with, as they were noted.
        asked: those of now, plain; each has to be the same.
    """
    for name, value in asked.items():
        if begun.get(name) != value:
            return (
                f"with {name} {begun.get(name)!s:.80}, now {value!s:.80} is asked for; give the "
                "same to go on"
            )
    return ""


def run_all(
    run: Run[T, R], jobs: Iterable[T], *, workers: int, advance: Advance, apart: bool = False
) -> Generator[tuple[T, R | Exception], None, None]:
    """Run jobs, in this process for one worker, else in processes of their own.

    Only a few jobs ahead of the oldest unfinished one are begun.

    Args:
        run: a function of a module, given a job and a function to tell progress with.
        jobs: what to run.
        workers: how many processes.
        advance: told progress, in this process.
        apart: one worker is a process of its own, too.

    Yields:
        Each job with its result or exception, in the order given.

    Raises:
        BrokenProcessPool: a worker was killed, as Linux does where memory runs out.
    """
    if workers <= 1 and not apart:
        for job in jobs:
            yield job, _outcome(lambda job=job: run(job, advance))  # type: ignore[misc]
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(counter,)
    )
    seen = 0

    def tell() -> None:
        nonlocal seen
        count = counter.value
        advance(count - seen)
        seen = count

    try:
        waiting: deque[tuple[T, Future[R]]] = deque()
        remaining = iter(jobs)
        while True:
            for job in itertools.islice(remaining, 3 * workers - len(waiting)):
                waiting.append((job, executor.submit(_run_counted, run, job)))
            if not waiting:
                break
            oldest = waiting[0][1]
            wait([oldest], _POLL_S)
            tell()
            if oldest.done():
                yield waiting.popleft()[0], _outcome(oldest.result)
        tell()
    except BaseException:
        for process in list(executor._processes.values()):
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _outcome(call: Callable[[], R]) -> R | Exception:
    """Return what a job returned, or raised."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        return call()
    except BrokenProcessPool:
        raise
    except Exception as error:  # noqa: BLE001  the caller decides by its type
        return error


def _run_counted(run: Run[T, R], job: T) -> R:
    return run(job, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count


def _start_worker(counter: Any) -> None:
    """Leave interrupts to the parent, and do not outlive it."""
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
