"""The arm's trajectories as targets for the xArm's online planning, without ros2_control.

Never ran on hardware: xarm_msgs exists only beside xarm_ros2. What it sends is decided in
drivers/pacing.py, which is tested.
"""

import time
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

from evo1_bringup.drivers.following import Asked
from evo1_bringup.drivers.pacing import OnlinePlanning
from evo1_bringup.ros.command_output import CommandOutput
from evo1_bringup.ros.xarm_monitor_node import xarm_interfaces
from evo1_policy.action_chunk import Floats
from evo1_policy.ros.listening import Listener, hear_faults
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import fixed_parameter, robot_parameter
from evo1_policy.ros.process import run_node, steady_timer
from evo1_policy.ros.stop_listener import StopListener
from evo1_sim.trajectory import TrajectoryError

_TICK_S = 0.01


class XarmDirectNode(CleanLog, Node):
    """Node `xarm_direct`.

    Raises:
        XarmError: xarm_msgs is missing.
        ParameterError: a parameter cannot be used.
        RobotConfigError: the robot file cannot be used.
        MoverThereError: another one runs in this namespace.
    """

    def __init__(self) -> None:
        super().__init__("xarm_direct")
        _, services = xarm_interfaces()
        robot = robot_parameter(self)
        hardware = fixed_parameter(
            self, "hardware_namespace", "/xarm", "Namespace of the xArm's driver."
        )
        self._joints = robot.command[0].joints
        self._planning = OnlinePlanning(robot, self._joints)
        self._measured: Floats | None = None
        self._fault = ""
        self._request: Any = services.MoveJoint.Request
        self._client = self.create_client(services.MoveJoint, f"{hardware}/set_servo_angle")
        listener = Listener(self)
        listener.hear_joints(robot.state.topic, self._joints, self._on_joints)
        hear_faults(listener, self, self._on_fault)
        self._output = CommandOutput(self, robot.command[0], self._follow)
        self._stop = StopListener(
            self,
            on_stop=lambda: (True, self._on_stop(True)),
            on_clear=lambda: self._on_stop(False),
            part=self.get_name(),
        )
        steady_timer(self, _TICK_S, self._tick)

    def destroy_node(self) -> None:
        """Give everything back."""
        self._stop.close()
        super().destroy_node()

    def _on_joints(self, names: tuple[str, ...], positions: Floats, _: int) -> None:
        if len(names) == len(self._joints):
            self._measured = positions[[names.index(name) for name in self._joints]]

    def _on_fault(self, fault: str) -> None:
        self._fault = fault
        if self._fault:
            self._planning.stop()

    def _on_stop(self, stopped: bool) -> str:
        self._planning.newest.stop(stopped)
        text = "stopped; at rest where it was asked to be" if stopped else "follows again"
        self.get_logger().warning(text, throttle_duration_sec=1.0)
        return text

    def _follow(self, asked: Asked) -> str:
        if self._fault or self._measured is None:
            raise TrajectoryError(self._fault or "no joint states yet")
        return self._output.accept(self._planning.newest, asked, self._measured)

    def _tick(self) -> None:
        if self._measured is None or not self._client.service_is_ready():
            return
        steady_ns = time.monotonic_ns()
        move = self._planning.step(steady_ns, self._measured)
        if move is not None:
            request = self._request(
                angles=list(move.angles), speed=move.speed, acc=move.acceleration, wait=False
            )
            self._client.call_async(request).add_done_callback(self._on_answer)
        if not self._fault:  # a box that has stopped follows nothing
            commanded = self._planning.commanded(steady_ns, self._measured)
            self._output.tell(commanded, self._measured)

    def _on_answer(self, future: Future) -> None:
        answer = future.result()
        if answer is None or answer.ret != 0:
            said = "nothing" if answer is None else f"{answer.ret} {answer.message}"
            self.get_logger().error(
                f"set_servo_angle answered {said}; see xarm_monitor", throttle_duration_sec=1.0
            )


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(XarmDirectNode, name="xarm_direct")
