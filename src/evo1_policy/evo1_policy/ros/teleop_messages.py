"""Teleop targets as ROS messages."""

from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.ros.publishing import time_message


def target_message(target: TeleopTarget) -> JointTrajectory:
    """Return a demonstrator's message."""
    message = JointTrajectory(joint_names=list(target.joint_names))
    message.header.stamp = time_message(target.stamp_ns)
    for offset_ns, row in zip(target.offsets_ns, target.positions, strict=True):
        sec, nanosec = divmod(offset_ns, 1_000_000_000)
        message.points.append(
            JointTrajectoryPoint(
                positions=row.tolist(), time_from_start=Duration(sec=sec, nanosec=nanosec)
            )
        )
    return message
