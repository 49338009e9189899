"""The launch files, read by the true launch, and run."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evo1_bringup.launchable import LAUNCHABLE, arguments_of
from evo1_bringup.options import parse_options

pytestmark = pytest.mark.launch_files  # launch_pytest takes the name launch for itself

LAUNCH_DIR = Path(__file__).resolve().parents[1] / "launch"
SHELL: dict[str, str] = {}


def description_of(robot: str):
    file = LAUNCH_DIR / f"{robot}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{robot}_launch", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def actions_of(robot: str, **given: str):
    from evo1_bringup.launching import launch_actions
    from evo1_bringup.system import describe

    return launch_actions(describe(robot, parse_options(robot, given)), SHELL)


def nodes_of(actions):
    from launch_ros.actions import Node

    return [action for action in actions if isinstance(action, Node)]


@pytest.mark.parametrize("name", LAUNCHABLE)
def test_every_option_is_an_argument_with_its_description(name):
    arguments = {item.name: item for item in description_of(name).get_launch_arguments()}
    assert list(arguments) == [option.name for option in arguments_of(name)]
    for option in arguments_of(name):
        assert option.description in arguments[option.name].description


def test_simulation_starts_two_nodes():
    nodes = nodes_of(actions_of("xarm6"))
    assert [node.node_package for node in nodes] == ["evo1_sim", "evo1_policy"]


def test_teleop_and_record_start_the_relay_and_the_recorder():
    nodes = nodes_of(actions_of("so100", teleop="true", record="true"))
    assert [node.node_executable for node in nodes] == ["sim_robot", "teleop_relay", "recorder"]


def test_shell_keeps_its_own_image_profile():
    from launch.actions import SetEnvironmentVariable

    from evo1_bringup.launching import launch_actions
    from evo1_bringup.system import PROFILE_VARIABLE, describe

    system = describe("xarm6", parse_options("xarm6", {}))
    for shell, count in (({}, 1), ({PROFILE_VARIABLE: "/mine.xml"}, 0)):
        made = launch_actions(system, shell)
        assert sum(isinstance(action, SetEnvironmentVariable) for action in made) == count


def test_real_xarm6_includes_the_drivers_launch_files(monkeypatch, tmp_path):
    from launch.actions import IncludeLaunchDescription

    for package, name in (
        ("xarm_description", "_robot_description.launch.py"),
        ("xarm_controller", "_ros2_control.launch.py"),
    ):
        file = tmp_path / "share" / package / "launch" / name
        file.parent.mkdir(parents=True)
        file.touch()
    found = f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}"
    monkeypatch.setenv("AMENT_PREFIX_PATH", found)
    actions = actions_of("xarm6", robot_ip="10.0.0.2")
    includes = [action for action in actions if isinstance(action, IncludeLaunchDescription)]
    assert len(includes) == 2
    assert ("robot_ip", "10.0.0.2") in list(includes[1].launch_arguments)
    assert [node.node_package for node in nodes_of(actions)] == [
        "controller_manager",
        "evo1_bringup",
        "evo1_bringup",
        "evo1_policy",
    ]


def test_the_drivers_of_a_real_arm_are_put_into_its_namespace(monkeypatch, tmp_path):
    from launch import LaunchContext
    from launch.actions import GroupAction
    from launch_ros.actions import PushRosNamespace

    file = tmp_path / "share" / "xarm_api" / "launch" / "xarm6_driver.launch.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    actions = actions_of("xarm6", robot_ip="10.0.0.2", driver="direct", namespace="left")
    group = next(action for action in actions if isinstance(action, GroupAction))
    pushed = [a for a in group.get_sub_entities() if isinstance(a, PushRosNamespace)]
    context = LaunchContext()
    pushed[0].execute(context)
    assert context.launch_configurations["ros_namespace"] == "/left"


class Launched:
    """A launch file running in a process of its own."""

    def __init__(self, robot: str, log: Path, arguments: dict[str, str]) -> None:
        code = (
            "import sys\n"
            "from launch import LaunchDescription, LaunchService\n"
            "from launch.actions import IncludeLaunchDescription\n"
            "from launch.launch_description_sources import PythonLaunchDescriptionSource\n"
            f"source = PythonLaunchDescriptionSource({str(LAUNCH_DIR / f'{robot}.launch.py')!r})\n"
            "service = LaunchService()\n"
            "service.include_launch_description(LaunchDescription([IncludeLaunchDescription(\n"
            f"    source, launch_arguments={list(arguments.items())!r})]))\n"
            "sys.exit(service.run())\n"
        )
        self.log = log
        self._file = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def text(self) -> str:
        return self.log.read_text()

    def interrupt(self) -> int:
        """SIGINT once, to the launch process alone."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._file.close()


@pytest.fixture
def launched(tmp_path) -> Iterator:
    started: list[Launched] = []

    def start(robot: str, **arguments: str) -> Launched:
        started.append(Launched(robot, tmp_path / "launch.log", arguments))
        return started[-1]

    yield start
    for item in started:
        item.close()


def wait_for_status(launched: Launched, namespace: str = "") -> object:
    """The first status of the policy once it gets observations."""
    import rclpy
    from evo1_msgs.msg import PolicyStatus

    rclpy.init()
    node = rclpy.create_node("launch_test")
    heard: list[PolicyStatus] = []
    node.create_subscription(PolicyStatus, f"{namespace}/policy/status", heard.append, 10)
    end = time.monotonic() + 240  # two policies load on a busy machine
    try:
        while not (heard and heard[-1].observation_age_ms >= 0):
            assert launched.process.poll() is None, launched.text()
            assert time.monotonic() < end, launched.text()
            rclpy.spin_once(node, timeout_sec=0.1)
        return heard[-1]
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.ros
@pytest.mark.gl
@pytest.mark.parametrize("robot", ["xarm6", "so100"])
def test_launch_runs_the_system_and_one_sigint_ends_it_cleanly(robot, launched):
    system = launched(robot, namespace="left", instruction="on", seed="3", autostart="false")
    status = wait_for_status(system, namespace="/left")
    assert status.robot == robot
    assert status.instruction == "on"
    assert status.state == status.IDLE
    assert system.interrupt() == 0, system.text()
    assert system.text().count("process has finished cleanly") == 2, system.text()
    assert "process has died" not in system.text()


@pytest.mark.ros
@pytest.mark.gl
def test_two_arms_run_in_one_launch_and_one_sigint_ends_both(launched):
    small = {"camera_width": "64", "camera_height": "48", "autostart": "false"}
    system = launched("two_arms", right_robot="so100", right_instruction="on", **small)
    for side, robot in (("left", "xarm6"), ("right", "so100")):
        assert wait_for_status(system, namespace=f"/{side}").robot == robot
    assert system.interrupt() == 0, system.text()
    assert system.text().count("process has finished cleanly") == 4, system.text()


@pytest.mark.ros
def test_launch_ends_when_the_policy_cannot_run(launched, tmp_path):
    system = launched("xarm6", checkpoint=str(tmp_path))  # an empty folder
    assert system.process.wait(timeout=90) is not None
    assert "policy ended with exit code" in system.text()
    assert "sim_robot-1]: process has finished cleanly" in system.text()


@pytest.mark.ros
def test_launch_with_a_wrong_option_names_it(launched):
    system = launched("xarm6", seed="many")
    assert system.process.wait(timeout=60) != 0
    assert "seed: expected an integer, got 'many'" in system.text()


@pytest.mark.ros
@pytest.mark.gl
def test_launch_with_teleop_and_record_starts_the_relay_and_the_recorder(launched, tmp_path):
    system = launched("xarm6", teleop="true", record="true", record_root=str(tmp_path / "takes"))
    end = time.monotonic() + 60
    started = ("following /teleop/joint_trajectory", f"episodes go to {tmp_path / 'takes'}")
    while not all(words in system.text() for words in started):
        assert system.process.poll() is None, system.text()
        assert time.monotonic() < end, system.text()
        time.sleep(0.05)
    assert system.interrupt() == 0, system.text()
    assert system.text().count("process has finished cleanly") == 3, system.text()
