"""Makes a gripper that takes goals by an action look like one that follows trajectories.

The xArm's driver also publishes arm and gripper states in separate messages, the gripper's only
now and then; with `merge_states` this node publishes each arm state with the gripper's last known
position under the arm's own stamp: a driver that dies goes silent here too. Where a broadcaster
publishes all joints (ros2_so_arm100) it only listens.
"""

import importlib
import time
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState

from evo1_bringup.drivers.following import Asked, NewestTrajectory
from evo1_bringup.drivers.pacing import GripperGate
from evo1_bringup.ros.command_output import CommandOutput
from evo1_policy.action_chunk import Floats
from evo1_policy.robot_config import CommandConfig, RobotConfig
from evo1_policy.robot_joints import GripperConfig
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import fixed_parameter, robot_parameter
from evo1_policy.ros.process import run_node, steady_timer
from evo1_policy.ros.publishing import time_message
from evo1_sim.trajectory import TrajectoryError

GRIPPER_COMMAND = "GripperCommand"
PARALLEL_GRIPPER_COMMAND = "ParallelGripperCommand"
ACTIONS = (GRIPPER_COMMAND, PARALLEL_GRIPPER_COMMAND)
_TICK_S = 0.02


class BridgeError(RuntimeError):
    """The bridge cannot run; the message says what is missing."""


class GripperBridgeNode(CleanLog, Node):
    """Node `gripper_bridge`.

    Raises:
        ParameterError: a parameter cannot be used.
        BridgeError: control_msgs is missing, or the robot file has no gripper output of its own.
        RobotConfigError: the robot file cannot be used.
    """

    def __init__(self) -> None:
        super().__init__("gripper_bridge")
        self._robot = robot_parameter(self)
        command, self._gripper = gripper_output(self._robot)
        self._joint = self._gripper.joint
        self._gate = GripperGate(abs(self._gripper.open - self._gripper.closed))
        self._newest = NewestTrajectory([self._joint])
        self._position: float | None = None
        self._target: float | None = None  # the last one that a trajectory asked for
        self._merge = fixed_parameter(
            self, "merge_states", True, "Publish the joint states with the gripper's in them."
        )
        self._action = fixed_parameter(
            self, "action_type", GRIPPER_COMMAND, f"Of control_msgs: {' or '.join(ACTIONS)}."
        )
        self._command_type = command_type(self._action)
        action = fixed_parameter(
            self, "gripper_action", "/xarm_gripper/gripper_action", "Name of the gripper's action."
        )
        self._client = ActionClient(self, self._command_type, action)
        driver = fixed_parameter(
            self,
            "driver_joint_states",
            "/xarm/joint_states",
            "Topic of its joint states.",
        )
        if self._merge:
            self._publisher = self.create_publisher(JointState, self._robot.state.topic, 10)
        Listener(self).hear_joints(driver, self._robot.joint_names, self._on_driver)
        self._output = CommandOutput(self, command, self._follow)
        steady_timer(self, _TICK_S, self._tick)

    def _on_driver(self, names: tuple[str, ...], positions: Floats, stamp_ns: int) -> None:
        heard = dict(zip(names, positions.tolist(), strict=True))
        self._position = heard.get(self._joint, self._position)
        if not self._merge:
            return
        others = [name for name in self._robot.joint_names if name != self._joint]
        if self._position is None or not all(name in heard for name in others):
            return  # a gripper message, or the gripper was never heard: never invent a position
        heard[self._joint] = self._position
        message = JointState(name=list(heard), position=list(heard.values()))
        message.header.stamp = time_message(stamp_ns)
        self._publisher.publish(message)

    def _follow(self, asked: Asked) -> str:
        if self._position is None:
            raise TrajectoryError("the gripper's position was never heard")
        begin = self._position if self._target is None else self._target
        return self._output.accept(self._newest, asked, [begin])

    def _tick(self) -> None:
        if self._position is None:
            return
        steady_ns, speed = time.monotonic_ns(), np.zeros(1)
        now = self._newest.sample(steady_ns)
        if now is not None:
            self._target, speed = float(now.positions[0]), now.velocities
        told = self._position if self._target is None else self._target
        self._output.tell((np.array([told]), speed), np.array([self._position]))
        if self._target is None or not self._client.server_is_ready():
            return
        goal = self._gate.offer(self._target, steady_ns)
        if goal is None:
            return
        request = self._command_type.Goal()
        fill_goal(request, self._action, position=goal, gripper=self._gripper)
        self._client.send_goal_async(request).add_done_callback(self._on_accepted)

    def _on_accepted(self, future: Future) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.get_logger().warning("the gripper refused a goal", throttle_duration_sec=1.0)
            self._gate.refused(time.monotonic_ns())
            return
        handle.get_result_async().add_done_callback(lambda _: self._gate.ended())


def gripper_output(robot: RobotConfig) -> tuple[CommandConfig, GripperConfig]:
    """The output that drives the gripper alone, and the gripper.

    Raises:
        BridgeError: there is no such output.
    """
    if robot.gripper is not None:
        for command in robot.command:
            if command.joints == (robot.gripper.joint,):
                return command, robot.gripper
    raise BridgeError(
        f"robot file of {robot.name}: expected a command output with the gripper's joint alone"
    )


def fill_goal(request: Any, action: str, *, position: float, gripper: GripperConfig) -> None:
    """Say in a goal where to go, and with which effort at most where the robot file says one.

    Args:
        request: a Goal of the action; changed.
        action: one of ACTIONS.
        position: of the gripper's joint [its unit].
        gripper: of the robot file.
    """
    effort = gripper.effort
    if action == PARALLEL_GRIPPER_COMMAND:
        efforts = [] if effort is None else [effort]  # none: the controller's own
        request.command = JointState(name=[gripper.joint], position=[position], effort=efforts)
    else:
        request.command.position = position
        request.command.max_effort = effort or 0.0


def command_type(action: str) -> Any:
    """An action of control_msgs.

    Raises:
        BridgeError: no such action, or control_msgs is not installed.
    """
    if action not in ACTIONS:
        raise BridgeError(f"action_type: '{action}' is none of {', '.join(ACTIONS)}")
    try:
        return getattr(importlib.import_module("control_msgs.action"), action)
    except ImportError as error:
        raise BridgeError(
            "control_msgs is not installed; a gripper with an action needs it: "
            "apt install ros-jazzy-control-msgs"
        ) from error


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(GripperBridgeNode, name="gripper_bridge")
