"""Memory that a burst has left behind. Must not import ROS or torch."""

import ctypes
import functools
from collections.abc import Callable


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
