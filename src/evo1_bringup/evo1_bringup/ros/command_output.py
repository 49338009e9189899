"""One command output as a controller offers it: trajectories in, what is followed out."""

import time
from collections.abc import Callable

import numpy.typing as npt
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.following import Asked, NewestTrajectory
from evo1_policy.action_chunk import Floats
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.qos import command_qos
from evo1_sim.controller import FollowedState
from evo1_sim.ros.trajectory_messages import FollowedPublisher, read_points
from evo1_sim.trajectory import TrajectoryError


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
        self._subscription = Listener(node).hear(
            JointTrajectory, command.topic, self._on_trajectory, command_qos()
        )

    def destroy(self) -> None:
        """Take the topics away."""
        self._node.destroy_subscription(self._subscription)
        self._followed.close()

    def accept(self, newest: NewestTrajectory, asked: Asked, begin: npt.ArrayLike) -> str:
        """Have `newest` follow a trajectory from now on, by the node's clock; see there."""
        now_ns, steady_ns = self._node.get_clock().now().nanoseconds, time.monotonic_ns()
        return newest.accept(asked, now_ns=now_ns, steady_ns=steady_ns, begin=begin)

    def tell(
        self, commanded: tuple[Floats, Floats], measured: Floats, *, stamp_ns: int | None = None
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

    def _on_trajectory(self, message: JointTrajectory, sent_ns: int) -> None:
        try:
            said = self._follow(
                Asked(
                    points=read_points(message),
                    joint_names=message.joint_names,
                    stamp_ns=stamp_ns(message.header.stamp),
                    sent_ns=sent_ns,
                )
            )
        except TrajectoryError as error:
            said = f"trajectory not followed: {error}"
        if said:
            self._node.get_logger().error(
                f"{self._command.topic}: {said}", throttle_duration_sec=1.0
            )
