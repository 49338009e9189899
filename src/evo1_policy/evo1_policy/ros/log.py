"""What nodes log: names and words of others cannot forge a line or steer a terminal."""

import os
import traceback
from typing import Any

from rclpy.impl import rcutils_logger
from rclpy.impl.rcutils_logger import RcutilsLogger

from evo1_policy.command_line import printable

LONGEST = 4000  # characters of a line
# rclpy tells callers apart by the first frame that is none of these files'
rcutils_logger._internal_callers.append(os.path.realpath(__file__))


class CleanLogger(RcutilsLogger):
    """A logger whose every message is one printable line."""

    def log(self, message: object, severity: Any, **how: Any) -> bool:
        """Log a message; arguments are rclpy's."""
        return bool(super().log(printable(message, LONGEST), severity, **how))


class CleanLog:
    """Mixed into a node, before its base class, gives it that logger."""

    _clean: CleanLogger | None = None

    def get_logger(self) -> CleanLogger:
        """The node's logger."""
        if self._clean is None:
            self._clean = CleanLogger(super().get_logger().name)  # type: ignore[misc]
        return self._clean


def tell_failure(log: CleanLogger, what: str) -> None:
    """Log what went wrong with the traceback of the exception that is handled, line by line."""
    for line in (what, *traceback.format_exc().splitlines()):
        log.error(line)
