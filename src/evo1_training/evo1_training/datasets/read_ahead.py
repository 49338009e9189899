"""An iterator that works in a thread of its own, a few items ahead.

Must not import ROS or torch.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(source: Iterator[T], *, items: int) -> Iterator[T]:
    """Give what `source` gives, while a thread gets the next items.

    Args:
        source: used by the thread only.
        items: how many may wait.

    Raises:
        Exception: whatever the source raises, at its place.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
    try:
        waiting = deque(pool.submit(next, source, end) for _ in range(items + 1))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # only the source's items are left
    finally:
        pool.shutdown(cancel_futures=True)
