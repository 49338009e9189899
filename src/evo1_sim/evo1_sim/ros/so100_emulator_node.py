"""`ros2 run evo1_sim so100_emulator`: an SO-100 on a pseudo-terminal, without an arm.

Its servos pull at the joints of the MuJoCo arm (simulated:=true) or of an arm without weight. What
goes wrong on the bus can be set by parameters at any time.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.control.limits import LARGEST_RAD
from evo1_policy.perception.messages import MessageError, read_joints
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import fixed_parameter, robot_parameter
from evo1_policy.ros.process import run_node
from evo1_policy.ros.qos import command_qos, state_qos
from evo1_sim.arms.so100 import STALL_TORQUE
from evo1_sim.servo_bus.emulated_arm import EmulatedArm, emulated_calibration
from evo1_sim.servo_bus.emulated_bus import EmulatedPort
from evo1_sim.servo_bus.so100_calibration import load_calibration, save_calibration

JOINTS_TOPIC = "emulated/joint_states"
TARGETS_TOPIC = "emulated/joint_trajectory"
SWITCH_INTERVAL_S = 0.0005  # the bus thread waits so long for the interpreter
_TICK_S = 0.005
_LAST_WORDS_S = 3.0
_QUIET_S = 0.3  # without a request the driver is gone
_STILL_RAD = 1e-4
_REPEAT_TICKS = 50  # goals that do not change are published so seldom
_LEAD_NS = 10_000_000  # from a target to the instant at which the simulation shall be there

_FAULTS: dict[str, tuple[Any, str]] = {
    "plugged": (True, "Whether the cable is plugged in."),
    "corrupt_rate": (0.0, "Share of replies that are damaged."),
    "drop_rate": (0.0, "Share of replies that never come."),
    "latency_ms": (0.3, "From a request to its reply [ms]."),
    "silent_ids": ("", "Ids of servos that have disappeared, with commas between."),
    "temperature": (32.0, "Of every servo [deg C]."),
    "voltage": (7.4, "Of every servo [V]."),
}


class So100EmulatorNode(CleanLog, Node):
    """Node `so100_emulator`.

    Args:
        arguments: go to the node's constructor.

    Raises:
        ParameterError: a parameter cannot be used.
        RobotConfigError: the robot file cannot be used.
        CalibrationError: the calibration file cannot be used.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__("so100_emulator", **arguments)
        self._robot = robot_parameter(self)
        self._link = Path(self._text("port", "Path of the pseudo-terminal, as drivers open it."))
        calibration = Path(
            self._text(
                "calibration",
                "LeRobot's file (JSON); made, for as long as it runs, where there is none.",
            )
        )
        self._made = None if calibration.exists() else calibration
        if self._made is not None:
            save_calibration(self._made, emulated_calibration(self._robot))
        servos = load_calibration(calibration, self._robot.joints)
        self._arm = EmulatedArm(servos, start=self._robot.home)
        self._port = EmulatedPort(self._arm.bus, self._link, lock=self._arm.lock)
        self._placed = False
        self._pulled = np.full(self._robot.width, np.nan)  # goals that were published last
        self._idle_ticks = 0
        self._moved_at = time.monotonic()
        simulated = fixed_parameter(self, "simulated", True, "Whether to move the MuJoCo arm.")
        self.add_on_set_parameters_callback(self._set_faults)
        for name, (default, description) in _FAULTS.items():
            self.declare_parameter(name, default, ParameterDescriptor(description=description))
        if simulated:
            self._targets = self.create_publisher(JointTrajectory, TARGETS_TOPIC, command_qos())
            self.create_subscription(JointState, JOINTS_TOPIC, self._on_joints, state_qos())
            self.get_logger().info(f"waiting for the simulation on '{JOINTS_TOPIC}'")
        else:
            self.create_timer(_TICK_S, self._advance)
            self._begin()

    def destroy_node(self) -> None:
        """Take the port away too, and the calibration that was made for it.

        Ctrl-C ends a driver at the same time: it may bring its arm to rest and let it go first.
        """
        end = time.monotonic() + _LAST_WORDS_S
        while self._port.plugged and self._port.quiet_s < _QUIET_S and time.monotonic() < end:
            time.sleep(_TICK_S)
        self._port.unplug()
        if self._made is not None:
            self._made.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others may use the folder
                self._made.parent.rmdir()
        super().destroy_node()

    def _text(self, name: str, description: str) -> str:
        return fixed_parameter(self, name, "", description, required=True)

    def _begin(self) -> None:
        self._placed = True
        if self.get_parameter("plugged").value:
            self._port.plug()
        self.get_logger().info(f"an emulated SO-100 answers on {self._link}")

    def _on_joints(self, message: JointState) -> None:
        try:
            names, _, _ = read_joints(message, topic=JOINTS_TOPIC, joints=self._robot.joint_names)
        except MessageError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)
            return
        rows = (message.position, message.velocity, message.effort)
        if len(names) < self._robot.width or any(len(row) != len(message.name) for row in rows):
            self.get_logger().warning(
                f"{JOINTS_TOPIC}: expected position, velocity and effort of every joint",
                throttle_duration_sec=1.0,
            )
            return
        order = [list(message.name).index(name) for name in self._robot.joint_names]
        numbers = np.array(rows, dtype=np.float64)[:, order]
        if not (np.abs(numbers) <= LARGEST_RAD).all():
            return  # no arm is there
        self._arm.place(numbers[0], numbers[1])
        for servo, effort in zip(self._arm.servos, numbers[2], strict=True):
            servo.load = float(np.clip(effort / STALL_TORQUE, -1, 1))
        if not self._placed:
            self._begin()
        self._pull()

    def _pull(self) -> None:
        goals = self._arm.goals()
        self._idle_ticks += 1
        if np.allclose(goals, self._pulled, atol=_STILL_RAD) and self._idle_ticks < _REPEAT_TICKS:
            return
        self._pulled, self._idle_ticks = goals, 0
        point = JointTrajectoryPoint(positions=goals.tolist())
        point.time_from_start.nanosec = _LEAD_NS
        self._targets.publish(
            JointTrajectory(joint_names=list(self._robot.joint_names), points=[point])
        )

    def _advance(self) -> None:
        now = time.monotonic()
        self._arm.advance(max(now - self._moved_at, 1e-4))
        self._moved_at = now

    def _set_faults(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            try:
                self._set_fault(parameter.name, parameter.value)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {error}")
        return SetParametersResult(successful=True)

    def _set_fault(self, name: str, value: Any) -> None:
        faults = self._arm.bus.faults
        if name == "plugged":
            if not value:
                self._port.unplug()
            elif self._placed:
                self._port.plug()
        elif name in ("corrupt_rate", "drop_rate"):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"expected 0 to 1, got {value}")
            setattr(faults, name, value)
        elif name == "latency_ms":
            faults.latency_s = value * 1e-3
        elif name == "silent_ids":
            faults.silent = {int(word) for word in str(value).split(",") if word.strip()}
        elif name in ("temperature", "voltage"):
            for servo in self._arm.servos:
                setattr(servo, name, value)


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return run_node(So100EmulatorNode, name="so100_emulator")
