"""The SO-100 on its servo bus as a ROS node: joint_states out at 100 Hz, JointTrajectory in."""

import sys

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.so100_calibration import (
    CalibrationError,
    load_calibration,
    to_radians,
    to_ticks,
)
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import RobotConfigError, load_robot
from evo1_policy.ros.process import run_node
from evo1_sim.ros.trajectory_messages import read_points
from evo1_sim.trajectory import TrajectoryError, TrajectoryFollower

_TICK_S = 0.01


class So100DriverNode(Node):
    """Node `so100_driver`. Holds the arm where it stands from the start on.

    Raises:
        BusError: the bus does not work.
        CalibrationError: the calibration file cannot be used.
        RobotConfigError: the robot file cannot be used, or has several command outputs.
    """

    def __init__(self) -> None:
        super().__init__("so100_driver")
        self._robot = load_robot(self._text("robot_file"))
        if len(self._robot.command) != 1:
            raise RobotConfigError("command: the SO-100 driver takes one output with all joints")
        self._command = self._robot.command[0]
        self._servos = load_calibration(self._text("calibration"), self._command.joints)
        self._bus = FeetechBus(self._text("port"), [servo.servo_id for servo in self._servos])
        names = self._robot.joint_names
        columns = [names.index(name) for name in self._command.joints]
        self._lower = self._robot.position_min[columns]
        self._upper = self._robot.position_max[columns]
        ticks = self._bus.read_positions()
        self._follower = TrajectoryFollower(
            self._command.joints, start=to_radians(ticks, self._servos)
        )
        self._commanded = False
        self._bus.write_goals(ticks)  # before the torque: the arm shall not jump
        self._bus.enable_torque()
        self._message = JointState(name=list(self._command.joints))
        self._publisher = self.create_publisher(JointState, self._robot.state.topic, 10)
        self.create_subscription(JointTrajectory, self._command.topic, self._on_trajectory, 10)
        self.create_timer(_TICK_S, self._tick)
        self.get_logger().info("holding the arm where it stands; joint states at 100 Hz")

    def destroy_node(self) -> None:
        """Torque off: the arm goes limp."""
        self.get_logger().warning("torque off: the arm goes limp")
        self._bus.close()
        super().destroy_node()

    def _text(self, name: str) -> str:
        return str(self.declare_parameter(name, "").value)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        try:
            stamp = self.get_clock().now()
            positions = to_radians(self._bus.read_positions(), self._servos)
            self._message.header.stamp = stamp.to_msg()
            self._message.position = positions.tolist()
            self._publisher.publish(self._message)
            if self._commanded:
                target = self._follower.sample(self._now_ns())
                self._bus.write_goals(
                    to_ticks(np.clip(target, self._lower, self._upper), self._servos)
                )
        except BusError as error:  # no state is published: whoever listens sees it as stale
            self.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        try:
            self._follower.accept(
                read_points(message),
                message.joint_names,
                stamp_ns=stamp_ns(message.header.stamp),
                now_ns=self._now_ns(),
            )
        except TrajectoryError as error:
            self.get_logger().error(f"{self._command.topic}: trajectory refused: {error}")
            return
        self._commanded = True


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    refusals = (BusError, CalibrationError, RobotConfigError)
    return run_node(So100DriverNode, name="so100_driver", refusals=refusals)


if __name__ == "__main__":
    sys.exit(main())
