"""The SO-100 on its servo bus as a lifecycle node: joint_states out, JointTrajectory in.

A thread of its own runs the bus at 100 Hz; the executor serves topics, services and transitions.
One lock around the driver core (drivers/so100_driver.py) keeps them apart. What the driver knows
goes out as diagnostic_msgs.
"""

import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.service import Service
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.following import Asked
from evo1_bringup.drivers.servo_health import HealthReading
from evo1_bringup.drivers.so100_driver import DriverReport, DriverState, So100Driver
from evo1_bringup.drivers.so100_parameters import DriverParameters
from evo1_bringup.ros.command_output import CommandOutput
from evo1_policy.node_parameters import parameters_of
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot
from evo1_policy.ros.log import tell_failure
from evo1_policy.ros.parameters import declare_parameters, keep_parameters, read_parameters
from evo1_policy.ros.process import ManagedNode, full_name, run_managed, steady_timer
from evo1_policy.ros.qos import ARM_FAULT_TOPIC, OVERRIDABLE, fault_qos, report_qos, state_qos
from evo1_policy.ros.services import Answer, offer
from evo1_policy.ros.status import diagnostic_array, status
from evo1_policy.ros.stop_listener import StopListener
from evo1_sim.pacing import Pacer
from evo1_sim.servo_bus.so100_calibration import load_calibration
from evo1_sim.servo_bus.sts3215 import status_words

PERIOD_NS = 10_000_000
MAX_LAG_NS = 50_000_000  # a longer stall is not caught up
DIAGNOSTICS_PERIOD_S = 1.0
REST_TIMEOUT_S = 3.0
_RECOVERY = "then call so100_driver/recover, or evo1 recover-arm"
_LOOK_S = 0.1  # between two looks whether the port is there


@dataclass(frozen=True, kw_only=True)
class Configured:
    """What exists from configure to cleanup."""

    parameters: DriverParameters
    robot: RobotConfig
    driver: So100Driver
    state: JointState
    joints: Publisher
    diagnostics: Publisher
    faults: Publisher
    recover: Service
    stop: StopListener


@dataclass(frozen=True, kw_only=True)
class Active:
    """What exists from activate to deactivate."""

    output: CommandOutput
    thread: threading.Thread
    ended: threading.Event


class So100DriverNode(ManagedNode):
    """Node `so100_driver`.

    Args:
        arguments: go to the node's constructor.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__("so100_driver", **arguments)
        declare_parameters(self, DriverParameters)
        self._lock = threading.Lock()
        self._configured: Configured | None = None
        self._active: Active | None = None
        keep_parameters(
            self,
            parameters_of(DriverParameters),
            while_=lambda: self._configured is not None,
        )
        self._told: str | None = None  # the fault that was said; None: nothing was yet
        self._cycles = self._stalls = 0  # that were reported
        self._counted_ns = time.monotonic_ns()
        self._rate_hz = 0.0
        steady_timer(self, DIAGNOSTICS_PERIOD_S, self._report)

    # -- lifecycle -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the port, find and check every servo; the arm stays limp."""
        try:
            self._configured = self._configure(read_parameters(self, DriverParameters))
        except (ValueError, OSError, BusError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info("every servo answers and holds the file's calibration; torque off")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goals := present, torque on, hold; then read and write at 100 Hz."""
        configured = self._configured
        if configured is None:
            return TransitionCallbackReturn.ERROR
        try:
            with self._lock:
                if not configured.driver.is_open:  # the port was lost
                    configured.driver.open()
                configured.driver.engage()
        except BusError as error:
            self.get_logger().error(f"cannot activate: {error}")
            return TransitionCallbackReturn.FAILURE
        ended = threading.Event()
        output = CommandOutput(self, configured.robot.command[0], self._follow)
        thread = threading.Thread(
            target=self._run, args=(configured, output, ended), name="bus", daemon=True
        )
        self._active = Active(output=output, thread=thread, ended=ended)
        thread.start()
        self.get_logger().info("holding the arm where it stands; joint states at 100 Hz")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Slow to rest, then torque off."""
        active, self._active = self._active, None
        if active is not None and self._configured is not None:
            self._rest(self._configured.driver)
            active.ended.set()
            active.thread.join()
            active.output.destroy()
            self._let_go(self._configured.driver)
        return super().on_deactivate(state)

    def tell_end(self, why: str) -> None:
        """Say on arm_fault that the driver ends."""
        if self._configured is not None:
            self._configured.faults.publish(String(data=f"driver_ended: {why}"))

    # -- events ----------------------------------------------------------------------------

    def _recover(self) -> Answer:
        configured = self._configured
        if self._active is None or configured is None:
            return False, "the node is not active; activate it"
        with self._lock:
            driver = configured.driver
            if driver.fault is None and driver.state is not DriverState.STOPPED:
                return False, f"nothing to recover from: {driver.state.value}"
            try:
                driver.recover()
            except BusError as error:
                return False, str(error)
        self.get_logger().info("recovered: holding the arm where it stands")
        return True, "holding the arm where it stands"

    def _follow(self, asked: Asked) -> str:
        if self._configured is None:
            return "not configured"
        with self._lock:
            return self._configured.driver.follow(asked)

    def _stop(self, stopped: bool) -> str:
        if self._configured is None:
            return "not configured"
        with self._lock:
            self._configured.driver.stop(stopped)
            text = self._configured.driver.state.value
        self.get_logger().warning(text, throttle_duration_sec=1.0)
        return text

    def _run(self, configured: Configured, output: CommandOutput, ended: threading.Event) -> None:
        """On the bus thread, which goes on until it is told to end."""
        pacer = Pacer(period_ns=PERIOD_NS, max_lag_ns=MAX_LAG_NS, now_ns=time.monotonic_ns())
        while not ended.is_set():
            wait_ns = pacer.wait_ns(time.monotonic_ns())
            if wait_ns:
                time.sleep(wait_ns * 1e-9)
                continue
            pacer.tick()
            try:
                self._turn(configured, output)
            except Exception as error:  # noqa: BLE001  whatever it is, the arm stays held
                tell_failure(self.get_logger(), "the bus thread failed")
                with self._lock:
                    configured.driver.fail(f"the driver failed: {error!r}; please report it")

    def _turn(self, configured: Configured, output: CommandOutput) -> None:
        self._tell_fault(configured)
        with self._lock:
            stamp = self.get_clock().now()  # goals are those of now, the bus takes its time
            reading = configured.driver.cycle()
            commanded = configured.driver.commanded
        if reading is not None:
            message = configured.state
            message.header.stamp = stamp.to_msg()
            message.position = array("d", reading.positions.tobytes())
            message.velocity = array("d", reading.velocities.tobytes())
            configured.joints.publish(message)
            output.tell(commanded, reading.positions, stamp_ns=stamp.nanoseconds)

    def _tell_fault(self, configured: Configured) -> None:
        fault = configured.driver.fault
        text = "" if fault is None else f"{fault.code}: {fault.text} ({_RECOVERY})"
        if text == self._told:
            return
        self._told = text
        configured.faults.publish(String(data=text))
        if text:
            self.get_logger().error(f"STOPPED {text}")
            self._publish_diagnostics(configured)

    def _report(self) -> None:
        if self._configured is None:
            return
        now_ns = time.monotonic_ns()
        report = self._configured.driver.report()
        cycles = report.cycles
        if report.stalls > self._stalls:
            self.get_logger().warning(
                f"held up for more than {self._configured.parameters.max_stall_s:g} s in "
                "motion: the arm came to rest; look at what else this machine runs"
            )
        self._rate_hz = (cycles - self._cycles) / max((now_ns - self._counted_ns) * 1e-9, 1e-3)
        self._cycles, self._counted_ns, self._stalls = cycles, now_ns, report.stalls
        self._publish_diagnostics(self._configured)

    def _publish_diagnostics(self, configured: Configured) -> None:
        configured.diagnostics.publish(
            diagnostics_message(
                configured.driver.report(),
                node=full_name(self),
                port=configured.parameters.port,
                rate_hz=self._rate_hz,
                now_ns=self.get_clock().now().nanoseconds,
            )
        )

    # -- making and releasing --------------------------------------------------------------

    def _configure(self, parameters: DriverParameters) -> Configured:
        robot = load_robot(parameters.robot_file)
        if len(robot.command) != 1 or robot.command[0].joints != robot.joint_names:
            raise RobotConfigError(
                f"{parameters.robot_file}: command: the SO-100 driver takes one output with all "
                "joints, in the order of `joints`"
            )
        _wait_for(Path(parameters.port), parameters.port_timeout_s)
        servos = load_calibration(parameters.calibration, robot.joints)
        driver = So100Driver(
            lambda traffic: FeetechBus(
                parameters.port,
                timeout_s=parameters.reply_timeout_s,
                traffic=traffic,
            ),
            servos,
            robot,
            now_ns=self._now_ns,
            settings=parameters,
        )
        driver.open()
        return Configured(
            parameters=parameters,
            robot=robot,
            driver=driver,
            state=JointState(name=list(robot.joint_names)),
            joints=self.create_publisher(
                JointState, robot.state.topic, state_qos(), qos_overriding_options=OVERRIDABLE
            ),
            diagnostics=self.create_publisher(DiagnosticArray, "/diagnostics", report_qos()),
            faults=self.create_publisher(String, ARM_FAULT_TOPIC, fault_qos()),
            recover=offer(self, "~/recover", self._recover),
            stop=StopListener(
                self,
                on_stop=lambda: (True, self._stop(True)),
                on_clear=lambda: self._stop(False),
                part=self.get_name(),
            ),
        )

    def _rest(self, driver: So100Driver) -> None:
        """Wait until the bus thread has brought the arm to rest."""
        with self._lock:
            driver.slow_down()
        end = time.monotonic() + REST_TIMEOUT_S
        while not driver.at_rest and time.monotonic() < end:
            time.sleep(0.01)

    def _let_go(self, driver: So100Driver) -> None:
        if not driver.is_open:
            self.get_logger().error("the port is gone: the torque may still be on")
            return
        self.get_logger().warning("torque off: the arm goes limp")
        try:
            with self._lock:
                driver.release()
        except BusError as error:
            self.get_logger().error(f"torque may still be on: {error}")

    def _release(self) -> None:
        configured, self._configured = self._configured, None
        if configured is None:
            return
        with self._lock:
            configured.driver.close()
        self.destroy_publisher(configured.joints)
        self.destroy_publisher(configured.diagnostics)
        self.destroy_publisher(configured.faults)
        self.destroy_service(configured.recover)
        configured.stop.close()

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def _wait_for(port: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not port.exists() and time.monotonic() < end:
        time.sleep(_LOOK_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status is 1 where it cannot start."""
    sys.setswitchinterval(0.0005)  # the bus thread waits so long for the interpreter
    return run_managed(So100DriverNode, arguments)


def diagnostics_message(
    report: DriverReport, *, node: str, port: str, rate_hz: float, now_ns: int
) -> DiagnosticArray:
    """One status for the arm, one for the bus, one for each servo that was looked at."""
    servos = (_servo(name, reading, report) for name, reading in report.health.items())
    statuses = [_arm(report), _bus(report, rate_hz), *servos]
    return diagnostic_array(statuses, node=node, hardware=port, now_ns=now_ns)


def _arm(report: DriverReport) -> DiagnosticStatus:
    level, text = DiagnosticStatus.OK, report.state.value
    if report.fault is not None:
        level, text = DiagnosticStatus.ERROR, f"{report.fault.code}: {report.fault.text}"
    elif report.warnings:
        level, text = DiagnosticStatus.WARN, "; ".join(item.text for item in report.warnings)
    return status("arm", level, text, {"state": report.state.value})


def _bus(report: DriverReport, rate_hz: float) -> DiagnosticStatus:
    closed = report.state is DriverState.CLOSED
    return status(
        "bus",
        DiagnosticStatus.STALE if closed else DiagnosticStatus.OK,
        "port closed" if closed else f"{rate_hz:.1f} Hz",
        {
            "rate [Hz]": f"{rate_hz:.1f}",
            "requests": str(report.traffic.requests),
            "replies lost": str(report.traffic.lost),
            "replies corrupt": str(report.traffic.corrupt),
            "positions rejected": str(report.rejected),
            "requests repeated": str(report.traffic.retried),
            "stalls": str(report.stalls),
        },
    )


def _servo(name: str, reading: HealthReading, report: DriverReport) -> DiagnosticStatus:
    warnings = [finding.text for finding in report.warnings if finding.text.startswith(name)]
    stopped = report.fault is not None and report.fault.text.startswith(name)
    level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    return status(
        name,
        DiagnosticStatus.ERROR if stopped else level,
        report.fault.text if stopped and report.fault else "; ".join(warnings) or "well",
        {
            "temperature [deg C]": f"{reading.temperature:.0f}",
            "voltage [V]": f"{reading.voltage:.1f}",
            "load": f"{reading.load:.2f}",
            "current [A]": f"{reading.current:.2f}",
            "status": status_words(reading.status) or "ok",
        },
    )
