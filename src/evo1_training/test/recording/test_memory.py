import ctypes
import platform
import resource
from pathlib import Path

import pytest

from evo1_training.recording.pre_roll import give_back_free_memory

PIECE = 100_000  # below glibc's threshold for a mapping of its own
COUNT = 1000


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps and gives back")
def test_what_a_burst_left_is_given_back():
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    pieces = [library.malloc(PIECE) for _ in range(COUNT)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    for piece in pieces[:-1]:  # the last one keeps the heap from shrinking by itself
        library.free(piece)
    before = resident_bytes()
    give_back_free_memory()
    assert resident_bytes() < before - 0.8 * PIECE * COUNT
    library.free(pieces[-1])
