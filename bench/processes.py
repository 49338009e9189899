"""Programs that a benchmark starts, measures and always ends."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

STOP_TIMEOUT_S = 60.0  # a recorder writes its take to the disk first


@contextlib.contextmanager
def running(command: Sequence[str], log: IO[str]) -> "Iterator[subprocess.Popen[str]]":
    """Run a program; SIGINT ends it, or SIGKILL where that does not help."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
