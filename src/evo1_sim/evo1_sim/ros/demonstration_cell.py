"""What a scripted demonstrator needs of a running system: simulation, relay and recorder.

Every wait is for a condition and names what it waits for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from evo1_msgs.msg import RecorderStatus, TaskStatus
from evo1_msgs.srv import ResetTask, SetInstruction
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.ros.qos import command_qos, state_qos
from evo1_sim.ros.trajectory_messages import target_message

FRESH_S = 1.0  # a status older than this says nothing
HELD_S = 0.5  # a shorter hold, as on a busy machine, does not end a demonstration
SERVICES = {
    "sim_robot/reset": ("simulation", ""),
    "sim_robot/get_parameters": ("simulation", ""),
    "teleop_relay/resume": ("relay that follows a demonstrator", " teleop:=true"),
    "recorder/start": ("recorder", " teleop:=true record:=true"),
}


class CellError(RuntimeError):
    """A part of the system that is missing or refuses; the message says what to do."""


class HeldError(RuntimeError):
    """The arm was held in the middle of a demonstration, and why."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What the running simulation says of itself."""

    arm: str
    robot: RobotConfig
    task: str


class DemonstrationCell:
    """A node of its own with everything that a demonstrator talks to.

    Args:
        namespace: of the arm.
        robot: which arm is expected, '' for any; stands in hints.
        timeout_s: how long to wait for anybody.
    """

    def __init__(self, *, namespace: str, robot: str, timeout_s: float) -> None:
        self._robot_name = robot
        self._timeout_s = timeout_s
        self.node: Node = rclpy.create_node("demonstrator", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._task: TaskStatus | None = None
        self._task_at = 0.0
        self._recorder: RecorderStatus | None = None
        self._joints: dict[str, float] = {}
        self._relay, self._relay_at = "", 0.0
        self._clients: dict[str, Client] = {}
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(TaskStatus, "sim_robot/task_status", self._on_task, 10)
        self.node.create_subscription(RecorderStatus, "recorder/status", self._on_recorder, 10)
        self.node.create_subscription(String, "teleop_relay/status", self._on_relay, latched)
        self._teleop: Any = None

    def close(self) -> None:
        """Give the node back."""
        self._executor.shutdown()
        self.node.destroy_node()

    # -- simulation ------------------------------------------------------------------------

    def connect(self) -> Simulation:
        """Find the simulation and the relay; learn the robot file from the simulation.

        Raises:
            CellError: one is not running, or another arm is.
        """
        request = GetParameters.Request(names=["arm", "robot_file"])
        answer = self.call(GetParameters, "sim_robot/get_parameters", request)
        arm, file = (value.string_value for value in answer.values)
        robot = load_robot(file)
        arm = arm or robot.name
        if self._robot_name and arm != self._robot_name:
            raise CellError(
                f"--robot {self._robot_name}: the running simulation is of {arm}; "
                f"{self._hint(' teleop:=true')}"
            )
        self._client(Trigger, "teleop_relay/resume")
        self._teleop = self.node.create_publisher(
            JointTrajectory, robot.teleop_topic, command_qos()
        )
        self.node.create_subscription(JointState, robot.state.topic, self._on_joints, state_qos())
        self.wait(lambda: self._task is not None, "message on sim_robot/task_status")
        assert self._task is not None
        return Simulation(arm=arm, robot=robot, task=self._task.task)

    def reset(self, task: str, seed: int) -> None:
        """Put the scene into a start state.

        Raises:
            CellError: the simulation refuses.
        """
        answer = self.call(ResetTask, "sim_robot/reset", ResetTask.Request(task=task, seed=seed))
        if not answer.success:
            raise CellError(f"the simulation refuses to reset: {answer.message}")

    def solved(self) -> tuple[bool, str]:
        """Whether the task is solved now, and what is missing."""
        if self._task is None or time.monotonic() - self._task_at > FRESH_S:
            raise CellError(f"the simulation fell silent; {self._hint(' teleop:=true')}")
        return bool(self._task.success), str(self._task.detail)

    def measured(self, names: tuple[str, ...]) -> npt.NDArray[np.float64] | None:
        """Newest positions (D,) [rad] of `names`; None until each was seen."""
        if any(name not in self._joints for name in names):
            return None
        return np.array([self._joints[name] for name in names])

    def forget_joints(self) -> None:
        """Have `measured` wait for new positions."""
        self._joints.clear()

    # -- relay -----------------------------------------------------------------------------

    def send(self, target: TeleopTarget) -> None:
        """Publish one message of the demonstration.

        Raises:
            HeldError: the relay has held the arm for a while.
        """
        held_s = time.monotonic() - self._relay_at
        if self._relay.startswith("holding") and held_s > HELD_S:
            raise HeldError(f"the relay does not follow: {self._relay}")
        self._teleop.publish(target_message(target))

    def resume(self) -> None:
        """End what the relay may hold the arm for."""
        self.call(Trigger, "teleop_relay/resume", Trigger.Request())
        self.wait(lambda: not self._relay.startswith("holding"), "relay that follows")

    # -- recorder --------------------------------------------------------------------------

    def record(self, instruction: str) -> None:
        """Label and start a take; return once it records.

        Raises:
            CellError: the recorder is missing, refuses, or waits for a stream that is not there.
        """
        self._client(Trigger, "recorder/start")
        request = SetInstruction.Request(instruction=instruction)
        answer = self.call(SetInstruction, "recorder/set_instruction", request)
        if not answer.success:
            raise CellError(f"the recorder refuses the instruction: {answer.message}")
        self._await_idle()  # the last take may still be on its way to the disk
        self.ask_recorder("start")
        self._recorder = None
        self.wait(
            lambda: (
                self._recorder is not None and self._recorder.state == RecorderStatus.RECORDING
            ),
            "recording",
            lambda: f"; the recorder says: {self._recorder.reason}" if self._recorder else "",
        )

    def ask_recorder(self, name: str) -> str:
        """Call start, save or discard; return what it answers.

        Raises:
            CellError: it refuses.
        """
        answer = self.call(Trigger, f"recorder/{name}", Trigger.Request())
        if not answer.success:
            raise CellError(f"recorder/{name}: {answer.message}")
        return str(answer.message)

    def _await_idle(self) -> None:
        self._recorder = None
        self.wait(
            lambda: self._recorder is not None and self._recorder.state == RecorderStatus.IDLE,
            "idle recorder",
            lambda: "; a take runs already: save or discard it" if self._recorder else "",
        )

    # -- waiting ---------------------------------------------------------------------------

    def call(self, kind: Any, name: str, request: object) -> Any:
        """Call a service and return its response.

        Raises:
            CellError: nobody offers it, or no answer comes.
        """
        future = self._client(kind, name).call_async(request)
        self.wait(future.done, f"answer of {name}")
        return future.result()

    def wait(
        self, condition: Callable[[], bool], what: str, detail: Callable[[], str] = lambda: ""
    ) -> None:
        """Spin until the condition holds.

        Raises:
            CellError: it did not within the timeout.
        """
        end = time.monotonic() + self._timeout_s
        while not condition():
            if time.monotonic() > end:
                raise CellError(f"no {what} within {self._timeout_s:g} s{detail()}")
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        """Serve messages for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def now_ns(self) -> int:
        """The node's clock [ns]."""
        return int(self.node.get_clock().now().nanoseconds)

    def _client(self, kind: Any, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, name)
        end = time.monotonic() + self._timeout_s
        while not client.service_is_ready():
            if time.monotonic() > end:
                who, options = SERVICES.get(name, (name.partition("/")[0], " teleop:=true"))
                raise CellError(
                    f"no {who} is running (nobody offers "
                    f"{self.node.resolve_service_name(name)}); {self._hint(options)}"
                )
            self._executor.spin_once(timeout_sec=0.05)
        return client

    def _hint(self, options: str) -> str:
        return (
            f"start it with: evo1 launch {self._robot_name or 'xarm6'}{options or ' teleop:=true'}"
            " (same ROS_DOMAIN_ID and namespace)"
        )

    # -- messages --------------------------------------------------------------------------

    def _on_task(self, message: TaskStatus) -> None:
        self._task, self._task_at = message, time.monotonic()

    def _on_recorder(self, message: RecorderStatus) -> None:
        self._recorder = message

    def _on_relay(self, message: String) -> None:
        self._relay, self._relay_at = message.data, time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        self._joints.update(zip(message.name, message.position, strict=True))
