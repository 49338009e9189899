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
import yaml

from evo1_bringup.options import parse_options
from evo1_bringup.system import arguments_of

pytestmark = pytest.mark.launch_files  # launch_pytest takes the name launch for itself

LAUNCH_DIR = Path(__file__).resolve().parents[1] / "launch"
LAUNCHES = sorted(file.name.removesuffix(".launch.py") for file in LAUNCH_DIR.iterdir())
SHELL: dict[str, str] = {}


def description_of(robot: str):
    file = LAUNCH_DIR / f"{robot}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{robot}_launch", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


REAL = {"robot_ip": "10.0.0.2", "teleop": "true"}


def actions_of(robot: str, **given: str):
    from evo1_bringup.launching import launch_actions
    from evo1_bringup.system import describe

    return launch_actions(describe(robot, parse_options(robot, given)), SHELL)


def nodes_of(actions):
    from launch_ros.actions import Node

    return [action for action in actions if isinstance(action, Node)]


@pytest.mark.parametrize("name", LAUNCHES)
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


def test_shell_keeps_its_own_image_profile_and_the_range_in_which_it_is_found():
    from launch.actions import SetEnvironmentVariable

    from evo1_bringup.discovery import PROFILE, RANGE
    from evo1_bringup.launching import launch_actions
    from evo1_bringup.system import describe

    system = describe("xarm6", parse_options("xarm6", {}))
    for shell, count in (({}, 2), ({PROFILE: "/mine.xml"}, 1), ({RANGE: "SUBNET"}, 1)):
        made = launch_actions(system, shell)
        assert sum(isinstance(action, SetEnvironmentVariable) for action in made) == count


def test_real_xarm6_gives_one_robot_description_to_both_launch_files(monkeypatch, tmp_path):
    from launch.actions import GroupAction, IncludeLaunchDescription

    for package, name in (
        ("xarm_description", "launch/_robot_description.launch.py"),
        ("xarm_controller", "launch/_ros2_control.launch.py"),
        ("xarm_description", "urdf/xarm_device.urdf.xacro"),
    ):
        file = tmp_path / "share" / package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    program(tmp_path / "bin" / "xacro", 'echo "<robot>$*</robot>"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    actions = actions_of("xarm6", **REAL)
    groups = [action for action in actions if isinstance(action, GroupAction)]
    includes = [
        entity
        for group in groups
        for entity in group.get_sub_entities()
        if isinstance(entity, IncludeLaunchDescription)
    ]
    given = [dict(include.launch_arguments) for include in includes]
    urdfs = {yaml.safe_load(one["robot_description"])["robot_description"] for one in given}
    assert len(given) == 2
    assert len(urdfs) == 1
    assert "robot_ip:=10.0.0.2" in urdfs.pop()
    assert [node.node_package for node in nodes_of(actions)] == [
        "controller_manager",
        "evo1_bringup",
        "evo1_bringup",
        "evo1_bringup",
    ]


def program(file: Path, script: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/bash\n{script}\n")
    file.chmod(0o755)


def test_the_drivers_of_a_real_arm_are_put_into_its_namespace(monkeypatch, tmp_path):
    from launch import LaunchContext
    from launch.actions import GroupAction
    from launch_ros.actions import PushRosNamespace

    file = tmp_path / "share" / "xarm_api" / "launch" / "xarm6_driver.launch.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    actions = actions_of("xarm6", **REAL, driver="direct", namespace="left")
    group = next(action for action in actions if isinstance(action, GroupAction))
    pushed = [a for a in group.get_sub_entities() if isinstance(a, PushRosNamespace)]
    context = LaunchContext()
    pushed[0].execute(context)
    assert context.launch_configurations["ros_namespace"] == "/left"


class Launched:
    """A launch file, or the programs of a script, in a process of its own."""

    def __init__(self, robot: str, log: Path, arguments: dict[str, str], code: str = "") -> None:
        code = code or (
            "from launch.actions import IncludeLaunchDescription\n"
            "from launch.launch_description_sources import PythonLaunchDescriptionSource\n"
            f"source = PythonLaunchDescriptionSource({str(LAUNCH_DIR / f'{robot}.launch.py')!r})\n"
            f"given = {list(arguments.items())!r}\n"
            "actions = [IncludeLaunchDescription(source, launch_arguments=given)]\n"
        )
        code += (
            "import sys\n"
            "from launch import LaunchDescription, LaunchService\n"
            "service = LaunchService(noninteractive=True)\n"
            "service.include_launch_description(LaunchDescription(actions))\n"
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
        return self.process.wait(timeout=60)

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + 60
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._file.close()


@pytest.fixture
def launched(tmp_path) -> Iterator:
    started: list[Launched] = []

    def start(robot: str, *, code: str = "", **arguments: str) -> Launched:
        started.append(Launched(robot, tmp_path / "launch.log", arguments, code))
        return started[-1]

    yield start
    for item in started:
        item.close()


_FOREVER = "while :; do sleep 0.05; done"
_INCLUDED = """
from launch import LaunchDescription
from launch.actions import ExecuteProcess
def generate_launch_description():
    return LaunchDescription([ExecuteProcess(cmd=["{file}"], output="screen")])
"""


@pytest.fixture
def cell(monkeypatch, tmp_path) -> str:
    """Code for `launched`: a policy, a recorder and a driver that is in an included file."""
    for name, seconds in (("policy", 0.6), ("recorder", 0.0), ("driver", 0.0)):
        script = f"trap 'sleep {seconds}; echo {name} ended; exit 0' INT; echo {name} is up"
        program(tmp_path / "lib" / "fake" / name, f"{script}; {_FOREVER}")
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "fake"
    included = tmp_path / "share" / "fake" / "launch" / "driver.launch.py"
    for file in (index, included):
        file.parent.mkdir(parents=True)
    index.touch()
    included.write_text(_INCLUDED.format(file=tmp_path / "lib" / "fake" / "driver"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    return (
        "from evo1_bringup.launching import launch_actions\n"
        "from evo1_bringup.processes import Include, Process, Programs\n"
        "actions = launch_actions(Programs(real_arm=REAL, processes=(\n"
        "    Process(package='fake', executable='policy', role='mover'),\n"
        "    Process(package='fake', executable='recorder', role='optional')),\n"
        "    includes=(Include(package='fake', launch_file='driver.launch.py'),)), {})\n"
        "from launch.actions import ExecuteProcess\n"
        "actions.append(ExecuteProcess(cmd=['true']))\n"  # of whoever includes our launch file
    )


def all_up(system: Launched) -> None:
    for name in ("policy", "recorder", "driver"):
        system.wait_for(f"{name} is up")


def end_of(system: Launched, name: str) -> None:
    """SIGKILL the program itself, which is not the process that launch started."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes().split(b"\0") if entry.exists() else []
        script = str(system.log.parent / "lib" / "fake" / name).encode()
        if words[:1] == [b"/bin/bash"] and script in words:
            os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.mark.ros
def test_launch_ends_the_policy_first_and_an_included_driver_last(launched, cell):
    system = launched("", code=f"REAL = True\n{cell}")
    all_up(system)
    assert system.interrupt() == 0, system.text()
    ended = [line.split()[-2] for line in system.text().splitlines() if line.endswith(" ended")]
    assert (ended[0], ended[-1], len(ended)) == ("policy", "driver", 3), system.text()
    assert "process has died" not in system.text()


@pytest.mark.ros
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("recorder", "recorder was ended by SIGKILL. The arm does not need it"),
        ("policy", "policy was ended by SIGKILL. The REAL arm comes to rest and is HELD"),
        ("driver", "driver was ended by SIGKILL. NOTHING DRIVES THE REAL ARM NOW"),
    ],
)
def test_launch_holds_a_real_arm_whoever_dies_and_says_so(launched, cell, name, words):
    system = launched("", code=f"REAL = True\n{cell}")
    all_up(system)
    end_of(system, name)
    system.wait_for(words)
    time.sleep(0.3)
    assert " ended\n" not in system.text()
    assert system.interrupt() == 0, system.text()
    assert system.text().count(" ended\n") == 2, system.text()


@pytest.mark.ros
@pytest.mark.parametrize("name", ["policy", "driver"])
def test_launch_ends_a_simulation_with_what_it_needs(launched, cell, name):
    system = launched("", code=f"REAL = False\n{cell}")
    all_up(system)
    end_of(system, name)
    system.process.wait(timeout=60)
    assert "was ended by SIGKILL; ending everything else" in system.text()
    assert "true ended" not in system.text()
    assert system.text().count(" ended\n") == 2, system.text()


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
