"""How rclpy is started: by nodes and by commands, which must not wait for more imports."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from evo1_policy.command_line import describe

NO_LOG = "--disable-external-lib-logs"
_LAST_S = 2**31  # builtin_interfaces/Time; FastDDS publishes nothing beyond it
_REFUSED = (rclpy_implementation.RCLError, rclpy_implementation.UnknownROSArgsError, OSError)


class StartError(RuntimeError):
    """ROS cannot be started as it was asked; the message says what it minds."""


def start_ros(arguments: Sequence[str] | None = None, context: Context | None = None) -> None:
    """Start rclpy; signals stay ours: its handlers would end what still has work to do.

    Where the home cannot be written, or there is none, ROS logs to the temporary folder; where
    that cannot be written either, not to a file.

    Args:
        arguments: of the command line; those of the process where not given.
        context: to start in place of the one of the process.

    Raises:
        StartError: an argument or a variable that ROS cannot read, or a clock beyond its stamps.
    """
    if time.time() >= _LAST_S:
        raise StartError("this machine's clock is beyond 2038, where ROS's stamps end: set it")
    words = list(sys.argv if arguments is None else arguments)
    if NO_LOG not in words and not os.environ.get("ROS_LOG_DIR"):
        home = Path(os.environ.get("HOME") or os.devnull)
        folder = Path(os.environ.get("ROS_HOME") or home / ".ros") / "log"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            try:
                os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="evo1_ros_log_")
            except OSError:
                words += ["--ros-args", NO_LOG]
    try:
        rclpy.init(args=words, context=context, signal_handler_options=SignalHandlerOptions.NO)
    except UnicodeEncodeError as error:
        raise StartError(describe(error)) from error
    except _REFUSED as error:
        told = str(error).partition(", at /")[0]  # of the source in which it was found
        raise StartError(f"{told}; look at the arguments and ROS_ variables") from error
