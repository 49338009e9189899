"""The seconds before a person took over, kept in memory until a take wants them, and what is left.

Must not import ROS or torch. Times are the node's clock [ns].
"""

import ctypes
import functools
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

INTERVENTION = "evo1_msgs/msg/Intervention"
MEGABYTE = 1_000_000
MAX_BYTES = 640 * MEGABYTE  # ten seconds of two raw 640x480 cameras at 30 Hz are 553


def read_change(data: bytes) -> tuple[int, bool]:
    """When a message says that a person took over (True) or handed back (False) [ns].

    Args:
        data: evo1_msgs/msg/Intervention as CDR.

    Raises:
        struct.error: the bytes are no such message.
    """
    order = "<" if data[1] & 1 else ">"
    sec, nanosec, length = struct.unpack_from(f"{order}iII", data, 4)
    (active,) = struct.unpack_from("?", data, 16 + length)
    return sec * 1_000_000_000 + nanosec, active


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """One message as it came in."""

    topic: str
    data: bytes
    received_ns: int
    publish_ns: int


class PreRoll:
    """A ring of raw messages: the last seconds, or those before a take-over that goes on.

    Args:
        duration_ns: how far back; 0 keeps nothing [ns].
        max_bytes: the oldest messages go where this does not hold them.
    """

    def __init__(self, duration_ns: int, max_bytes: int = MAX_BYTES) -> None:
        self._duration_ns = duration_ns
        self._max_bytes = max_bytes
        self._messages: deque[Heard] = deque()
        self._bytes = 0
        self._driven_ns: int | None = None  # since when a person drives

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self._bytes

    @property
    def first_ns(self) -> int | None:
        """When the first message came of those that a take would begin with [ns]."""
        if self._driven_ns is None or not self._messages:
            return None
        return self._messages[0].received_ns

    def follow(self, data: bytes, received_ns: int) -> None:
        """Look at an intervention's message; one that cannot be read changes nothing."""
        try:
            _, active = read_change(data)
        except (struct.error, IndexError):
            return
        if not active:
            self._driven_ns = None
        elif self._driven_ns is None:
            self._driven_ns = received_ns

    def add(self, message: Heard) -> None:
        """Keep a message for a while."""
        if not self._duration_ns:
            return
        self._messages.append(message)
        self._bytes += len(message.data)
        until_ns = message.received_ns if self._driven_ns is None else self._driven_ns
        while self._messages and (
            self._messages[0].received_ns < until_ns - self._duration_ns
            or self._bytes > self._max_bytes
        ):
            self._bytes -= len(self._messages.popleft().data)

    def take(self) -> tuple[Heard, ...]:
        """What a take that begins now starts with, oldest first; keeps nothing of it."""
        messages = tuple(self._messages) if self._driven_ns is not None else ()
        self._messages.clear()
        self._bytes = 0
        return messages


def give_back_free_memory() -> None:
    """Return what is free inside this process to the system.

    Images of a burst leave holes in the heap that glibc keeps: over hours of takes the process
    would seem to grow. Does nothing where the C library has no malloc_trim.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    function: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return function
