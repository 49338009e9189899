"""ros2_control's own controllers on mock hardware, for the policy node to drive.

Written after ros2_control 4.46 and ros2_controllers 4.42, with the numbers of xarm_ros2's
xarm6_controllers.yaml.
"""

import os
import subprocess
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import rclpy
import yaml
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from robot_cell import RobotCell
from scripted_policy import WavePolicy
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.ros.listening import ControllerState

ARM, GRIPPER = "xarm6_traj_controller", "xarm_gripper_traj_controller"
RATE_HZ = 150
GAP_S = 0.1  # a controller that was silent for longer begins anew
START_TIMEOUT_S = 60.0


def executable(name):
    """Path of a program of controller_manager in the ament prefixes."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / "controller_manager" / name
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"controller_manager has no '{name}' in AMENT_PREFIX_PATH")


def urdf(robot, *, standing_error_rad):
    """A chain of the robot's joints, the arm and the gripper as mock hardware of their own."""
    names = robot.joint_names
    links = "".join(f'<link name="link{i}"/>' for i in range(len(names) + 1))
    joints = "".join(
        f'<joint name="{joint.name}" type="revolute"><parent link="link{i}"/>'
        f'<child link="link{i + 1}"/><axis xyz="0 0 1"/><limit lower="{joint.position_min}" '
        f'upper="{joint.position_max}" velocity="10" effort="100"/></joint>'
        for i, joint in enumerate(robot.joints)
    )
    offset = f'<param name="position_state_following_offset">{standing_error_rad}</param>'
    systems = ""
    for command, parameters in zip(robot.command, (offset, ""), strict=True):
        interfaces = "".join(
            f'<joint name="{name}"><command_interface name="position"/>'
            '<command_interface name="velocity"/><state_interface name="position">'
            f'<param name="initial_value">{robot.home[names.index(name)]}</param>'
            '</state_interface><state_interface name="velocity">'
            '<param name="initial_value">0.0</param></state_interface></joint>'
            for name in command.joints
        )
        systems += (
            f'<ros2_control name="{command.joints[0]}_system" type="system"><hardware>'
            f"<plugin>mock_components/GenericSystem</plugin>{parameters}</hardware>"
            f"{interfaces}</ros2_control>"
        )
    return f'<?xml version="1.0"?><robot name="{robot.name}">{links}{joints}{systems}</robot>'


def parameters(robot):
    """What controller_manager and its controllers are told."""
    arm, gripper = (list(command.joints) for command in robot.command)
    both = ["position", "velocity"]
    constraints = {name: {"trajectory": 1.0, "goal": 0.01} for name in arm}
    constraints |= {"goal_time": 0.5, "stopped_velocity_tolerance": 0.0}
    types = {
        "joint_state_broadcaster": "joint_state_broadcaster/JointStateBroadcaster",
        ARM: "joint_trajectory_controller/JointTrajectoryController",
        GRIPPER: "joint_trajectory_controller/JointTrajectoryController",
    }
    nodes = {
        "controller_manager": {
            "update_rate": RATE_HZ,
            **{name: {"type": kind} for name, kind in types.items()},
        },
        ARM: {
            "joints": arm,
            "command_interfaces": list(both),  # rcl reads no aliases
            "state_interfaces": list(both),
            "constraints": constraints,
        },
        GRIPPER: {
            "joints": gripper,
            "command_interfaces": ["position"],
            "state_interfaces": list(both),
        },
    }
    return {name: {"ros__parameters": values} for name, values in nodes.items()}


class Controllers:
    """A controller manager in a process of its own, its controllers active."""

    def __init__(self, robot, folder, *, standing_error_rad=0.0):
        self._file, self._log = folder / "controllers.yaml", folder / "controller_manager.log"
        self._file.write_text(yaml.safe_dump(parameters(robot)))
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("controllers_of_the_test", context=self._context)
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self._description = self._node.create_publisher(String, "robot_description", latched)
        self._description.publish(String(data=urdf(robot, standing_error_rad=standing_error_rad)))
        command = [executable("ros2_control_node"), "--ros-args", "--params-file", self._file]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._spawn()
        except BaseException:
            self.close()
            raise

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _spawn(self):
        spawner = [executable("spawner"), "joint_state_broadcaster", ARM, GRIPPER]
        spawner += ["--param-file", str(self._file), "--controller-manager-timeout", "30"]
        done = subprocess.run(
            spawner, timeout=START_TIMEOUT_S, capture_output=True, text=True, check=False
        )
        log = self._log.read_text(errors="replace")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"

    def switch(self, *, on=(), off=()):
        """Activate and deactivate controllers, in one cycle of their manager."""
        from controller_manager_msgs.srv import SwitchController

        client = self._node.create_client(SwitchController, "controller_manager/switch_controller")
        assert client.wait_for_service(10.0), client.srv_name
        request = SwitchController.Request(
            activate_controllers=list(on),
            deactivate_controllers=list(off),
            strictness=SwitchController.Request.STRICT,
        )
        future = client.call_async(request)
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        executor.spin_until_future_complete(future, 10.0)
        executor.remove_node(self._node)
        executor.shutdown()
        assert future.done(), "no answer of switch_controller"
        assert future.result().ok, (on, off)


class ControlledCell(RobotCell):
    """Cameras and a client; joint states and controllers are the true ones.

    `states` are the messages of each output's controller, oldest first.
    """

    def __init__(self, robot, capture):
        self.states = {command.state_topic: [] for command in robot.command}
        elsewhere = replace(robot.state, topic="nobody/joint_states")
        super().__init__(replace(robot, state=elsewhere), capture)
        self.joints = False
        for topic, messages in self.states.items():
            self.node.create_subscription(
                ControllerState, topic, messages.append, QoSProfile(depth=500)
            )

    def _add_controller(self, command):
        """Follow nothing: the true controllers do."""

    def listen_afresh(self):
        """Forget what the controllers have said."""
        for messages in self.states.values():
            messages.clear()

    def run(self, seconds):
        time.sleep(seconds)

    def worst(self):
        """Over all outputs: the largest step beyond what velocity and limits explain [rad], when
        it was [s], and the largest acceleration in units of its limit.
        """
        limits = dict(
            zip(self.robot.joint_names, self.robot.acceleration_max.tolist(), strict=True)
        )
        found = [
            seams(list(messages), np.array([limits[name] for name in messages[0].joint_names]))
            for messages in self.states.values()
        ]
        return *max(found)[:2], max(ratio for _, _, ratio in found)


def seams(messages, acceleration_max):
    """What one controller told its drives: its worst step [rad], when [s], its acceleration."""
    stamps = np.array([m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in messages])
    told = np.array(
        [getattr(m, "output", m.reference).positions or m.reference.positions for m in messages]
    )
    assert len(stamps) > RATE_HZ, "the controller was silent"
    gaps = np.diff(stamps)[:, None]
    velocities = np.diff(told, axis=0) / gaps
    whole = (gaps[:-1] < GAP_S) & (gaps[1:] < GAP_S)
    beyond = np.where(whole, np.abs(np.diff(velocities, axis=0)) * gaps[1:], 0.0)
    explained = acceleration_max * gaps[1:] * (gaps[1:] + gaps[:-1]) / 2
    steps = (beyond - explained).max(axis=1)
    return float(steps.max()), float(stamps[2 + steps.argmax()]), float((beyond / explained).max())


class Relay:
    """Stands between the policy and one controller; commands take `delay_s` longer."""

    def __init__(self, controller, *, name, delay_s):
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("relay", context=self._context)
        self._due = deque()
        self._delay_s = delay_s
        node = self._node
        self._out = node.create_publisher(JointTrajectory, f"{controller}/joint_trajectory", 10)
        node.create_subscription(JointTrajectory, f"{name}/joint_trajectory", self._keep, 10)
        state = node.create_publisher(ControllerState, f"{name}/controller_state", 1)
        node.create_subscription(
            ControllerState, f"{controller}/controller_state", state.publish, 1
        )
        node.create_timer(0.001, self._pass_on, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._open = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self):
        self._open = False
        self._thread.join(10)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _keep(self, message):
        self._due.append((time.monotonic() + self._delay_s, message))

    def _pass_on(self):
        while self._due and self._due[0][0] <= time.monotonic():
            self._out.publish(self._due.popleft()[1])

    def _spin(self):
        while self._open:
            self._executor.spin_once(timeout_sec=0.1)


class WideWavePolicy(WavePolicy):
    """Swings far enough for what is left out to be seen, from where the arm was seen."""

    def infer(self, observation, guidance=None):
        chunk = super().infer(observation, guidance)
        robot = self._robot
        room = np.minimum(robot.position_max - robot.home, robot.home - robot.position_min)
        size = np.minimum(0.9 * room, 0.4)
        stamps = np.concatenate([[observation.stamp_ns], chunk.times_ns()])
        wave = np.array(robot.home) + size * np.sin(1.2 * stamps * 1e-9)[:, None]
        away = observation.state - wave[0]
        fading = np.exp(-np.arange(chunk.horizon) / 10.0)[:, None]
        actions = np.clip(wave[1:] + away * fading, robot.position_min, robot.position_max)
        return ActionChunk(
            actions=actions,
            start_ns=chunk.start_ns,
            step_ns=chunk.step_ns,
            observation_stamp_ns=chunk.observation_stamp_ns,
            instruction=chunk.instruction,
        )
