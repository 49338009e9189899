"""What a controller hears and says, and what a demonstrator sends, as plain types."""

from array import array

from builtin_interfaces.msg import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig
from evo1_policy.ros.listening import ControllerState
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import OVERRIDABLE
from evo1_sim.controller import FollowedState
from evo1_sim.trajectory import TrajectoryPoint


def read_points(message: JointTrajectory) -> tuple[TrajectoryPoint, ...]:
    """Return the message's points; the numbers are checked by whoever follows them."""
    return tuple(
        TrajectoryPoint(
            positions=point.positions,
            velocities=point.velocities,
            accelerations=point.accelerations,
            time_from_start_ns=stamp_ns(point.time_from_start),
        )
        for point in message.points
    )


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


class FollowedPublisher:
    """Says on <controller>/controller_state what one command output follows. Used by one thread.

    Args:
        node: who publishes.
        command: the robot file's output.
    """

    def __init__(self, node: Node, command: CommandConfig) -> None:
        self._node = node
        self._publisher = node.create_publisher(
            ControllerState,
            command.state_topic,
            QoSProfile(depth=1),
            qos_overriding_options=OVERRIDABLE,
        )
        self._message = ControllerState(joint_names=list(command.joints))

    def publish(self, followed: FollowedState) -> None:
        """Publish what is followed now."""
        message = self._message
        message.header.stamp = Time(nanoseconds=followed.stamp_ns).to_msg()
        message.reference.positions = array("d", followed.positions.tobytes())
        message.reference.velocities = array("d", followed.velocities.tobytes())
        message.feedback.positions = array("d", followed.feedback.tobytes())
        self._publisher.publish(message)

    def close(self) -> None:
        """Take the topic away."""
        self._node.destroy_publisher(self._publisher)
