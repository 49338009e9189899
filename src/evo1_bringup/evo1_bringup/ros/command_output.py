"""One command output as a controller offers it: trajectories in, what is followed out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.following import Asked
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig
from evo1_policy.ros.qos import OVERRIDABLE, command_qos
from evo1_sim.controller import FollowedState
from evo1_sim.ros.trajectory_messages import FollowedPublisher, read_points
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
        self._followed = FollowedPublisher(node, command)
        self._subscription = node.create_subscription(
            JointTrajectory,
            command.topic,
            self._on_trajectory,
            command_qos(),
            qos_overriding_options=OVERRIDABLE,
        )

    def destroy(self) -> None:
        """Take the topics away."""
        self._node.destroy_subscription(self._subscription)
        self._followed.close()

    def tell(
        self, commanded: tuple[Joints, Joints], measured: Joints, *, stamp_ns: int | None = None
    ) -> None:
        """Publish what is commanded (D,) [rad], [rad/s] and measured (D,) [rad], now or then."""
        if stamp_ns is None:
            stamp_ns = self._node.get_clock().now().nanoseconds
        self._followed.publish(
            FollowedState(
                stamp_ns=stamp_ns,
                positions=commanded[0],
                velocities=commanded[1],
                feedback=measured,
                holding=False,
            )
        )

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
