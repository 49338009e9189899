"""xarm_msgs, which comes with xarm_ros2 and not with ROS: imported only where it is used."""

import importlib
from dataclasses import dataclass
from typing import Any


class XarmError(RuntimeError):
    """xarm_msgs is missing, or the arm does not do what it is asked."""


@dataclass(frozen=True, kw_only=True)
class XarmInterfaces:
    """The types that we use."""

    robot_msg: Any
    move_joint: Any
    set_int: Any
    set_int_by_id: Any
    call: Any


def xarm_interfaces() -> XarmInterfaces:
    """Import them.

    Raises:
        XarmError: xarm_msgs is not built.
    """
    try:
        messages = importlib.import_module("xarm_msgs.msg")
        services = importlib.import_module("xarm_msgs.srv")
    except ImportError as error:
        raise XarmError(
            "xarm_msgs is not built; a real xArm6 needs it: "
            "vcs import --recursive src < robots.repos, then colcon build"
        ) from error
    return XarmInterfaces(
        robot_msg=messages.RobotMsg,
        move_joint=services.MoveJoint,
        set_int=services.SetInt16,
        set_int_by_id=services.SetInt16ById,
        call=services.Call,
    )
