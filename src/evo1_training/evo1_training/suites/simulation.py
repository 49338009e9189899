"""A suite's simulator: a process of its own, with the Python of the suites' environment.

Meta-World and LIBERO want another MuJoCo than the workspace has, so they are not imported here.
"""

import contextlib
import os
import subprocess
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import evo1_training

PYTHON = "EVO1_SUITES_PYTHON"
VENV = Path(".venv-suites/bin/python")  # in the workspace; scripts/setup_suites.sh makes it
_PACKAGES = Path(evo1_training.__file__).resolve().parents[1]
# Last on the path, and nothing from outside: the environment's own packages must be met first.
_START = """\
import sys
sys.path.append(sys.argv[1])
from evo1_training.suites.simulators.answering import answer
answer(int(sys.argv[2]), sys.argv[3])
"""


class SuiteError(RuntimeError):
    """A suite that is not installed, or whose simulator broke off; the message says what to do."""


def suites_python() -> Path:
    """The interpreter of the suites' environment.

    Raises:
        SuiteError: there is none.
    """
    named = os.environ.get(PYTHON, "")
    if named:
        if not Path(named).is_file():
            raise SuiteError(f"{PYTHON}={named}: no such file; expected a Python interpreter")
        return Path(named)
    for folder in (Path.cwd(), *_PACKAGES.parents):
        if (folder / VENV).is_file():
            return folder / VENV
    raise SuiteError(
        f"the suites are not installed: run scripts/setup_suites.sh in the workspace, or let "
        f"{PYTHON} name the Python of an environment that it made"
    )


class Simulation:
    """One simulator process; calls are answered in turn.

    Args:
        cell: 'metaworld' or 'libero'; which module of simulators/ answers.

    Raises:
        SuiteError: the suite is not installed, or does not start.
    """

    def __init__(self, cell: str) -> None:
        self._cell = cell
        ours, theirs = Pipe()
        arguments = [_START, str(_PACKAGES), str(theirs.fileno()), f"{cell}_cell"]
        with theirs:
            self._process = subprocess.Popen(
                [str(suites_python()), "-I", "-c", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # ours is for results
                start_new_session=True,  # Ctrl-C is this process's business, which then closes
            )
        self._pipe: Connection[Any, Any] = ours
        self._answer()

    def call(self, name: str, *arguments: object) -> Any:
        """Call a method of the cell.

        Raises:
            SuiteError: it failed, or the process is gone.
        """
        with contextlib.suppress(OSError):  # gone: the answer says how
            self._pipe.send((name, arguments))
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> Any:
        try:
            fine, answer = self._pipe.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            raise SuiteError(
                f"the simulator of {self._cell} ended with exit code {code}; what it said stands "
                "above; scripts/setup_suites.sh installs it anew after its .venv-suites is deleted"
            ) from None
        if not fine:
            raise SuiteError(f"{self._cell}: {answer}")
        return answer
