"""Watches the xArm's control box: its faults become the policy's stop reasons.

Never ran on hardware: xarm_msgs exists only beside xarm_ros2. What it decides is in
drivers/xarm_faults.py, which is tested.
"""

import importlib
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String

from evo1_bringup.drivers.xarm_faults import ONLINE_MODE, SERVO_MODE, BoxReport, BoxWatch
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import fixed_parameter
from evo1_policy.ros.process import full_name, run_node, steady_timer
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, fault_qos, report_qos
from evo1_policy.ros.services import Answer, offer
from evo1_policy.ros.status import diagnostic_array, status

_TICK_S = 0.1
_DIAGNOSTICS_EVERY = 10  # ticks
_ALL_JOINTS = 8
_RECOVERY = "then call xarm_monitor/recover, or evo1 recover-arm"


class XarmError(RuntimeError):
    """xarm_msgs is missing, or the arm does not do what it is asked."""


def xarm_interfaces() -> tuple[Any, Any]:
    """The messages and services of xarm_msgs, which comes with xarm_ros2 and not with ROS.

    Raises:
        XarmError: it is not built.
    """
    try:
        return importlib.import_module("xarm_msgs.msg"), importlib.import_module("xarm_msgs.srv")
    except ImportError as error:
        raise XarmError(
            "xarm_msgs is not built; a real xArm6 needs it: "
            "vcs import --recursive src < robots.repos, then colcon build"
        ) from error


class XarmMonitorNode(CleanLog, Node):
    """Node `xarm_monitor`.

    Raises:
        XarmError: xarm_msgs is missing.
        ParameterError: a parameter cannot be used.
    """

    def __init__(self) -> None:
        super().__init__("xarm_monitor")
        messages, services = xarm_interfaces()
        self._mode = fixed_parameter(
            self,
            "mode",
            SERVO_MODE,
            "Mode of the control box in which the arm follows.",
            span=(SERVO_MODE, ONLINE_MODE),
        )
        hardware = fixed_parameter(
            self, "hardware_namespace", "/xarm", "Namespace of the xArm's driver."
        )
        self._watch = BoxWatch(mode=self._mode, now_ns=time.monotonic_ns())
        self._told: str | None = None
        self._ticks = 0
        self._faults = self.create_publisher(String, ARM_FAULT_TOPIC, fault_qos())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", report_qos())
        self.create_subscription(
            messages.RobotMsg, f"{hardware}/robot_states", self._on_report, 10
        )
        group = ReentrantCallbackGroup()
        self._steps = self._recovery(services, hardware, group)
        offer(self, "~/recover", self._recover)
        steady_timer(self, _TICK_S, self._tick)
        if fixed_parameter(
            self, "enable_at_start", False, "Clear errors and enable the joints at start."
        ):
            self._start_recovery()

    def tell_end(self, why: str) -> None:
        """Say on arm_fault that nobody watches the arm any more."""
        self._faults.publish(String(data=f"monitor_ended: {why}"))

    def _recovery(
        self, services: Any, hardware: str, group: ReentrantCallbackGroup
    ) -> list[tuple[Any, Any]]:
        """Clients and requests, in the order that UFACTORY asks for."""
        wanted = (
            ("clean_error", services.Call, services.Call.Request()),
            ("clean_warn", services.Call, services.Call.Request()),
            (
                "motion_enable",
                services.SetInt16ById,
                services.SetInt16ById.Request(id=_ALL_JOINTS, data=1),
            ),
            ("set_mode", services.SetInt16, services.SetInt16.Request(data=self._mode)),
            ("set_state", services.SetInt16, services.SetInt16.Request(data=0)),
        )
        return [
            (self.create_client(kind, f"{hardware}/{name}", callback_group=group), request)
            for name, kind, request in wanted
        ]

    def _on_report(self, message: Any) -> None:
        report = BoxReport(
            state=message.state, mode=message.mode, error=message.err, warning=message.warn
        )
        self._watch.observe(report, time.monotonic_ns())

    def _tick(self) -> None:
        fault = self._watch.fault(time.monotonic_ns())
        text = "" if fault is None else f"{fault.code}: {fault.text}; {_RECOVERY}"
        if text != self._told:
            self._told = text
            self._faults.publish(String(data=text))
            if text:
                self.get_logger().error(f"STOPPED {text}")
        self._ticks += 1
        if self._ticks % _DIAGNOSTICS_EVERY == 0:
            self._report(text)

    def _report(self, fault: str) -> None:
        warning = self._watch.warning()
        level = DiagnosticStatus.WARN if warning else DiagnosticStatus.OK
        level = DiagnosticStatus.ERROR if fault else level
        box = status("control box", level, fault or warning or "ready")
        now_ns = self.get_clock().now().nanoseconds
        self._diagnostics.publish(
            diagnostic_array([box], node=full_name(self), hardware="xarm6", now_ns=now_ns)
        )

    def _recover(self) -> Answer:
        missing = [client for client, _ in self._steps if not client.service_is_ready()]
        if missing:
            return False, f"nobody offers {missing[0].srv_name}; is the xArm's driver running?"
        self._start_recovery()
        return True, "asked the control box; its status says what came of it"

    def _start_recovery(self) -> None:
        self.get_logger().info("clearing errors, enabling the joints, setting mode and state")
        self._next(0)

    def _next(self, index: int) -> None:
        if index == len(self._steps):
            self.get_logger().info("the control box was set ready")
            return
        client, request = self._steps[index]

        def done(future: Future) -> None:
            answer = future.result()
            if answer is None or answer.ret != 0:
                said = "nothing" if answer is None else f"{answer.ret} {answer.message}"
                self.get_logger().error(f"{client.srv_name} answered {said}")
                return
            self._next(index + 1)

        client.call_async(request).add_done_callback(done)


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(XarmMonitorNode, name="xarm_monitor")
