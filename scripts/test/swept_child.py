"""The process of one swept command: its world, its bounds, and what it is seen to do."""

import io
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FAULT = 97  # exit status of a run that ended in a traceback
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "pty.spawn")
# Programs that libraries ask on the way: fonts, and whether a C library is there.
_HARMLESS = ("fc-list", "ldconfig", "/sbin/ldconfig", "gcc", "cc", "ld", "objdump", "setpriv")


def wait(child: int, until: float, asked: float) -> tuple[int, resource.struct_rusage, bool]:
    """Exit status, what it used, and whether it had to be killed; SIGINT comes at `asked`."""
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it left behind
            return os.waitstatus_to_exitcode(status), used, False
        now = time.monotonic()
        if now > asked:
            asked = math.inf
            os.kill(child, signal.SIGINT)
        if now > until:
            os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            return os.waitstatus_to_exitcode(status), used, True
        time.sleep(0.005)


@contextmanager
def child() -> Iterator[None]:
    """Be a process of its own: what is done inside ends it."""
    code: Any = FAULT
    try:
        os.setsid()
        yield
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  every one of them is a fault to be told
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def bound() -> None:
    """Keep a command that is wrong from harming the machine; far beyond what is allowed."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + (4 << 30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))


def enter(world: str, home: Path, said: Path) -> None:
    """Be at home there, with what is said going into a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a sweep in the background has none
    os.environ["RCUTILS_COLORIZED_OUTPUT"] = "0"
    # A node that is ended hard leaves 17 MB of shared memory behind, thousands fill the machine.
    os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    os.environ.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
    os.environ["HOME"] = "/proc/none" if world == "no home" else str(home)
    os.chdir(home)
    if world == "no folder":
        gone = said.parent / "gone"
        gone.mkdir(exist_ok=True)
        os.chdir(gone)
        gone.rmdir()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(descriptor, number)
    code = "ascii" if world == "ascii" else "utf-8"
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, mode, closefd=False), code, errors)
        for number, mode, errors in ((0, "r", None), (1, "w", None), (2, "w", "backslashreplace"))
    )
    if world == "no output":
        sys.stdout = None  # as Python does where descriptor 1 is closed
        os.close(1)
    if world in ("1970", "2100"):
        now_s = 5.0 if world == "1970" else 4.1e9
        time.time, time.time_ns = (lambda: now_s), (lambda: int(now_s * 1e9))


def auditor(log: int, home: str) -> Callable[[str, tuple[Any, ...]], None]:
    """What starts, what is asked of the network, and what of the home is run as code."""

    def hear(event: str, about: tuple[Any, ...]) -> None:
        line = ""
        if event in _STARTS:
            program = os.fsdecode(about[0]) if isinstance(about[0], str | bytes) else str(about[0])
            if Path(program).name not in _HARMLESS and program != sys.executable:
                line = f"started {program} {about[1]!r}"
        elif event in _NETWORK:
            if isinstance(about[1], tuple) or event != "socket.connect":
                line = f"asked the network: {event} {about[1:]!r}"
        elif event == "exec" and str(getattr(about[0], "co_filename", "")).startswith(home):
            line = f"ran {about[0].co_filename}"
        if line:
            os.write(log, (ascii(line)[1:300] + "\n").encode())

    return hear
