"""Runs one program of a system so that they end in order, however all of them are told to end.

A terminal, launch and a dying parent signal everybody at once. So a process waits in front of
each program and holds a lock by its rank; the program hears of SIGINT, once, when nobody of a
lower rank runs any more.

    python -I -S ending.py FOLDER RANK COMMAND...

Imports the standard library alone: it starts without site packages.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

MOVERS, REST, DRIVERS = range(3)
PATIENCE_S = (0.0, 30.0, 40.0)  # by rank: how long it waits for the ranks before it
_POLL_S = 0.02
_SAME_S = 0.5  # the threads of a dying parent signal one by one, and launch beside the terminal


def orderly(folder: Path | str, rank: int) -> list[str]:
    """What to put before a command so that it ends in its turn.

    Args:
        folder: of the locks, one for all programs of a system.
        rank: MOVERS, REST or DRIVERS.
    """
    words = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(folder), str(rank)]
    return [*_hearing("INT"), *words]


def in_its_turn(words: Sequence[str]) -> Sequence[str]:
    """The command behind what `orderly` puts before it."""
    here = str(Path(__file__).resolve())
    return words[words.index(here) + 3 :] if here in words else words


def _hearing(when_the_parent_dies: str) -> list[str]:
    """A prefix that lets SIGINT end a child, and has the kernel signal it when its parent dies.

    A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    """
    setpriv = shutil.which("setpriv")
    dying = [setpriv, "--pdeathsig", when_the_parent_dies] if setpriv else []
    return ["env", "--default-signal=INT", *dying]


def _nobody_runs(lock: Path) -> bool:
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _run(folder: Path, rank: int, command: Sequence[str]) -> int:
    """Run the command in its turn; return its exit code, negative for a signal."""
    own = os.open(folder / str(rank), os.O_RDWR | os.O_CREAT)
    fcntl.flock(own, fcntl.LOCK_SH)
    asked_s, hurried, pid = 0.0, False, 0

    def end_in_turn(number: int, frame: FrameType | None) -> None:
        nonlocal asked_s, hurried
        now_s = time.monotonic()
        if asked_s or not pid:  # a second Ctrl-C: the loop of the first one goes on at once
            hurried = bool(asked_s) and now_s - asked_s > _SAME_S
            asked_s = asked_s or now_s
            return
        asked_s = now_s
        while not hurried and time.monotonic() < now_s + PATIENCE_S[rank]:
            if all(_nobody_runs(folder / str(lower)) for lower in range(rank)):
                break
            time.sleep(_POLL_S)
        os.kill(pid, signal.SIGINT)

    signal.signal(signal.SIGINT, end_in_turn)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, end_in_turn)
    alone = os.getsid(0) == os.getpid()  # else a terminal's Ctrl-C would reach the child too
    child = subprocess.Popen([*_hearing("TERM"), *command], start_new_session=not alone)
    pid = child.pid
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
    if asked_s:
        os.kill(pid, signal.SIGINT)
    return child.wait()


def main(words: Sequence[str]) -> int:
    """Run `FOLDER RANK COMMAND...`; end as the command ended."""
    code = _run(Path(words[0]), int(words[1]), words[2:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
