"""An iterator that works in a thread of its own, a few items ahead.

Must not import ROS or torch.
"""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()
_POLL_S = 0.1


def read_ahead(source: Iterator[T], *, items: int) -> Iterator[T]:
    """Give what `source` gives, while a thread gets the next items.

    Args:
        source: used by the thread only.
        items: how many may wait.

    Raises:
        Exception: whatever the source raises, at its place.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=items)
    stopped = threading.Event()
    thread = threading.Thread(
        target=_work, args=(source, waiting, stopped), name="read_ahead", daemon=True
    )
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]  # only the source's items are left
    finally:
        stopped.set()
        thread.join()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _work(source: Iterator[T], waiting: "queue.Queue[object]", stopped: threading.Event) -> None:
    try:
        for item in source:
            if not _put(item, waiting, stopped):
                return
    except BaseException as error:  # noqa: BLE001  raised where the items are used
        _put(_Raised(error), waiting, stopped)
    else:
        _put(_END, waiting, stopped)


def _put(item: object, waiting: "queue.Queue[object]", stopped: threading.Event) -> bool:
    """Wait for a place; False where nobody wants items any more."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False
