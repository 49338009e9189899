"""xarm_msgs, which comes with xarm_ros2 and not with ROS: imported only where it is used."""

import importlib
from typing import Any


class XarmError(RuntimeError):
    """xarm_msgs is missing, or the arm does not do what it is asked."""


def xarm_interfaces() -> tuple[Any, Any]:
    """Its messages and its services.

    Raises:
        XarmError: xarm_msgs is not built.
    """
    try:
        return importlib.import_module("xarm_msgs.msg"), importlib.import_module("xarm_msgs.srv")
    except ImportError as error:
        raise XarmError(
            "xarm_msgs is not built; a real xArm6 needs it: "
            "vcs import --recursive src < robots.repos, then colcon build"
        ) from error
