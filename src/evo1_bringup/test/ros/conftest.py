"""A relay in a thread of this process, and an arm that does what it is told.

Makes live_listener importable in any import mode.
"""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot

sys.path.insert(0, str(Path(__file__).parent))
PROFILE = Path(__file__).parents[2] / "config" / "fastdds.xml"
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))
TIMEOUT_S = 20.0


class Arm:
    """Joint states at 100 Hz of an arm that is always where it was told to be, and a client."""

    def __init__(self, robot):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSDurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory

        self.robot = robot
        self.positions = dict(zip(robot.joint_names, robot.home, strict=True))
        self.alive = True
        self.stuck = {}  # joint -> where somebody holds it [rad]
        self.flipped = set()  # joints whose drive turns the other way
        self.statuses = []
        self.commands = {output.topic: [] for output in robot.command}
        self._plans = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("arm", context=self._context)
        self._joints = self.node.create_publisher(JointState, robot.state.topic, 10)
        self._message = JointState(name=list(robot.joint_names))
        self.teleop = self.node.create_publisher(JointTrajectory, robot.teleop_topic, 10)
        for output in robot.command:
            self.node.create_subscription(
                JointTrajectory, output.topic, self._receiver(output.topic), 10
            )
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(
            String, "teleop_relay/status", lambda m: self.statuses.append(m.data), latched
        )
        self._clients = {
            name: self.node.create_client(Trigger, f"teleop_relay/{name}")
            for name in ("pause", "resume", "stop", "clear_stop")
        }
        self._stop = self.node.create_publisher(Bool, "stop", 1)
        self.node.create_timer(0.01, self._publish)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._open = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self):
        import rclpy

        self._open = False
        self._thread.join(TIMEOUT_S)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def demonstrate(self, names, positions):
        """Say once where the joints shall be now."""
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        point = JointTrajectoryPoint(positions=[float(value) for value in positions])
        self.teleop.publish(JointTrajectory(joint_names=list(names), points=[point]))

    def keep_demonstrating(self, names, positions, until, what):
        """Say it at 50 Hz until a condition holds."""
        end = time.monotonic() + TIMEOUT_S
        while not until():
            assert time.monotonic() < end, f"no {what}; {self.statuses}"
            self.demonstrate(names, positions)
            time.sleep(0.02)

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"no {what}; {self.statuses}"
            time.sleep(0.01)

    def call(self, name):
        """What a service of the relay answers."""
        from std_srvs.srv import Trigger

        client = self._clients[name]
        self.wait(client.service_is_ready, name)
        future = client.call_async(Trigger.Request())
        self.wait(future.done, "answer")
        return future.result()

    def stop_by_topic(self, *, stop):
        from std_msgs.msg import Bool

        self.wait(lambda: self._stop.get_subscription_count() > 0, "listener")
        self._stop.publish(Bool(data=stop))

    def says(self, text):
        return bool(self.statuses) and self.statuses[-1].startswith(text)

    def _receiver(self, topic):
        def receive(message):
            self.commands[topic].append(message)
            start = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            times = [
                start + point.time_from_start.sec + point.time_from_start.nanosec * 1e-9
                for point in message.points
            ]
            rows = np.array([point.positions for point in message.points])
            for column, name in enumerate(message.joint_names):
                if name in self.stuck:
                    continue
                self._plans[name] = (times, rows[:, column])

        return receive

    def _publish(self):
        if not self.alive:
            return
        now = self.node.get_clock().now()
        for name, (times, values) in self._plans.items():
            at = float(np.interp(now.nanoseconds * 1e-9, times, values))
            home = self.robot.home[self.robot.joint_names.index(name)]
            self.positions[name] = 2 * home - at if name in self.flipped else at
        self.positions.update(self.stuck)
        self._message.header.stamp = now.to_msg()
        self._message.position = list(self.positions.values())
        self._joints.publish(self._message)

    def _spin(self):
        while self._open:
            self._executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def robot_file(robots_dir, tmp_path):
    """The xArm6's, with patience for a busy machine."""
    file = tmp_path / "patient.yaml"
    text = (robots_dir / "xarm6.yaml").read_text()
    file.write_text(
        text.replace(
            "{topic: joint_states, max_age_ms: 100}", "{topic: joint_states, max_age_ms: 800}"
        )
    )
    return file


@pytest.fixture
def relay(robot_file):
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from evo1_bringup.ros.teleop_relay_node import TeleopRelayNode

    context = rclpy.Context()
    rclpy.init(context=context)
    file = Parameter("robot_file", value=str(robot_file))
    node = TeleopRelayNode(context=context, parameter_overrides=[file])
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    running = threading.Event()

    def spin():
        while not running.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node
    running.set()
    thread.join(TIMEOUT_S)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def arm(relay, robot_file):
    arm = Arm(load_robot(robot_file))
    arm.wait(lambda: arm.says("waiting"), "status")
    arm.wait(lambda: arm.teleop.get_subscription_count() > 0, "relay that listens")
    yield arm
    arm.close()
