"""Starts a system's processes without ros2 launch, watches them, and always takes them down.

Each child has its own process group, so that Ctrl-C in a terminal reaches it once, from here, and
not twice. Must not import ROS or launch.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from evo1_bringup.installation import find_executable
from evo1_bringup.processes import Process, Programs

Printer = Callable[[str, str], None]  # label, line

_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Exit:
    """A process that ended."""

    label: str
    code: int  # negative: the signal that ended it

    @property
    def message(self) -> str:
        """What happened, for people."""
        if self.code < 0:
            return f"{self.label} was ended by {signal.Signals(-self.code).name}"
        return f"{self.label} ended with exit code {self.code}"


def command_line(process: Process, executable: Path, parameter_file: Path) -> list[str]:
    """The command that starts `process`, its parameters being in `parameter_file`."""
    words = [str(executable), *process.arguments, "--ros-args"]
    if process.name:
        words += ["-r", f"__node:={process.name}"]
    if process.namespace:
        words += ["-r", f"__ns:=/{process.namespace}"]
    for source, target in process.remappings:
        words += ["-r", f"{source}:={target}"]
    for file in process.parameter_files:
        words += ["--params-file", file]
    if process.parameters:
        words += ["--params-file", str(parameter_file)]
    return words


def parameter_text(process: Process) -> str:
    """The parameters as a ROS parameter file.

    JSON is YAML with every text quoted, so no word of an instruction becomes a boolean.
    """
    parameters = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in process.parameters.items()
    }
    return json.dumps({"/**": {"ros__parameters": parameters}}, ensure_ascii=False, indent=1)


class Supervisor:
    """The running processes of a system. Use as a context manager.

    Args:
        programs: what to start; includes need ros2 launch and are not started here.
        printer: takes each line of output with the label of its process.
        environment: added to this process's own; what the shell has set wins over the system's.
        grace_s: how long a child may take after SIGINT, and again after SIGTERM [s].
    """

    def __init__(
        self,
        programs: Programs,
        *,
        printer: Printer,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self._programs = programs
        self._printer = printer
        self._environment = {
            **programs.environment,
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._grace_s = grace_s
        self._children: list[tuple[Process, subprocess.Popen[str]]] = []
        self._readers: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="evo1_")

    def __enter__(self) -> "Supervisor":
        """Start every process; where one cannot start, take down those that did."""
        try:
            for process in self._programs.processes:
                self._start(process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take everything down, whatever happened."""
        self.stop()

    def exited(self) -> Exit | None:
        """The first process that ended although the system needs it, if any."""
        for process, child in self._children:
            code = child.poll()
            if code is not None and not (process.finishes and code == 0):
                return Exit(label=process.label, code=code)
        return None

    def wait(self, until: Callable[[], bool]) -> Exit | None:
        """Wait until `until` says so or a needed process ends; return that end."""
        while not until():
            if (ended := self.exited()) is not None:
                return ended
            time.sleep(_POLL_S)
        return None

    def pids(self) -> dict[str, int]:
        """Process ids by label."""
        return {process.label: child.pid for process, child in self._children}

    def stop(self) -> list[Exit]:
        """End every process: SIGINT once, SIGTERM after the grace, SIGKILL at last.

        Returns:
            How each one ended. A second call changes nothing.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            running = [child for _, child in self._children if child.poll() is None]
            for child in running:
                _signal_group(child, number)
            if _all_ended(running, self._grace_s):
                break
        for reader in self._readers:
            reader.join(timeout=1.0)
        self._folder.cleanup()
        return [
            Exit(label=process.label, code=child.returncode) for process, child in self._children
        ]

    def _start(self, process: Process) -> None:
        executable = find_executable(process.package, process.executable)
        file = Path(self._folder.name) / f"{len(self._children)}_{process.executable}.yaml"
        file.write_text(parameter_text(process), encoding="utf-8")
        child = subprocess.Popen(
            [*_hearing_signals(), *command_line(process, executable, file)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._children.append((process, child))
        assert child.stdout is not None
        reader = threading.Thread(
            target=self._read, args=(process.label, child.stdout), daemon=True
        )
        reader.start()
        self._readers.append(reader)

    def _read(self, label: str, lines: IO[str]) -> None:
        for line in lines:
            self._printer(label, line.rstrip("\n"))


def _hearing_signals() -> list[str]:
    """A prefix that lets SIGINT end the child, and has the kernel send it when this process dies.

    A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    """
    heard = ["env", "--default-signal=INT"]
    setpriv = shutil.which("setpriv")
    return [*heard, setpriv, "--pdeathsig", "SIGINT"] if setpriv else heard


def _signal_group(child: subprocess.Popen[str], number: int) -> None:
    """Signal the child alone first; its whole group only where it must die."""
    try:
        if number == signal.SIGKILL:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
    except ProcessLookupError:
        pass  # it ended in between


def _all_ended(children: Sequence[subprocess.Popen[str]], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if all(child.poll() is not None for child in children):
            return True
        time.sleep(_POLL_S)
    return not children
