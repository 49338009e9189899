"""One command output as a controller offers it: trajectories in, what is followed out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.following import Asked
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig
from evo1_policy.ros.controller_state import ControllerState
from evo1_policy.ros.qos import OVERRIDABLE, command_qos
from evo1_sim.ros.trajectory_messages import read_points
from evo1_sim.trajectory import TrajectoryError

Joints = npt.NDArray[np.float64]


class CommandOutput:
    """The topics of one output.

    Args:
        node: that drives it.
        command: the output, in the robot file.
        follow: takes its trajectories; what it answers, or raises as TrajectoryError, is logged.
    """

    def __init__(self, node: Node, command: CommandConfig, follow: Callable[[Asked], str]) -> None:
        self._node, self._command, self._follow = node, command, follow
        self._publisher = node.create_publisher(
            ControllerState, command.state_topic, QoSProfile(depth=1)
        )
        self._subscription = node.create_subscription(
            JointTrajectory,
            command.topic,
            self._on_trajectory,
            command_qos(),
            qos_overriding_options=OVERRIDABLE,
        )
        self._message = ControllerState(joint_names=list(command.joints))

    def destroy(self) -> None:
        """Take the topics away."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def tell(self, commanded: tuple[Joints, Joints], measured: Joints, stamp: Time) -> None:
        """Publish what is commanded (D,) [rad], [rad/s] and measured (D,) [rad] at a time."""
        message = self._message
        message.header.stamp = stamp
        message.reference.positions = commanded[0].tolist()
        message.reference.velocities = commanded[1].tolist()
        message.feedback.positions = measured.tolist()
        self._publisher.publish(message)

    def _on_trajectory(self, message: JointTrajectory, info: Mapping[str, Any]) -> None:
        try:
            said = self._follow(
                Asked(
                    points=read_points(message),
                    joint_names=message.joint_names,
                    stamp_ns=stamp_ns(message.header.stamp),
                    sent_ns=int(info["source_timestamp"]),
                )
            )
        except TrajectoryError as error:
            said = f"trajectory not followed: {error}"
        if said:
            self._node.get_logger().error(
                f"{self._command.topic}: {said}", throttle_duration_sec=1.0
            )
