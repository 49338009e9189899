"""Starts a system's processes without ros2 launch, watches them, and always takes them down.

Each child has its own process group, so that Ctrl-C in a terminal reaches it once, from here, and
not twice; they end in the order of `ending`. Must not import ROS or launch.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import IO

from evo1_bringup.discovery import variables
from evo1_bringup.ending import DRIVERS, PATIENCE_S, orderly
from evo1_bringup.installation import find_executable
from evo1_bringup.processes import Exit, Process, Programs

Printer = Callable[[str, str], None]  # label, line

_POLL_S = 0.05
RANKS = range(DRIVERS + 1)


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
        programs: what to start; includes need ros2 launch and are not started here. What the
            shell has set wins over their environment.
        printer: takes each line of output with the label of its process.
        grace_s: how long a child may take once its turn to end has come, and again after SIGTERM
            [s]; a mover, which may park the arm first, takes as long as the others wait for it.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        printer: Printer,
        grace_s: float = 10.0,
    ) -> None:
        self._programs = programs
        self._printer = printer
        self._environment = {
            **variables(programs.environment, os.environ),
            **os.environ,
            "PYTHONUNBUFFERED": "1",
        }
        self._grace_s = grace_s
        self._children: list[tuple[Process, subprocess.Popen[str]]] = []
        self._readers: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="evo1_")
        self._told: set[str] = set()  # whose end people know of
        self._hurried = False

    def __enter__(self) -> "Supervisor":
        """Start every process; where one cannot start, take down those that did."""
        try:
            for process in self._programs.processes:
                self._start(process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Take everything down, whatever happened."""
        self.stop()

    def exited(self) -> Exit | None:
        """The first process that ended although the arm needs it, if any."""
        return next((ended for ended in self._ended() if ended.missed), None)

    def wait(self, until: Callable[[], bool]) -> Exit | None:
        """Wait until `until` says so, and tell people whatever ends meanwhile.

        Returns:
            The first process that ended although the arm needs it. A simulation is not waited
            for any longer then; a real arm is held by what still runs, until `until` says so.
        """
        while not until():
            missed = self.exited()
            if missed is not None and not self._programs.real_arm:
                return missed
            for ended in self._ended():
                if not ended.harmless and ended.label not in self._told:
                    self._told.add(ended.label)
                    self._printer("evo1", ended.advice(real_arm=self._programs.real_arm))
            time.sleep(_POLL_S)
        return self.exited()

    def pids(self) -> dict[str, int]:
        """Process ids by label."""
        return {process.label: _program(child.pid) for process, child in self._children}

    def hurry(self) -> None:
        """Have `stop` wait for nobody's turn any longer: a second Ctrl-C."""
        self._hurried = True

    def stop(self) -> list[Exit]:
        """End every process in its turn: SIGINT once, SIGTERM after the grace, SIGKILL at last.

        Returns:
            How each one ended. A second call changes nothing.
        """
        self._signal(signal.SIGINT)
        for rank in RANKS:
            self._wait_for(self._grace_s if rank else PATIENCE_S[1], (rank,))
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            self._wait_for(self._grace_s)
        for reader in self._readers:
            reader.join(timeout=1.0)
        self._folder.cleanup()
        return self._ended()

    def _ended(self) -> list[Exit]:
        return [
            Exit(label=process.label, code=code, role=process.role)
            for process, child in self._children
            if (code := child.poll()) is not None
        ]

    def _running(self, ranks: Container[int]) -> list[subprocess.Popen[str]]:
        return [
            child
            for process, child in self._children
            if child.poll() is None and process.rank in ranks
        ]

    def _signal(self, number: int, ranks: Container[int] = RANKS) -> None:
        """Signal the children alone; their groups only where they must die."""
        for child in self._running(ranks):
            with suppress(ProcessLookupError):  # it ended in between
                if number == signal.SIGKILL:
                    os.killpg(child.pid, number)
                else:
                    child.send_signal(number)

    def _wait_for(self, timeout_s: float, ranks: Container[int] = RANKS) -> None:
        """Wait for those of some ranks; a hurry ends it: it is everybody's turn then."""
        end = time.monotonic() + timeout_s
        while self._running(ranks) and time.monotonic() < end:
            if self._hurried:
                self._hurried = False
                self._signal(signal.SIGINT, RANKS[1:])
                return
            time.sleep(_POLL_S)

    def _start(self, process: Process) -> None:
        executable = find_executable(process.package, process.executable)
        file = Path(self._folder.name) / f"{len(self._children)}_{process.executable}.yaml"
        file.write_text(parameter_text(process), encoding="utf-8")
        prefix = orderly(self._folder.name, process.rank)
        child = subprocess.Popen(
            [*prefix, *command_line(process, executable, file)],
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


def _program(pid: int) -> int:
    """The program itself, where a process waits in front of it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        waits = "ending.py" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return pid
    return int(children[0]) if waits and children else pid
