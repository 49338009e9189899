"""Programs that a benchmark starts, measures and always ends."""

import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
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


@contextlib.contextmanager
def together(*commands: Sequence[str]) -> "Iterator[list[subprocess.Popen[str]]]":
    """Run programs beside each other, the last one ended first.

    Raises:
        SystemExit: what is done meanwhile raised RuntimeError; it tells what the programs said.
    """
    with tempfile.TemporaryFile("w+") as log, contextlib.ExitStack() as processes:
        started = [processes.enter_context(running(command, log)) for command in commands]
        try:
            yield started
        except RuntimeError as error:
            log.seek(0)
            raise SystemExit(f"{log.read()}{error}") from error


def rss_mb(pid: int) -> float:
    """Resident memory of a process [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth_mb(samples: Sequence[float]) -> float:
    """How much memory grew over a run [MB]: its last fifth against its second, by their medians.

    The first fifth is left out: buffers fill there.
    """
    fifth = max(len(samples) // 5, 1)
    return statistics.median(samples[-fifth:]) - statistics.median(
        samples[fifth : 2 * fifth] or samples[:1]
    )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
