"""The simulated robot as a ROS node, with the topics, types and rates of the real arm.

This is the executor's side: subscriptions, services, timers. Physics and rendering have threads
of their own (sim_loops); what all share is the SimulatedRobot, which locks.
"""

import math
import signal
import sys
import threading
import time
from array import array

import rclpy
from builtin_interfaces.msg import Time as TimeMessage
from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import TaskStatus
from evo1_msgs.srv import ResetTask
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.command_line import printable
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig, load_robot
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import declare_parameters, read_parameters
from evo1_policy.ros.process import full_name, guard_requests
from evo1_policy.ros.qos import OVERRIDABLE, report_qos, state_qos
from evo1_policy.ros.starting import start_ros
from evo1_sim.arms import find_arm
from evo1_sim.rendering import CameraRenderer
from evo1_sim.ros.camera_publisher import CameraPublisher
from evo1_sim.ros.description import DescriptionPublisher
from evo1_sim.ros.fault_parameters import FaultParameters
from evo1_sim.ros.run_meter import RunMeter
from evo1_sim.ros.sim_loops import SimLoops
from evo1_sim.ros.trajectory_messages import FollowedPublisher, read_points
from evo1_sim.sim_parameters import MAX_SEED, SimParameters
from evo1_sim.simulated_robot import JointReading, SimulatedRobot, SimulatedRobotError
from evo1_sim.trajectory import TrajectoryError
from evo1_sim.world import World

TASK_PERIOD_S = 0.1
DIAGNOSTICS_PERIOD_S = 1.0
FRAMES_PERIOD_S = 0.05  # as robot_state_publisher


class SimNode(CleanLog, Node):
    """Node `sim_robot`.

    Args:
        stop: set from outside to end the threads; the node sets it when one of them fails.

    Raises:
        ValueError: a parameter, the robot file or the scene cannot be used.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__("sim_robot")
        declare_parameters(self, SimParameters, read_only=True)
        self._settings = read_parameters(self, SimParameters)
        self._robot = load_robot(self._settings.robot_file)
        name = self._settings.arm or self._robot.name
        arm = find_arm(name, self._robot)
        self._world = World(arm, task=self._settings.task or None, seed=self._settings.seed)
        start_ns = 0 if self._settings.publish_clock else time.time_ns()
        self._simulated = SimulatedRobot(self._world, self._robot, start_ns=start_ns)
        self._succeeded = False
        self._reading: JointReading | None = None
        self._meter = RunMeter(
            camera_rate_hz=self._settings.camera_rate_hz, now_ns=time.monotonic_ns()
        )
        self._make_publishers()
        self._make_inputs()
        self._loops = SimLoops(
            simulated=self._simulated,
            make_renderer=self._make_renderer,
            cameras=self._cameras,
            publish_reading=self._publish_reading,
            camera_rate_hz=self._settings.camera_rate_hz,
            simulation_time=self._settings.publish_clock,
            meter=self._meter,
            stop=stop,
        )

    def _make_publishers(self) -> None:
        self._joint_publisher = self.create_publisher(
            JointState, self._robot.state.topic, state_qos(), qos_overriding_options=OVERRIDABLE
        )
        self._joint_message = JointState(name=list(self._robot.joint_names))
        self._followed = [FollowedPublisher(self, command) for command in self._robot.command]
        self._description = DescriptionPublisher(self, self._robot)
        self._cameras = [
            CameraPublisher(
                self,
                camera,
                width=self._settings.camera_width,
                height=self._settings.camera_height,
                fovy_rad=math.radians(self._world.model.camera(camera.name).fovy[0]),
                compressed=self._settings.publish_compressed,
                jpeg_quality=self._settings.jpeg_quality,
            )
            for camera in self._robot.cameras
        ]
        self._task_publisher = self.create_publisher(
            TaskStatus, "~/task_status", report_qos(), qos_overriding_options=OVERRIDABLE
        )
        self._diagnostics_publisher = self.create_publisher(
            DiagnosticArray, "/diagnostics", report_qos()
        )
        self._clock_publisher = None
        if self._settings.publish_clock:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 1)

    def _make_inputs(self) -> None:
        for output, command in enumerate(self._robot.command):
            self._subscribe(output, command)
        self.create_service(ResetTask, "~/reset", self._reset)
        cameras = {camera.name: camera for camera in self._cameras}
        self._faults = FaultParameters(self, self._simulated, cameras)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # timers that sim time cannot stop
        self.create_timer(TASK_PERIOD_S, self._publish_task, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(FRAMES_PERIOD_S, self._publish_frames, clock=steady)

    def _subscribe(self, output: int, command: CommandConfig) -> None:
        def receive(message: JointTrajectory) -> None:
            self._follow(output, command, message)

        self.create_subscription(
            JointTrajectory,
            command.topic,
            receive,
            QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT),  # as ros2_control
            qos_overriding_options=OVERRIDABLE,
        )

    def start(self) -> None:
        """Start physics and rendering."""
        self._loops.start()
        self.get_logger().info(
            f"simulating {self._robot.name}, task '{self._simulated.task().task}', cameras "
            f"{self._settings.camera_width}x{self._settings.camera_height} at "
            f"{self._settings.camera_rate_hz:g} Hz"
        )

    def close(self) -> bool:
        """End physics and rendering; return whether both had run well."""
        errors = self._loops.close()
        for error in errors:
            self.get_logger().fatal(error)
        return not errors

    def _make_renderer(self) -> CameraRenderer:
        return CameraRenderer(
            self._world,
            width=self._settings.camera_width,
            height=self._settings.camera_height,
            cameras=tuple(camera.name for camera in self._robot.cameras),
        )

    def _publish_reading(self, reading: JointReading) -> None:
        stamp = _stamp(reading.stamp_ns)
        if self._clock_publisher is not None:
            self._clock_publisher.publish(ClockMessage(clock=stamp))
        message = self._joint_message
        message.header.stamp = stamp
        message.position = array("d", reading.positions.tobytes())
        message.velocity = array("d", reading.velocities.tobytes())
        message.effort = array("d", reading.efforts.tobytes())
        self._joint_publisher.publish(message)
        self._reading = reading
        for publisher, followed in zip(self._followed, reading.followed, strict=True):
            if followed is not None:
                publisher.publish(followed)

    def _follow(self, output: int, command: CommandConfig, message: JointTrajectory) -> None:
        try:
            exceeded = self._simulated.accept(
                output,
                read_points(message),
                message.joint_names,
                stamp_ns=stamp_ns(message.header.stamp),
            )
        except TrajectoryError as error:
            self.get_logger().error(f"{command.topic}: trajectory refused: {error}")
            return
        if exceeded:
            self.get_logger().warning(f"{command.topic}: {exceeded}", throttle_duration_sec=1.0)

    def _reset(
        self, request: ResetTask.Request, response: ResetTask.Response
    ) -> ResetTask.Response:
        if request.seed > MAX_SEED:
            response.message = f"seed {request.seed} is too large; expected at most {MAX_SEED}"
            return response
        try:
            response.seed = self._simulated.reset(request.task, request.seed)
        except SimulatedRobotError as error:
            response.message = str(error)
            return response
        self._succeeded = False
        response.success = True
        response.message = f"task '{self._simulated.task().task}', seed {response.seed}"
        self.get_logger().info(f"reset: {response.message}")
        return response

    def _publish_frames(self) -> None:
        reading = self._reading
        if reading is not None:
            self._description.publish_frames(reading.positions, _stamp(reading.stamp_ns))

    def _publish_task(self) -> None:
        reading = self._simulated.task()
        message = TaskStatus(
            task=reading.task,
            seed=reading.seed,
            success=reading.success,
            detail=reading.detail,
            elapsed_s=reading.elapsed_s,
        )
        message.header.stamp = _stamp(reading.stamp_ns)
        self._task_publisher.publish(message)
        if reading.success and not self._succeeded:
            self.get_logger().info(
                f"task '{reading.task}' succeeded {reading.elapsed_s:.1f} s after the reset "
                f"(seed {reading.seed})"
            )
        self._succeeded = reading.success

    def _publish_diagnostics(self) -> None:
        self._diagnostics_publisher.publish(
            self._meter.report(
                name=full_name(self),
                stamp_ns=self._simulated.stamp_ns,
                now_ns=time.monotonic_ns(),
            )
        )


def _stamp(stamp_ns: int) -> TimeMessage:
    return Time(nanoseconds=stamp_ns).to_msg()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit status."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        start_ros(args)
        node = SimNode(stop)
    except (ValueError, RuntimeError) as error:
        rclpy.logging.get_logger("sim_robot").fatal(printable(error, 4096))
        rclpy.try_shutdown()
        return 1
    guard_requests(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.start()
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        well = node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
