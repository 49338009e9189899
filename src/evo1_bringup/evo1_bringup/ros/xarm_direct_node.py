"""The arm's trajectories as targets for the xArm's online planning, without ros2_control.

Never ran on hardware: xarm_msgs exists only beside xarm_ros2. What it sends is decided in
drivers/xarm_online_planning.py, which is tested.
"""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.xarm_online_planning import Move, OnlinePlanning
from evo1_bringup.ros.xarm_interfaces import XarmError, xarm_interfaces
from evo1_policy.perception.messages import MessageError, read_joints, stamp_ns
from evo1_policy.robot_config import RobotConfigError, load_robot
from evo1_policy.ros.process import run_node
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, command_qos, fault_qos, joints_qos
from evo1_sim.ros.trajectory_messages import read_points
from evo1_sim.trajectory import TrajectoryError

_TICK_S = 0.01


class XarmDirectNode(Node):
    """Node `xarm_direct`.

    Raises:
        XarmError: xarm_msgs is missing.
        RobotConfigError: the robot file cannot be used.
    """

    def __init__(self) -> None:
        super().__init__("xarm_direct")
        types = xarm_interfaces()
        robot = load_robot(str(self.declare_parameter("robot_file", "").value))
        hardware = str(self.declare_parameter("hardware_namespace", "/xarm").value)
        output = robot.command[0]
        self._joints = output.joints
        self._planning = OnlinePlanning(robot, output.joints)
        self._measured: npt.NDArray[np.float64] | None = None
        self._fault = ""
        self._request: Any = types.move_joint.Request
        self._client = self.create_client(types.move_joint, f"{hardware}/set_servo_angle")
        self.create_subscription(JointState, robot.state.topic, self._on_joints, joints_qos())
        self.create_subscription(String, ARM_FAULT_TOPIC, self._on_fault, fault_qos())
        self.create_subscription(JointTrajectory, output.topic, self._on_trajectory, command_qos())
        self.create_timer(_TICK_S, self._tick)

    def _on_joints(self, message: JointState) -> None:
        try:
            names, positions, _ = read_joints(message, topic="joint states")
        except MessageError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)
            return
        if all(name in names for name in self._joints):
            self._measured = np.array([positions[names.index(name)] for name in self._joints])

    def _on_fault(self, message: String) -> None:
        self._fault = message.data
        if self._fault:
            self._planning.stop()

    def _on_trajectory(self, message: JointTrajectory) -> None:
        if self._fault or self._measured is None:
            reason = self._fault or "no joint states yet"
            self.get_logger().error(f"trajectory refused: {reason}", throttle_duration_sec=1.0)
            return
        try:
            self._planning.accept(
                read_points(message),
                message.joint_names,
                stamp_ns=stamp_ns(message.header.stamp),
                now_ns=self._now_ns(),
                measured=self._measured,
            )
        except TrajectoryError as error:
            self.get_logger().error(f"trajectory refused: {error}", throttle_duration_sec=1.0)

    def _tick(self) -> None:
        if self._measured is None or not self._client.service_is_ready():
            return
        move = self._planning.step(self._now_ns(), self._measured)
        if move is not None:
            self._client.call_async(self._asked(move)).add_done_callback(self._on_answer)

    def _asked(self, move: Move) -> Any:
        return self._request(
            angles=list(move.angles), speed=move.speed, acc=move.acceleration, wait=False
        )

    def _on_answer(self, future: Future) -> None:
        answer = future.result()
        if answer is None or answer.ret != 0:
            said = "nothing" if answer is None else f"{answer.ret} {answer.message}"
            self.get_logger().error(
                f"set_servo_angle answered {said}; see xarm_monitor", throttle_duration_sec=1.0
            )

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    refusals = (XarmError, RobotConfigError)
    return run_node(XarmDirectNode, name="xarm_direct", refusals=refusals)


if __name__ == "__main__":
    sys.exit(main())
