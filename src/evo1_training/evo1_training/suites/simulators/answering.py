"""The simulator's end of the pipe: one call at a time, answered with its result or its error.

Runs in the suites' environment (simulation.py starts it). What goes over the pipe is pickled by
both ends of one program; nobody else can open it.
"""

import importlib
import os
import sys
import traceback
from multiprocessing.connection import Connection


def answer(descriptor: int, module: str) -> None:
    """Answer until the other end closes.

    Args:
        descriptor: of the pipe, inherited.
        module: of this folder; its `Cell` answers.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    connection = Connection(descriptor)
    try:
        cell = importlib.import_module(f"{__package__}.{module}").Cell()
        connection.send((True, None))
        while True:
            name, arguments = connection.recv()
            connection.send(_outcome(cell, name, arguments))
    except (EOFError, BrokenPipeError):
        return  # nobody is there any more
    except ImportError as error:
        connection.send((False, f"{error}: {sys.executable} is no environment of the suites"))


def _outcome(cell: object, name: str, arguments: tuple[object, ...]) -> tuple[bool, object]:
    try:
        return True, getattr(cell, name)(*arguments)
    except Exception as error:  # noqa: BLE001  goes to the other end, which stops or tells
        traceback.print_exc(file=sys.stderr)
        return False, f"{type(error).__name__}: {error}"
