"""The SO-100 on its servo bus as a lifecycle node: joint_states out, JointTrajectory in.

A thread of its own runs the bus at 100 Hz; the executor serves topics, services and transitions.
One lock around the driver core (drivers/so100_driver.py) keeps them apart.
"""

import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.so100_calibration import load_calibration
from evo1_bringup.drivers.so100_driver import So100Driver
from evo1_bringup.ros.so100_diagnostics import diagnostics_message
from evo1_bringup.ros.so100_parameters import (
    DriverParameters,
    declare_parameters,
    read_parameters,
)
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig, RobotConfig, RobotConfigError, load_robot
from evo1_policy.ros.process import ManagedNode, full_name, run_managed
from evo1_policy.ros.qos import (
    ARM_FAULT_TOPIC,
    OVERRIDABLE,
    command_qos,
    fault_qos,
    report_qos,
    state_qos,
)
from evo1_sim.pacing import Pacer
from evo1_sim.ros.trajectory_messages import read_points
from evo1_sim.trajectory import TrajectoryError

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
    joints: Publisher
    diagnostics: Publisher
    faults: Publisher
    recover: Service


@dataclass(frozen=True, kw_only=True)
class Active:
    """What exists from activate to deactivate."""

    commands: tuple[Subscription, ...]
    thread: threading.Thread
    ended: threading.Event


class So100DriverNode(ManagedNode):
    """Node `so100_driver`.

    Args:
        arguments: go to the node's constructor.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__("so100_driver", **arguments)
        declare_parameters(self)
        self._lock = threading.Lock()
        self._configured: Configured | None = None
        self._active: Active | None = None
        self._told = ""  # the fault that the log has already
        self._cycles = 0
        self._counted_ns = time.monotonic_ns()
        self._rate_hz = 0.0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=steady)

    # -- lifecycle -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the port, find and check every servo; the arm stays limp."""
        try:
            self._configured = self._configure(read_parameters(self))
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
        thread = threading.Thread(target=self._run, args=(configured, ended), daemon=True)
        commands = tuple(self._listen(configured, command) for command in configured.robot.command)
        self._active = Active(commands=commands, thread=thread, ended=ended)
        thread.start()
        self.get_logger().info("holding the arm where it stands; joint states at 100 Hz")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Slow to rest, then torque off."""
        active, self._active = self._active, None
        if active is not None and self._configured is not None:
            for command in active.commands:
                self.destroy_subscription(command)
            self._rest(self._configured.driver)
            active.ended.set()
            active.thread.join()
            self._let_go(self._configured.driver)
        return super().on_deactivate(state)

    # -- events ----------------------------------------------------------------------------

    def _recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        configured = self._configured
        if self._active is None or configured is None:
            response.message = "the node is not active; activate it"
            return response
        with self._lock:
            if configured.driver.fault is None:
                response.message = f"nothing to recover from: {configured.driver.state.value}"
                return response
            self.get_logger().warning("recovering: torque off for a moment, then holding")
            try:
                configured.driver.recover()
            except BusError as error:
                response.message = str(error)
                return response
        response.success = True
        response.message = "holding the arm where it stands"
        self.get_logger().info(response.message)
        return response

    def _follow(self, command: CommandConfig, message: JointTrajectory) -> None:
        if self._configured is None:
            return
        try:
            with self._lock:
                self._configured.driver.follow(
                    read_points(message),
                    message.joint_names,
                    stamp_ns=stamp_ns(message.header.stamp),
                )
        except TrajectoryError as error:
            self.get_logger().error(
                f"{command.topic}: trajectory refused: {error}", throttle_duration_sec=1.0
            )

    def _run(self, configured: Configured, ended: threading.Event) -> None:
        """On the bus thread."""
        message = JointState(name=list(configured.robot.joint_names))
        pacer = Pacer(period_ns=PERIOD_NS, max_lag_ns=MAX_LAG_NS, now_ns=time.monotonic_ns())
        while not ended.is_set():
            wait_ns = pacer.wait_ns(time.monotonic_ns())
            if wait_ns:
                time.sleep(wait_ns * 1e-9)
                continue
            pacer.tick()
            with self._lock:
                stamp = self.get_clock().now()
                reading = configured.driver.cycle()
            self._tell_fault(configured)
            if reading is None or ended.is_set():
                continue
            message.header.stamp = stamp.to_msg()
            message.position = array("d", reading.positions.tobytes())
            message.velocity = array("d", reading.velocities.tobytes())
            configured.joints.publish(message)

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
        cycles = self._configured.driver.report().cycles
        self._rate_hz = (cycles - self._cycles) / max((now_ns - self._counted_ns) * 1e-9, 1e-3)
        self._cycles, self._counted_ns = cycles, now_ns
        self._publish_diagnostics(self._configured)

    def _publish_diagnostics(self, configured: Configured) -> None:
        configured.diagnostics.publish(
            diagnostics_message(
                configured.driver.report(),
                node=full_name(self),
                port=configured.parameters.port,
                rate_hz=self._rate_hz,
                stamp=self.get_clock().now().to_msg(),
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
        servos = load_calibration(parameters.calibration, robot.joint_names)
        driver = So100Driver(
            lambda traffic: FeetechBus(
                parameters.port,
                timeout_s=parameters.reply_timeout_ms * 1e-3,
                traffic=traffic,
            ),
            servos,
            robot,
            now_ns=self._now_ns,
            settings=parameters.settings,
        )
        driver.open()
        return Configured(
            parameters=parameters,
            robot=robot,
            driver=driver,
            joints=self.create_publisher(
                JointState, robot.state.topic, state_qos(), qos_overriding_options=OVERRIDABLE
            ),
            diagnostics=self.create_publisher(DiagnosticArray, "/diagnostics", report_qos()),
            faults=self.create_publisher(String, ARM_FAULT_TOPIC, fault_qos()),
            recover=self.create_service(Trigger, "~/recover", self._recover),
        )

    def _listen(self, configured: Configured, command: CommandConfig) -> Subscription:
        return self.create_subscription(
            JointTrajectory,
            command.topic,
            lambda message: self._follow(command, message),
            command_qos(),
            qos_overriding_options=OVERRIDABLE,
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


if __name__ == "__main__":
    sys.exit(main())
