"""The xArm's nodes against a box that answers as xarm_api does, where xarm_msgs is built."""

import time

import numpy as np
import pytest

from evo1_bringup.drivers.xarm_faults import ONLINE_MODE

pytestmark = pytest.mark.ros

JOINTS = [f"joint{index}" for index in range(1, 7)]
HOME = np.array([0.0, -0.35, -0.85, 0.0, 1.2, 0.0])
TIMEOUT_S = 30.0


class ControlBox:
    """Services, reports and joint states of the driver; the arm goes where it is told."""

    def __init__(self, node):
        from sensor_msgs.msg import JointState

        from evo1_bringup.ros.xarm_monitor_node import xarm_interfaces

        messages, services = xarm_interfaces()
        self._node, self._message = node, messages.RobotMsg
        self.state, self.mode, self.error = 4, 0, 31
        self.angles, self.goal, self.speed = HOME.copy(), HOME.copy(), 0.0
        self.calls, self.moves = [], 0
        self._reports = node.create_publisher(messages.RobotMsg, "/xarm/robot_states", 10)
        self._joints = node.create_publisher(JointState, "joint_states", 10)
        self._state = JointState(name=[*JOINTS, "drive_joint"])
        for name, kind in (
            ("clean_error", services.Call),
            ("clean_warn", services.Call),
            ("motion_enable", services.SetInt16ById),
            ("set_mode", services.SetInt16),
            ("set_state", services.SetInt16),
        ):
            node.create_service(kind, f"/xarm/{name}", self._answer(name))
        node.create_service(services.MoveJoint, "/xarm/set_servo_angle", self._move)
        self._then = time.monotonic()
        node.create_timer(0.01, self._tick)

    def _answer(self, name):
        def answer(request, response):
            self.calls.append(name)
            if name == "clean_error":
                self.error = 0
            elif name == "set_mode":
                self.mode, self.state = request.data, 4
            elif name == "set_state" and not self.error:
                self.state = 2
            return response

        return answer

    def _move(self, request, response):
        if self.error or self.mode != ONLINE_MODE:
            response.ret = 9
            return response
        self.goal, self.speed = np.array(request.angles), request.speed
        self.moves += 1
        return response

    def _tick(self):
        now = time.monotonic()
        reach, self._then = self.speed * (now - self._then), now
        way = self.goal - self.angles
        furthest = np.abs(way).max()
        if furthest > 1e-6:
            self.angles = self.angles + way * min(1.0, reach / furthest)
        self._reports.publish(
            self._message(state=self.state, mode=self.mode, err=self.error, warn=0)
        )
        self._state.position = [*self.angles.tolist(), 0.0]
        self._state.header.stamp = self._node.get_clock().now().to_msg()
        self._joints.publish(self._state)


@pytest.fixture
def cell(robots_dir):
    """A box, both nodes and a client on one executor."""
    pytest.importorskip("xarm_msgs", reason="xarm_msgs comes with xarm_ros2 (robots.repos)")
    import rclpy

    file = f"robot_file:={robots_dir / 'xarm6.yaml'}"
    rclpy.init(args=["--ros-args", "-p", file, "-p", f"mode:={ONLINE_MODE}"])
    cell = Cell()
    yield cell
    cell.close()
    rclpy.shutdown()


class Cell:
    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, QoSReliabilityPolicy
        from std_msgs.msg import Bool, String
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory

        from evo1_bringup.ros.xarm_direct_node import XarmDirectNode
        from evo1_bringup.ros.xarm_monitor_node import XarmMonitorNode
        from evo1_policy.ros.listening import ControllerState, controller_state_qos
        from evo1_policy.ros.qos import ARM_FAULT_TOPIC, fault_qos

        self.node = rclpy.create_node("client")
        self._nodes = [self.node, XarmMonitorNode(), XarmDirectNode()]
        self.box = ControlBox(self.node)
        self.faults = []
        self.node.create_subscription(
            String, ARM_FAULT_TOPIC, lambda message: self.faults.append(message.data), fault_qos()
        )
        self._commands = self.node.create_publisher(
            JointTrajectory, "xarm6_traj_controller/joint_trajectory", 10
        )
        self.controller = []
        self.node.create_subscription(
            ControllerState,
            "xarm6_traj_controller/controller_state",
            self.controller.append,
            controller_state_qos(),
        )
        best_effort = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self.stop = self.node.create_publisher(Bool, "stop", best_effort)
        self._recover = self.node.create_client(Trigger, "xarm_monitor/recover")
        self._executor = SingleThreadedExecutor()
        for node in self._nodes:
            self._executor.add_node(node)

    def close(self):
        self._executor.shutdown()
        for node in self._nodes:
            node.destroy_node()

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"no {what}; {self.faults[-1:]}"
            self._executor.spin_once(timeout_sec=0.05)

    def send(self, angles, seconds):
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        self.wait(lambda: self._commands.get_subscription_count() > 0, "translator")
        point = JointTrajectoryPoint(positions=list(angles), velocities=[0.0] * 6)
        point.time_from_start.sec = seconds
        self._commands.publish(JointTrajectory(joint_names=JOINTS, points=[point]))

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def recover(self):
        from std_srvs.srv import Trigger

        self.wait(self._recover.service_is_ready, "recovery")
        future = self._recover.call_async(Trigger.Request())
        self.wait(future.done, "answer")
        return future.result()


def test_a_fault_is_named_recovery_enables_and_targets_are_followed(cell):
    cell.wait(lambda: cell.faults and cell.faults[-1].startswith("box_error_31"), "fault")
    assert "look for what the arm ran into" in cell.faults[-1]
    away = HOME + [0.3, 0, 0, 0, 0, 0]  # noqa: RUF005  an array
    cell.send(away, 1)
    cell.spin(0.5)
    assert cell.box.moves == 0
    assert cell.recover().success
    cell.wait(lambda: cell.box.state == 2 and cell.faults[-1] == "", "end of the fault")
    assert cell.box.calls == [
        "clean_error",
        "clean_warn",
        "motion_enable",
        "set_mode",
        "set_state",
    ]
    assert cell.box.mode == ONLINE_MODE
    cell.send(away, 1)
    cell.wait(lambda: np.abs(cell.box.angles - away).max() < 0.01, "motion")
    assert cell.box.moves > 5
    cell.box.error, cell.box.state = 22, 4
    cell.wait(lambda: cell.faults[-1].startswith("box_error_22"), "second fault")
    moves = cell.box.moves
    cell.send(HOME, 1)
    cell.spin(0.5)
    assert cell.box.moves == moves


def test_a_stop_latches_and_numbers_that_no_joint_could_mean_are_refused(cell):
    from std_msgs.msg import Bool

    cell.wait(lambda: cell.faults and cell.faults[-1], "fault")
    cell.spin(0.3)
    cell.controller.clear()
    cell.spin(0.3)
    assert not cell.controller  # a box that has stopped follows nothing
    assert cell.recover().success
    cell.wait(lambda: cell.box.state == 2 and cell.faults[-1] == "", "end of the fault")
    for value in (float("nan"), 1e308, float("-inf")):
        cell.send([value, *HOME[1:]], 1)
    cell.spin(0.5)
    assert cell.box.moves == 0
    cell.send(HOME + [0.8, 0, 0, 0, 0, 0], 2)  # noqa: RUF005  an array
    cell.wait(lambda: cell.box.angles[0] > 0.1, "motion")
    assert cell.controller[-1].reference.velocities[0] > 0.0
    cell.wait(lambda: cell.stop.get_subscription_count() > 0, "translator that hears stop")
    cell.stop.publish(Bool(data=True))
    cell.wait(lambda: not any(cell.controller[-1].reference.velocities), "rest")
    moves, asked = cell.box.moves, cell.box.goal[0]
    assert asked < 0.75
    cell.send(HOME, 1)
    cell.spin(0.5)
    assert cell.box.moves == moves
    cell.stop.publish(Bool(data=False))
    cell.spin(0.3)
    cell.send(HOME, 1)
    cell.wait(lambda: np.abs(cell.box.angles - HOME).max() < 0.01, "motion again")
