"""Gripper trajectories as goals of either action, where control_msgs is installed."""

import time
from types import SimpleNamespace

import pytest

from evo1_policy.robot_joints import GripperConfig

pytestmark = pytest.mark.ros

TIMEOUT_S = 30.0


class Cell:
    """A gripper with an action, the bridge, and a client."""

    def __init__(self, action, command, names):
        import control_msgs.action
        import rclpy
        from rclpy.action import ActionServer
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        from evo1_bringup.ros.gripper_bridge_node import GripperBridgeNode
        from evo1_policy.ros.listening import ControllerState, controller_state_qos

        self.node, self._bridge = rclpy.create_node("gripper"), GripperBridgeNode()
        self._joint, self._names = command.joints[0], names
        self.goals, self.states = [], []
        kind = getattr(control_msgs.action, action)
        self._server = ActionServer(self.node, kind, "gripper_action", self._execute)
        self._result = kind.Result
        self._commands = self.node.create_publisher(JointTrajectory, command.topic, 10)
        self.controller = []
        self.node.create_subscription(
            ControllerState, command.state_topic, self.controller.append, controller_state_qos()
        )
        self._driver = self.node.create_publisher(JointState, "driver_states", 10)
        self.node.create_subscription(JointState, "joint_states", self.states.append, 10)
        self.node.create_timer(0.02, self._tick)
        self._executor = SingleThreadedExecutor()
        for node in (self.node, self._bridge):
            self._executor.add_node(node)

    def close(self):
        self._executor.shutdown()
        self._server.destroy()
        self.node.destroy_node()
        self._bridge.destroy_node()

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"no {what}; {self.goals}"
            self._executor.spin_once(timeout_sec=0.05)

    def send(self, position, seconds):
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        self.wait(lambda: self._commands.get_subscription_count() > 0, "bridge")
        point = JointTrajectoryPoint(positions=[position], velocities=[0.0])
        point.time_from_start.sec = seconds
        self._commands.publish(JointTrajectory(joint_names=[self._joint], points=[point]))

    def _execute(self, handle):
        self.goals.append(handle.request.command)
        handle.succeed()
        return self._result()

    def _tick(self):
        """As the xArm's driver: the arm, and the gripper in a message of its own."""
        from sensor_msgs.msg import JointState

        stamp = self.node.get_clock().now().to_msg()
        arm = [name for name in self._names if name != self._joint]
        for names in (arm, [self._joint]):
            message = JointState(name=names, position=[0.1] * len(names))
            message.header.stamp = stamp
            self._driver.publish(message)


@pytest.fixture
def start(robots_dir):
    pytest.importorskip("control_msgs", reason="control_msgs is not installed here")
    import rclpy

    from evo1_bringup.ros.gripper_bridge_node import gripper_output
    from evo1_policy.robot_config import load_robot

    cells = []

    def begin(robot, **given):
        words = {
            "robot_file": robots_dir / f"{robot}.yaml",
            "driver_joint_states": "driver_states",
            "gripper_action": "gripper_action",
            **given,
        }
        arguments = [part for name in words for part in ("-p", f"{name}:={words[name]}")]
        rclpy.init(args=["--ros-args", *arguments])
        config = load_robot(robots_dir / f"{robot}.yaml")
        command, _ = gripper_output(config)
        action = given.get("action_type", "GripperCommand")
        cells.append(Cell(action, command, config.joint_names))
        cells[-1].wait(lambda: cells[-1]._bridge._position is not None, "gripper state")
        return cells[-1]

    yield begin
    for cell in cells:
        cell.close()
    rclpy.shutdown()


def test_the_xarms_gripper_gets_few_goals_and_its_state_is_merged(start):
    cell = start("xarm6")
    cell.send(0.6, 1)
    cell.wait(lambda: cell.goals and abs(cell.goals[-1].position - 0.6) < 0.021, "goals")
    assert 2 <= len(cell.goals) < 9  # a trajectory of one second at 50 Hz would be 50
    cell.wait(
        lambda: abs(cell.controller[-1].reference.positions[0] - 0.6) < 1e-6, "what is commanded"
    )
    assert list(cell.controller[-1].joint_names) == [cell._joint]
    assert list(cell.controller[-1].feedback.positions) == [0.1]
    cell.wait(lambda: cell.states, "merged states")
    assert set(cell.states[-1].name) == {*cell._names}


def test_the_so100s_gripper_takes_parallel_goals_and_nothing_is_republished(start):
    cell = start("ros2_control/so100", action_type="ParallelGripperCommand", merge_states="false")
    cell.send(1.5, 1)
    cell.wait(lambda: cell.goals and abs(cell.goals[-1].position[0] - 1.5) < 0.021, "goals")
    assert list(cell.goals[-1].name) == ["gripper_joint"]
    assert cell.states == []


def test_numbers_that_no_gripper_could_mean_change_nothing(start):
    cell = start("xarm6")
    for value in (1e308, float("nan"), -1e308):
        cell.send(value, 1)
    cell.send(0.4, 1)
    cell.wait(lambda: cell.goals and abs(cell.goals[-1].position - 0.4) < 0.021, "goals")
    assert all(0.0 <= goal.position <= 0.42 for goal in cell.goals)


@pytest.mark.parametrize(
    ("action", "effort", "sent"),
    [
        ("GripperCommand", None, (0.6, 0.0)),
        ("GripperCommand", 20.0, (0.6, 20.0)),
        ("ParallelGripperCommand", None, (["finger"], [0.6], [])),
        ("ParallelGripperCommand", 20.0, (["finger"], [0.6], [20.0])),
    ],
)
def test_a_goal_carries_the_effort_of_the_robot_file(action, effort, sent):
    from evo1_bringup.ros.gripper_bridge_node import fill_goal

    goal = SimpleNamespace(command=SimpleNamespace())  # control_msgs is not everywhere
    gripper = GripperConfig(joint="finger", open=0.0, closed=0.8, effort=effort)
    fill_goal(goal, action, position=0.6, gripper=gripper)
    command = goal.command
    if action == "GripperCommand":
        assert (command.position, command.max_effort) == sent
    else:
        assert (command.name, list(command.position), list(command.effort)) == sent
