"""One policy, many clients in turn: a thread that runs what waits. No ROS, no torch."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class TurnError(RuntimeError):
    """A turn that was not given, or took too long; the text says which."""


@dataclass(frozen=True)
class _Turn(Generic[T]):
    run: Callable[[], T]
    result: "asyncio.Future[T]"


class Turns:
    """Runs one thing at a time, in the order in which it was asked for.

    The thread is a daemon: what hangs in a library keeps nobody from ending.

    Args:
        most_waiting: more are refused.
    """

    def __init__(self, *, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._waiting: deque[_Turn[object]] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def take(self, run: Callable[[], T], *, within_s: float) -> T:
        """Run something on the thread, and return what it returns, or raise what it raises.

        Raises:
            TurnError: too many wait, or it was not done in time; then it is not begun any more.
        """
        turn = _Turn(run, asyncio.get_running_loop().create_future())
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                raise TurnError(f"busy: {len(self._waiting)} requests wait already")
            self._waiting.append(turn)
            self._changed.notify()
        try:
            return await asyncio.wait_for(turn.result, within_s)
        except TimeoutError as error:
            raise TurnError(f"no answer within {within_s:g} s") from error

    def close(self, timeout_s: float) -> None:
        """Begin nothing more, and wait so long for what runs."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                turn = self._waiting.popleft()
            if turn.result.cancelled():  # nobody waits any more
                continue
            try:
                value, error = turn.run(), None
            except Exception as raised:  # noqa: BLE001  whoever asked hears of it
                value, error = None, raised
            with suppress(RuntimeError):  # the loop has ended
                turn.result.get_loop().call_soon_threadsafe(_settle, turn.result, value, error)


def _settle(result: "asyncio.Future[object]", value: object, error: Exception | None) -> None:
    if result.done():
        return
    if error is None:
        result.set_result(value)
    else:
        result.set_exception(error)
